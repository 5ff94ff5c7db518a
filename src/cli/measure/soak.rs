//! `polymarketspy soak`: the bot under load for a given time, while upstreams fail and workers are killed.
//!
//! The workers are processes of this program, against the built-in exchange; they are killed without warning and started
//! again. At the end every row of the exchange must be an event, every group must be decided in both portfolios, and the
//! books must agree.

use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::audit::audit;
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Db;
use crate::db::Inserted;
use crate::domain::config::effective::ConfigPatch;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::queue::{self, Queue};
use crate::simulator::{
    Fault, FaultKind, Fill, Host, NewMarket, RetryAfter, Simulator, SimulatorHandle, SimulatorSettings, Times,
    wallet_of,
};

/// How long the last decisions may take, after the upstreams work again.
const PATIENCE: Duration = Duration::from_secs(300);
const TRADE_INTERVAL: Duration = Duration::from_millis(20);
/// Few, so that fifty fills per second make fewer groups than the twenty requests per second that the bot may send.
const MARKETS: usize = 2;
/// The queues between a fill and the decisions on it.
const DECIDING: [Queue; 4] =
    [Queue::IngestEvents, Queue::GroupEvents, Queue::CopyAttemptUser, Queue::CopyAttemptGlobal];

#[derive(clap::Args)]
pub struct SoakArguments {
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Fills per second.
    #[arg(long, default_value_t = 50)]
    rate: u32,
    #[arg(long, default_value_t = 4)]
    leaders: u32,
    /// Workers at a time; more than one needs PostgreSQL in DATABASE_URL (an empty database), and REDIS_URL.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Seconds between kills, on average; 0 kills no worker.
    #[arg(long, default_value_t = 15)]
    kill_every: u32,
    /// How many of a hundred requests fail in some way.
    #[arg(long, default_value_t = 5.0)]
    failing_percent: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, serde::Serialize)]
struct Figures {
    minutes: f64,
    workers: usize,
    kills: u32,
    requests: u64,
    rows: usize,
    events: i64,
    attempts_executed: i64,
    attempts_skipped: i64,
    /// From the last row to the last decision.
    settled_after_seconds: f64,
    worker_memory_peak_mb: u64,
    /// Jobs that failed for good while upstreams failed; retried at the end.
    dead_letters: i64,
    problems: Vec<String>,
}

