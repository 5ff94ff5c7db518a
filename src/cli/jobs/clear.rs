//! `polymarketspy jobs retry` and `jobs drop`: requeues failed work, or drops it.

use std::process::ExitCode;

use super::{DropArguments, RetryArguments, loses};
use crate::cli::database::open;
use crate::cli::terminal::{say, shortened};
use crate::cli::{database::AUDIT_WHO, exit_code};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Db, DeadLetter, Origin, Replay};
use crate::queue::{self, OpenJob};

/// Dead letters read at a time.
const PAGE: i64 = 500;
const KEY_SHOWN: usize = 60;

/// How many were retried or dropped, and why the others were not.
#[derive(Default)]
struct Outcome {
    n_done: usize,
    refusals: Vec<String>,
}

pub async fn retry(settings: &Settings, arguments: RetryArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let mut outcome = Outcome::default();
    if arguments.all {
        // `--all` means jobs, and an unreadable row has none: leaving it is not a failure.
        let letters = all(&db, arguments.queue).await?;
        let (jobs, rows): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| letter.queue.is_some());
        for letter in &jobs {
            retry_one(&db, letter, &mut outcome).await?;
        }
        if !rows.is_empty() {
            say(&format!("Left, because they have no job to requeue: rows that could not be read ({}).", rows.len()))?;
        }
    }
    for id in arguments.letters {
        match db.dead_letter(id).await? {
            Some(letter) => retry_one(&db, &letter, &mut outcome).await?,
            None => outcome.refusals.push(no_letter(id)),
        }
    }
    let waits = outcome.n_done > 0 && !db.is_worked_on().await?;
    db.close().await;
    let when = if waits { " No bot is running now: the jobs wait for the next start." } else { "" };
    say(&format!("{} requeued.{when}", letters_text(outcome.n_done)))?;
    Ok(outcome.report())
}

pub async fn drop_all(settings: &Settings, arguments: DropArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let mut outcome = Outcome::default();
    let letters = if arguments.all { all(&db, arguments.queue).await? } else { Vec::new() };
    for letter in &letters {
        drop_letter(&db, letter, arguments.force, &mut outcome).await?;
    }
    for id in arguments.letters {
        match db.dead_letter(id).await? {
            Some(letter) => drop_letter(&db, &letter, arguments.force, &mut outcome).await?,
            None => outcome.refusals.push(no_letter(id)),
        }
    }
    let n_letters = std::mem::take(&mut outcome.n_done);
    for id in &arguments.job {
        match queue::open_job(&db, *id).await? {
            Some(open) => drop_job(&db, &open, arguments.force, &mut outcome).await?,
            None => outcome.refusals.push(format!("there is no open job {id}; `polymarketspy jobs list` shows them")),
        }
    }
    db.close().await;
    if arguments.job.is_empty() {
        say(&format!("{} dropped. The records they name stay.", letters_text(n_letters)))?;
    } else {
        let n = outcome.n_done;
        let jobs = if n == 1 { "1 open job".to_owned() } else { format!("{n} open jobs") };
        say(&format!("{jobs} dropped. The records they name stay."))?;
    }
    Ok(outcome.report())
}

async fn retry_one(db: &Db, letter: &DeadLetter, outcome: &mut Outcome) -> anyhow::Result<()> {
    if letter.queue.is_none() {
        outcome.refusals.push(format!(
            "dead letter {} is an unreadable row: it has no job to requeue. A version that can read the row takes it with the \
            next `backfill` over its time; `jobs drop {}` drops it",
            letter.id, letter.id
        ));
        return Ok(());
    }
    match db.replay_dead_letter(letter.id, AUDIT_WHO, Clock::System.now()).await? {
        Replay::Queued(_) => outcome.n_done += 1,
        Replay::NotReplayable => outcome.refusals.push(no_letter(letter.id)),
    }
    Ok(())
}

async fn drop_letter(db: &Db, letter: &DeadLetter, force: bool, outcome: &mut Outcome) -> anyhow::Result<()> {
    let loss = letter.queue.and_then(loses);
    if let Some(loss) = loss.filter(|_| !force) {
        let (id, key) = (letter.id, shortened(&letter.key, KEY_SHOWN));
        let advice = format!("`jobs retry {id}` tries it again, --force drops it anyway");
        outcome.refusals.push(format!("the ledger needs dead letter {id} (`{key}`), {loss}: {advice}"));
        return Ok(());
    }
    match db.drop_dead_letter(letter.id, AUDIT_WHO, Clock::System.now()).await? {
        true => outcome.n_done += 1,
        false => outcome.refusals.push(no_letter(letter.id)),
    }
    Ok(())
}

async fn drop_job(db: &Db, open: &OpenJob, force: bool, outcome: &mut Outcome) -> anyhow::Result<()> {
    let (job, now) = (&open.job, Clock::System.now());
    let (id, queue) = (job.id, job.queue);
    if let Some(loss) = loses(queue).filter(|_| !force) {
        outcome.refusals.push(format!(
            "the ledger needs job {id} of {queue}, {loss}. A job that fails is tried again and then becomes a dead letter; \
            --force drops it anyway"
        ));
    } else if open.leased_until.is_some_and(|until| until > now) && !force {
        outcome.refusals.push(format!("a worker is working on job {id} of {queue}; --force drops it anyway"));
    } else if db.drop_job(job, AUDIT_WHO, now).await? {
        outcome.n_done += 1;
    } else {
        outcome.refusals.push(format!("job {id} of {queue} was claimed or finished just now; list the jobs again"));
    }
    Ok(())
}

/// Returns every dead letter of an origin, oldest first, so that earlier work is retried earlier.
async fn all(db: &Db, origin: Option<Origin>) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    loop {
        let before = letters.last().map(|letter| letter.id);
        let page = db.dead_letters_of(origin, before, PAGE).await?;
        if page.is_empty() {
            letters.reverse();
            return Ok(letters);
        }
        // Their number has no limit, and their texts are not needed here.
        letters.extend(page.into_iter().map(|letter| DeadLetter { payload: String::new(), ..letter }));
    }
}

fn no_letter(id: i64) -> String {
    format!("there is no dead letter {id}; `polymarketspy jobs list --dead` shows them")
}

fn letters_text(n: usize) -> String {
    if n == 1 { "1 dead letter".to_owned() } else { format!("{n} dead letters") }
}

impl Outcome {
    /// Prints each refusal to standard error and returns the exit code.
    fn report(&self) -> ExitCode {
        for refusal in &self.refusals {
            eprintln!("error: {refusal}");
        }
        if self.refusals.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit_code::NOT_DONE) }
    }
}
