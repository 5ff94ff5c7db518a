//! Logs: one line a fact, for people in a terminal and as JSON everywhere else (spec section 13).

pub(crate) mod json;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::{Level, Metadata};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogSettings;
use json::JsonLines;

/// Starts logging to standard error, which leaves standard output to what a command answers.
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

/// Whether logs are for programs.
pub fn is_json() -> bool {
    !std::io::stderr().is_terminal()
}

/// Below `info` only our own lines, whatever the filter says: other crates print there what passes through them, heads
/// of requests among it, and what the next version of one of them adds is not ours to know.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || metadata.target().starts_with("polymarketspy")
}

/// A panic is a line of the log like any other, with the names of the actor it happened in.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let at = panic.location().map(tracing::field::display);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(&backtrace));
    tracing::error!(at, panic = text.unwrap_or("no text"), backtrace, "a panic");
}