pub async fn soak(settings: &Settings, arguments: SoakArguments) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder for the soak")?;
    let is_shared = settings.database.url.reveal().starts_with("postgres");
    ensure!(
        arguments.workers <= 1 || (is_shared && settings.redis.url.is_some()),
        "more than one worker needs PostgreSQL in DATABASE_URL and a Redis in REDIS_URL"
    );
    let url = match is_shared {
        true => settings.database.url.reveal().to_owned(),
        false => format!("sqlite://{}", folder.path().join("soak.db").display()),
    };
    let db = Db::connect(&url).await?;
    db.migrate().await?;
    ensure!(db.followed_users().await?.is_empty(), "the soak needs a database that follows no trader");
    let exchange = Simulator::start(SimulatorSettings::default())?;
    let participants = prepare(&db, &exchange, &arguments).await?;
    let mut workers = Workers::new(settings, &exchange, &url);
    for _ in 0..arguments.workers.max(1) {
        workers.start()?;
    }

    let rows = trade_and_kill(&arguments, &exchange, &participants, &mut workers).await?;
    exchange.with(|exchange| exchange.clear_faults());
    let ended = Instant::now();
    let dead_letters = settle(&db, rows, &mut workers).await?;
    let settled_after_seconds = ended.elapsed().as_secs_f64();
    workers.stop();

    let attempts = db.count_attempts_since(Timestamp::EPOCH).await?;
    let events = db.count_trades_since(Timestamp::EPOCH).await?;
    let mut problems = audit(&db).await?.problems;
    if usize::try_from(events).ok() != Some(rows) {
        problems.push(format!("{rows} rows, but {events} events"));
    }
    db.close().await;
    let figures = Figures {
        minutes: arguments.minutes,
        workers: arguments.workers.max(1),
        kills: workers.kills,
        requests: exchange.with(|exchange| exchange.n_requests_ever()),
        rows,
        events,
        attempts_executed: attempts.executed,
        attempts_skipped: attempts.skipped,
        settled_after_seconds,
        worker_memory_peak_mb: workers.memory_peak_mb,
        dead_letters,
        problems,
    };
    figures.print(arguments.json)?;
    Ok(if figures.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Trades at the wanted rate and kills workers for the wanted time. Returns the number of rows on the exchange.
async fn trade_and_kill(
    arguments: &SoakArguments,
    exchange: &SimulatorHandle,
    participants: &Participants,
    workers: &mut Workers,
) -> anyhow::Result<usize> {
    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let begun = Instant::now();
    let length = Duration::from_secs_f64(arguments.minutes.max(0.0) * 60.0);
    let mut rows = 0;
    let mut next_kill = kill_after(arguments, &mut rng);
    let mut reported = Instant::now();
    while begun.elapsed() < length {
        tokio::time::sleep(TRADE_INTERVAL).await;
        let due = (begun.elapsed().as_secs_f64() * f64::from(arguments.rate)) as usize;
        while rows < due {
            rows += participants.trade(exchange, &mut rng)?;
        }
        workers.check()?;
        if next_kill.is_some_and(|at| begun.elapsed() >= at) {
            workers.kill_one(&mut rng)?;
            next_kill = kill_after(arguments, &mut rng).map(|wait| begun.elapsed() + wait);
        }
        if reported.elapsed() >= Duration::from_secs(30) {
            eprintln!("{:.0} s: {rows} rows, {} kills", begun.elapsed().as_secs_f64(), workers.kills);
            reported = Instant::now();
        }
    }
    Ok(rows)
}

/// The leaders that trade, and the assets that they trade.
struct Participants {
    leaders: Vec<Wallet>,
    assets: Vec<AssetId>,
}

async fn prepare(db: &Db, exchange: &SimulatorHandle, arguments: &SoakArguments) -> anyhow::Result<Participants> {
    let now = Clock::System.now();
    let patch = r#"{"system": {"pollingIntervalMs": 1000}, "sizing": {"minTradeNotionalMicros": 10000}}"#;
    db.save_global(&ConfigPatch::parse(patch)?, "soak", now).await?;
    let mut participants = Participants { leaders: Vec::new(), assets: Vec::new() };
    for n in 1..=arguments.leaders.max(1) {
        let name = format!("soak-{n}");
        let wallet = wallet_of(&name);
        exchange.with(|exchange| exchange.add_profile(&wallet, &name));
        let Inserted::New(_) = db.follow(&name, &wallet, "soak", now).await? else { continue };
        participants.leaders.push(wallet);
    }
    for n in 0..MARKETS {
        let market = exchange.with(|exchange| exchange.add_market(NewMarket::binary(&format!("soak-{n}"))));
        participants.assets.extend(market.facts.outcomes.iter().map(|outcome| outcome.asset.clone()));
    }
    let kinds = [
        FaultKind::TooManyRequests(RetryAfter::Silent),
        FaultKind::TooManyRequests(RetryAfter::Seconds(1)),
        FaultKind::Status(500),
        FaultKind::Status(503),
        FaultKind::Html(502),
        FaultKind::CutBody,
        FaultKind::EmptyBody,
        FaultKind::Delay(1_500),
        FaultKind::Hang,
        FaultKind::UnknownFields,
    ];
    let each = (arguments.failing_percent / 100.0).clamp(0.0, 1.0) / kinds.len() as f64;
    exchange.with(|exchange| {
        for host in [Host::Data, Host::Clob, Host::Gamma] {
            for kind in &kinds {
                exchange.fault(Fault::once(host, "", kind.clone()).times(Times::Chance(each)));
            }
        }
    });
    Ok(participants)
}

impl Participants {
    /// Makes one transaction, and returns its number of rows.
    fn trade(&self, exchange: &SimulatorHandle, rng: &mut StdRng) -> anyhow::Result<usize> {
        let leader = &self.leaders[rng.random_range(0..self.leaders.len())];
        let asset = &self.assets[rng.random_range(0..self.assets.len())];
        let side = if rng.random_bool(0.6) { Side::Buy } else { Side::Sell };
        let shares = rng.random_range(1_000_000..500_000_000);
        let fill = match rng.random_range(0..4) {
            0 | 1 => Fill::taker(leader, asset, side, 500_000, shares),
            2 => Fill::maker(leader, asset, side, 490_000, shares),
            _ => Fill::maker(leader, asset, side, 500_000, shares).twice(),
        };
        exchange.with(|exchange| exchange.push_fill(fill)).map(|pushed| pushed.rows.len()).map_err(anyhow::Error::msg)
    }
}

/// Returns when to kill the next worker, counted from now.
fn kill_after(arguments: &SoakArguments, rng: &mut StdRng) -> Option<Duration> {
    let mean = f64::from(arguments.kill_every);
    (arguments.kill_every > 0).then(|| Duration::from_secs_f64(mean * rng.random_range(0.2..1.8)))
}

/// Waits until every group is decided, and requeues dead letters. Returns how many dead letters there were.
async fn settle(db: &Db, rows: usize, workers: &mut Workers) -> anyhow::Result<i64> {
    let begun = Instant::now();
    let mut dead = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        workers.check()?;
        for letter in db.dead_letters(None, 1_000).await? {
            dead += 1;
            db.replay_dead_letter(letter.id, "soak", Clock::System.now()).await?;
        }
        let events = db.count_trades_since(Timestamp::EPOCH).await?;
        let depths = queue::depths(db).await?;
        let idle = depths.iter().all(|depth| !DECIDING.contains(&depth.queue) || depth.open == 0);
        if (idle && usize::try_from(events).is_ok_and(|events| events >= rows)) || begun.elapsed() > PATIENCE {
            return Ok(dead);
        }
    }
}

