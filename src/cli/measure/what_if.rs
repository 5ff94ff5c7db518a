//! `polymarketspy measure what-if`: runs a what-if test with half the copy size on the recorded data, and times it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use crate::cli::database::open;
use crate::cli::terminal::say_json;
use crate::clock::Clock;
use crate::config::Settings;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::analysis::what_if::Policy;
use crate::domain::config::effective::ConfigPatch;
use crate::domain::money::units::Bps;
use crate::what_if::{Progress, WhatIf, run};

const HOUR_MS: i64 = 3_600_000;

#[derive(clap::Args)]
pub struct WhatIfArguments {
    /// How many hours of the past to test, up to now.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(i64).range(1..=87_600))]
    hours: i64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Figures {
    groups: u64,
    seconds: f64,
    /// Groups with another decision under the candidate.
    changes: u64,
    /// Groups with a decision in the database, and how many of them the test decides in the same way.
    recorded: u64,
    as_recorded: u64,
}

pub async fn what_if(settings: &Settings, arguments: WhatIfArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let directory = db.directory().await?;
    let current = Policy { global: directory.config, overrides: directory.overrides.clone() };
    let mut patch = ConfigPatch::default();
    patch.sizing.copy_pct_notional = Some(Bps(current.global.sizing.copy_pct_notional.0 / 2));
    let candidate = Policy { global: current.global.with(&patch), ..current.clone() };
    let to = Clock::System.now();
    let from = to.plus_millis(arguments.hours.saturating_mul(-HOUR_MS));
    let what_if = WhatIf { portfolio: PortfolioId::ExecGlobal, from, to, current, candidate };

    let begun = Instant::now();
    let findings = run(&db, what_if, &Arc::new(Progress::default())).await?;
    let seconds = begun.elapsed().as_secs_f64();
    db.close().await;

    let counts = findings.counts;
    let (groups, recorded, as_recorded) = (counts.groups, counts.recorded, counts.as_recorded);
    let figures = Figures { groups, seconds, changes: counts.changes(), recorded, as_recorded };
    if arguments.json {
        say_json(&figures)?;
    } else {
        println!("{groups} groups in {seconds:.2} s; {} decided differently", figures.changes);
        println!("{as_recorded} of {recorded} decided as recorded");
    }
    Ok(ExitCode::SUCCESS)
}
