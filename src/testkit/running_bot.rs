//! A running bot with one leader: each new fill of the leader must be copied once into both portfolios.

use std::time::Duration;

use crate::app::App;
use crate::audit::audit;
use crate::db::{AttemptFilter, TradeFilter};
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::queue::{self, Queue};
use crate::simulator::{Fill, SimMarket, wallet_of};
use crate::testkit::{TestBot, eventually};

pub struct RunningBot {
    pub app: App,
    pub bot: TestBot,
    pub market: SimMarket,
    pub leader: FollowedUserId,
    wallet: Wallet,
    n_fills: usize,
}

impl RunningBot {
    /// As most installations run: one process and one SQLite file.
    pub async fn on_sqlite() -> Self {
        Self::start(TestBot::new().await).await
    }

    /// As one worker of several: PostgreSQL, leases, and Redis for the wake-ups.
    pub async fn on_postgres_and_redis() -> Self {
        Self::start(TestBot::shared().await).await
    }

    async fn start(bot: TestBot) -> Self {
        let (leader, wallet) = bot.follow("leader").await;
        let market = bot.exchange.add_market("rain");
        let app = bot.start_watching(&bot.exchange.chain_ws_url()).await;
        Self { app, bot, market, leader, wallet, n_fills: 0 }
    }

    /// The leader buys; at the next call the leader sells. Both portfolios copy it. A portfolio that forgot the
    /// purchase cannot copy the sale, so a copied sale proves that the portfolios survived.
    pub async fn copies_a_fill(&mut self) {
        let side = if self.n_fills.is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let wallet = self.wallet.clone();
        self.fill(&wallet, side);
        self.has_copied_all().await;
    }

    /// Copies a fill of a leader who is followed from now on.
    pub async fn copies_a_fill_of_a_new_leader(&mut self) {
        let name = format!("newcomer {}", self.n_fills);
        self.bot.follow(&name).await;
        self.fill(&wallet_of(&name), Side::Buy);
        self.has_copied_all().await;
    }

    /// Copies a purchase in a new market and returns the market; both portfolios hold it afterwards.
    pub async fn holds_another_market(&mut self) -> SimMarket {
        let slug = format!("market-{}", self.n_fills);
        self.market = self.bot.exchange.add_market(&slug);
        let wallet = self.wallet.clone();
        self.fill(&wallet, Side::Buy);
        self.has_copied_all().await;
        self.market.clone()
    }

    fn fill(&mut self, wallet: &Wallet, side: Side) {
        let fill = Fill::maker(wallet, self.market.asset(0).unwrap(), side, 500_000, 10_000_000);
        self.bot.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
        self.n_fills += 1;
    }

    async fn has_copied_all(&self) {
        eventually("both copies of every fill", async || {
            let attempts = self.bot.db.attempts_page(&AttemptFilter::default(), None, 10_000).await.unwrap().rows;
            for row in &attempts {
                assert_eq!(row.attempt.decision, DecisionKind::Execute, "{:?}", row.attempt.reasons);
            }
            assert!(attempts.len() <= 2 * self.n_fills, "a fill was copied twice");
            (attempts.len() == 2 * self.n_fills).then_some(())
        })
        .await;
    }

    /// Waits until the queue is empty.
    pub async fn queue_is_empty(&self, queue: Queue) {
        eventually(&format!("queue `{queue}` to be empty"), async || {
            queue::peek_open(&self.bot.db, queue).await.unwrap().is_empty().then_some(())
        })
        .await;
    }

    pub fn redis_url(&self) -> String {
        self.bot.redis.as_ref().expect("this bot runs on Redis").url()
    }

    /// Stops the bot and checks it: each fill was stored once, nothing is left in a queue, and the audit finds no
    /// problem.
    pub async fn ends_well(mut self) {
        for queue in [Queue::IngestEvents, Queue::GroupEvents, Queue::CopyAttemptUser, Queue::CopyAttemptGlobal] {
            self.queue_is_empty(queue).await;
        }
        let failed = tokio::time::timeout(Duration::ZERO, self.app.failed()).await;
        assert!(failed.is_err(), "the bot reported a failure: {failed:?}");
        self.app.stop().await;
        let trades = self.bot.db.trades_page(&TradeFilter::default(), None, 10_000).await.unwrap().rows;
        assert_eq!(trades.len(), self.n_fills);
        let report = audit(&self.bot.db).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(self.bot.db.count_dead_letters().await.unwrap(), 0);
        self.bot.close().await;
    }
}
