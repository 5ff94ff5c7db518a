//! What copies are worth as their books empty, their prices age and their markets end (spec 9, and 3.1 on payouts).

use std::time::{Duration, Instant};

use polymarketspy::app::App;
use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::db::PortfolioSnapshot;
use polymarketspy::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use polymarketspy::domain::accounting::portfolio::Lot;
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::{FollowedUserId, Wallet};
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::simulator::{
    Fill, MarketQuirks, NewMarket, Quotes, ResolutionAnswer, SimMarket, SimulatorSettings, price,
};
use polymarketspy::testkit::{TestBot, TestDb, eventually};

use crate::web::health::{sample, watched};
use crate::web::json;

const SHARE: i64 = 1_000_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
/// Breakers see a book that has lost its bids within this time (spec 9).
const SEEN_WITHIN: Duration = Duration::from_secs(90);
/// 75 USDC at 0.51, the most that a copy of a new account may be.
const COPIED: i64 = 147_058_823;

struct Scene {
    bot: TestBot,
    leader: FollowedUserId,
    wallet: Wallet,
    /// Loses its bids.
    bidless: SimMarket,
    /// Loses its book.
    ages: SimMarket,
    /// Settled by the final prices of its tokens: the resolutions route has no row.
    by_tokens: SimMarket,
    /// Settled by Gamma: the other two sources have nothing.
    by_gamma: SimMarket,
    /// A result is proposed and no more.
    proposed: SimMarket,
}

