//! `polymarketspy audit`.

use std::process::ExitCode;

use super::database::open;
use super::terminal::{clean, say_json};
use crate::audit::{Report, audit as audit_database};
use crate::config::Settings;

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
        0 => println!("The books agree: {} entries recomputed.", report.entries),
        n => println!("{n} problems in {} entries.", report.entries),
    }
}
