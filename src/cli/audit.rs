//! `polymarketspy audit`.

use std::process::ExitCode;

use super::database::open;
use super::terminal::{clean, say_json};
use crate::audit::{Report, audit as audit_database};
use crate::config::Settings;
use crate::domain::accounting::shadow::exactness::{ExactnessState, InexactCause};
use crate::domain::money::units::Timestamp;

#[derive(clap::Args)]
pub struct AuditArguments {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub async fn audit(settings: &Settings, arguments: AuditArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let report = audit_database(&db).await?;
    db.close().await;
    if arguments.json {
        say_json(&report)?;
    } else {
        print(&report);
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report) {
    println!("{:<20}  {:>9}  {:>18}  {:>18}  {:>5}", "PORTFOLIO", "ENTRIES", "CASH µUSDC", "REALIZED µUSDC", "LOTS");
    for proof in &report.portfolios {
        println!(
            "{:<20}  {:>9}  {:>18}  {:>18}  {:>5}",
            proof.portfolio, proof.entries, proof.cash_micros.0, proof.realized_pnl_micros.0, proof.n_lots
        );
    }
    for note in &report.notes {
        println!("NOTE     {}", clean(note));
    }
    for problem in &report.problems {
        println!("PROBLEM  {}", clean(problem));
    }
    match report.problems.len() {
        0 => println!("The books add up: {} entries recomputed.", report.entries),
        n => println!("{n} problems in {} entries.", report.entries),
    }
    let apart: Vec<_> = report.venue.iter().filter(|books| books.state == ExactnessState::NotExact).collect();
    match (report.venue.len(), apart.len()) {
        (0, _) => {}
        (n, 0) => println!("They agree with the venue: {n} leaders by their newest position checks."),
        (n, m) => println!("They do not agree with the venue, or it is not known: {m} of {n} leaders."),
    }
    for books in apart {
        let cause = books.cause.map(InexactCause::as_str).unwrap_or_default();
        let since = books.since.map(Timestamp::iso).unwrap_or_default();
        println!("NOT EXACT  {}  since {since}: {cause}", clean(&books.leader));
    }
}
