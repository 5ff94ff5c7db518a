//! Logs: one line per event, as text in a terminal and as JSON everywhere else (spec 13).

pub(crate) mod json;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogSettings;
use json::JsonLines;

/// Starts logging to standard error; standard output is for the answers of commands.
pub fn start(settings: &LogSettings) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let broken_requests = BrokenRequests { shown: filter.max_level_hint().is_some_and(|level| level >= Level::DEBUG) };
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(may_be_logged)).with(broken_requests);
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

/// Lets lines about requests that are not HTTP, or end in the middle, through only with a filter that asks for `debug`:
/// any stranger can cause them, and the server logs each as an error.
struct BrokenRequests {
    shown: bool,
}

impl<S: Subscriber> Layer<S> for BrokenRequests {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if self.shown || event.metadata().target() != "actix_http::h1::dispatcher" {
            return true;
        }
        let mut begins = Begins(false);
        event.record(&mut begins);
        !begins.0
    }
}

/// Whether the message of an event begins as that of a broken request.
struct Begins(bool);

impl Visit for Begins {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 |= field.name() == "message" && format!("{value:?}").starts_with("stream error");
    }
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Counts the events that reach it.
    struct Counting(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Counting {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(event.metadata().level().to_string());
        }
    }

    #[test]
    fn a_broken_request_is_logged_only_when_the_filter_asks_for_debug() {
        for (shown, expected) in [(false, 2), (true, 3)] {
            let seen = Arc::default();
            let registry =
                tracing_subscriber::registry().with(BrokenRequests { shown }).with(Counting(Arc::clone(&seen)));
            tracing::subscriber::with_default(registry, || {
                tracing::error!(target: "actix_http::h1::dispatcher", "stream error: {}", "invalid Header provided");
                tracing::error!(target: "actix_http::h1::dispatcher", "Response payload stream error: {}", "ours");
                tracing::error!(target: "polymarketspy::web", "stream error: {}", "of another part");
            });
            assert_eq!(seen.lock().unwrap().len(), expected, "shown {shown}");
        }
    }
}
