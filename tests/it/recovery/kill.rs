//! The program as a process: killed at any instant, started again, stopped with SIGTERM.

use std::process::Command;
use std::time::{Duration, Instant};

use polymarketspy::audit::audit;
use polymarketspy::db::Db;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::{AssetId, Wallet};
use polymarketspy::queue::{self, Queue};
use polymarketspy::simulator::{Fill, NewMarket};
use polymarketspy::testkit::{TestBot, eventually};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::process::Process;

const KILLS: usize = 50;
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const LEADERS: usize = 3;
const MARKETS: usize = 12;

/// The queues that a fill passes through until both portfolios have decided on it.
const DECIDING: [Queue; 4] =
    [Queue::IngestEvents, Queue::GroupEvents, Queue::CopyAttemptUser, Queue::CopyAttemptGlobal];

/// Leaders who trade at random.
pub struct Crowd {
    pub leaders: Vec<Wallet>,
    assets: Vec<AssetId>,
    dice: StdRng,
    /// Number of rows that the exchange lists for them.
    pub n_rows: usize,
}

impl Crowd {
    pub async fn gather(bot: &TestBot) -> Self {
        let mut leaders = Vec::new();
        for n in 0..LEADERS {
            leaders.push(bot.follow(&format!("leader-{n}")).await.1);
        }
        let mut assets = Vec::new();
        for n in 0..MARKETS {
            let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary(&format!("market-{n}"))));
            assets.extend(market.facts.outcomes.iter().map(|outcome| outcome.asset.clone()));
        }
        Self { leaders, assets, dice: StdRng::seed_from_u64(7), n_rows: 0 }
    }

    /// Pushes a few fills: buys and sells, of takers, of makers, and of makers whose order has two equal fills.
    pub fn trade(&mut self, bot: &TestBot) {
        for _ in 0..self.dice.random_range(1..8) {
            let leader = &self.leaders[self.dice.random_range(0..self.leaders.len())];
            let asset = &self.assets[self.dice.random_range(0..self.assets.len())];
            let side = if self.dice.random_bool(0.7) { Side::Buy } else { Side::Sell };
            let shares = self.dice.random_range(1_000_000..2_000_000_000);
            let fill = match self.dice.random_range(0..3) {
                0 => Fill::taker(leader, asset, side, 500_000, shares),
                1 => Fill::maker(leader, asset, side, 490_000, shares),
                _ => Fill::maker(leader, asset, side, 500_000, shares).twice(),
            };
            self.n_rows += bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap().rows.len());
        }
    }
}

impl Crowd {
    /// Waits until every fill of the leaders is stored and decided.
    pub async fn settled(&self, db: &Db) {
        eventually("every fill and every decision", async || {
            let depths = queue::depths(db).await.unwrap();
            let idle = depths.iter().all(|depth| !DECIDING.contains(&depth.queue) || depth.open == 0);
            (idle && n_trades(db).await >= self.n_rows).then_some(())
        })
        .await;
    }
}

#[actix::test]
async fn a_second_bot_on_the_same_database_is_refused() {
    let bot = TestBot::new().await;
    let app = bot.start().await;
    let second = Command::new(env!("CARGO_BIN_EXE_polymarketspy")).arg("run").envs(bot.environment()).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(complaint.contains("another polymarketspy runs on this database"), "{complaint}");
    app.stop().await;
    bot.start().await.stop().await;
}

pub async fn n_trades(db: &Db) -> usize {
    db.trades_page(&Default::default(), None, 100_000).await.unwrap().rows.len()
}

mod slow {
    use super::*;

    #[actix::test]
    async fn killed_at_fifty_random_instants_nothing_is_lost_and_nothing_doubles() {
        let bot = TestBot::new().await;
        let mut crowd = Crowd::gather(&bot).await;
        let db = &bot.db;
        let n_decided = async || db.attempts_page(&Default::default(), None, 100_000).await.unwrap().rows.len();
        for n in 0..KILLS {
            let process = Process::start(&bot);
            let lives_for = Duration::from_millis(crowd.dice.random_range(20..900));
            let before = n_decided().await;
            let begun = Instant::now();
            // A busy machine may not start a bot in so short a time, so every tenth bot runs until it has decided
            // something.
            while begun.elapsed() < lives_for
                || (n.is_multiple_of(10) && begun.elapsed() < STARTS_WITHIN && n_decided().await == before)
            {
                crowd.trade(&bot);
                // The pace of the load; the test waits for no event here.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            process.kill();
        }

        let decided = n_decided().await;
        assert!(n_trades(db).await > 0 && decided > 0, "some kills hit a working bot, not only a starting one");
        let process = Process::start(&bot);
        crowd.settled(db).await;
        let (took, code) = process.terminate();
        assert_eq!(code, Some(0), "SIGTERM ends the program with exit code 0");
        assert!(took < Duration::from_secs(10), "it took {took:?} to end");

        eprintln!("{decided} decisions before the last start, {} rows in all", crowd.n_rows);
        assert_eq!(n_trades(db).await, crowd.n_rows, "every row of the exchange is one event");
        let report = audit(db).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert!(report.entries > 0);
    }
}
