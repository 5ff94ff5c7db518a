//! `polymarketspy backup` and `polymarketspy restore`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use chrono::NaiveTime;

use super::database::open;
use super::terminal::{clean, say_json};
use super::{database::AUDIT_WHO, exit_code};
use crate::audit::audit;
use crate::backup::{self, Archive, BackupError, Folder};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Audit, Db};
use crate::domain::money::units::Timestamp;
use crate::web::Who;

pub const HELP: &str = "After each backup the upload command runs in `sh`, with the path of the archive in BACKUP_FILE and that \
of its checksum in BACKUP_CHECKSUM, for example:\n  rclone copy \"$BACKUP_FILE\" remote:bucket/\n\nFor a PostgreSQL \
database pg_dump must be installed, in the server's version or newer.\n\nExit codes: 0 made, 1 made but not uploaded, 2 failed.";
pub const RESTORE_HELP: &str = "DATABASE_URL must name an empty place, so that no data is ever overwritten: move a damaged \
database away first. The restored database is migrated to this program's schema and audited; all users have to sign in \
again. The running bot reads from the API what happened since the backup.\n\nExit codes: 0 restored, 1 restored but the \
books differ, 2 failed.";

/// Interval between two looks at the clock: a machine may sleep, and its clock may be set.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// Wait after a failed backup.
const RETRY_DELAY: Duration = Duration::from_secs(15 * 60);
const DAY_MS: i64 = 24 * 3_600_000;

#[derive(clap::Args)]
pub struct BackupArguments {
    /// Folder of the archives; created if it does not exist.
    #[arg(long, value_name = "FOLDER", default_value = "backups")]
    folder: PathBuf,
    /// How many archives to keep; older ones are removed once the new one is complete.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    keep: u16,
    /// A command that copies each archive to another place.
    #[arg(long, value_name = "COMMAND")]
    upload: Option<String>,
    /// Keeps running and makes one backup each day at this time (UTC); one at once if the last was missed.
    #[arg(long, value_name = "HH:MM", value_parser = time_of_day)]
    daily_at: Option<NaiveTime>,
    /// Prints JSON.
    #[arg(long, conflicts_with = "daily_at")]
    json: bool,
}

#[derive(clap::Args)]
pub struct RestoreArguments {
    /// An archive made by `backup`.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Restores an archive without verifying its checksum.
    #[arg(long)]
    unchecked: bool,
}

/// The result of one backup.
#[derive(serde::Serialize)]
struct Made {
    #[serde(flatten)]
    archive: Archive,
    removed: usize,
    /// `None` when no upload command is given.
    uploaded: Option<bool>,
    /// Why it was not uploaded.
    problem: Option<String>,
}

pub async fn backup(settings: &Settings, arguments: BackupArguments) -> anyhow::Result<ExitCode> {
    if let Some(at) = arguments.daily_at {
        return daily(settings, &arguments, at).await;
    }
    let made = make(settings, &arguments).await?;
    if arguments.json {
        say_json(&made)?;
    } else {
        let Archive { file, bytes, sha256, .. } = &made.archive;
        println!("{}: {bytes} bytes, SHA-256 {sha256}", file.display());
        if made.removed > 0 {
            println!("{} older removed.", made.removed);
        }
    }
    match made.problem {
        None => Ok(ExitCode::SUCCESS),
        Some(problem) => {
            eprintln!("error: {}", clean(&problem));
            Ok(ExitCode::from(exit_code::NEEDS_ATTENTION))
        }
    }
}