impl Scene {
    async fn new(bot: TestBot) -> Self {
        // A loss of 50 USDC trips the breaker.
        bot.configure(r#"{"guardrails": {"dailyLossLimitBps": 50}}"#).await;
        let (leader, wallet) = bot.follow("leader").await;
        let market = |new: NewMarket| bot.exchange.with(|exchange| exchange.add_market(new));
        let ends = bot.exchange.with(|exchange| exchange.now().plus_millis(40 * MINUTE_MS));
        let side =
            |from: i64, step: i64| (0..20).map(|n| ((from + n * step) * 10_000, 10_000 * SHARE)).collect::<Vec<_>>();
        let quotes = Quotes::of(&side(50, -1), &side(51, 1));
        let no_row = MarketQuirks { resolution: ResolutionAnswer::NoRow, ..MarketQuirks::default() };
        let neither = MarketQuirks { without_final_price: true, ..no_row.clone() };
        let only_proposed = MarketQuirks {
            resolution: ResolutionAnswer::Proposed(price(SHARE)),
            gamma_unresolved: true,
            ..neither.clone()
        };
        let ending = |slug: &str, quirks: MarketQuirks| market(NewMarket::binary(slug).closes_at(ends).quirks(quirks));
        Self {
            bidless: market(NewMarket::binary("bidless").quotes(quotes)),
            ages: market(NewMarket::binary("ages")),
            by_tokens: ending("by-tokens", no_row),
            by_gamma: ending("by-gamma", neither),
            proposed: ending("proposed", only_proposed),
            bot,
            leader,
            wallet,
        }
    }

    fn buys(&self, market: &SimMarket, price_micros: i64, shares: i64) {
        let asset = market.asset(0).unwrap();
        let fill = Fill::taker(&self.wallet, asset, Side::Buy, price_micros, shares * SHARE);
        self.bot.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
    }

    fn accounts(&self) -> [PortfolioId; 2] {
        [PortfolioId::ExecUser(self.leader), PortfolioId::ExecGlobal]
    }

    fn now(&self) -> Timestamp {
        self.bot.exchange.with(|exchange| exchange.now())
    }

    async fn lots(&self, account: PortfolioId) -> Vec<Lot> {
        let running = self.bot.db.running_portfolio(account, self.now()).await.unwrap();
        running.portfolio.lots().collect()
    }

    async fn lot(&self, account: PortfolioId, market: &SimMarket) -> Option<Lot> {
        self.lots(account).await.into_iter().find(|lot| lot.market.as_ref() == Some(market.id()))
    }

    async fn settlements(&self, account: PortfolioId) -> Vec<LedgerEntry> {
        let placed = self.bot.db.entries_after(account, 0, 1_000).await.unwrap();
        placed.into_iter().map(|placed| placed.entry).filter(|entry| entry.kind == EntryType::Settlement).collect()
    }

    /// Waits for a snapshot of the account at or after `since`.
    async fn snapshot(&self, account: PortfolioId, since: Timestamp) -> PortfolioSnapshot {
        eventually("a snapshot", async || {
            self.bot.db.newest_snapshot(account).await.unwrap().filter(|point| point.bucket_time >= since)
        })
        .await
    }

    /// Lets `millis` pass and starts the bot again.
    async fn starts_after(&self, millis: i64) -> App {
        self.bot.exchange.advance(millis);
        self.bot.start_at(Clock::starting_at(self.now())).await
    }
}

/// Returns how many held assets of open markets there are, and how many of them have a price.
async fn held_and_priced(app: &App) -> Option<(f64, f64)> {
    let (_, page) = watched(app, "/metrics").await;
    let of = |state: &str| sample(&page, &format!("polymarketspy_held_assets{{state=\"{state}\"}}"));
    of("open").zip(of("priced"))
}

/// The book of a copy at 0.51 has no bids any more and an ask of 0.02.
async fn the_bids_go(scene: &Scene, app: &App) {
    scene.bot.exchange.with(|exchange| {
        exchange.set_book(scene.bidless.asset(0).unwrap(), Quotes::of(&[], &[(20_000, 5_000 * SHARE)]));
        exchange.remove_book(scene.ages.id());
    });
    let begun = Instant::now();
    for account in scene.accounts() {
        let lot = eventually("the mark to follow the ask", async || {
            let lot = scene.lot(account, &scene.bidless).await.unwrap();
            (lot.mark == Some(price(20_000))).then_some(lot)
        })
        .await;
        assert_eq!((lot.shares.0, lot.value.0, lot.sale_price), (COPIED, 2_941_176, price(0)));
    }
    eprintln!("the marks followed the book after {:?}", begun.elapsed());
    assert!(begun.elapsed() < SEEN_WITHIN, "after {:?}", begun.elapsed());
    // The mark reaches the books a moment after it is stored.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = scene.now();
    scene.buys(&scene.by_tokens, 500_000, 1_000);
    for row in scene.bot.attempts(12).await.iter().skip(10) {
        assert_eq!(row.attempt.reasons, [ReasonCode::CircuitBreakerTripped], "the breakers see the loss");
    }

    for account in scene.accounts() {
        let point = scene.snapshot(account, since).await;
        let lots = scene.lots(account).await;
        let sold: i64 = lots.iter().map(|lot| lot.sale_price.proceeds_of(lot.shares).unwrap().0).sum();
        assert_eq!(point.if_sold_now.unwrap().0, point.cash.0 + sold);
        assert!(point.if_sold_now.unwrap().0 + 2_941_176 <= point.equity.0, "{point:?}");
        assert_eq!(point.stale_assets, 0);
    }
    let figures = json(app, "/api/overview").await["figures"].clone();
    let point = scene.bot.db.newest_snapshot(PortfolioId::ExecGlobal).await.unwrap().unwrap();
    assert_eq!(figures["if_sold_now_micros"], point.if_sold_now.unwrap().0, "beside equity: {figures}");
    assert!(figures["equity_micros"].is_i64(), "{figures}");
}

async fn marks_follow_the_venue_down_grow_old_and_end_as_payouts(bot: TestBot) {
    let scene = Scene::new(bot).await;
    let app = scene.bot.start().await;
    scene.buys(&scene.bidless, 510_000, 20_000);
    // Before the others, so that its cap is that of a new account.
    scene.bot.attempts(2).await;
    for market in [&scene.ages, &scene.by_tokens, &scene.by_gamma, &scene.proposed] {
        scene.buys(market, 500_000, 1_000);
    }
    for row in scene.bot.attempts(10).await {
        assert_eq!(row.attempt.decision, DecisionKind::Execute, "{:?}", row.attempt.reasons);
    }
    the_bids_go(&scene, &app).await;
    app.stop().await;

    for market in [&scene.by_tokens, &scene.by_gamma] {
        scene.bot.exchange.with(|exchange| exchange.resolve(market.id(), &[price(SHARE), price(0)]));
    }
    let app = scene.starts_after(45 * MINUTE_MS).await;
    for account in scene.accounts() {
        for market in [&scene.by_tokens, &scene.by_gamma] {
            let settled = eventually("the settlement", async || {
                let all = scene.settlements(account).await;
                all.into_iter().find(|entry| entry.market.as_ref() == Some(market.id()))
            })
            .await;
            assert_eq!((settled.cash.0, settled.price), (-settled.shares.0, Some(price(SHARE))), "{settled:?}");
        }
        let old = scene.lot(account, &scene.ages).await.unwrap();
        assert!(!old.is_stale && old.mark.is_some(), "a price of the last hour: {old:?}");
    }
    let (held, priced) = eventually("a round of prices", async || held_and_priced(&app).await).await;
    assert!(priced >= 1.0 && priced < held, "the alert fires: {priced} of {held}");
    app.stop().await;

    let app = scene.starts_after(5 * HOUR_MS).await;
    let since = scene.now().plus_millis(-MINUTE_MS);
    for account in scene.accounts() {
        let old = scene.lot(account, &scene.ages).await.unwrap();
        assert!(old.is_stale && old.mark.is_some(), "{old:?}");
        assert!(scene.snapshot(account, since).await.stale_assets >= 1, "said beside the equity");
        let settled = scene.settlements(account).await;
        assert_eq!(settled.len(), 2, "a proposal settles nothing: {settled:?}");
    }
    let unsettled = eventually("the unsettled market to be late", async || {
        let (_, page) = watched(&app, "/metrics").await;
        sample(&page, "polymarketspy_unsettled_markets{disputed=\"false\"}").filter(|n| *n > 0.0)
    });
    assert_eq!(unsettled.await, 1.0);
    app.stop().await;
    assert_eq!(audit(&scene.bot.db).await.unwrap().problems, Vec::<String>::new());
    scene.bot.close().await;
}

mod slow {
    use super::*;

    #[actix::test]
    async fn marks_follow_the_venue_down_grow_old_and_end_as_payouts_on_sqlite() {
        marks_follow_the_venue_down_grow_old_and_end_as_payouts(TestBot::new().await).await;
    }
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn marks_follow_the_venue_down_grow_old_and_end_as_payouts() {
        let bot = TestBot::at(TestDb::postgres().await, None, SimulatorSettings::default()).await;
        super::marks_follow_the_venue_down_grow_old_and_end_as_payouts(bot).await;
    }
}
