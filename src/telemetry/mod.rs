//! Logs: one line per event, as text in a terminal and as JSON everywhere else (spec 13).

pub(crate) mod json;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogSettings;
use json::JsonLines;

/// Starts logging to standard error; standard output is for the answers of commands.
pub fn start(settings: &LogSettings) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged));
    // A second start in one process (tests) keeps the first.
    let _ = if is_json() {
        registry.with(JsonLines::new(std::io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().with_writer(std::io::stderr).compact()).try_init()
    };
    std::panic::set_hook(Box::new(log_panic));
}

/// Returns whether log lines are JSON.
pub fn is_json() -> bool {
    !std::io::stderr().is_terminal()
}

/// Lets lines below `info` through only if they are ours, whatever the filter says: at these levels other crates print data
/// that passes through them, for example request headers, and we cannot know what their next version adds.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target().starts_with("polymarketspy")
}

/// Logs a panic as a line like any other, with the fields of the actor in which it happened.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let at = panic.location().map(tracing::field::display);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace));
    tracing::error!(at, panic = text.unwrap_or("no text"), backtrace, "a panic");
}
