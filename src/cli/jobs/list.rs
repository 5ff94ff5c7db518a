//! `polymarketspy jobs list`.

use std::process::ExitCode;

use serde::Serialize;

use super::ListArguments;
use crate::cli::database::open;
use crate::cli::terminal::{Column, Table, say, say_json, shortened, span};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Db, DeadLetter, Origin};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::queue::{self, Depth, OpenJob, Queue};

/// How many characters of an error fit into a line.
const ERROR_SHOWN: usize = 90;
const KEY_SHOWN: usize = 44;

#[derive(Serialize)]
struct Listing {
    #[serde(skip_serializing_if = "Option::is_none")]
    queues: Option<Vec<QueueJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs: Option<Part<JobJson>>,
    dead_letters: Part<LetterJson>,
}

/// The first rows of a list, and whether there are more.
#[derive(Serialize)]
struct Part<T> {
    data: Vec<T>,
    more: bool,
}

#[derive(Serialize)]
struct QueueJson {
    queue: Queue,
    open: i64,
    leased: i64,
    oldest_due: Option<Timestamp>,
    /// How long the oldest job has been due; null when none is due.
    age_ms: Option<i64>,
}

#[derive(Serialize)]
struct JobJson {
    id: i64,
    queue: Queue,
    key: String,
    followed_user_id: Option<FollowedUserId>,
    payload: String,
    attempts: i32,
    failures: i32,
    due: Timestamp,
    leased_until: Option<Timestamp>,
    last_error: Option<String>,
    created_at: Timestamp,
}

#[derive(Serialize)]
struct LetterJson {
    id: i64,
    queue: &'static str,
    key: String,
    followed_user_id: Option<FollowedUserId>,
    payload: String,
    payload_bytes: i64,
    sha256: Option<String>,
    error: String,
    created_at: Timestamp,
}

