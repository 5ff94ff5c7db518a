//! A log line as one flat JSON object: `timestamp`, `level`, `service`, the fields of the spans around it (`actor`,
//! `user_id`), its own fields, `message`, `target`.
//!
//! It is flat so that a search for `user_id` finds the line, whether the line or a span around it has that field.

use std::io::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// The service of a line outside of all spans that set one.
const SERVICE: &str = "app";

/// A layer that writes each log line as JSON.
pub(crate) struct JsonLines<W> {
    writer: W,
}

/// Fields of a span, kept with it.
struct SpanFields(Map<String, Value>);

struct Collected<'a>(&'a mut Map<String, Value>);

impl<W> JsonLines<W> {
    pub fn new(writer: W) -> Self {
        Self { writer }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id) {
            let mut fields = Map::new();
            attributes.record(&mut Collected(&mut fields));
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id)
            && let Some(SpanFields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(&mut Collected(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut own = Map::new();
        event.record(&mut Collected(&mut own));
        // A line from the `log` crate has its target in a field.
        let target = own.remove("log.target").unwrap_or_else(|| event.metadata().target().into());
        own.retain(|name, _| !name.starts_with("log."));

        let mut line = Map::new();
        line.insert("timestamp".to_owned(), Clock::System.now().iso().into());
        line.insert("level".to_owned(), event.metadata().level().as_str().into());
        line.insert("service".to_owned(), SERVICE.into());
        line.insert("target".to_owned(), target);
        // From the outermost span to the innermost: the inner value of a field wins.
        for span in ctx.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.extend(fields.clone());
            }
        }
        line.extend(own);
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // There is no other place to report that the log cannot be written.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(text.as_bytes());
    }
}

impl Visit for Collected<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

impl Collected<'_> {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

/// Called by a test before it listens to the log of its own thread. While only one subscriber is registered, the first
/// thread that reaches a span asks its own subscriber, which may be none, and caches the answer for all threads. With a
/// second subscriber it asks all of them.
#[cfg(test)]
pub(crate) fn may_listen() {
    static SECOND: std::sync::LazyLock<tracing::Dispatch> =
        std::sync::LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));
    std::sync::LazyLock::force(&SECOND);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `say` logs.
    fn logged(say: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::registry().with(JsonLines::new(move || writer.clone()));
        may_listen();
        tracing::subscriber::with_default(subscriber, say);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_the_fields_of_the_spans_around_it_and_its_own() {
        let lines = logged(|| {
            let actor = tracing::error_span!("actor", service = "worker", actor = "poller:7", user_id = "7");
            let _in_actor = actor.enter();
            let request = tracing::error_span!("request", status = tracing::field::Empty);
            let _in_request = request.enter();
            request.record("status", 200);
            tracing::warn!(n = 3, event = %"a1", "two\nlines \"quoted\"");
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        for (name, expected) in [
            ("level", Value::from("WARN")),
            ("service", "worker".into()),
            ("actor", "poller:7".into()),
            ("user_id", "7".into()),
            ("status", 200.into()),
            ("n", 3.into()),
            ("event", "a1".into()),
            ("message", "two\nlines \"quoted\"".into()),
        ] {
            assert_eq!(line[name], expected, "{line}");
        }
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
        assert!(line["target"].as_str().unwrap().starts_with("polymarketspy::telemetry"), "{line}");
    }

    #[test]
    fn a_line_outside_of_all_spans_has_a_service_too() {
        let lines = logged(|| tracing::info!("started"));
        assert_eq!((&lines[0]["service"], &lines[0]["message"]), (&"app".into(), &"started".into()));
    }
}
