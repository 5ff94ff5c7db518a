//! Logs: one line a fact, for people in a terminal and as JSON everywhere else (spec section 13).

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogSettings;

/// Starts logging to standard error, which leaves standard output to what a command answers.
pub fn start(settings: &LogSettings) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    // A second start in one process (tests) keeps the first.
    let _ = if std::io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(std::io::stderr).compact()).try_init()
    } else {
        registry.with(fmt::layer().with_writer(std::io::stderr).json().flatten_event(true)).try_init()
    };
}
