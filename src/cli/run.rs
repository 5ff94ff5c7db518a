//! `polymarketspy run`, and the process of the running bot, which `demo` shares.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::actors::supervise::Failure;
use crate::app::{App, AppSettings, Role};
use crate::clock::Clock;
use crate::config::Settings;

/// How long work in flight may take to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct RunArguments {
    /// Which part of the bot this process runs. Separate parts need a database and a Redis that all of them reach.
    #[arg(long, value_enum, default_value = "both")]
    role: Role,
}

pub async fn run(settings: &Settings, arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let settings = AppSettings { role: arguments.role, ..AppSettings::new(settings) };
    let app = App::build(&settings, Clock::System).await?;
    match (app.login_link(), app.url()) {
        (Some(link), _) => println!("polymarketspy is running. Open this link once to sign in:\n\n  {link}\n"),
        (None, Some(url)) => println!("polymarketspy is running. Sign in with GitHub at\n\n  {url}\n"),
        (None, None) => println!("polymarketspy is running as a worker. A process with `--role web` serves its pages."),
    }
    run_until_stopped(app).await
}

/// Runs the bot until SIGTERM, SIGINT or SIGHUP, or until it cannot go on.
///
/// # Errors
/// [`Failure`] when an actor keeps failing or the database file is gone: `main` then exits with
/// [`NEEDS_ATTENTION`](super::exit_code::NEEDS_ATTENTION), so that the process is started again.
pub async fn run_until_stopped(mut app: App) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    // The terminal or the connection that the bot was started from was closed. Without this the process ends in the
    // middle of its work, and without a word.
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        _ = hangup.recv() => {
            tracing::warn!(service = "app", "SIGHUP: the bot stops; a service manager or `nohup` keeps it running");
            None
        }
        failure = app.failed() => Some(failure),
    };
    if let Some(gone @ Failure::Outside(_)) = failure {
        // Nothing more is written, and no connection is closed: SQLite removes the log beside the path when the last one
        // closes, and another database may be at that path now.
        std::mem::forget(app.database().clone());
        return Err(gone.into());
    }
    if tokio::time::timeout(GRACE, app.stop()).await.is_err() {
        tracing::warn!(service = "app", "stopped with work in flight; the next start continues it");
    }
    match failure {
        None => Ok(ExitCode::SUCCESS),
        // `main` reports it, once, as its last line.
        Some(failure) => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::supervise::fault_injection::{InjectPanic, provoke};
    use crate::cli::exit_code;
    use crate::testkit::running_bot::RunningBot;

    /// Returns the last line on standard error and the exit code.
    async fn end_of(running: RunningBot) -> (String, ExitCode) {
        let ended = tokio::time::timeout(Duration::from_secs(60), run_until_stopped(running.app)).await;
        exit_code::of_error(&ended.expect("the bot stops by itself").expect_err("an actor kept failing"))
    }

    #[actix_web::test]
    async fn an_actor_that_fails_again_and_again_ends_the_process_with_its_name_and_the_reason() {
        let running = RunningBot::on_sqlite().await;
        for _ in 0..=crate::actors::supervise::RESTARTS_ALLOWED {
            provoke("grouper", InjectPanic::InHandler);
        }
        let said = "error: actor `grouper` keeps failing: it panicked: provoked in a handler";
        assert_eq!(end_of(running).await, (said.to_owned(), ExitCode::from(1)));
    }

    #[actix_web::test]
    async fn a_bot_whose_actors_fail_one_after_the_other_ends_the_process_too() {
        let running = RunningBot::on_sqlite().await;
        for actor in ["grouper", "ingestor", "book_fetcher", "settler", "price_refresher", "reconciler"] {
            provoke(actor, InjectPanic::InHandler);
        }
        let (said, code) = end_of(running).await;
        let reason = "6 actors were restarted within a minute, the last because it panicked: provoked in a handler";
        assert!(said.starts_with("error: actor `") && said.ends_with(reason), "{said}");
        assert_eq!(code, ExitCode::from(1));
    }
}
