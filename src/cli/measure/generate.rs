//! `polymarketspy generate`: writes a large history into an empty database, to measure pages and starts on it.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use crate::cli::database::open;
use crate::cli::terminal::say_json;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::config::effective::ConfigPatch;
use crate::simulator::history::{HistoryReport, HistorySettings, Totals, write_history_with_progress};
use crate::simulator::{Simulator, SimulatorSettings};

pub const HELP: &str = "All rows are as the bot itself would have written them: `audit` agrees. Copies are sized for a bankroll of \
    250,000 USDC. The loss limits are off, because no user is there to reset them.\n\nExit codes: 0 written, 2 failed.";

/// Without loss limits the bot copies during the whole time; a larger bankroll holds more copies at once.
const CONFIG: &str = r#"{
    "guardrails": {"dailyLossLimitBps": 10000, "weeklyLossLimitBps": 10000, "maxDrawdownLimitBps": 10000},
    "system": {"initialBankrollMicros": 250000000000}
}"#;

#[derive(clap::Args)]
pub struct GenerateArguments {
    /// Ledger entries of all portfolios together, at least this many.
    #[arg(long, default_value_t = 1_000_000)]
    entries: usize,
    /// Copy attempts, at least this many; each group has two.
    #[arg(long, default_value_t = 500_000)]
    attempts: usize,
    /// Days of history. Each portfolio has one snapshot per minute of it.
    #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=365))]
    snapshot_days: i64,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=50))]
    leaders: u64,
    /// Assets held at the end, at least this many.
    #[arg(long, default_value_t = 200)]
    held_assets: usize,
    /// The same seed at the same time writes the same history.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Written {
    #[serde(flatten)]
    report: HistoryReport,
    size_bytes: i64,
    seconds: f64,
}

pub async fn generate(settings: &Settings, arguments: GenerateArguments) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let exchange = Simulator::start(SimulatorSettings::lifelike(arguments.seed))?;
    let db = open(settings).await?;
    let _ownership = db.own().await?;
    let users = db.followed_users().await?;
    anyhow::ensure!(
        users.is_empty(),
        "the database of DATABASE_URL is not empty: it follows `{}`; name an empty one",
        users.first().map(|user| user.label.as_str()).unwrap_or_default()
    );
    db.save_global(&ConfigPatch::parse(CONFIG)?, "generate", Clock::System.now()).await?;

    let totals = Totals { attempts: arguments.attempts, entries: arguments.entries };
    let leaders = usize::try_from(arguments.leaders).context("too many leaders")?;
    let wanted = HistorySettings::bulk(arguments.snapshot_days, leaders, arguments.held_assets, totals);
    let mut told = Instant::now();
    let report = write_history_with_progress(&db, &exchange, &wanted, |report, until| {
        if told.elapsed().as_secs() >= 5 {
            told = Instant::now();
            eprintln!(
                "{:>4.0} s  up to {until}: {} events, {} attempts, {} entries, {} snapshots",
                begun.elapsed().as_secs_f64(),
                report.events,
                report.attempts,
                report.entries,
                report.snapshots
            );
        }
    })
    .await?;
    // What a bot that ran all that time would have thinned.
    db.tidy(Clock::System.now()).await?;
    let size_bytes = db.size_bytes().await?;
    db.close().await;
    let written = Written { report, size_bytes, seconds: begun.elapsed().as_secs_f64() };
    if arguments.json {
        say_json(&written)?;
    } else {
        written.print();
    }
    Ok(ExitCode::SUCCESS)
}

impl Written {
    fn print(&self) {
        let rows: [(&str, usize); 9] = [
            ("markets", self.report.markets),
            ("events", self.report.events),
            ("groups", self.report.groups),
            ("attempts", self.report.attempts),
            ("attempts executed", self.report.executed),
            ("ledger entries", self.report.entries),
            ("portfolio snapshots", self.report.snapshots),
            ("market prices", self.report.prices),
            ("held assets", self.report.held_assets),
        ];
        for (what, n) in rows {
            println!("{what:<20} {n:>10}");
        }
        println!("{:<20} {:>10} MB in {:.0} s", "size", self.size_bytes / 1_000_000, self.seconds);
    }
}
