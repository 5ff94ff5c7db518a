//! The command line. Only this module and `main` use `anyhow`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{LogSettings, Settings};
use crate::telemetry;

mod account;
mod admin;
mod audit;
mod backfill;
mod backup;
mod config;
mod database;
mod db;
mod demo;
mod doctor;
mod exit_code;
mod jobs;
mod measure;
mod migrate;
mod run;
mod setting_flags;
mod tail;
mod terminal;
mod token;
mod users;

use setting_flags::SettingFlags;

/// A paper copy-trading bot for Polymarket: what would copying a trader really have earned?
#[derive(Parser)]
#[command(name = "polymarketspy", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes of every command: 0 success, 1 the result needs attention (each command says when), 2 the command \
        failed or the command line is invalid.\n\nOnly from the environment or the settings file: SESSION_SECRET, at least 64 characters that sign and \
        encrypt sessions (without it all sessions end with the process), and GITHUB_CLIENT_SECRET."
)]
struct Arguments {
    #[command(flatten)]
    settings: SettingFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the bot: follows the enabled traders and serves the dashboard. Exits with 1 when a part of it keeps failing, or
    /// its database file is removed or replaced.
    Run(run::RunArguments),
    /// Runs the bot against the built-in exchange simulator, with a day of history. Needs no settings and no network.
    Demo(demo::DemoArguments),
    /// Follows a trader, given by wallet or by exact profile name.
    Follow(users::FollowArguments),
    /// Stops following a trader. Recorded data stays.
    Unfollow(users::UnfollowArguments),
    /// Lists the followed traders.
    #[command(after_help = "Exit codes: 0 listed, 2 failed.")]
    Users(users::UsersArguments),
    /// Reads the last hours again, to find fills that the bot may have missed.
    #[command(after_help = backfill::HELP)]
    Backfill(backfill::BackfillArguments),
    /// Shows trades and copy attempts as they are recorded, one per line, until Ctrl-C.
    #[command(after_help = tail::HELP)]
    Tail(tail::TailArguments),
    /// Shows and changes the sizing of copies and their guardrails.
    Config(config::ConfigArguments),
    /// Shows our accounts, moves cash in and out, and closes what they hold.
    Account(account::AccountArguments),
    /// Shows the queues, requeues failed work, or drops it.
    Jobs(jobs::JobsArguments),
    /// Creates, lists and revokes API tokens for scripts.
    #[command(after_help = token::HELP)]
    Token(token::TokenArguments),
    /// Sets which e-mail addresses may sign in with GitHub.
    #[command(after_help = admin::HELP)]
    Admin(admin::AdminArguments),
    /// Recomputes every portfolio from the whole ledger and compares. Exits with 1 when anything differs.
    #[command(after_help = "Exit codes: 0 the books agree, 1 something differs, 2 failed.")]
    Audit(audit::AuditArguments),
    /// Copies the database into an archive; the bot may go on running.
    #[command(after_help = backup::HELP)]
    Backup(backup::BackupArguments),
    /// Restores an archive into an empty database.
    #[command(after_help = backup::RESTORE_HELP)]
    Restore(backup::RestoreArguments),
    /// Returns to the disk the room that deleted and packed rows leave.
    #[command(after_help = db::HELP)]
    Db(db::DbArguments),
    /// Migrates the database to this program's schema.
    Migrate,
    /// Checks settings, database, upstreams and clock, and advises what to do. Exits with 1 when something is wrong.
    #[command(after_help = "Exit codes: 0 nothing is wrong (warnings do not count), 1 something is wrong, 2 failed.")]
    Doctor(doctor::DoctorArguments),
    /// Pushes generated fills through the whole pipeline on a temporary database and prints measurements.
    Load(measure::load::LoadArguments),
    /// Writes a large generated history into an empty database, to measure on.
    #[command(after_help = measure::generate::HELP)]
    Generate(measure::generate::GenerateArguments),
    /// Measures the pages, the cost of live sockets to the server, or a what-if test.
    #[command(after_help = measure::HELP)]
    Measure(measure::MeasureArguments),
    /// Runs workers while upstreams fail and workers are killed, then checks that nothing is missing. Exits with 1 if something is.
    Soak(measure::soak::SoakArguments),
}

/// Parses the command line, runs the command, and prints its error to standard error.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_run = matches!(arguments.command, Command::Run(_));
    match execute(arguments) {
        Ok(code) => code,
        Err(error) => {
            let (message, code) = exit_code::of_error(&error);
            if is_run && telemetry::is_json() {
                // The settings may be invalid, and then logging has not been started yet.
                telemetry::start(&LogSettings { level: "info".to_owned() });
                let error = message.trim_start_matches("error: ");
                tracing::error!(service = "app", error, "the bot cannot run");
            } else {
                eprintln!("{message}");
            }
            code
        }
    }
}

fn execute(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let settings = Settings::parse(&arguments.settings.into_sources()?)?;
    telemetry::start(&settings.log);
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a TLS provider is already installed"))?;
    actix::System::new().block_on(async {
        outlive_file_size_limit()?;
        match arguments.command {
            Command::Run(arguments) => run::run(&settings, arguments).await,
            Command::Demo(arguments) => demo::demo(settings, arguments).await,
            Command::Follow(arguments) => users::follow(&settings, arguments).await,
            Command::Unfollow(arguments) => users::unfollow(&settings, arguments).await,
            Command::Users(arguments) => users::list(&settings, arguments).await,
            Command::Backfill(arguments) => backfill::backfill(&settings, arguments).await,
            Command::Tail(arguments) => tail::tail(&settings, &arguments).await,
            Command::Config(arguments) => config::config(&settings, arguments).await,
            Command::Account(arguments) => account::account(&settings, arguments).await,
            Command::Jobs(arguments) => jobs::jobs(&settings, arguments).await,
            Command::Token(arguments) => token::token(&settings, arguments).await,
            Command::Admin(arguments) => admin::admin(&settings, arguments).await,
            Command::Audit(arguments) => audit::audit(&settings, arguments).await,
            Command::Backup(arguments) => backup::backup(&settings, arguments).await,
            Command::Restore(arguments) => backup::restore(&settings, arguments).await,
            Command::Db(arguments) => db::db(&settings, arguments).await,
            Command::Migrate => migrate::migrate(&settings).await,
            Command::Doctor(arguments) => doctor::doctor(&settings, arguments).await,
            Command::Load(arguments) => measure::load::load(settings, arguments).await,
            Command::Generate(arguments) => measure::generate::generate(&settings, arguments).await,
            Command::Measure(arguments) => measure::measure(&settings, arguments).await,
            Command::Soak(arguments) => measure::soak::soak(&settings, arguments).await,
        }
    })
}

/// Makes a write over the limit of `ulimit -f` an error of that write, as on a full disk, and not the end of the process
/// without a word. The bot goes on when the limit is raised; a command says which file is too large.
fn outlive_file_size_limit() -> anyhow::Result<()> {
    let mut exceeded = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    actix::spawn(async move {
        if exceeded.recv().await.is_some() {
            tracing::error!(
                service = "app",
                "SIGXFSZ: a file reached the limit of `ulimit -f`; raise it (`prlimit --fsize`)"
            );
        }
    });
    Ok(())
}
