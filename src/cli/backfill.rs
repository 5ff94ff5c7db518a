//! `polymarketspy backfill`: reads time again that may have been missed.
//!
//! Writes no events itself: two that write one leader's rows would race. It leaves q_reconcile jobs, one a window, which
//! the running bot's reconciler takes within a second, the earliest first; without a bot they wait for the next start.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;

use super::WHO;
use super::migrate::open;
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
/// A user's windows at most: each is an hour, or longer for long spans. One that fails is read again alone.
const WINDOWS_MAX: i64 = 48;
/// As far back as `backfillMinutes` may reach.
const HOURS_MAX: i64 = 720;
const LOOK: Duration = Duration::from_millis(500);
const TELL: Duration = Duration::from_secs(10);
/// Failed windows looked at; more than any backfill has.
const LETTERS_MAX: i64 = 10_000;

pub const HELP: &str = "Only what is missing is added: rows that are known stay as they are. What is found goes into the \
leaders' shadow portfolios; as a signal it is late, so buys older than maxSignalAgeSeconds (15 minutes unless changed) \
are not copied but recorded as skipped, SIGNAL_TOO_OLD. A sell is still copied: a late exit is an exit.\n\n\
Beside a running bot it waits until all is read; Ctrl-C leaves the rest to the bot. Without a bot it is read at the next \
start.\n\nExit codes: 0 read, or left to the bot; 1 some of it could not be read; 2 it could not be asked for.";

#[derive(Args)]
pub struct BackfillArguments {
    /// Hours back from now, 1 to 720.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=HOURS_MAX))]
    hours: i64,
    /// Only this trader: id, wallet or label. Everybody who is followed when left out.
    trader: Option<String>,
    /// Does not wait for the running bot to read it.
    #[arg(long)]
    no_wait: bool,
}

/// What was asked for.
struct Asked {
    users: Vec<FollowedUser>,
    start: Timestamp,
    end: Timestamp,
    keys: BTreeSet<String>,
    /// Rows kept of each user within the span before it was read again.
    n_before: Vec<i64>,
    /// The newest failure there was before.
    last_letter: i64,
}

/// How the reading ended.
enum End {
    Read { n_failed: usize },
    BotGone { n_left: usize },
}

pub async fn backfill(settings: &Settings, arguments: BackfillArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let users = who_is_read(&db, arguments.trader.as_deref()).await?;
    let asked = ask(&db, users, arguments.hours).await?;
    say(&asked.text(arguments.hours))?;
    let code = if !db.is_worked_on().await? {
        say("No bot runs on this database now: it is read when the next `polymarketspy run` starts.")?;
        ExitCode::SUCCESS
    } else if arguments.no_wait {
        say("The running bot reads it now.")?;
        ExitCode::SUCCESS
    } else {
        say("The running bot reads it now; Ctrl-C leaves it to that.")?;
        let end = wait(&db, &asked).await?;
        asked.tell_end(&db, &end).await?
    };
    db.close().await;
    Ok(code)
}

async fn who_is_read(db: &Db, trader: Option<&str>) -> anyhow::Result<Vec<FollowedUser>> {
    let Some(trader) = trader else {
        let mut users = db.followed_users().await?;
        users.retain(|user| user.enabled);
        if users.is_empty() {
            bail!("nobody is followed, so there is nothing to read; begin with `polymarketspy follow`");
        }
        return Ok(users);
    };
    let user = one_user(db, trader.trim()).await?;
    if !user.enabled {
        bail!(
            "{} is not followed now, so nothing of theirs is read; first: polymarketspy follow {}",
            user.label,
            user.profile_wallet
        );
    }
    Ok(vec![user])
}

async fn ask(db: &Db, users: Vec<FollowedUser>, hours: i64) -> anyhow::Result<Asked> {
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
    db.ask_backfill(&jobs, (start, end), WHO, now).await?;
    let keys = jobs.into_iter().map(|job| job.key).collect();
    Ok(Asked { users, start, end, keys, n_before, last_letter })
}

/// The last `hours` before `now`, from a full hour on, in windows that touch. Both ends of a window count, so nothing
/// falls between two; asked for twice within an hour, all but the last have the same names and are read once.
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

/// Until no window is open any more, or the bot has stopped.
async fn wait(db: &Db, asked: &Asked) -> anyhow::Result<End> {
    let mut told = Instant::now();
    loop {
        let open = queue::peek_open(db, Queue::Reconcile).await?;
        let n_left = open.iter().filter(|job| asked.keys.contains(&job.key)).count();
        if n_left == 0 {
            let letters = db.dead_letters_of(Some(Origin::Queue(Queue::Reconcile)), None, LETTERS_MAX).await?;
            let ours =
                letters.iter().filter(|letter| letter.id > asked.last_letter && asked.keys.contains(&letter.key));
            return Ok(End::Read { n_failed: ours.count() });
        }
        if !db.is_worked_on().await? {
            return Ok(End::BotGone { n_left });
        }
        if told.elapsed() >= TELL {
            eprintln!("{n_left} of {} windows are still to be read", asked.keys.len());
            told = Instant::now();
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Asked {
    fn text(&self, hours: i64) -> String {
        let whose = match self.users.as_slice() {
            [user] => clean(&user.label).into_owned(),
            users => format!("{} traders", users.len()),
        };
        let (hours, windows) = (counted(hours, "hour"), counted(self.keys.len(), "window"));
        format!("Asked for the last {hours} of {whose} again, since {}, in {windows}.", self.start)
    }

    async fn tell_end(&self, db: &Db, end: &End) -> anyhow::Result<ExitCode> {
        let mut lines = Vec::new();
        let mut n_all = 0;
        for (user, n_before) in self.users.iter().zip(&self.n_before) {
            let n_new = db.count_rows_within(user.id, self.start, self.end).await? - n_before;
            n_all += n_new;
            lines.push(format!("  {n_new:>7}  {}", clean(&user.label)));
        }
        let (told, code) = match end {
            End::Read { n_failed: 0 } => ("Read.".to_owned(), ExitCode::SUCCESS),
            End::Read { n_failed } => {
                let windows = counted(*n_failed, "window");
                let look = "polymarketspy jobs list --dead --queue q_reconcile";
                (format!("{windows} could not be read; {look} says why."), ExitCode::FAILURE)
            }
            End::BotGone { n_left } => {
                let windows = counted(*n_left, "window");
                (format!("The bot has stopped; {windows} will be read when it starts again."), ExitCode::FAILURE)
            }
        };
        lines.insert(0, format!("{told} New rows: {n_all}."));
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
    fn asked_for_twice_within_an_hour_all_but_the_last_window_are_the_same() {
        let now = Timestamp::parse_iso("2026-11-22T10:30:00Z").unwrap();
        let (one, two) = (windows(now, 5), windows(now.plus_millis(600_000), 5));
        assert_eq!((one.len(), &one[..5]), (6, &two[..5]));
    }
}