pub async fn list(settings: &Settings, arguments: &ListArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let listing = read(&db, arguments).await?;
    db.close().await;
    let has_dead = !listing.dead_letters.data.is_empty();
    if arguments.json {
        say_json(&listing)?;
    } else {
        say(&listing.text(Clock::System.now()))?;
    }
    Ok(if has_dead { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn read(db: &Db, arguments: &ListArguments) -> anyhow::Result<Listing> {
    let asked = arguments.limit.saturating_add(1);
    // Unreadable rows have no queue: a filter for them means dead letters only.
    let (queues, jobs) = match arguments.queue {
        _ if arguments.dead => (None, None),
        Some(Origin::Row) => (None, None),
        Some(Origin::Queue(queue)) => (Some(queue), Some(queue::open_jobs(db, Some(queue), asked).await?)),
        None => (None, Some(queue::open_jobs(db, None, asked).await?)),
    };
    let now = Clock::System.now();
    let depths = queue::depths(db).await?;
    let shown = depths.iter().filter(|depth| queues.is_none_or(|queue| queue == depth.queue));
    Ok(Listing {
        queues: jobs.is_some().then(|| shown.map(|depth| QueueJson::new(depth, now)).collect()),
        jobs: jobs.map(|jobs| Part::cut(jobs, arguments.limit, JobJson::from)),
        dead_letters: {
            let letters = db.dead_letters_of(arguments.queue, None, asked).await?;
            Part::cut(letters, arguments.limit, LetterJson::from)
        },
    })
}

impl Listing {
    fn text(&self, now: Timestamp) -> String {
        let mut parts = Vec::new();
        parts.extend(self.queues.as_deref().map(queues_text));
        parts.extend(self.jobs.as_ref().map(|jobs| jobs.text("open jobs", jobs_table(&jobs.data, now))));
        parts.push(self.dead_letters.text("dead letters", letters_table(&self.dead_letters.data, now)));
        if !self.dead_letters.data.is_empty() {
            parts.push("Requeue dead letters: polymarketspy jobs retry. Drop them: polymarketspy jobs drop.".into());
        }
        parts.join("\n\n")
    }
}

fn queues_text(queues: &[QueueJson]) -> String {
    let mut table =
        Table::new([Column::Left("QUEUE"), Column::Right("OPEN"), Column::Right("LEASED"), Column::Right("AGE")]);
    for queue in queues {
        let age = queue.age_ms.map_or_else(|| "–".to_owned(), span);
        table.row([queue.queue.as_str(), &queue.open.to_string(), &queue.leased.to_string(), &age]);
    }
    table.text()
}

fn jobs_table(jobs: &[JobJson], now: Timestamp) -> Table {
    let mut table = Table::new([
        Column::Right("JOB"),
        Column::Left("QUEUE"),
        Column::Right("USER"),
        Column::Right("TAKEN"),
        Column::Right("FAILED"),
        Column::Right("AGE"),
        Column::Left("STATE"),
        Column::Left("KEY"),
        Column::Left("LAST ERROR"),
    ]);
    for job in jobs {
        table.row([
            job.id.to_string(),
            job.queue.to_string(),
            user_text(job.followed_user_id),
            job.attempts.to_string(),
            job.failures.to_string(),
            span(now.millis_since(job.created_at)),
            state_text(job, now),
            shortened(&job.key, KEY_SHOWN),
            shortened(job.last_error.as_deref().unwrap_or("–"), ERROR_SHOWN),
        ]);
    }
    table
}

fn letters_table(letters: &[LetterJson], now: Timestamp) -> Table {
    let mut table = Table::new([
        Column::Right("LETTER"),
        Column::Left("QUEUE"),
        Column::Right("USER"),
        Column::Right("AGE"),
        Column::Left("KEY"),
        Column::Left("ERROR"),
    ]);
    for letter in letters {
        table.row([
            letter.id.to_string(),
            letter.queue.to_owned(),
            user_text(letter.followed_user_id),
            span(now.millis_since(letter.created_at)),
            shortened(&letter.key, KEY_SHOWN),
            shortened(&letter.error, ERROR_SHOWN),
        ]);
    }
    table
}

/// Says what a job is waiting for.
fn state_text(job: &JobJson, now: Timestamp) -> String {
    match job.leased_until {
        Some(until) if until > now => format!("leased, {} more", span(until.millis_since(now))),
        Some(_) => "lease expired".to_owned(),
        None if job.due > now => format!("due in {}", span(job.due.millis_since(now))),
        None => "due".to_owned(),
    }
}

fn user_text(user: Option<FollowedUserId>) -> String {
    user.map_or_else(|| "–".to_owned(), |user| user.to_string())
}

impl<T> Part<T> {
    /// Cuts `rows` to `limit`. The caller asked for one more than `limit`, to know whether there are more.
    fn cut<R>(mut rows: Vec<R>, limit: i64, view: impl Fn(R) -> T) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Self { data: rows.into_iter().map(view).collect(), more }
    }

    fn text(&self, what: &str, table: Table) -> String {
        match (self.data.len(), self.more) {
            (0, _) => format!("No {what}."),
            (_, false) => table.text(),
            (n, true) => format!("{}\nThere are more {what} than these {n}; show more with --limit.", table.text()),
        }
    }
}

impl QueueJson {
    fn new(depth: &Depth, now: Timestamp) -> Self {
        let age_ms = depth.oldest_due.map(|due| now.millis_since(due)).filter(|age| *age >= 0);
        Self { queue: depth.queue, open: depth.open, leased: depth.leased, oldest_due: depth.oldest_due, age_ms }
    }
}

impl From<OpenJob> for JobJson {
    fn from(OpenJob { job, leased_until }: OpenJob) -> Self {
        Self {
            id: job.id,
            queue: job.queue,
            key: job.key,
            followed_user_id: job.followed_user,
            payload: job.payload,
            attempts: job.attempts,
            failures: job.failures,
            due: job.due,
            leased_until,
            last_error: job.last_error,
            created_at: job.created_at,
        }
    }
}

impl From<DeadLetter> for LetterJson {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            queue: letter.queue.map_or(Origin::Row, Origin::Queue).as_str(),
            key: letter.key,
            followed_user_id: letter.followed_user,
            payload: letter.payload,
            payload_bytes: letter.payload_bytes,
            sha256: letter.sha256,
            error: letter.error,
            created_at: letter.created_at,
        }
    }
}
