//! A whole bot that a test can look into: a database of its own, the exchange, and a leader whose fills are copied.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::app::{App, AppSettings};
use crate::audit::audit;
use crate::clock::Clock;
use crate::config::{Secret, Settings, Sources};
use crate::db::Inserted;
use crate::db::{AttemptFilter, Db, TradeFilter};
use crate::domain::config::effective::ConfigPatch;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::queue::{self, Queue};
use crate::simulator::{Fill, NewMarket, SimMarket, Simulator, SimulatorHandle, SimulatorSettings, wallet_of};

/// Nothing here takes longer unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Windows and waits short enough for a test, and nothing left to chance.
const QUICK: &str = r#"{
    "guardrails": {"decisionLatencyMs": 0, "jitterMsMax": 0},
    "system": {"aggregationWindowMs": 100, "pollingIntervalMs": 100}
}"#;

pub struct House {
    pub app: App,
    pub db: Db,
    pub exchange: SimulatorHandle,
    pub market: SimMarket,
    pub leader: FollowedUserId,
    wallet: Wallet,
    n_fills: usize,
    home: Home,
}

/// Where the database is, and what goes with it.
enum Home {
    Own { _folder: tempfile::TempDir },
    Shared { admin: sqlx::PgPool, name: String, redis: Redis },
}

/// A server of its own, which ends with the test.
pub struct Redis {
    server: Child,
    url: String,
}

impl House {
    /// As it runs for most: one process, one file, one socket to the chain.
    pub async fn of_its_own() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("bot.db").display());
        Self::build(url, None, Home::Own { _folder: folder }).await
    }

    /// A worker among others that may come: PostgreSQL, leases, and Redis for the bell.
    pub async fn among_others() -> Self {
        let server = std::env::var("DATABASE_TEST_URL").expect("DATABASE_TEST_URL names a PostgreSQL server");
        let admin = sqlx::PgPool::connect(&server).await.unwrap();
        let name = format!("revival_{}", uuid::Uuid::new_v4().simple());
        sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&admin).await.unwrap();
        let (server, _) = server.rsplit_once('/').unwrap();
        let redis = Redis::start().await;
        let (url, redis_url) = (format!("{server}/{name}"), redis.url.clone());
        Self::build(url, Some(redis_url), Home::Shared { admin, name, redis }).await
    }

    async fn build(database: String, redis: Option<String>, home: Home) -> Self {
        // A second install in this process is refused, and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exchange = Simulator::start(SimulatorSettings::default()).unwrap();
        let mut flags = BTreeMap::from([
            ("DATABASE_URL", database.clone()),
            ("POLYMARKET_DATA_API_BASE_URL", exchange.data_api_base()),
            ("POLYMARKET_CLOB_BASE_URL", exchange.clob_base()),
            ("POLYMARKET_GAMMA_BASE_URL", exchange.gamma_base()),
            ("BIND", "127.0.0.1:0".to_owned()),
            ("HEALTH_BIND", "127.0.0.1:0".to_owned()),
        ]);
        flags.extend(redis.map(|url| ("REDIS_URL", url)));
        let settings = Settings::parse(&Sources::from_flags(flags)).unwrap();
        let mut settings = AppSettings::new(&settings);
        settings.chain.ws_url = Some(Secret::new(exchange.chain_ws_url()));
        let db = Db::connect(&database).await.unwrap();
        db.migrate().await.unwrap();
        db.save_global(&ConfigPatch::parse(QUICK).unwrap(), "test", Clock::System.now()).await.unwrap();
        let wallet = wallet_of("leader");
        let leader = follow(&db, "leader").await;
        let market = exchange.world(|world| world.add_market(NewMarket::binary("rain")));
        let app = App::build(&settings, Clock::System).await.unwrap();
        Self { app, db, exchange, market, leader, wallet, n_fills: 0, home }
    }

    /// The leader buys, the next time sells, and both portfolios do the same. Nobody can sell a copy whose purchase is
    /// forgotten, so a sale shows that portfolios are what they were.
    pub async fn copies_a_fill(&mut self) {
        let side = if self.n_fills.is_multiple_of(2) { Side::Buy } else { Side::Sell };
        let wallet = self.wallet.clone();
        self.fill(&wallet, side);
        self.has_copied_all().await;
    }

    pub async fn copies_a_fill_of_somebody_new(&mut self) {
        let name = format!("newcomer {}", self.n_fills);
        follow(&self.db, &name).await;
        self.fill(&wallet_of(&name), Side::Buy);
        self.has_copied_all().await;
    }

    /// A fill in a market of its own, held by both portfolios afterwards.
    pub async fn holds_another_market(&mut self) -> SimMarket {
        let slug = format!("market-{}", self.n_fills);
        self.market = self.exchange.world(|world| world.add_market(NewMarket::binary(&slug)));
        let wallet = self.wallet.clone();
        self.fill(&wallet, Side::Buy);
        self.has_copied_all().await;
        self.market.clone()
    }

    fn fill(&mut self, wallet: &Wallet, side: Side) {
        let fill = Fill::maker(wallet, self.market.asset(0).unwrap(), side, 500_000, 10_000_000);
        self.exchange.world(|world| world.push_fill(fill)).unwrap();
        self.n_fills += 1;
    }

    async fn has_copied_all(&self) {
        eventually("both copies of a fill", async || {
            let attempts = self.db.attempts_page(&AttemptFilter::default(), None, 10_000).await.unwrap().rows;
            for row in &attempts {
                assert_eq!(row.attempt.decision, DecisionKind::Execute, "{:?}", row.attempt.reasons);
            }
            assert!(attempts.len() <= 2 * self.n_fills, "a fill was copied twice");
            (attempts.len() == 2 * self.n_fills).then_some(())
        })
        .await;
    }

    pub async fn queue_is_empty(&self, queue: Queue) {
        eventually(&format!("the end of {queue}"), async || {
            queue::peek_open(&self.db, queue).await.unwrap().is_empty().then_some(())
        })
        .await;
    }

    pub fn redis_url(&self) -> &str {
        match &self.home {
            Home::Shared { redis, .. } => &redis.url,
            Home::Own { .. } => panic!("this house has no Redis"),
        }
    }

    /// Stops the bot. Every fill was read, booked, grouped and copied once, and the books agree with themselves.
    pub async fn ends_well(mut self) {
        for queue in [Queue::IngestEvents, Queue::GroupEvents, Queue::CopyAttemptUser, Queue::CopyAttemptGlobal] {
            self.queue_is_empty(queue).await;
        }
        let failed = tokio::time::timeout(Duration::ZERO, self.app.failed()).await;
        assert!(failed.is_err(), "the process would have ended: {failed:?}");
        self.app.stop().await;
        let trades = self.db.trades_page(&TradeFilter::default(), None, 10_000).await.unwrap().rows;
        assert_eq!(trades.len(), self.n_fills);
        let report = audit(&self.db).await.unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(self.db.count_dead_letters().await.unwrap(), 0);
        self.db.close().await;
        if let Home::Shared { admin, name, .. } = self.home {
            let drop = format!("drop database {name} with (force)");
            sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&admin).await.unwrap();
        }
    }
}

async fn follow(db: &Db, name: &str) -> FollowedUserId {
    match db.follow(name, &wallet_of(name), "test", Clock::System.now()).await.unwrap() {
        Inserted::New(user) => user,
        Inserted::Known => panic!("{name} is followed already"),
    }
}

/// Asks until there is an answer; a test that waits in vain says for what.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Redis {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { server, url: format!("redis://127.0.0.1:{port}") };
        eventually("Redis", async || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).await;
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
