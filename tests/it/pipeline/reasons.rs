//! Every reason code, produced by the whole bot against the simulator.

use std::collections::BTreeSet;

use futures_util::future::{LocalBoxFuture, join_all};
use polymarketspy::clock::Clock;
use polymarketspy::domain::accounting::ledger::PortfolioScope;
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::check::ReasonCode::*;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::{AssetId, FollowedUserId, MarketId, Wallet};
use polymarketspy::domain::money::units::ShareMicros;
use polymarketspy::queue::{self, Queue};
use polymarketspy::simulator::{Fill, NewMarket, Quotes, SimMarket};
use polymarketspy::testkit::{TestBot, eventually};

/// 1000 shares at one half: a copy of 1 % is 5 USDC, which is the minimum.
const SHARES: i64 = 1_000_000_000;
const HALF: i64 = 500_000;

/// A bot that is not started yet, one leader and one market.
struct ReasonScenario {
    bot: TestBot,
    user: FollowedUserId,
    wallet: Wallet,
    market: SimMarket,
}

impl ReasonScenario {
    async fn new(config: &str, market: NewMarket) -> Self {
        let bot = TestBot::new().await;
        bot.configure(config).await;
        let (user, wallet) = bot.follow("leader").await;
        let market = bot.exchange.with(|exchange| exchange.add_market(market));
        Self { bot, user, wallet, market }
    }

    fn yes(&self) -> &AssetId {
        self.market.asset(0).unwrap()
    }

    fn id(&self) -> &MarketId {
        self.market.id()
    }

    fn trades(&self, side: Side, price: i64) {
        let fill = Fill::taker(&self.wallet, self.yes(), side, price, SHARES);
        self.bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
    }

    /// Starts the bot; returns the reasons of the newest group's attempts in the leader's portfolio and in the global
    /// one.
    async fn reasons(&self, n_groups: usize) -> [Vec<ReasonCode>; 2] {
        let app = self.bot.start().await;
        let attempts = self.bot.attempts(2 * n_groups).await;
        app.stop().await;
        let newest = attempts.iter().map(|listed| listed.detect_time).max();
        let of = |scope| {
            let mut found = attempts
                .iter()
                .filter(|listed| Some(listed.detect_time) == newest && listed.attempt.portfolio.scope() == scope);
            found.next().unwrap().attempt.reasons.clone()
        };
        [of(PortfolioScope::ExecUser), of(PortfolioScope::ExecGlobal)]
    }

    /// Returns the reasons of the only group; both portfolios must have the same.
    async fn reason(&self) -> Vec<ReasonCode> {
        let [user, global] = self.reasons(1).await;
        assert_eq!(user, global);
        user
    }
}

fn book(bids: &[(i64, i64)], asks: &[(i64, i64)]) -> NewMarket {
    NewMarket::binary("a-market").quotes(Quotes::of(bids, asks))
}

async fn bought(config: &str, market: NewMarket, price: i64) -> Vec<ReasonCode> {
    let scenario = ReasonScenario::new(config, market).await;
    scenario.trades(Side::Buy, price);
    scenario.reason().await
}

async fn nothing_is_wrong() -> Vec<ReasonCode> {
    bought("{}", NewMarket::binary("fine"), HALF).await
}

