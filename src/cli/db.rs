//! `polymarketspy db vacuum`: returns the room that deleted and packed rows leave.

use std::process::ExitCode;

use anyhow::{Context, ensure};

use super::database::open;
use super::terminal::say_json;
use crate::config::Settings;

pub const HELP: &str = "`vacuum` writes the whole database anew. On SQLite it refuses while a bot runs, because it would stop every write for \
    minutes, and needs twice the size of the result free on the disk. On PostgreSQL it locks one table after the other and refuses while a \
    worker runs. Without it nothing is lost: the room is used again for new rows.\n\nExit codes: 0 done, 2 failed.";

#[derive(clap::Args)]
pub struct DbArguments {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(clap::Subcommand)]
enum DbCommand {
    /// Thins and packs what is due, then writes the database anew without unused room.
    Vacuum {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

pub async fn db(settings: &Settings, arguments: DbArguments) -> anyhow::Result<ExitCode> {
    let DbCommand::Vacuum { json } = arguments.command;
    let db = open(settings).await?;
    // Held until the end: a bot that starts meanwhile is refused.
    let _ownership =
        db.own().await.context("stop the bot first: nothing can be written while the database is written anew")?;
    ensure!(!db.is_shared() || !db.is_worked_on().await?, "a worker runs on this database: stop every worker first");
    db.tidy(crate::clock::Clock::System.now()).await?;
    let before = db.room().await?;
    if let Some(free) = before.free {
        // Room inside the file is of no use here.
        let (on_disk, needed) = (free - (before.size - before.used), before.used.saturating_mul(2));
        ensure!(
            on_disk >= needed,
            "the disk has {} MB free and this needs {} MB; the database was not written anew",
            on_disk / 1_000_000,
            needed / 1_000_000
        );
    }
    db.vacuum().await?;
    let after = db.room().await?;
    db.close().await;
    if json {
        say_json(&serde_json::json!({ "bytes_before": before.size, "bytes_after": after.size }))?;
    } else {
        println!("{} MB before, {} MB now.", before.size / 1_000_000, after.size / 1_000_000);
    }
    Ok(ExitCode::SUCCESS)
}
