//! `polymarketspy load`: pushes generated fills through the whole bot in this process and prints measurements.
//!
//! It is the real bot with its real waits. Only the rate limit on outgoing requests is lifted, because they go to the
//! built-in exchange. That runs in this process too, so memory and processor time include it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler, Message};
use anyhow::Context as _;

use crate::actors::live_hub::{LiveFact, LiveFrame, Subscribe, Topic};
use crate::app::{App, AppSettings};
use crate::audit::audit;
use crate::cli::demo::against_simulator;
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Db;
use crate::db::Inserted;
use crate::domain::config::effective::ConfigPatch;
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::decision::explanation::DecisionKind;
use crate::domain::events::event::{Side, TradeEvent};
use crate::domain::money::ids::{AssetId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::http_client::http_client;
use crate::simulator::history::{HistorySettings, write_history};
use crate::simulator::{Fill, NewMarket, Simulator, SimulatorHandle, SimulatorSettings, wallet_of};

/// The spec's default waits, which the figures subtract; there is no jitter, so that this is exact.
const WINDOW_MS: i64 = 2_000;
const LATENCY_MS: i64 = 750;
const POLL_MS: i64 = 100;
/// After this long without a new attempt, no more are expected.
const QUIET: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct LoadArguments {
    /// Fills to push; each makes its own group.
    #[arg(long, default_value_t = 3_000)]
    fills: u32,
    /// Fills per second; 0 pushes them all at once.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    #[arg(long, default_value_t = 3)]
    leaders: u32,
    /// Days of history in the database before the run.
    #[arg(long, default_value_t = 0)]
    history_days: i64,
    /// Assets held at the end of that history, at least this many.
    #[arg(long, default_value_t = 500)]
    held_assets: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Figures {
    fills: usize,
    attempts: usize,
    /// Attempts that were copies. Skips cost less, so figures of a run with many of them are not those of copying.
    executed: usize,
    start_ms: u128,
    events_per_second: f64,
    attempts_per_second: f64,
    /// From the time a row is visible to the commit of its attempt, minus window and latency; polls are included.
    visible_to_committed_ms: Percentiles,
    /// The same from the time the row is read.
    detected_to_committed_ms: Percentiles,
    memory_at_start_mb: u64,
    memory_peak_mb: u64,
    cpu_seconds: f64,
    audit_problems: Vec<String>,
}

#[derive(serde::Serialize)]
struct Percentiles {
    p50: i64,
    p95: i64,
    p99: i64,
    max: i64,
}

pub async fn load(settings: Settings, arguments: LoadArguments) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder for the database")?;
    let exchange = Simulator::start(SimulatorSettings::default())?;
    let url = format!("sqlite://{}", folder.path().join("load.db").display());
    let mut settings = against_simulator(&exchange, settings, &url);
    // Polling finds the fills; to find each a second time on the chain is another measurement.
    settings.chain.ws_url = None;
    settings.web.bind.set_port(0);
    let participants = prepare(&exchange, &url, &arguments).await?;

    let mut settings = AppSettings::new(&settings);
    settings.polymarket.limits.requests_per_second = 100_000;
    settings.polymarket.limits.burst = 100_000;
    let begun = Instant::now();
    let app = App::build(&settings, Clock::System).await?;
    first_healthy_answer(&app).await?;
    let start_ms = begun.elapsed().as_millis();
    let memory_at_start_mb = memory("VmRSS:");
    let watcher = CommitWatcher::default().start();
    let topics = vec![Topic::Trades, Topic::Attempts];
    app.live_hub().send(Subscribe { to: watcher.clone().recipient(), topics, after: None }).await?;

    let cpu_before = cpu_seconds();
    let pushed = push(&exchange, &participants, &arguments).await?;
    let seen = wait_until_decided(&watcher, pushed.len()).await?;
    let cpu = cpu_seconds() - cpu_before;
    app.stop().await;
    let db = Db::connect(&url).await?;
    let audit_problems = audit(&db).await?.problems;
    db.close().await;

    let figures = Figures {
        fills: pushed.len(),
        attempts: seen.attempts.len(),
        executed: seen.executed(),
        start_ms,
        events_per_second: rate(seen.trades.iter().map(|(_, at)| *at)),
        attempts_per_second: rate(seen.attempts.iter().map(|(_, at)| *at)),
        visible_to_committed_ms: seen.latencies(&pushed),
        detected_to_committed_ms: seen.latencies(&BTreeMap::new()),
        memory_at_start_mb,
        memory_peak_mb: memory("VmHWM:"),
        cpu_seconds: cpu,
        audit_problems,
    };
    figures.print(arguments.json)?;
    Ok(if figures.audit_problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The leaders that trade, and the assets that they trade.
struct Participants {
    leaders: Vec<Wallet>,
    assets: Vec<AssetId>,
}

/// Adds leaders and markets to the exchange and to the database. The bot knows the facts of the markets, as it knows those
/// of any market it has seen.
async fn prepare(exchange: &SimulatorHandle, url: &str, arguments: &LoadArguments) -> anyhow::Result<Participants> {
    let db = Db::connect(url).await?;
    db.migrate().await?;
    if arguments.history_days > 0 {
        let month = HistorySettings::month(arguments.held_assets);
        let wanted = HistorySettings { days: arguments.history_days, ..month };
        let begun = Instant::now();
        let written = write_history(&db, exchange, &wanted).await?;
        eprintln!(
            "history: {} events, {} attempts, {} held assets over {} days in {:.1} s",
            written.events,
            written.attempts,
            written.held_assets,
            arguments.history_days,
            begun.elapsed().as_secs_f64()
        );
    }
    // Copies of the least that the venue takes, and cash for all of them: what is to be measured are copies that are made.
    let patch = format!(
        r#"{{"guardrails": {{"decisionLatencyMs": {LATENCY_MS}, "jitterMsMax": 0, "maxExposurePerMarketBps": 10000}},
            "sizing": {{"minTradeNotionalMicros": 1000000}},
            "system": {{"aggregationWindowMs": {WINDOW_MS}, "pollingIntervalMs": {POLL_MS},
                "initialBankrollMicros": 250000000000}}}}"#
    );
    db.save_global(&ConfigPatch::parse(&patch)?, "load", Clock::System.now()).await?;
    let mut leaders = Vec::new();
    for n in 1..=arguments.leaders.max(1) {
        let name = format!("load-{n}");
        let wallet = wallet_of(&name);
        exchange.with(|exchange| exchange.add_profile(&wallet, &name));
        if let Inserted::Known = db.follow(&name, &wallet, "load", Clock::System.now()).await? {
            tracing::debug!(leader = name, "already followed");
        }
        leaders.push(wallet);
    }
    // As many assets as there are fills in a window, so that no two fills of a leader are in one group.
    let n_markets = if arguments.rate == 0 { arguments.fills } else { arguments.rate.saturating_mul(4) };
    let mut assets = Vec::new();
    for n in 0..n_markets.div_ceil(2).max(1) {
        let market = exchange.with(|exchange| exchange.add_market(NewMarket::binary(&format!("load-{n}"))));
        db.save_market(&market.facts).await?;
        assets.extend(market.facts.outcomes.iter().map(|outcome| outcome.asset.clone()));
    }
    db.close().await;
    Ok(Participants { leaders, assets })
}

async fn first_healthy_answer(app: &App) -> anyhow::Result<()> {
    let address = app.address().context("the server has no address")?;
    let address = format!("http://{address}/api/health");
    let answer = http_client(Duration::from_secs(5)).get(address).send().await;
    let answer = answer.map_err(|error| anyhow::anyhow!("no healthy answer: {error}"))?;
    anyhow::ensure!(answer.status().is_success(), "/api/health answers {}", answer.status());
    Ok(())
}

/// Pushes the fills at their rate, and returns when each transaction became visible.
async fn push(
    exchange: &SimulatorHandle,
    participants: &Participants,
    arguments: &LoadArguments,
) -> anyhow::Result<BTreeMap<String, Timestamp>> {
    let mut pushed = BTreeMap::new();
    let begun = Instant::now();
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let total = usize::try_from(arguments.fills)?;
    while pushed.len() < total {
        pace.tick().await;
        let due = match arguments.rate {
            0 => total,
            rate => (begun.elapsed().as_millis() as usize * rate as usize / 1000).min(total),
        };
        let batch = due.saturating_sub(pushed.len());
        let transactions = exchange.with(|exchange| {
            (0..batch)
                .map(|n| {
                    let nth = pushed.len() + n;
                    let leader = &participants.leaders[nth % participants.leaders.len()];
                    let asset = &participants.assets[nth % participants.assets.len()];
                    let fill = Fill::taker(leader, asset, Side::Buy, 500_000, 10_000_000);
                    exchange.push_fill(fill).map(|transaction| transaction.tx_hash)
                })
                .collect::<Result<Vec<String>, String>>()
        });
        let now = Clock::System.now();
        pushed.extend(transactions.map_err(anyhow::Error::msg)?.into_iter().map(|hash| (hash, now)));
    }
    Ok(pushed)
}

/// Waits until every fill is decided in both portfolios, or no more attempts come.
async fn wait_until_decided(watcher: &Addr<CommitWatcher>, n_fills: usize) -> anyhow::Result<Seen> {
    let mut last = (0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let n = watcher.send(CountAttempts).await?;
        if n != last.0 {
            last = (n, Instant::now());
        }
        if n >= 2 * n_fills || last.1.elapsed() > QUIET {
            return Ok(watcher.send(GetSeen).await?.0);
        }
    }
}

/// Records when each fact was announced, which is right after its commit.
#[derive(Default)]
struct CommitWatcher(Seen);

#[derive(Default, Clone)]
struct Seen {
    trades: Vec<(std::sync::Arc<TradeEvent>, Timestamp)>,
    attempts: Vec<(std::sync::Arc<CopyAttempt>, Timestamp)>,
}

#[derive(Message)]
#[rtype(result = "usize")]
struct CountAttempts;

#[derive(Message)]
#[rtype(result = "SeenReply")]
struct GetSeen;

#[derive(actix::MessageResponse)]
struct SeenReply(Seen);

impl Actor for CommitWatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The hub drops frames for a full mailbox, and this actor must miss none.
        ctx.set_mailbox_capacity(1_000_000);
    }
}

