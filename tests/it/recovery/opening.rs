//! The process is killed while openings are read and booked: each is booked once, and no fill of the first window counts in
//! both (spec 5, Opening).

use std::time::Duration;

use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use polymarketspy::domain::accounting::shadow::exactness::Exactness;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::{FollowedUserId, Wallet};
use polymarketspy::domain::money::units::ShareMicros;
use polymarketspy::simulator::{Fault, FaultKind, Fill, Host, NewMarket, SimMarket, SimulatorSettings, Times, price};
use polymarketspy::testkit::{TestBot, TestDb, eventually};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::process::Process;

const SHARE: i64 = 1_000_000;
const LEADERS: usize = 4;
const KILLS: usize = 8;
const DAY_MS: i64 = 86_400_000;
/// How long the positions route takes: most kills meet an opening that waits for it or is just being booked.
const POSITIONS_MS: u64 = 300;

struct Leader {
    id: FollowedUserId,
    wallet: Wallet,
    /// Shares bought since the first window began, one row each.
    bought: Vec<i64>,
}

struct Scene {
    bot: TestBot,
    market: SimMarket,
    leaders: Vec<Leader>,
}

impl Scene {
    /// Leaders who hold 100 shares since yesterday and have bought 10 a minute before they are followed.
    async fn new(bot: TestBot) -> Self {
        let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
        let slow = Fault::once(Host::Data, "/v2/positions", FaultKind::Delay(POSITIONS_MS)).times(Times::Always);
        bot.exchange.with(|exchange| exchange.fault(slow));
        let mut scene = Self { bot, market, leaders: Vec::new() };
        for n in 0..LEADERS {
            let (id, wallet) = scene.bot.follow(&format!("leader-{n}")).await;
            scene.bot.exchange.with(|exchange| {
                let yesterday = Some(exchange.now().plus_millis(-DAY_MS));
                let asset = scene.market.asset(0).unwrap();
                exchange.hold(&wallet, asset, ShareMicros(100 * SHARE), price(400_000), yesterday);
            });
            scene.leaders.push(Leader { id, wallet, bought: Vec::new() });
            scene.buys(n, 10, 60_000);
        }
        scene
    }

    fn buys(&mut self, leader: usize, shares: i64, ago_ms: i64) {
        let leader = &mut self.leaders[leader];
        let asset = self.market.asset(0).unwrap();
        self.bot.exchange.with(|exchange| {
            let at = exchange.now().plus_millis(-ago_ms);
            exchange.push_fill(Fill::maker(&leader.wallet, asset, Side::Buy, 500_000, shares * SHARE).at(at)).unwrap();
        });
        leader.bought.push(shares);
    }

    async fn n_opened(&self) -> usize {
        let mut n = 0;
        for leader in &self.leaders {
            n += usize::from(self.bot.db.is_opened(leader.id).await.unwrap());
        }
        n
    }

    async fn n_begun(&self) -> usize {
        let users = self.bot.db.followed_users().await.unwrap();
        users.iter().filter(|user| user.follows_from.is_some()).count()
    }

    fn positions_asked(&self) -> usize {
        self.bot.exchange.with(|exchange| exchange.n_requests(Host::Data, "/v2/positions"))
    }

    async fn entries(&self, leader: &Leader) -> Vec<LedgerEntry> {
        let placed = self.bot.db.entries_after(PortfolioId::ShadowUser(leader.id), 0, 1_000).await.unwrap();
        placed.into_iter().map(|placed| placed.entry).collect()
    }

    /// Checks that what the leader held was booked once, and each purchase once.
    async fn is_booked_once(&self, leader: &Leader) {
        let entries = self.entries(leader).await;
        let opening = format!("open:{}", leader.id);
        let opened: Vec<_> = entries.iter().filter(|entry| entry.ref_id == opening).collect();
        assert_eq!(opened.len(), 1, "{entries:#?}");
        let shares = |kind| entries.iter().filter(move |entry| entry.kind == kind).map(|entry| entry.shares.0);
        assert_eq!(shares(EntryType::Opening).sum::<i64>(), 100 * SHARE, "{entries:#?}");
        let bought: Vec<i64> = leader.bought.iter().map(|shares| shares * SHARE).collect();
        let mut filled: Vec<i64> = shares(EntryType::TradeFill).collect();
        filled.sort_unstable_by_key(|shares| std::cmp::Reverse(*shares));
        assert_eq!(filled, bought);
        assert_eq!(shares(EntryType::Adjustment).count(), 0, "{entries:#?}");
        assert_eq!(self.bot.db.books_record(leader.id).await.unwrap().exactness(), Exactness::Exact);
    }

    /// Waits until the shadow is valued at the midpoint: each share bought at 0.50 has lost half a cent, and what was held
    /// before has gained nothing.
    async fn has_the_pnl_since_following(&self, leader: &Leader) {
        let lost = leader.bought.iter().sum::<i64>() * SHARE / 200;
        let shadow = PortfolioId::ShadowUser(leader.id);
        eventually("the total PnL at the midpoint", async || {
            let running = self.bot.db.running_portfolio(shadow, Clock::System.now()).await.unwrap();
            (running.portfolio.figures().equity.0 == -lost).then_some(())
        })
        .await;
    }
}

async fn killed_in_the_middle_of_openings_each_is_booked_once(bot: TestBot) {
    let mut scene = Scene::new(bot).await;
    let mut dice = StdRng::seed_from_u64(11);
    let mut interrupted = 0;
    for n in 0..KILLS {
        if scene.n_opened().await == LEADERS {
            break;
        }
        let asked = scene.positions_asked();
        let process = Process::start(&scene.bot);
        eventually("the positions to be asked for", async || (scene.positions_asked() > asked).then_some(())).await;
        // Before, while, or after an opening is booked.
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..2 * POSITIONS_MS))).await;
        process.kill();
        let (begun, opened) = (scene.n_begun().await, scene.n_opened().await);
        eprintln!("kill {n}: {begun} followed, {opened} opened");
        interrupted += usize::from(begun > opened);
        // A row between the first window and the opening.
        scene.buys(n % LEADERS, 5, 0);
    }
    assert!(interrupted > 0, "no kill came between the first window and the opening");

    let process = Process::start(&scene.bot);
    let n_rows: usize = scene.leaders.iter().map(|leader| leader.bought.len()).sum();
    eventually("every opening and every row", async || {
        let fills = scene.bot.db.trades_page(&Default::default(), None, 1_000).await.unwrap().rows.len();
        (scene.n_opened().await == LEADERS && fills == n_rows).then_some(())
    })
    .await;
    for leader in &scene.leaders {
        eventually("a check that agrees", async || {
            let exactness = scene.bot.db.books_record(leader.id).await.unwrap().exactness();
            (exactness == Exactness::Exact).then_some(())
        })
        .await;
        scene.has_the_pnl_since_following(leader).await;
        scene.is_booked_once(leader).await;
    }
    assert_eq!(process.terminate().1, Some(0));
    assert_eq!(audit(&scene.bot.db).await.unwrap().problems, Vec::<String>::new());
    scene.bot.close().await;
}

mod slow {
    use super::*;

    #[actix::test]
    async fn killed_in_the_middle_of_openings_each_is_booked_once_on_sqlite() {
        killed_in_the_middle_of_openings_each_is_booked_once(TestBot::new().await).await;
    }
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn killed_in_the_middle_of_openings_each_is_booked_once() {
        let bot = TestBot::at(TestDb::postgres().await, None, SimulatorSettings::default()).await;
        super::killed_in_the_middle_of_openings_each_is_booked_once(bot).await;
    }
}
