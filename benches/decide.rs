//! The time of one decision: all checks and the walk, on parsed books and starting from the text of a book.
//!
//! The situation is the one with the most checks: a BUY in the shared bankroll that executes, with a fee. The memory
//! that a decision allocates is freed within the measured time, as it is in the running bot.

use divan::{Bencher, black_box};
use polymarketspy::domain::accounting::ledger::PortfolioId;
use polymarketspy::domain::accounting::view::{Baselines, PortfolioView};
use polymarketspy::domain::config::effective::EffectiveConfig;
use polymarketspy::domain::config::follow_state::FollowState;
use polymarketspy::domain::decision::decide::{Situation, decide};
use polymarketspy::domain::decision::exit::TheirHolding;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::events::group::{EventGroup, GroupAction};
use polymarketspy::domain::market::book::OrderBook;
use polymarketspy::domain::market::facts::{FeeSchedule, Market};
use polymarketspy::domain::money::ids::{AssetId, FollowedUserId, GroupId, GroupKey, MarketId};
use polymarketspy::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use polymarketspy::polymarket::wire::book_text::parse_order_book;

/// A real book of 2026: the five best levels of each side.
const FIVE_LEVELS: &str = include_str!("../tests/fixtures/clob/book_2026_09_best5.json");
/// A real book of 2024 in full: 76 bids, 86 asks.
const ALL_LEVELS: &str = include_str!("../tests/fixtures/clob_ws/book_2024.json");

fn main() {
    divan::main();
}

#[divan::bench(args = [20, 50])]
fn parsed(bencher: Bencher, levels_a_side: i64) {
    let book = book(levels_a_side);
    let scenario = Scenario::buying_at(500_000);
    let situation = scenario.situation();
    assert_eq!(decide(&situation, Some(&book)).unwrap().kind(), DecisionKind::Execute);
    bencher.bench(|| {
        let decision = decide(black_box(&situation), black_box(Some(&book)));
        black_box(&decision);
    });
}

#[divan::bench(args = ["five levels a side", "all 162 levels"])]
fn from_json_text(bencher: Bencher, book: &str) {
    let (text, price) = if book.starts_with("five") { (FIVE_LEVELS, 510_000) } else { (ALL_LEVELS, 514_000) };
    // The recordings are formatted for reading; the CLOB sends no whitespace.
    let text: String = text.split_whitespace().collect();
    let scenario = Scenario::buying_at(price);
    let situation = scenario.situation();
    let run = || decide(&situation, Some(&parse_order_book(black_box(&text)).unwrap()));
    assert_eq!(run().unwrap().kind(), DecisionKind::Execute);
    bencher.bench(|| {
        let decision = run();
        black_box(&decision);
    });
}

/// One tick between levels, so that a copy of 75 USDC walks six of them and the limit price admits eleven.
fn book(levels_a_side: i64) -> OrderBook {
    let level = |micros| (PriceMicros::new(micros).unwrap(), ShareMicros(25_430_000));
    OrderBook::from_levels(
        (0..levels_a_side).map(|n| level(499_000 - n * 1_000)),
        (0..levels_a_side).map(|n| level(500_000 + n * 1_000)),
    )
    .unwrap()
}

struct Scenario {
    group: EventGroup,
    market: Market,
    portfolio: PortfolioView,
    config: EffectiveConfig,
    now: Timestamp,
}

impl Scenario {
    fn buying_at(micros: i64) -> Self {
        let now = Timestamp::from_millis(1_790_619_014_171);
        let key = GroupKey::from_text("7:1:BUY:2026-09-28T17:30:11.171Z");
        let market = MarketId::parse(&format!("0x{}", "ab".repeat(32))).unwrap();
        let bankroll = UsdcMicros(10_000_000_000);
        Self {
            group: EventGroup {
                id: GroupId::of(&key),
                key,
                followed_user: FollowedUserId(7),
                market: market.clone(),
                action: GroupAction::Trade { asset: AssetId::parse("1").unwrap(), side: Side::Buy },
                notional: UsdcMicros(8_000_000_000),
                shares: ShareMicros(16_000_000_000),
                reference_price: Some(PriceMicros::new(micros).unwrap()),
                window_start: now.plus_millis(-3_000),
                detect_time: now.plus_millis(-3_000),
                event_time: now.plus_millis(-20_000),
            },
            market: Market {
                close_time: Some(now.plus_millis(86_400_000)),
                fee: FeeSchedule { rate_micros: 50_000, exponent: 1 },
                ..Market::unknown(market)
            },
            portfolio: PortfolioView {
                id: PortfolioId::ExecGlobal,
                version: 1,
                cash: UsdcMicros(8_123_456_789),
                equity: UsdcMicros(10_012_345_678),
                exposure_total: UsdcMicros(1_888_888_889),
                exposure_market: UsdcMicros(123_456_789),
                exposure_leader: UsdcMicros(777_777_777),
                held: ShareMicros(0),
                held_sets: Vec::new(),
                baselines: Baselines { day_start: Some(bankroll), week_start: Some(bankroll), peak: bankroll },
            },
            config: EffectiveConfig::default(),
            now,
        }
    }

    fn situation(&self) -> Situation<'_> {
        let Self { group, market, portfolio, config, now } = self;
        Situation {
            group,
            market,
            portfolio,
            config,
            leader: FollowState::Active,
            their_holding: TheirHolding::NotAsked,
            now: *now,
        }
    }
}