/// The worker processes. Only this process may end one: a worker that ends by itself ends the soak with an error.
struct Workers {
    environment: Vec<(&'static str, String)>,
    arguments: &'static [&'static str],
    children: Vec<Child>,
    kills: u32,
    memory_peak_mb: u64,
}

impl Workers {
    fn new(settings: &Settings, exchange: &SimulatorHandle, url: &str) -> Self {
        let mut environment = vec![
            ("DATABASE_URL", url.to_owned()),
            ("POLYMARKET_DATA_API_BASE_URL", exchange.data_api_base()),
            ("POLYMARKET_CLOB_BASE_URL", exchange.clob_base()),
            ("POLYMARKET_GAMMA_BASE_URL", exchange.gamma_base()),
            ("ALCHEMY_WS_URL", exchange.chain_ws_url()),
            // The exchange does not know the traders of the settings.
            ("FOLLOW", String::new()),
            ("BIND", "127.0.0.1:0".to_owned()),
            ("HEALTH_BIND", "127.0.0.1:0".to_owned()),
            ("LOG_LEVEL", "error".to_owned()),
        ];
        environment.extend(settings.redis.url.iter().map(|url| ("REDIS_URL", url.reveal().to_owned())));
        let arguments: &[&str] = if settings.redis.url.is_some() { &["run", "--role", "worker"] } else { &["run"] };
        Self { environment, arguments, children: Vec::new(), kills: 0, memory_peak_mb: 0 }
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let mut command = Command::new(program);
        command.args(self.arguments).envs(self.environment.iter().cloned()).stdout(Stdio::null());
        self.children.push(command.spawn().context("cannot start a worker")?);
        Ok(())
    }

    /// Checks that every worker is running, and updates the memory peak.
    fn check(&mut self) -> anyhow::Result<()> {
        for child in &mut self.children {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("a worker ended by itself: {status}");
            }
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
            let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().unwrap_or_default();
            self.memory_peak_mb = self.memory_peak_mb.max(kilobytes / 1024);
        }
        Ok(())
    }

    fn kill_one(&mut self, rng: &mut StdRng) -> anyhow::Result<()> {
        let mut killed = self.children.swap_remove(rng.random_range(0..self.children.len()));
        let signal = killed.kill();
        killed.wait()?;
        signal?;
        self.kills += 1;
        self.start()
    }

    fn stop(&mut self) {
        for child in &mut self.children {
            // It may have ended already, and then both calls fail.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Figures {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let row = |name: &str, value: String| println!("{name:<44} {value}");
        row("minutes / workers / kills", format!("{} / {} / {}", self.minutes, self.workers, self.kills));
        row("rows of the exchange / events", format!("{} / {}", self.rows, self.events));
        row("requests to the exchange", self.requests.to_string());
        row("attempts executed / skipped", format!("{} / {}", self.attempts_executed, self.attempts_skipped));
        row("decided after the last row", format!("{:.1} s", self.settled_after_seconds));
        row("memory of a worker, peak", format!("{} MB", self.worker_memory_peak_mb));
        row("dead letters, retried at the end", self.dead_letters.to_string());
        match self.problems.as_slice() {
            [] => row("audit", "the books agree".to_owned()),
            problems => problems.iter().for_each(|problem| row("PROBLEM", problem.clone())),
        }
        Ok(())
    }
}
