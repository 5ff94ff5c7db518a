//! `polymarketspy jobs`: open jobs, and dead letters. A running bot takes a requeued job within seconds.

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
    /// Shows the queues, their open jobs and the dead letters. Exits with 1 when there are dead letters.
    #[command(after_help = "Exit codes: 0 no dead letters, 1 there are dead letters, 2 failed.")]
    List(ListArguments),
    /// Requeues dead letters with all their retries.
    #[command(after_help = RETRY_HELP)]
    Retry(RetryArguments),
    /// Drops dead letters, or open jobs, for good. The records they name stay.
    #[command(after_help = DROP_HELP)]
    Drop(DropArguments),
}

const RETRY_HELP: &str = "A running bot takes the requeued jobs within a second or two; otherwise they wait for the next start. \
A dead letter of origin `row` is an unreadable row of an answer: it has no job to requeue.\n\n\
Exit codes: 0 all were requeued, 2 some could not be.";

const DROP_HELP: &str = "Each drop is in the audit log with its content, and no event is ever deleted. The ledger needs the jobs of \
q_ingest_events, q_group_events, q_copy_attempt_user and q_copy_attempt_global: without its job a fill or a group is never \
booked, copied or decided. To drop one of them needs --force, and so does a job that a worker is working on.\n\n\
Exit codes: 0 all were dropped, 2 some could not be.";

#[derive(Args)]
struct ListArguments {
    /// Only this queue; `row` means rows that could not be read.
    #[arg(long, value_parser = origin())]
    queue: Option<Origin>,
    /// Only the dead letters.
    #[arg(long)]
    dead: bool,
    /// How many jobs, and how many dead letters, to show at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
    /// Prints JSON: `queues`, `jobs` and `dead_letters`, with the column names of the database.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RetryArguments {
    /// Numbers from `jobs list`.
    #[arg(value_name = "DEAD LETTER", required_unless_present = "all", conflicts_with = "all")]
    letters: Vec<i64>,
    /// Every dead letter that has a job.
    #[arg(long)]
    all: bool,
    /// With --all: only this queue.
    #[arg(long, value_parser = origin(), requires = "all")]
    queue: Option<Origin>,
}

#[derive(Args)]
struct DropArguments {
    /// Numbers of dead letters from `jobs list`.
    #[arg(value_name = "DEAD LETTER", required_unless_present_any = ["all", "job"], conflicts_with_all = ["all", "job"])]
    letters: Vec<i64>,
    /// Every dead letter.
    #[arg(long, conflicts_with = "job")]
    all: bool,
    /// With --all: only this queue; `row` means rows that could not be read.
    #[arg(long, value_parser = origin(), requires = "all")]
    queue: Option<Origin>,
    /// Number of an open job; may be given several times.
    #[arg(long, value_name = "JOB")]
    job: Vec<i64>,
    /// Drops also jobs that the ledger needs, and jobs that a worker is working on.
    #[arg(long)]
    force: bool,
}

pub async fn jobs(settings: &Settings, arguments: JobsArguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::List(arguments) => list::list(settings, &arguments).await,
        Command::Retry(arguments) => clear::retry(settings, arguments).await,
        Command::Drop(arguments) => clear::drop_all(settings, arguments).await,
    }
}

/// Returns what is lost when a job of this queue is dropped; `None` when the ledger does not need it.
const fn loses(queue: Queue) -> Option<&'static str> {
    match queue {
        Queue::IngestEvents => Some("its event would never reach its leader's shadow ledger"),
        Queue::GroupEvents => Some("its fill would join no group and never be copied"),
        Queue::CopyAttemptUser => Some("its group would never be decided in its leader's own portfolio"),
        Queue::CopyAttemptGlobal => Some("its group would never be decided in the shared portfolio"),
        // The state is rebuilt from the ledger, the next reconciliation asks again, the next price comes within 30 s.
        Queue::PortfolioApply | Queue::Reconcile | Queue::Prices => None,
    }
}

/// Parses the name of a queue, or `row`; the error for any other text lists them.
fn origin() -> impl TypedValueParser<Value = Origin> {
    let names = Queue::ALL.iter().map(|queue| queue.as_str()).chain([Origin::Row.as_str()]);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Origin>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_jobs_that_the_ledger_needs_lose_something() {
        let harmless: Vec<Queue> = Queue::ALL.iter().copied().filter(|queue| loses(*queue).is_none()).collect();
        assert_eq!(harmless, [Queue::PortfolioApply, Queue::Reconcile, Queue::Prices]);
    }
}
