//! The whole bot against the simulator, in this process, on a database of its own.

use std::time::{Duration, Instant};

use awc::ws::Frame;
use futures_util::{Stream, StreamExt};
use polymarketspy::app::{App, AppSettings};
use polymarketspy::clock::Clock;
use polymarketspy::config::{Secret, Settings, Sources};
use polymarketspy::db::Inserted;
use polymarketspy::db::{AttemptFilter, Db, ListedAttempt};
use polymarketspy::domain::config::effective::ConfigPatch;
use polymarketspy::domain::money::ids::{FollowedUserId, Wallet};
use polymarketspy::simulator::{Simulator, SimulatorHandle, SimulatorSettings, wallet_of};

use crate::recovery::redis::RedisServer;
use crate::storage::harness::Home;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Windows and waits short enough for a test, and nothing left to chance.
const QUICK: &str = r#"{
    "guardrails": {"decisionLatencyMs": 0, "jitterMsMax": 0},
    "system": {"aggregationWindowMs": 100, "pollingIntervalMs": 100}
}"#;

/// A database and an exchange; the bot that runs on them can be started, stopped and started again.
pub struct Stage {
    pub db: Db,
    pub exchange: SimulatorHandle,
    /// The Redis of a stage that processes share.
    pub redis: Option<RedisServer>,
    settings: Settings,
    /// Where the database is, for as long as the stage stands.
    _home: Home,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(SimulatorSettings::default()).await
    }

    pub async fn with(exchange: SimulatorSettings) -> Self {
        Self::at(Home::sqlite().await, None, exchange).await
    }

    /// On PostgreSQL and Redis, which several processes share.
    pub async fn shared() -> Self {
        Self::at(Home::postgres().await, Some(RedisServer::start()), SimulatorSettings::default()).await
    }

    /// On a database that has this program's schema, whatever else is in it.
    pub async fn at(home: Home, redis: Option<RedisServer>, exchange: SimulatorSettings) -> Self {
        // A second install in this process is refused, and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exchange = Simulator::start(exchange).unwrap();
        let flags = environment(&home.url, redis.as_ref(), &exchange).into_iter().collect();
        let settings = Settings::parse(&Sources::from_flags(flags)).unwrap();
        let stage = Self { db: home.db.clone(), exchange, redis, settings, _home: home };
        stage.configure(QUICK).await;
        stage
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What a program of its own needs to run on this stage.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        environment(self.settings.database.url.reveal(), self.redis.as_ref(), &self.exchange)
    }

    /// Changes the global configuration; a running bot sees it within a second.
    pub async fn configure(&self, patch: &str) {
        let patch = ConfigPatch::parse(patch).unwrap();
        self.db.save_global(&patch, "test", Clock::System.now()).await.unwrap();
    }

    /// Follows a leader of this name, with a wallet made from it.
    pub async fn follow(&self, name: &str) -> (FollowedUserId, Wallet) {
        let wallet = wallet_of(name);
        self.exchange.world(|world| world.add_person(&wallet, name));
        (self.follow_wallet(name, &wallet).await, wallet)
    }

    pub async fn follow_wallet(&self, label: &str, wallet: &Wallet) -> FollowedUserId {
        match self.db.follow(label, wallet, "test", Clock::System.now()).await.unwrap() {
            Inserted::New(user) => user,
            Inserted::Known => panic!("{label} is followed already"),
        }
    }

    pub async fn start(&self) -> App {
        self.start_at(Clock::System).await
    }

    /// The bot with a node to watch the chain through.
    pub async fn start_watching(&self, node: &str) -> App {
        let mut settings = AppSettings::new(&self.settings);
        settings.chain.ws_url = Some(Secret::new(node.to_owned()));
        App::build(&settings, Clock::System).await.unwrap()
    }

    pub async fn start_at(&self, clock: Clock) -> App {
        App::build(&AppSettings::new(&self.settings), clock).await.unwrap()
    }

    /// The attempts there are, oldest first, once there are at least `n`.
    pub async fn attempts(&self, n: usize) -> Vec<ListedAttempt> {
        eventually(&format!("{n} attempts"), async || {
            let mut page = self.db.attempts_page(&AttemptFilter::default(), None, 10_000).await.unwrap();
            page.rows.reverse();
            (page.rows.len() >= n).then_some(page.rows)
        })
        .await
    }
}

/// What a program needs to run on this database and exchange.
pub fn environment(
    database: &str,
    redis: Option<&RedisServer>,
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

/// Asks until there is an answer; a test that waits in vain says for what.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "still waiting for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until an open page is pushed an attempt of the global portfolio.
pub async fn attempt_arrives<E: std::fmt::Debug>(frames: &mut (impl Stream<Item = Result<Frame, E>> + Unpin)) {
    let arrives = async {
        loop {
            match frames.next().await.expect("the socket stays open").unwrap() {
                Frame::Text(text) if String::from_utf8_lossy(&text).contains("EXEC_GLOBAL") => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrives).await.expect("an attempt arrives on the open page");
}
