//! A situation in which everything is well, to be spoiled one thing at a time.

use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::view::{Baselines, PortfolioView};
use crate::domain::config::effective::{StoredConfig, effective};
use crate::domain::decision::decide::{Decision, ReasonCode, Situation, decide};
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::{FeeSchedule, Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, FollowedUserId, GroupId, GroupKey, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

pub const USDC: i64 = 1_000_000;
pub const SHARE: i64 = 1_000_000;
pub const MINUTE: i64 = 60_000;

#[derive(Debug, Clone)]
pub struct World {
    pub group: EventGroup,
    pub market: Market,
    pub portfolio: PortfolioView,
    pub config: StoredConfig,
    pub user_enabled: bool,
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

impl World {
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
                    day_start: UsdcMicros(10_000 * USDC),
                    week_start: UsdcMicros(10_000 * USDC),
                    peak: UsdcMicros(10_000 * USDC),
                },
            },
            config: StoredConfig::default(),
            user_enabled: true,
            now,
            bids: vec![(490_000, 1_000 * SHARE)],
            asks: vec![(500_000, 1_000 * SHARE)],
            book_is_there: true,
        }
    }

    /// The leader sells what they bought; we hold 100 shares; the book is 0.50 to 0.51.
    pub fn sell() -> Self {
        let mut world = Self::buy();
        world.group.action = GroupAction::Trade { asset: asset(1), side: Side::Sell };
        world.portfolio.held = ShareMicros(100 * SHARE);
        world.bids = vec![(500_000, 1_000 * SHARE)];
        world.asks = vec![(510_000, 1_000 * SHARE)];
        world
    }

    /// The leader splits 1,000 USDC into complete sets.
    pub fn split() -> Self {
        let mut world = Self::buy();
        world.group.action = GroupAction::Split;
        world.group.shares = ShareMicros(1_000 * SHARE);
        world.group.reference_price = None;
        world
    }

    /// The leader merges 1,000 complete sets; we hold 30 of the first outcome and 20 of the second.
    pub fn merge() -> Self {
        let mut world = Self::split();
        world.group.action = GroupAction::Merge;
        world.portfolio.held_sets = vec![(asset(1), ShareMicros(30 * SHARE)), (asset(2), ShareMicros(20 * SHARE))];
        world
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
            user_enabled: self.user_enabled,
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

/// A world, what is spoilt in it, and the codes that gives; none for EXECUTE.
pub type Row = (&'static str, fn() -> World, fn(&mut World), &'static [ReasonCode]);

pub fn check(rows: &[Row]) {
    for (name, world, spoil, expected) in rows {
        let mut world = world();
        spoil(&mut world);
        assert_eq!(world.reasons(), *expected, "{name}");
    }
}

pub fn global_buy() -> World {
    World::buy().in_global_portfolio()
}

pub fn equity(world: &mut World, micros: i64) {
    world.portfolio.equity = UsdcMicros(micros);
    if micros < 1_000 * USDC {
        let all = UsdcMicros(micros);
        (world.portfolio.baselines.day_start, world.portfolio.baselines.week_start) = (all, all);
        world.portfolio.baselines.peak = all;
        if micros == 0 {
            world.portfolio.cash = UsdcMicros(0);
        }
    }
}

pub fn close_in(world: &mut World, millis: i64) {
    world.market.close_time = Some(world.now.plus_millis(millis));
}

pub fn global_sell() -> World {
    World::sell().in_global_portfolio()
}