async fn the_engine_is_paused() -> Vec<ReasonCode> {
    bought(r#"{"system": {"copyEngineEnabled": false}}"#, NewMarket::binary("paused"), HALF).await
}

/// The leader is disabled between the fill and the decision on it.
async fn the_leader_is_disabled() -> Vec<ReasonCode> {
    let scenario =
        ReasonScenario::new(r#"{"guardrails": {"decisionLatencyMs": 1500}}"#, NewMarket::binary("disabled")).await;
    scenario.trades(Side::Buy, HALF);
    let app = scenario.bot.start().await;
    let db = &scenario.bot.db;
    eventually("a group", async || {
        let open = queue::peek_open(db, Queue::CopyAttemptUser).await.unwrap();
        (!open.is_empty()).then_some(())
    })
    .await;
    db.set_enabled(scenario.user, false, "test", Clock::System.now()).await.unwrap();
    app.look_at_directory();
    let attempts = scenario.bot.attempts(2).await;
    app.stop().await;
    attempts[0].attempt.reasons.clone()
}

async fn opens_are_paused() -> Vec<ReasonCode> {
    bought(r#"{"system": {"opensEnabled": false}}"#, NewMarket::binary("no-opens"), HALF).await
}

/// Nothing is decided about it for 30 s.
async fn no_source_knows_the_market() -> Vec<ReasonCode> {
    let scenario = ReasonScenario::new("{}", NewMarket::binary("unknown")).await;
    scenario.bot.exchange.with(|exchange| {
        exchange.change_market(scenario.id(), |market| {
            (market.quirks.unknown_to_gamma, market.quirks.unknown_to_clob) = (true, true);
        })
    });
    scenario.trades(Side::Buy, HALF);
    scenario.reason().await
}

async fn the_category_is_left_out() -> Vec<ReasonCode> {
    bought(r#"{"sizing": {"notCategories": ["geopolitics"]}}"#, NewMarket::binary("left-out"), HALF).await
}

/// A copy of 0.40 USDC.
async fn the_copy_is_below_a_dollar() -> Vec<ReasonCode> {
    let config = r#"{"sizing": {"minTradeNotionalMicros": 0, "copyPctNotionalBps": 8}}"#;
    bought(config, NewMarket::binary("small"), HALF).await
}

async fn the_market_is_blacklisted() -> Vec<ReasonCode> {
    let scenario = ReasonScenario::new("{}", NewMarket::binary("blacklisted")).await;
    scenario.bot.db.save_market(&scenario.market.facts).await.unwrap();
    scenario.bot.db.set_blacklisted(scenario.id(), true, "test", Clock::System.now()).await.unwrap();
    scenario.trades(Side::Buy, HALF);
    scenario.reason().await
}

async fn the_fill_is_old() -> Vec<ReasonCode> {
    let scenario = ReasonScenario::new(r#"{"guardrails": {"maxSignalAgeSeconds": 5}}"#, NewMarket::binary("old")).await;
    let fill = Fill::taker(&scenario.wallet, scenario.yes(), Side::Buy, HALF, SHARES);
    scenario.bot.exchange.with(|exchange| {
        let a_minute_ago = exchange.now().plus_millis(-60_000);
        exchange.push_fill(fill.at(a_minute_ago)).unwrap();
    });
    scenario.reason().await
}

async fn nothing_is_held() -> Vec<ReasonCode> {
    let scenario = ReasonScenario::new("{}", book(&[(490_000, SHARES)], &[(HALF, SHARES)])).await;
    scenario.trades(Side::Sell, 490_000);
    scenario.reason().await
}

async fn the_market_closes_soon() -> Vec<ReasonCode> {
    let in_ten_minutes = Clock::System.now().plus_millis(600_000);
    bought("{}", NewMarket::binary("closing").closes_at(in_ten_minutes), HALF).await
}

/// The first copy's taker fee alone is more than the loss allowed for a day.
async fn a_breaker_has_tripped() -> Vec<ReasonCode> {
    let config = r#"{"guardrails": {"dailyLossLimitBps": 1}, "sizing": {"minTradeNotionalMicros": 70000000}}"#;
    let scenario = ReasonScenario::new(config, NewMarket::binary("losing").fee(70_000)).await;
    scenario.trades(Side::Buy, HALF);
    assert_eq!(scenario.reasons(1).await, [vec![], vec![]]);
    scenario.trades(Side::Buy, HALF);
    let [user, global] = scenario.reasons(2).await;
    assert_eq!(user, global);
    user
}

async fn there_is_no_book() -> Vec<ReasonCode> {
    let scenario = ReasonScenario::new("{}", NewMarket::binary("bookless")).await;
    scenario.bot.exchange.with(|exchange| exchange.remove_book(scenario.id()));
    scenario.trades(Side::Buy, HALF);
    scenario.reason().await
}

async fn the_spread_is_wide() -> Vec<ReasonCode> {
    bought("{}", book(&[(475_000, SHARES)], &[(HALF, SHARES)]), HALF).await
}

async fn the_price_ran_away() -> Vec<ReasonCode> {
    bought("{}", book(&[(490_000, SHARES)], &[(HALF, SHARES)]), 400_000).await
}

async fn the_price_is_far_from_the_middle() -> Vec<ReasonCode> {
    let config = r#"{"guardrails": {"maxOverMidMicros": 1000}}"#;
    bought(config, book(&[(490_000, SHARES)], &[(HALF, SHARES)]), HALF).await
}

async fn the_book_is_thin() -> Vec<ReasonCode> {
    bought("{}", book(&[(490_000, SHARES)], &[(HALF, 5_000_000), (600_000, SHARES)]), HALF).await
}

async fn nothing_was_split_that_could_be_merged() -> Vec<ReasonCode> {
    let scenario = ReasonScenario::new("{}", NewMarket::binary("merged")).await;
    scenario.bot.exchange.with(|exchange| {
        let now = exchange.now();
        exchange.merge(&scenario.wallet, scenario.id(), ShareMicros(SHARES), now).unwrap();
    });
    scenario.reason().await
}

#[actix::test]
async fn every_reason_code_is_reached_through_the_simulator() {
    type Told = LocalBoxFuture<'static, Vec<ReasonCode>>;
    let scenarios: Vec<(&str, Told, &[ReasonCode])> = vec![
        ("nothing", Box::pin(nothing_is_wrong()), &[]),
        ("paused", Box::pin(the_engine_is_paused()), &[EnginePaused]),
        ("disabled", Box::pin(the_leader_is_disabled()), &[UserDisabled]),
        ("blacklisted", Box::pin(the_market_is_blacklisted()), &[MarketBlacklisted]),
        ("opens paused", Box::pin(opens_are_paused()), &[OpensPaused]),
        ("unknown", Box::pin(no_source_knows_the_market()), &[MarketUnknown]),
        ("filtered", Box::pin(the_category_is_left_out()), &[MarketFiltered]),
        ("below a dollar", Box::pin(the_copy_is_below_a_dollar()), &[BelowVenueMinimum]),
        ("old", Box::pin(the_fill_is_old()), &[SignalTooOld]),
        ("not held", Box::pin(nothing_is_held()), &[NotEnoughPositionToSell]),
        ("closing", Box::pin(the_market_closes_soon()), &[MarketTooCloseToClose]),
        ("breaker", Box::pin(a_breaker_has_tripped()), &[CircuitBreakerTripped]),
        ("no book", Box::pin(there_is_no_book()), &[BookUnavailable]),
        ("spread", Box::pin(the_spread_is_wide()), &[SpreadTooWide]),
        (
            "worse",
            Box::pin(the_price_ran_away()),
            &[PriceWorseThanTheirFill, InsufficientDepth, NoLiquidityWithinBounds],
        ),
        (
            "over mid",
            Box::pin(the_price_is_far_from_the_middle()),
            &[PriceTooFarOverMid, InsufficientDepth, NoLiquidityWithinBounds],
        ),
        ("thin", Box::pin(the_book_is_thin()), &[InsufficientDepth]),
        ("merge", Box::pin(nothing_was_split_that_could_be_merged()), &[MergeSplitNotApplicable]),
    ];
    let mut reached: BTreeSet<ReasonCode> = BTreeSet::from([RiskCapUser, RiskCapGlobal]);
    let (expected, told): (Vec<_>, Vec<_>) =
        scenarios.into_iter().map(|(name, told, expected)| ((name, expected), told)).unzip();
    for ((name, expected), told) in expected.into_iter().zip(join_all(told).await) {
        assert_eq!(told, expected, "{name}");
        reached.extend(told);
    }
    // The test below covers both risk caps.
    assert_eq!(reached, ReasonCode::ALL.iter().copied().collect());
}

#[actix::test]
async fn each_portfolio_names_its_own_risk_cap() {
    let scenario = ReasonScenario::new(r#"{"sizing": {"maxTradeBankrollBps": 1}}"#, NewMarket::binary("capped")).await;
    scenario.trades(Side::Buy, HALF);
    assert_eq!(scenario.reasons(1).await, [vec![RiskCapUser], vec![RiskCapGlobal]]);
}
