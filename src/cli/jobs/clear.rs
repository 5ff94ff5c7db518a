//! `polymarketspy jobs retry` and `jobs drop`: what failed is sent round again, or put away.

use std::process::ExitCode;

use super::{DropArguments, RetryArguments, loses};
use crate::cli::migrate::open;
use crate::cli::terminal::{say, shortened};
use crate::cli::{COULD_NOT, WHO};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{Db, DeadLetter, Origin, Replay};
use crate::queue::{self, OpenJob};

/// Dead letters read at a time.
const PAGE: i64 = 500;
const KEY_SHOWN: usize = 60;

/// What was done, and what was not and why.
#[derive(Default)]
struct Outcome {
    n_done: usize,
    refusals: Vec<String>,
}

pub async fn retry(settings: &Settings, arguments: RetryArguments) -> anyhow::Result<ExitCode> {
    let db = open(settings).await?;
    let mut outcome = Outcome::default();
    if arguments.all {
        // Nobody meant the rows by "all": leaving them is no failure.
        let letters = all(&db, arguments.queue).await?;
        let (jobs, rows): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| letter.queue.is_some());
        for letter in &jobs {
            retry_one(&db, letter, &mut outcome).await?;
        }
        if !rows.is_empty() {
            say(&format!(
                "Left, because there is no job to send round: rows that could not be read ({}).",
                rows.len()
            ))?;
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
    let when = if waits { " No bot runs now: they wait for the next start." } else { "" };
    say(&format!("{} sent round again.{when}", letters_text(outcome.n_done)))?;
    Ok(outcome.told())
}

pub async fn put_away(settings: &Settings, arguments: DropArguments) -> anyhow::Result<ExitCode> {
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
            None => {
                outcome.refusals.push(format!("no open job has the number {id}; `polymarketspy jobs list` shows them"))
            }
        }
    }
    db.close().await;
    if arguments.job.is_empty() {
        say(&format!("{} put away. What they name stays recorded.", letters_text(n_letters)))?;
    } else {
        let n = outcome.n_done;
        let jobs = if n == 1 { "1 open job".to_owned() } else { format!("{n} open jobs") };
        say(&format!("{jobs} put away. What they name stays recorded."))?;
    }
    Ok(outcome.told())
}

async fn retry_one(db: &Db, letter: &DeadLetter, outcome: &mut Outcome) -> anyhow::Result<()> {
    if letter.queue.is_none() {
        outcome.refusals.push(format!(
            "dead letter {} is a row that could not be read, no job: there is nothing to send round. A version that can \
            read it takes it with the next `backfill` over its time; `jobs drop {}` puts it away",
            letter.id, letter.id
        ));
        return Ok(());
    }
    match db.replay_dead_letter(letter.id, WHO, Clock::System.now()).await? {
        Replay::Queued(_) => outcome.n_done += 1,
        Replay::NotReplayable => outcome.refusals.push(no_letter(letter.id)),
    }
    Ok(())
}

async fn drop_letter(db: &Db, letter: &DeadLetter, force: bool, outcome: &mut Outcome) -> anyhow::Result<()> {
    let loss = letter.queue.and_then(loses);
    if let Some(loss) = loss.filter(|_| !force) {
        let (id, key) = (letter.id, shortened(&letter.key, KEY_SHOWN));
        let advice = format!("`jobs retry {id}` tries it again, --force drops it all the same");
        outcome.refusals.push(format!("dead letter {id} (`{key}`) is owed to the ledger, {loss}: {advice}"));
        return Ok(());
    }
    match db.drop_dead_letter(letter.id, WHO, Clock::System.now()).await? {
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
            "job {id} of {queue} is owed to the ledger, {loss}. A job that fails is tried again and then becomes a dead \
            letter; --force drops it all the same"
        ));
    } else if open.leased_until.is_some_and(|until| until > now) && !force {
        outcome.refusals.push(format!("job {id} of {queue} is being worked on; --force drops it all the same"));
    } else if db.drop_job(job, WHO, now).await? {
        outcome.n_done += 1;
    } else {
        outcome.refusals.push(format!("job {id} of {queue} was taken or finished just now; look again"));
    }
    Ok(())
}

/// Every dead letter of an origin, the first first: what was wanted earlier is tried again earlier.
async fn all(db: &Db, origin: Option<Origin>) -> anyhow::Result<Vec<DeadLetter>> {
    let mut letters: Vec<DeadLetter> = Vec::new();
    loop {
        let before = letters.last().map(|letter| letter.id);
        let page = db.dead_letters_of(origin, before, PAGE).await?;
        if page.is_empty() {
            letters.reverse();
            return Ok(letters);
        }
        letters.extend(page);
    }
}

fn no_letter(id: i64) -> String {
    format!("no dead letter with the number {id} waits; `polymarketspy jobs list --dead` shows them")
}

fn letters_text(n: usize) -> String {
    if n == 1 { "1 dead letter".to_owned() } else { format!("{n} dead letters") }
}

impl Outcome {
    /// Says on standard error what was refused.
    fn told(&self) -> ExitCode {
        for refusal in &self.refusals {
            eprintln!("error: {refusal}");
        }
        if self.refusals.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(COULD_NOT) }
    }
}
