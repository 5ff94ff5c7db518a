//! A whole bot in this process, on a fresh database and the simulated exchange.

use crate::app::{App, AppSettings};
use crate::clock::Clock;
use crate::config::{Secret, Settings, Sources};
use crate::db::{AttemptFilter, Db, Inserted, ListedAttempt};
use crate::domain::config::effective::ConfigPatch;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::simulator::{SimulatorHandle, SimulatorSettings, wallet_of};
use crate::testkit::{TestDb, TestExchange, TestRedis, eventually};

/// Windows and waits short enough for a test, and nothing left to chance.
const QUICK: &str = r#"{
    "guardrails": {"decisionLatencyMs": 0, "jitterMsMax": 0},
    "system": {"aggregationWindowMs": 100, "pollingIntervalMs": 100}
}"#;

/// Everything that a bot needs. The bot can be started, stopped and started again, in this process or in another one.
pub struct TestBot {
    pub db: Db,
    pub exchange: TestExchange,
    /// Present when several processes share the database.
    pub redis: Option<TestRedis>,
    settings: Settings,
    test_db: TestDb,
}

impl TestBot {
    /// On SQLite and without Redis, as most installations run.
    pub async fn new() -> Self {
        Self::with(SimulatorSettings::default()).await
    }

    pub async fn with(exchange: SimulatorSettings) -> Self {
        Self::at(TestDb::sqlite().await, None, exchange).await
    }

    /// On PostgreSQL and Redis, which several processes share.
    pub async fn shared() -> Self {
        Self::at(TestDb::postgres().await, Some(TestRedis::start()), SimulatorSettings::default()).await
    }

    /// On a database that has the schema of this program already; it may have rows.
    pub async fn at(test_db: TestDb, redis: Option<TestRedis>, exchange: SimulatorSettings) -> Self {
        // A second installation of the provider in this process fails, which does no harm.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exchange = TestExchange::with(exchange);
        let flags = environment(&test_db.url, redis.as_ref(), &exchange).into_iter().collect();
        let settings = Settings::parse(&Sources::from_flags(flags)).unwrap();
        let bot = Self { db: test_db.db.clone(), exchange, redis, settings, test_db };
        bot.configure(QUICK).await;
        bot
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The environment of a process that is to run on this database and exchange.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.settings.database.url.reveal(), self.redis.as_ref(), &self.exchange)
    }

    /// Changes the global configuration; a running bot applies it within a second.
    pub async fn configure(&self, patch: &str) {
        let patch = ConfigPatch::parse(patch).unwrap();
        self.db.save_global(&patch, "test", Clock::System.now()).await.unwrap();
    }

    /// Follows a leader of this name. The wallet is derived from the name.
    pub async fn follow(&self, name: &str) -> (FollowedUserId, Wallet) {
        let wallet = wallet_of(name);
        self.exchange.with(|exchange| exchange.add_profile(&wallet, name));
        (self.follow_wallet(name, &wallet).await, wallet)
    }

    pub async fn follow_wallet(&self, label: &str, wallet: &Wallet) -> FollowedUserId {
        match self.db.follow(label, wallet, "test", Clock::System.now()).await.unwrap() {
            Inserted::New(user) => user,
            Inserted::Known => panic!("`{label}` is followed already"),
        }
    }

    pub async fn start(&self) -> App {
        self.start_at(Clock::System).await
    }

    /// Starts the bot with the websocket of a Polygon node.
    pub async fn start_watching(&self, node: &str) -> App {
        let mut settings = AppSettings::new(&self.settings);
        settings.chain.ws_url = Some(Secret::new(node.to_owned()));
        App::build(&settings, Clock::System).await.unwrap()
    }

    pub async fn start_at(&self, clock: Clock) -> App {
        App::build(&AppSettings::new(&self.settings), clock).await.unwrap()
    }

    /// Waits until there are at least `n` attempts and returns all of them, oldest first.
    pub async fn attempts(&self, n: usize) -> Vec<ListedAttempt> {
        eventually(&format!("{n} attempts"), async || {
            let mut page = self.db.attempts_page(&AttemptFilter::default(), None, 10_000).await.unwrap();
            page.rows.reverse();
            (page.rows.len() >= n).then_some(page.rows)
        })
        .await
    }

    /// Closes the database and removes it.
    pub async fn close(self) {
        self.test_db.close().await;
    }
}

/// Returns the environment of a process that is to run on this database, Redis and exchange.
pub fn environment(
    database: &str,
    redis: Option<&TestRedis>,
    exchange: &SimulatorHandle,
) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("DATABASE_URL", database.to_owned()),
        ("POLYMARKET_DATA_API_BASE_URL", exchange.data_api_base()),
        ("POLYMARKET_CLOB_BASE_URL", exchange.clob_base()),
        ("POLYMARKET_GAMMA_BASE_URL", exchange.gamma_base()),
        ("BIND", "127.0.0.1:0".to_owned()),
        ("HEALTH_BIND", "127.0.0.1:0".to_owned()),
    ];
    environment.extend(redis.map(|redis| ("REDIS_URL", redis.url())));
    environment
}