impl Handler<LiveFrame> for CommitWatcher {
    type Result = ();

    fn handle(&mut self, frame: LiveFrame, _: &mut Self::Context) {
        let now = Clock::System.now();
        match frame {
            LiveFrame::Fact { fact: LiveFact::TradeSeen(trade), .. } => self.0.trades.push((trade, now)),
            LiveFrame::Fact { fact: LiveFact::AttemptRecorded(attempt), .. } => self.0.attempts.push((attempt, now)),
            _ => {}
        }
    }
}

impl Handler<CountAttempts> for CommitWatcher {
    type Result = usize;

    fn handle(&mut self, _: CountAttempts, _: &mut Self::Context) -> usize {
        self.0.attempts.len()
    }
}

impl Handler<GetSeen> for CommitWatcher {
    type Result = SeenReply;

    fn handle(&mut self, _: GetSeen, _: &mut Self::Context) -> SeenReply {
        SeenReply(self.0.clone())
    }
}

impl Seen {
    fn executed(&self) -> usize {
        self.attempts.iter().filter(|(attempt, _)| attempt.decision == DecisionKind::Execute).count()
    }

    /// Returns the times from `visible` (by transaction), or else from detection, to the commit, minus window and latency.
    fn latencies(&self, visible: &BTreeMap<String, Timestamp>) -> Percentiles {
        let mut since: BTreeMap<(i64, &str, Timestamp), Timestamp> = BTreeMap::new();
        for (trade, _) in &self.trades {
            let from = visible.get(&trade.tx_hash).copied().unwrap_or(trade.detect_time);
            let key = (trade.followed_user.0, trade.asset.as_str(), trade.detect_time);
            since.entry(key).and_modify(|earliest| *earliest = (*earliest).min(from)).or_insert(from);
        }
        let mut all: Vec<i64> = self
            .attempts
            .iter()
            .filter_map(|(attempt, committed)| {
                let (asset, start) = parts_of(attempt.group_key.as_str())?;
                let from = since.get(&(attempt.followed_user.0, asset, start))?;
                Some(committed.millis_since(*from) - WINDOW_MS - LATENCY_MS)
            })
            .collect();
        all.sort_unstable();
        let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).copied();
        Percentiles {
            p50: at(50).unwrap_or_default(),
            p95: at(95).unwrap_or_default(),
            p99: at(99).unwrap_or_default(),
            max: all.last().copied().unwrap_or_default(),
        }
    }
}

