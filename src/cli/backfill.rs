//! `polymarketspy backfill`: reads a past span of time again, because fills may have been missed.
//!
//! It writes no events itself, because two writers of one leader's rows would race. It enqueues q_reconcile jobs, one per
//! window. The running bot's reconciler takes them within a second, earliest window first; without a bot they wait for
//! the next start.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use super::database::AUDIT_WHO;
use super::database::open;
use super::terminal::{clean, say};
use super::users::one_user;
use crate::actors::reconciler::ReconcileJob;
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Db, FollowedUser, Origin};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue::{self, NewJob, Queue};

const HOUR_MS: i64 = 3_600_000;
/// Most windows per user. Each is an hour, or longer for a long span. A window that fails is retried alone.
const WINDOWS_MAX: i64 = 48;
/// `backfillMinutes` has the same limit.
const HOURS_MAX: i64 = 720;
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);
/// How many failed windows are read; no backfill has more.
const LETTERS_MAX: i64 = 10_000;

pub const HELP: &str = "Only missing rows are added: known rows stay as they are. New fills go into the leaders' shadow \
portfolios. As signals they are late, so buys older than maxSignalAgeSeconds (15 minutes unless changed) are not copied \
but recorded as skipped, SIGNAL_TOO_OLD. A sell is still copied: a late exit is better than none.\n\n\
If a bot is running, the command waits until it has read everything; Ctrl-C leaves the rest to the bot. Otherwise the \
next start reads it.\n\nExit codes: 0 read, or left to the bot; 1 some of it could not be read; 2 failed.";

#[derive(Args)]
pub struct BackfillArguments {
    /// Hours back from now, 1 to 720.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=HOURS_MAX))]
    hours: i64,
    /// Only this trader: id, wallet or label. Without it all followed traders.
    trader: Option<String>,
    /// Does not wait until the running bot has read it.
    #[arg(long)]
    no_wait: bool,
}

/// The jobs that were enqueued, and the rows there were before.
struct Backfill {
    users: Vec<FollowedUser>,
    start: Timestamp,
    end: Timestamp,
    keys: BTreeSet<String>,
    /// Rows of each user within the span before it is read again.
    n_before: Vec<i64>,
    /// The newest dead letter before the backfill.
    last_letter: i64,
}

/// How the backfill ended.
enum End {
    Read { n_failed: usize },
    BotGone { n_left: usize },
}

pub async fn backfill(settings: &Settings, arguments: BackfillArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let users = users_to_read(&db, arguments.trader.as_deref()).await?;
    let backfill = enqueue(&db, users, arguments.hours).await?;
    say(&backfill.text(arguments.hours))?;
    let code = if !db.is_worked_on().await? {
        say("No bot is running on this database: the next `polymarketspy run` reads it.")?;
        ExitCode::SUCCESS
    } else if arguments.no_wait {
        say("The running bot is reading it now.")?;
        ExitCode::SUCCESS
    } else {
        say("The running bot is reading it now; Ctrl-C leaves the rest to it.")?;
        let end = wait(&db, &backfill).await?;
        backfill.report_end(&db, &end).await?
    };
    db.close().await;
    Ok(code)
}

async fn users_to_read(db: &Db, trader: Option<&str>) -> anyhow::Result<Vec<FollowedUser>> {
    let Some(trader) = trader else {
        let mut users = db.followed_users().await?;
        users.retain(|user| user.enabled());
        if users.is_empty() {
            bail!("no trader is followed, so there is nothing to read; start with `polymarketspy follow`");
        }
        return Ok(users);
    };
    let user = one_user(db, trader.trim()).await?;
    if !user.enabled() {
        bail!(
            "{} is not followed now, so their fills are not read; first: polymarketspy follow {}",
            user.label,
            user.profile_wallet
        );
    }
    Ok(vec![user])
}

async fn enqueue(db: &Db, users: Vec<FollowedUser>, hours: i64) -> anyhow::Result<Backfill> {
    let now = Clock::System.now();
    let windows = windows(now, hours);
    let (start, end) = (windows.first().map_or(now, |window| window.0), now);
    let jobs_of = |user: FollowedUserId| {
        windows.iter().map(move |(start, end)| ReconcileJob::Window { start: *start, end: *end }.for_user(user, now))
    };
    let jobs: Vec<NewJob> = users.iter().flat_map(|user| jobs_of(user.id)).collect();
    let mut n_before = Vec::with_capacity(users.len());
    for user in &users {
        n_before.push(db.count_rows_within(user.id, start, end).await?);
    }
    let last_letter = db.dead_letters(None, 1).await?.first().map_or(0, |letter| letter.id);
    db.ask_backfill(&jobs, (start, end), AUDIT_WHO, now).await?;
    let keys = jobs.into_iter().map(|job| job.key).collect();
    Ok(Backfill { users, start, end, keys, n_before, last_letter })
}

