//! The time of a what-if test: groups decided on parsed books under two configurations, each with its own portfolio.
//!
//! Three leaders buy and sell in fifty markets. Each group comes half a minute after the one before it, with a new
//! midpoint for every traded asset. The time to read and parse the rows is not included.

use std::collections::BTreeMap;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use polymarketspy::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use polymarketspy::domain::accounting::mark::Mark;
use polymarketspy::domain::accounting::portfolio::Portfolio;
use polymarketspy::domain::analysis::what_if::{Case, Comparison, ExternalEvent, Policy, Start, StoredBook};
use polymarketspy::domain::config::effective::{ConfigPatch, StoredConfig};
use polymarketspy::domain::config::follow_state::{FollowHistory, FollowState};
use polymarketspy::domain::decision::exit::TheirHolding;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::events::group::EventGroup;
use polymarketspy::domain::market::book::OrderBook;
use polymarketspy::domain::market::facts::Market;
use polymarketspy::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use polymarketspy::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use polymarketspy::testkit::facts::trade_group;

const MARKETS: i64 = 50;
const HALF_MINUTE_MS: i64 = 30_000;
const BEGIN: Timestamp = Timestamp::from_millis(1_790_619_000_000);

fn main() {
    divan::main();
}

#[divan::bench(args = [1_000, 10_000])]
fn groups(bencher: Bencher, n: i64) {
    let groups: Vec<EventGroup> = (0..n).map(group).collect();
    compare(bencher, &groups, false);
}

#[divan::bench(args = [1_000])]
fn groups_and_prices(bencher: Bencher, n: i64) {
    let groups: Vec<EventGroup> = (0..n).map(group).collect();
    compare(bencher, &groups, true);
}

fn compare(bencher: Bencher, groups: &[EventGroup], with_prices: bool) {
    let (markets, book) = ((0..MARKETS).map(market).collect::<Vec<_>>(), book());
    bencher.counter(ItemsCount::new(groups.len())).with_inputs(comparison).bench_values(|mut comparison| {
        for (group, market) in groups.iter().zip(markets.iter().cycle()) {
            if with_prices {
                let price = PriceMicros::new(495_000 + group.detect_time.seconds() % 10 * 1_000).unwrap();
                for n in 0..MARKETS {
                    comparison
                        .schedule(
                            group.detect_time,
                            ExternalEvent::Price(asset(n), Mark::Midpoint(price, group.detect_time)),
                        )
                        .unwrap();
                }
            }
            let case = Case {
                group,
                market,
                book: StoredBook::Known(&book),
                recorded: None,
                their_holding: TheirHolding::NotAsked,
            };
            comparison.decide(&case).unwrap();
        }
        black_box(comparison.finish(BEGIN.plus_millis(HALF_MINUTE_MS)).unwrap())
    });
}

fn comparison() -> Comparison {
    let mut portfolio = Portfolio::new(PortfolioId::ExecGlobal);
    let bankroll = UsdcMicros(100_000_000_000);
    portfolio.apply(&LedgerEntry::opening_deposit(PortfolioId::ExecGlobal, bankroll, BEGIN)).unwrap();
    let active = |id| (FollowedUserId(id), FollowHistory::always(FollowState::Active));
    let leaders = BTreeMap::from([1, 2, 3].map(active));
    let start = Start { time: BEGIN, portfolio, leaders };
    let policy = |copied: i64| {
        let mut patch = ConfigPatch::default();
        patch.sizing.copy_pct_notional = Some(Bps(copied));
        Policy { global: StoredConfig::default().with(&patch), overrides: BTreeMap::new() }
    };
    Comparison::new(start, policy(100), policy(150))
}

/// Group number `n`: three purchases, then a sale, and so on.
fn group(n: i64) -> EventGroup {
    let (leader, side) = (1 + n % 3, if n % 4 == 3 { Side::Sell } else { Side::Buy });
    let key = format!("{leader}:{}:{}:{n:09}", 1_000 + n % MARKETS, side.as_str());
    let at = BEGIN.plus_millis((n + 1) * HALF_MINUTE_MS);
    EventGroup {
        notional: UsdcMicros(1_000_000_000),
        shares: ShareMicros(2_000_000_000),
        ..trade_group(&key, FollowedUserId(leader), market_id(n % MARKETS), asset(n % MARKETS), side, at)
    }
}

fn asset(n: i64) -> AssetId {
    AssetId::parse(&format!("7164000000000000000000000000000000000000000000000000000000000000000000{}", 1_000 + n))
        .unwrap()
}

fn market_id(n: i64) -> MarketId {
    MarketId::parse(&format!("0x{n:064x}")).unwrap()
}

fn market(n: i64) -> Market {
    Market::unknown(market_id(n))
}

/// Twenty levels a side, a tick apart, from 0.495 and 0.500.
fn book() -> OrderBook {
    let level = |micros| (PriceMicros::new(micros).unwrap(), ShareMicros(25_430_000));
    OrderBook::from_levels((0..20).map(|n| level(495_000 - n * 1_000)), (0..20).map(|n| level(500_000 + n * 1_000)))
        .unwrap()
}
