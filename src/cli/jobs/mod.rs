//! `polymarketspy jobs`: open work, and work that failed for good. A running bot takes what is sent round within seconds.

use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use crate::config::Settings;
use crate::db::Origin;
use crate::queue::Queue;

mod clear;
mod list;

#[derive(Args)]
pub struct JobsArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the queues, their open jobs and the dead letters. Exits 1 when dead letters wait for somebody.
    #[command(after_help = "Exit codes: 0 no dead letters, 1 dead letters wait for somebody, 2 it could not be done.")]
    List(ListArguments),
    /// Sends dead letters round again, with all their tries before them.
    #[command(after_help = RETRY_HELP)]
    Retry(RetryArguments),
    /// Puts dead letters, or open jobs, away for good. What they name stays recorded.
    #[command(after_help = DROP_HELP)]
    Drop(DropArguments),
}

const RETRY_HELP: &str = "A running bot takes them within a second or two; without one they wait for the next start. \
A letter of origin `row` is a row of an answer that nobody could read: there is no job to send round.\n\n\
Exit codes: 0 all were sent round, 2 some could not be.";

const DROP_HELP: &str = "Each drop is in the audit log with its content, and no event is ever deleted. Work of \
q_ingest_events, q_group_events, q_copy_attempt_user and q_copy_attempt_global is owed to the ledger: dropped, its fill \
or group will never be booked, copied or decided. That needs --force, and so does a job that somebody is working on.\n\n\
Exit codes: 0 all were put away, 2 some could not be.";

#[derive(Args)]
struct ListArguments {
    /// Only of this queue; `row` is for rows that could not be read.
    #[arg(long, value_parser = origin())]
    queue: Option<Origin>,
    /// Only the dead letters.
    #[arg(long)]
    dead: bool,
    /// Jobs, and dead letters, shown at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Prints JSON: `queues`, `jobs` and `dead_letters`, with the column names of the database.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RetryArguments {
    /// Numbers that `jobs list` shows.
    #[arg(value_name = "DEAD LETTER", required_unless_present = "all", conflicts_with = "all")]
    letters: Vec<i64>,
    /// Every dead letter that is a job.
    #[arg(long)]
    all: bool,
    /// With --all: only those of this queue.
    #[arg(long, value_parser = origin(), requires = "all")]
    queue: Option<Origin>,
}

#[derive(Args)]
struct DropArguments {
    /// Numbers of dead letters that `jobs list` shows.
    #[arg(value_name = "DEAD LETTER", required_unless_present_any = ["all", "job"], conflicts_with_all = ["all", "job"])]
    letters: Vec<i64>,
    /// Every dead letter.
    #[arg(long, conflicts_with = "job")]
    all: bool,
    /// With --all: only those of this queue; `row` is for rows that could not be read.
    #[arg(long, value_parser = origin(), requires = "all")]
    queue: Option<Origin>,
    /// An open job, by its number; may be given several times.
    #[arg(long, value_name = "JOB")]
    job: Vec<i64>,
    /// Also what is owed to the ledger, and what somebody is working on.
    #[arg(long)]
    force: bool,
}

pub async fn jobs(settings: &Settings, arguments: JobsArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::List(arguments) => list::list(settings, &arguments).await,
        Command::Retry(arguments) => clear::retry(settings, arguments).await,
        Command::Drop(arguments) => clear::put_away(settings, arguments).await,
    }
}

/// What dropping work of a queue loses; `None` when nothing that is owed to the ledger.
const fn loses(queue: Queue) -> Option<&'static str> {
    match queue {
        Queue::IngestEvents => Some("its event would never reach its leader's shadow ledger"),
        Queue::GroupEvents => Some("its fill would join no group and never be copied"),
        Queue::CopyAttemptUser => Some("its group would never be decided in its leader's own portfolio"),
        Queue::CopyAttemptGlobal => Some("its group would never be decided in the shared portfolio"),
        // The state is folded from the ledger, the next look asks again, the next price comes in 30 s.
        Queue::PortfolioApply | Queue::Reconcile | Queue::Prices => None,
    }
}

/// A queue's name, or `row`; anything else is refused with the list.
fn origin() -> impl TypedValueParser<Value = Origin> {
    let names = Queue::ALL.iter().map(|queue| queue.as_str()).chain([Origin::Row.as_str()]);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Origin>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_to_the_ledger_is_told_from_what_is_not() {
        let harmless: Vec<Queue> = Queue::ALL.iter().copied().filter(|queue| loses(*queue).is_none()).collect();
        assert_eq!(harmless, [Queue::PortfolioApply, Queue::Reconcile, Queue::Prices]);
    }
}