/// Returns the asset and the window's start from the group key of a trade.
fn parts_of(key: &str) -> Option<(&str, Timestamp)> {
    let mut parts = key.splitn(4, ':');
    let asset = parts.nth(1)?;
    let start = parts.nth(1)?;
    Some((asset, Timestamp::parse_iso(start).ok()?))
}

/// Returns how many per second, between the first and the last.
fn rate(times: impl Iterator<Item = Timestamp>) -> f64 {
    let times: BTreeSet<(Timestamp, usize)> = times.enumerate().map(|(n, at)| (at, n)).collect();
    match (times.first(), times.last()) {
        (Some((first, _)), Some((last, _))) if last > first => {
            times.len() as f64 * 1000.0 / last.millis_since(*first) as f64
        }
        _ => 0.0,
    }
}

/// Returns a line of `/proc/self/status`, in whole megabytes.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let text = status.lines().find_map(|text| text.strip_prefix(line)).unwrap_or_default();
    text.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default() / 1024
}

/// Returns user and system time of this process; the kernel counts in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let fields: Vec<f64> = after_name.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
    (fields.get(11).copied().unwrap_or_default() + fields.get(12).copied().unwrap_or_default()) / 100.0
}

impl Figures {
    fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        let latency = |name: &str, p: &Percentiles| {
            println!("{name:<44} p50 {} ms, p95 {} ms, p99 {} ms, max {} ms", p.p50, p.p95, p.p99, p.max);
        };
        println!("{:<44} {}", "fills pushed / attempts committed", format_args!("{} / {}", self.fills, self.attempts));
        println!("{:<44} {}", "attempts executed", self.executed);
        println!("{:<44} {:.0}", "events stored per second", self.events_per_second);
        println!("{:<44} {:.0}", "attempts stored per second", self.attempts_per_second);
        latency("row visible to attempt, minus the waits", &self.visible_to_committed_ms);
        latency("row read to attempt, minus the waits", &self.detected_to_committed_ms);
        println!("{:<44} {} ms", "start to first healthy answer", self.start_ms);
        println!(
            "{:<44} {} MB, peak {} MB",
            "memory with the exchange, at start", self.memory_at_start_mb, self.memory_peak_mb
        );
        println!("{:<44} {:.1} s", "processor time with the exchange", self.cpu_seconds);
        match self.audit_problems.as_slice() {
            [] => println!("{:<44} the books agree", "audit"),
            problems => problems.iter().for_each(|problem| println!("{:<44} {problem}", "audit")),
        }
        Ok(())
    }
}
