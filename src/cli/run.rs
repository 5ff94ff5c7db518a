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
    match app.login_link() {
        Some(link) => println!("polymarketspy is running. Open this link once to sign in:\n\n  {link}\n"),
        None => println!("polymarketspy is working. Its pages are served by a process of `--role web`."),
    }
    live(app).await
}

/// Runs until SIGTERM or SIGINT (exit code 0), or until the root gives up (exit code 1).
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
        Some(failure) => {
            tracing::error!(service = "app", error = %failure, "the process ends: an actor keeps failing");
            Ok(ExitCode::FAILURE)
        }
    }
}
