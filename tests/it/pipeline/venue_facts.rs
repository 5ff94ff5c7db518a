//! Books and facts as the venue has them: a market that is unknown at first, a slow book, a delay for takers, an end date
//! that has passed, an order below a dollar, and an exit by the leader's share.

use polymarketspy::domain::accounting::ledger::PortfolioScope;
use polymarketspy::domain::accounting::shadow::exactness::Exactness;
use polymarketspy::domain::decision::attempt::CopyAttempt;
use polymarketspy::domain::decision::check::ReasonCode::BelowVenueMinimum;
use polymarketspy::domain::decision::check::{CheckName, Verdict};
use polymarketspy::domain::decision::exit::NotionalBecause;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::{FollowedUserId, Wallet};
use polymarketspy::domain::money::units::ShareMicros;
use polymarketspy::simulator::{Fault, FaultKind, Fill, Host, MarketQuirks, Movement, NewMarket, SimMarket, Times};
use polymarketspy::testkit::{TestBot, eventually};

/// 1000 shares at one half.
const SHARES: i64 = 1_000_000_000;
const HALF: i64 = 500_000;

struct Scene {
    bot: TestBot,
    user: FollowedUserId,
    wallet: Wallet,
    n_groups: usize,
}

impl Scene {
    async fn new(bot: TestBot) -> Self {
        bot.configure(r#"{"sizing": {"exitSizing": "PROPORTIONAL"}}"#).await;
        let (user, wallet) = bot.follow("leader").await;
        Self { bot, user, wallet, n_groups: 0 }
    }

    fn market(&self, slug: &str, quirks: MarketQuirks) -> SimMarket {
        self.bot.exchange.with(|exchange| {
            let market = exchange.add_market(NewMarket::binary(slug));
            exchange.change_market(market.id(), |market| market.quirks = quirks);
            market
        })
    }

    fn trades(&mut self, market: &SimMarket, side: Side, shares: i64) {
        let fill = Fill::taker(&self.wallet, market.asset(0).unwrap(), side, HALF, shares);
        self.bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
        self.n_groups += 1;
    }

    /// Waits for both attempts on every group so far, and returns those on the market, oldest first.
    async fn decided(&self, market: &SimMarket) -> Vec<CopyAttempt> {
        let attempts = self.bot.attempts(2 * self.n_groups).await;
        let mut ours = Vec::new();
        for listed in attempts {
            let group = self.bot.db.group(listed.attempt.group_id).await.unwrap().unwrap();
            if group.market == *market.id() {
                ours.push(listed.attempt);
            }
        }
        ours
    }

    async fn bought(&mut self, market: &SimMarket, shares: i64) -> CopyAttempt {
        self.trades(market, Side::Buy, shares);
        let attempts = self.decided(market).await;
        let last = &attempts[attempts.len() - 2..];
        assert_eq!(last[0].reasons, last[1].reasons);
        last[0].clone()
    }
}

async fn the_venue_is_taken_as_it_is(bot: TestBot) {
    let mut scene = Scene::new(bot).await;
    let app = scene.bot.start().await;

    let unknown = MarketQuirks { unknown_to_gamma: true, unknown_to_clob: true, ..MarketQuirks::default() };
    let late = scene.market("known-late", unknown);
    scene.trades(&late, Side::Buy, SHARES);
    eventually("both sources are asked for the market", async || {
        let asked = |host| scene.bot.exchange.with(|exchange| exchange.n_requests(host, late.id().as_str()));
        (asked(Host::Gamma) > 1 && asked(Host::Clob) > 1).then_some(())
    })
    .await;
    scene
        .bot
        .exchange
        .with(|exchange| exchange.change_market(late.id(), |market| market.quirks = MarketQuirks::default()));
    let attempts = scene.decided(&late).await;
    assert!(attempts.iter().all(|attempt| attempt.decision == DecisionKind::Execute), "{attempts:?}");

    let slow = scene.market("slow-book", MarketQuirks::default());
    let book_of = format!("/book?token_id={}", slow.asset(0).unwrap());
    let fault = Fault::once(Host::Clob, &book_of, FaultKind::Delay(2_500)).times(Times::Always);
    scene.bot.exchange.with(|exchange| exchange.fault(fault));
    assert_eq!(scene.bought(&slow, SHARES).await.reasons, []);

    let sports = scene.market("kick-off", MarketQuirks { taker_delay_s: 1, ..MarketQuirks::default() });
    let copy = scene.bought(&sports, SHARES).await;
    assert_eq!((copy.reasons.as_slice(), copy.explanation.taker_delay_ms), ([].as_slice(), Some(1_000)));

    let passed = scene.bot.exchange.with(|exchange| exchange.now().plus_millis(-68 * 86_400_000));
    let old = scene.market("end-date-passed", MarketQuirks { end_date: Some(passed), ..MarketQuirks::default() });
    let copy = scene.bought(&old, SHARES).await;
    let time = copy.explanation.checks.iter().find(|check| check.name == CheckName::TimeToClose).unwrap();
    assert_eq!((copy.reasons.as_slice(), time.verdict), ([].as_slice(), Verdict::Unknown));

    the_leader_leaves_and_so_do_we(&mut scene).await;
    books_that_are_not_exact_size_no_exit(&mut scene).await;

    scene.bot.configure(r#"{"sizing": {"minTradeNotionalMicros": 0, "copyPctNotionalBps": 8}}"#).await;
    app.look_at_directory();
    eventually("a copy below a dollar is refused", async || {
        let small = scene.market(&format!("small-{}", scene.n_groups), MarketQuirks::default());
        (scene.bought(&small, SHARES).await.reasons == [BelowVenueMinimum]).then_some(())
    })
    .await;
    app.stop().await;
    scene.bot.close().await;
}

/// Five buys of 100 USDC, each raised to 5; then half of it is sold, then the rest.
async fn the_leader_leaves_and_so_do_we(scene: &mut Scene) {
    let market = scene.market("left", MarketQuirks::default());
    for _ in 0..5 {
        assert_eq!(scene.bought(&market, SHARES / 5).await.reasons, []);
    }
    for left in [25_000_000, 0] {
        scene.trades(&market, Side::Sell, SHARES / 2);
        let attempts = scene.decided(&market).await;
        let sold = attempts.iter().rfind(|attempt| attempt.portfolio.scope() == PortfolioScope::ExecUser).unwrap();
        assert_eq!((sold.reasons.as_slice(), sold.filled_shares.0), ([].as_slice(), 25_000_000), "{sold:?}");
        assert_eq!(sold.explanation.exit.unwrap().because, None, "{left} left");
    }
}

/// Two copies of 10 shares. The leader sells a quarter after a row of a kind that is not known: 10 shares are sold as a
/// purchase would be sized, not the 5 of an exit by their share.
async fn books_that_are_not_exact_size_no_exit(scene: &mut Scene) {
    let market = scene.market("doubted", MarketQuirks::default());
    for _ in 0..2 {
        assert_eq!(scene.bought(&market, SHARES / 5).await.reasons, []);
    }
    scene.bot.exchange.with(|exchange| {
        // No check can agree.
        exchange.fault(Fault::once(Host::Data, "/v2/positions", FaultKind::Status(400)).times(Times::Always));
        let row = Movement::of(&scene.wallet, "TELEPORT").amounts(SHARES, 0);
        exchange.push_movement(row, exchange.now()).unwrap();
    });
    eventually("the books are not exact", async || {
        let books = scene.bot.db.books_record(scene.user).await.unwrap().exactness();
        matches!(books, Exactness::NotExact { .. }).then_some(())
    })
    .await;
    scene.trades(&market, Side::Sell, SHARES / 10);
    let attempts = scene.decided(&market).await;
    let sold = attempts.iter().rfind(|attempt| attempt.portfolio.scope() == PortfolioScope::ExecUser).unwrap();
    let exit = sold.explanation.exit.unwrap();
    let expected = (10_000_000, Some(NotionalBecause::BooksNotExact), Some(ShareMicros(2 * SHARES / 5)));
    assert_eq!((sold.filled_shares.0, exit.because, exit.their_holding_micros), expected, "{sold:?}");
}

#[actix::test]
async fn the_venue_is_taken_as_it_is_on_sqlite() {
    the_venue_is_taken_as_it_is(TestBot::new().await).await;
}

#[actix::test]
async fn the_venue_is_taken_as_it_is_on_postgres() {
    the_venue_is_taken_as_it_is(TestBot::shared().await).await;
}
