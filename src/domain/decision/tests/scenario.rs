//! A situation that passes every check. Each row of a table changes one thing in it.

use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::view::{Baselines, PortfolioView};
use crate::domain::config::effective::{Sizing, StoredConfig, effective};
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::check::ReasonCode;
use crate::domain::decision::decide::{Situation, decide};
use crate::domain::decision::exit::TheirHolding;
use crate::domain::decision::outcome::Decision;
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::{FeeSchedule, Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, FollowedUserId, GroupId, GroupKey, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

pub const USDC: i64 = 1_000_000;
pub const SHARE: i64 = 1_000_000;
pub const MINUTE: i64 = 60_000;

/// The inputs of a decision.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub group: EventGroup,
    pub market: Market,
    pub portfolio: PortfolioView,
    pub config: StoredConfig,
    pub leader: FollowState,
    pub their_holding: TheirHolding,
    pub now: Timestamp,
    pub bids: Vec<(i64, i64)>,
    pub asks: Vec<(i64, i64)>,
    pub book_is_there: bool,
}

pub fn asset(n: u8) -> AssetId {
    AssetId::parse(&n.to_string()).unwrap()
}

pub fn price(micros: i64) -> PriceMicros {
    PriceMicros::new(micros).unwrap()
}

pub fn sides(levels: &[(i64, i64)]) -> Vec<(PriceMicros, ShareMicros)> {
    levels.iter().map(|&(micros, shares)| (price(micros), ShareMicros(shares))).collect()
}

impl Scenario {
    /// A leader bought 2,000 shares at 0.50; we have 10,000 USDC and no position; the book is 0.49 to 0.50.
    pub fn buy() -> Self {
        let now = Timestamp::parse_iso("2026-01-15T12:00:03Z").unwrap();
        let key = GroupKey::from_text("7:1:BUY:2026-01-15T12:00:00.123Z");
        let market = MarketId::parse(&format!("0x{}", "ab".repeat(32))).unwrap();
        let outcome =
            |n: u8| OutcomeAsset { asset: asset(n), outcome: format!("Outcome {n}"), index: n.into(), payout: None };
        Self {
            group: EventGroup {
                id: GroupId::of(&key),
                key,
                followed_user: FollowedUserId(7),
                market: market.clone(),
                action: GroupAction::Trade { asset: asset(1), side: Side::Buy },
                notional: UsdcMicros(1_000 * USDC),
                shares: ShareMicros(2_000 * SHARE),
                reference_price: Some(price(500_000)),
                window_start: now.plus_millis(-3_000),
                detect_time: now.plus_millis(-3_000),
                event_time: now.plus_millis(-10_000),
            },
            market: Market {
                close_time: Some(now.plus_millis(90 * MINUTE)),
                fee: FeeSchedule { rate_micros: 40_000, exponent: 1 },
                outcomes: vec![outcome(1), outcome(2)],
                ..Market::unknown(market)
            },
            portfolio: PortfolioView {
                id: PortfolioId::ExecUser(FollowedUserId(7)),
                version: 1,
                cash: UsdcMicros(10_000 * USDC),
                equity: UsdcMicros(10_000 * USDC),
                exposure_total: UsdcMicros(0),
                exposure_market: UsdcMicros(0),
                exposure_leader: UsdcMicros(0),
                held: ShareMicros(0),
                held_sets: vec![(asset(1), ShareMicros(0)), (asset(2), ShareMicros(0))],
                baselines: Baselines {
                    day_start: Some(UsdcMicros(10_000 * USDC)),
                    week_start: Some(UsdcMicros(10_000 * USDC)),
                    peak: UsdcMicros(10_000 * USDC),
                },
            },
            // The tables go to the micro; the rules that cut orders have a file of their own.
            config: StoredConfig {
                sizing: Sizing { venue_order_rules: false, ..Sizing::default() },
                ..StoredConfig::default()
            },
            leader: FollowState::Active,
            their_holding: TheirHolding::NotAsked,
            now,
            bids: vec![(490_000, 1_000 * SHARE)],
            asks: vec![(500_000, 1_000 * SHARE)],
            book_is_there: true,
        }
    }

    /// The leader sells what they bought; we hold 100 shares; the book is 0.50 to 0.51.
    pub fn sell() -> Self {
        let mut scenario = Self::buy();
        scenario.group.action = GroupAction::Trade { asset: asset(1), side: Side::Sell };
        scenario.portfolio.held = ShareMicros(100 * SHARE);
        scenario.bids = vec![(500_000, 1_000 * SHARE)];
        scenario.asks = vec![(510_000, 1_000 * SHARE)];
        scenario
    }

    /// The leader splits 1,000 USDC into complete sets.
    pub fn split() -> Self {
        let mut scenario = Self::buy();
        scenario.group.action = GroupAction::Split;
        scenario.group.shares = ShareMicros(1_000 * SHARE);
        scenario.group.reference_price = None;
        scenario
    }

    /// The leader merges 1,000 complete sets; we hold 30 of the first outcome and 20 of the second.
    pub fn merge() -> Self {
        let mut scenario = Self::split();
        scenario.group.action = GroupAction::Merge;
        scenario.portfolio.held_sets = vec![(asset(1), ShareMicros(30 * SHARE)), (asset(2), ShareMicros(20 * SHARE))];
        scenario
    }

    pub fn in_global_portfolio(mut self) -> Self {
        self.portfolio.id = PortfolioId::ExecGlobal;
        self
    }

    pub fn book(&self) -> OrderBook {
        OrderBook::from_levels(sides(&self.bids), sides(&self.asks)).unwrap()
    }

    pub fn with_situation<T>(&self, see: impl FnOnce(&Situation) -> T) -> T {
        let config = effective(&self.config, None, self.portfolio.id.scope());
        see(&Situation {
            group: &self.group,
            market: &self.market,
            portfolio: &self.portfolio,
            config: &config,
            leader: self.leader,
            their_holding: self.their_holding,
            now: self.now,
        })
    }

    pub fn try_decide(&self) -> Result<Decision, UnitError> {
        let book = self.book_is_there.then(|| self.book());
        self.with_situation(|situation| decide(situation, book.as_ref()))
    }

    pub fn decide(&self) -> Decision {
        self.try_decide().unwrap()
    }

    pub fn reasons(&self) -> Vec<ReasonCode> {
        self.decide().reasons()
    }
}

/// A row: its name, a scenario, the change in it, and the expected reason codes; none for EXECUTE.
pub type Row = (&'static str, fn() -> Scenario, fn(&mut Scenario), &'static [ReasonCode]);

pub fn check(rows: &[Row]) {
    for (name, scenario, change, expected) in rows {
        let mut scenario = scenario();
        change(&mut scenario);
        assert_eq!(scenario.reasons(), *expected, "{name}");
    }
}

pub fn global_buy() -> Scenario {
    Scenario::buy().in_global_portfolio()
}

pub fn equity(scenario: &mut Scenario, micros: i64) {
    scenario.portfolio.equity = UsdcMicros(micros);
    if micros < 1_000 * USDC {
        let all = UsdcMicros(micros);
        (scenario.portfolio.baselines.day_start, scenario.portfolio.baselines.week_start) = (Some(all), Some(all));
        scenario.portfolio.baselines.peak = all;
        if micros == 0 {
            scenario.portfolio.cash = UsdcMicros(0);
        }
    }
}

pub fn close_in(scenario: &mut Scenario, millis: i64) {
    scenario.market.close_time = Some(scenario.now.plus_millis(millis));
}

pub fn global_sell() -> Scenario {
    Scenario::sell().in_global_portfolio()
}