/// Splits the last `hours` before `now` into windows that touch, starting at a full hour. Both ends of a window are
/// included, so no fill falls between two. Two backfills of the same length within an hour have the same windows but for
/// the last one. Their jobs have the same keys, so each window is read once.
fn windows(now: Timestamp, hours: i64) -> Vec<(Timestamp, Timestamp)> {
    let length = HOUR_MS.saturating_mul((hours + WINDOWS_MAX - 1) / WINDOWS_MAX);
    let mut start = now.plus_millis(-hours.saturating_mul(HOUR_MS)).bucket(HOUR_MS);
    let mut windows = Vec::new();
    while start < now {
        let end = start.plus_millis(length).min(now);
        windows.push((start, end));
        start = end;
    }
    windows
}

/// Waits until no window is open any more, or the bot has stopped.
async fn wait(db: &Db, backfill: &Backfill) -> anyhow::Result<End> {
    let mut reported = Instant::now();
    loop {
        let open = queue::peek_open(db, Queue::Reconcile).await?;
        let n_left = open.iter().filter(|job| backfill.keys.contains(&job.key)).count();
        if n_left == 0 {
            let letters = db.dead_letters_of(Some(Origin::Queue(Queue::Reconcile)), None, LETTERS_MAX).await?;
            let ours =
                letters.iter().filter(|letter| letter.id > backfill.last_letter && backfill.keys.contains(&letter.key));
            return Ok(End::Read { n_failed: ours.count() });
        }
        if !db.is_worked_on().await? {
            return Ok(End::BotGone { n_left });
        }
        if reported.elapsed() >= PROGRESS_INTERVAL {
            eprintln!("{n_left} of {} windows are left to read", backfill.keys.len());
            reported = Instant::now();
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

impl Backfill {
    fn text(&self, hours: i64) -> String {
        let whose = match self.users.as_slice() {
            [user] => clean(&user.label).into_owned(),
            users => format!("{} traders", users.len()),
        };
        let (hours, windows) = (counted(hours, "hour"), counted(self.keys.len(), "window"));
        format!("Requested the last {hours} of {whose} again, since {}, in {windows}.", self.start)
    }

    async fn report_end(&self, db: &Db, end: &End) -> anyhow::Result<ExitCode> {
        let mut lines = Vec::new();
        let mut n_all = 0;
        for (user, n_before) in self.users.iter().zip(&self.n_before) {
            let n_new = db.count_rows_within(user.id, self.start, self.end).await? - n_before;
            n_all += n_new;
            lines.push(format!("  {n_new:>7}  {}", clean(&user.label)));
        }
        let (result, code) = match end {
            End::Read { n_failed: 0 } => ("Read.".to_owned(), ExitCode::SUCCESS),
            End::Read { n_failed } => {
                let windows = counted(*n_failed, "window");
                let list = "polymarketspy jobs list --dead --queue q_reconcile";
                (format!("{windows} could not be read; {list} shows why."), ExitCode::FAILURE)
            }
            End::BotGone { n_left } => {
                let windows = counted(*n_left, "window");
                (format!("The bot has stopped; its next start reads {windows}."), ExitCode::FAILURE)
            }
        };
        lines.insert(0, format!("{result} New rows: {n_all}."));
        say(&lines.join("\n"))?;
        Ok(code)
    }
}

fn counted(n: impl TryInto<i64>, what: &str) -> String {
    let n = n.try_into().unwrap_or(i64::MAX);
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_touch_cover_the_whole_span_and_are_few() {
        let now = Timestamp::parse_iso("2026-11-22T10:30:00.123Z").unwrap();
        for hours in [1, 2, 47, 48, 49, 168, HOURS_MAX] {
            let windows = windows(now, hours);
            assert!(windows.len() as i64 <= WINDOWS_MAX + 1, "{} windows for {hours} hours", windows.len());
            let (first, last) = (windows[0], windows[windows.len() - 1]);
            assert!(first.0 <= now.plus_millis(-hours * HOUR_MS) && first.0 > now.plus_millis(-(hours + 1) * HOUR_MS));
            assert_eq!(last.1, now);
            assert!(windows.windows(2).all(|pair| pair[0].1 == pair[1].0) && windows.iter().all(|(a, b)| a < b));
        }
    }

    #[test]
    fn a_second_backfill_within_an_hour_has_the_same_windows_but_for_the_last() {
        let now = Timestamp::parse_iso("2026-11-22T10:30:00Z").unwrap();
        let (one, two) = (windows(now, 5), windows(now.plus_millis(600_000), 5));
        assert_eq!((one.len(), &one[..5]), (6, &two[..5]));
    }
}