/// Makes a backup each day, until the process ends.
async fn daily(settings: &Settings, arguments: &BackupArguments, at: NaiveTime) -> anyhow::Result<ExitCode> {
    loop {
        let newest = backup::newest_in(&arguments.folder)?;
        if !is_due(newest, Clock::System.now(), at) {
            tokio::time::sleep(CLOCK_CHECK_INTERVAL).await;
            continue;
        }
        match make(settings, arguments).await {
            Ok(Made { archive, removed, problem, .. }) => {
                let (file, bytes) = (archive.file.display(), archive.bytes);
                match problem {
                    None => tracing::info!(service = "backup", %file, bytes, removed, "backup made"),
                    Some(error) => {
                        tracing::error!(service = "backup", %file, error, "backup made, but not uploaded")
                    }
                }
            }
            Err(error) => {
                tracing::error!(service = "backup", error = format!("{error:#}"), "backup failed");
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

/// Returns whether no backup was made since the last time at which one was due.
fn is_due(newest: Option<Timestamp>, now: Timestamp, at: NaiveTime) -> bool {
    let into_day = i64::from(chrono::Timelike::num_seconds_from_midnight(&at)) * 1_000;
    let today = now.day_start().plus_millis(into_day);
    let last_time = if today <= now { today } else { today.plus_millis(-DAY_MS) };
    newest.is_none_or(|newest| newest < last_time)
}

async fn make(settings: &Settings, arguments: &BackupArguments) -> anyhow::Result<Made> {
    let url = settings.database.url.reveal();
    let now = Clock::System.now();
    let folder = Folder::open(&arguments.folder)?;
    let archive = match backup::make(url, &folder, now).await {
        Ok(archive) => archive,
        Err(error) => {
            let problem = anyhow::Error::from(error);
            note(settings, "backup_failed", "database", serde_json::json!({ "problem": format!("{problem:#}") })).await;
            return Err(problem);
        }
    };
    let removed = folder.keep(usize::from(arguments.keep))?;
    // A setting that was left empty means no upload.
    let command = arguments.upload.as_deref().map(str::trim).filter(|command| !command.is_empty());
    let result = command.map(|command| backup::upload(&archive, command));
    let (uploaded, problem) = match result {
        None => (None, None),
        Some(Ok(())) => (Some(true), None),
        Some(Err(error)) => (Some(false), Some(format!("{:#}", anyhow::Error::from(error)))),
    };
    let name = archive.file.file_name().unwrap_or_default().to_string_lossy();
    let facts = serde_json::json!({ "bytes": archive.bytes, "sha256": archive.sha256, "uploaded": uploaded });
    note(settings, "backup", &name, facts).await;
    Ok(Made { archive, removed, uploaded, problem })
}

/// Writes the result of a backup into the audit log of its database. The backup does not fail when the log cannot be
/// written, for example because the schema is older. The schema is not migrated here: backups are made before a migration.
async fn note(settings: &Settings, action: &str, subject: &str, facts: serde_json::Value) {
    let audit = Audit { after_json: Some(facts.to_string()), ..Audit::bare(AUDIT_WHO, action, subject) };
    if !backup::may_be_there(settings.database.url.reveal()).unwrap_or(false) {
        return;
    }
    let written = async {
        let db = Db::connect(settings.database.url.reveal()).await?;
        let written = db.record(audit, Clock::System.now()).await;
        db.close().await;
        written
    };
    if let Err(error) = written.await {
        tracing::warn!(
            service = "backup",
            error = format!("{:#}", anyhow::Error::from(error)),
            "the backup is not in the audit log"
        );
    }
}

pub async fn restore(settings: &Settings, arguments: RestoreArguments) -> anyhow::Result<ExitCode> {
    let RestoreArguments { file, unchecked } = arguments;
    restore_archive(&file, settings, unchecked).await?;
    let db = open(settings).await?;
    let now = Clock::System.now();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    db.record(Audit::bare(AUDIT_WHO, "restore", &name), now).await?;
    // The archive does not contain the sessions that were revoked since: revoke all.
    db.end_all_sessions(Who::Link.as_str(), now).await?;
    let newest = db.newest_trade_time().await?;
    let report = audit(&db).await?;
    db.close().await;
    let newest = newest.map_or("none".to_owned(), |time| time.to_string());
    println!(
        "Restored: {} ledger entries in {} portfolios; newest fill {newest}.",
        report.entries,
        report.portfolios.len()
    );
    println!("Admins and tokens are those of the archive: check `admin list` and `token list`.");
    for problem in &report.problems {
        println!("PROBLEM  {}", clean(problem));
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn restore_archive(file: &Path, settings: &Settings, unchecked: bool) -> anyhow::Result<()> {
    match backup::restore(file, settings.database.url.reveal(), !unchecked).await {
        Err(error @ BackupError::NoChecksum { .. }) => Err(error).context("pass --unchecked to restore it anyway"),
        result => Ok(result?),
    }
}

fn time_of_day(text: &str) -> Result<NaiveTime, String> {
    NaiveTime::parse_from_str(text, "%H:%M").map_err(|_| "a time of day is HH:MM, such as 03:15".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_iso(text).unwrap()
    }

    #[test]
    fn a_backup_is_due_when_the_last_due_time_passed_without_one() {
        let quarter_past_three = time_of_day("03:15").unwrap();
        let is_due = |newest: &str, now: &str| is_due(Some(at(newest)), at(now), quarter_past_three);
        assert!(!is_due("2026-11-26T03:15:00Z", "2026-11-26T03:15:00Z"));
        assert!(is_due("2026-11-26T03:14:59.999Z", "2026-11-26T03:15:00Z"));
        assert!(!is_due("2026-11-25T03:15:10Z", "2026-11-26T03:14:59Z"), "today's time has not come");
        assert!(is_due("2026-11-25T03:14:00Z", "2026-11-26T00:00:00Z"), "yesterday's was missed");
        assert!(super::is_due(None, at("2026-11-26T00:00:00Z"), quarter_past_three));
    }

    #[test]
    fn a_time_of_day_is_hours_and_minutes() {
        assert!(["24:00", "3", "03:15:00", ""].iter().all(|text| time_of_day(text).is_err()));
    }
}
