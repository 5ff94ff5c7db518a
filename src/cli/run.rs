//! `polymarketspy run`, and the life of the process that `demo` shares.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::{App, AppSettings, Role};
use crate::clock::Clock;
use crate::config::Settings;

/// How long what is in flight may take to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct RunArguments {
    /// Which part of the bot this process is. Parts of their own need a database and a Redis that all of them reach.
    #[arg(long, value_enum, default_value = "both")]
    role: Role,
}

pub async fn run(settings: &Settings, arguments: RunArguments) -> anyhow::Result<ExitCode> {
    let settings = AppSettings { role: arguments.role, ..AppSettings::new(settings) };
    let app = App::build(&settings, Clock::System).await?;
    match (app.login_link(), app.url()) {
        (Some(link), _) => println!("polymarketspy is running. Open this link once to sign in:\n\n  {link}\n"),
        (None, Some(url)) => println!("polymarketspy is running. Sign in with GitHub at\n\n  {url}\n"),
        (None, None) => println!("polymarketspy is working. Its pages are served by a process of `--role web`."),
    }
    live(app).await
}

/// Runs until SIGTERM or SIGINT, or until an actor keeps failing.
///
/// # Errors
/// `Failure`, by which `main` knows that the process was given up and is to be started again.
pub async fn live(mut app: App) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let failure = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        failure = app.failed() => Some(failure),
    };
    if tokio::time::timeout(GRACE, app.stop()).await.is_err() {
        tracing::warn!(service = "app", "stopped with work in flight; it goes on at the next start");
    }
    match failure {
        None => Ok(ExitCode::SUCCESS),
        // Said once, by `main`, as the last thing.
        Some(failure) => Err(failure.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::supervise::fault_injection::{InjectPanic, provoke};
    use crate::cli::last_words;
    use crate::testkit::running_bot::RunningBot;

    /// What the program ends with.
    async fn end_of(running: RunningBot) -> (String, ExitCode) {
        let lives = tokio::time::timeout(Duration::from_secs(60), live(running.app)).await;
        last_words(&lives.expect("it ends by itself").expect_err("it was given up"))
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
