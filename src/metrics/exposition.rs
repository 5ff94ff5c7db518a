//! The Prometheus text format, version 0.0.4: every family once, with its help text and its samples.

use std::fmt::{Display, Write};

use super::instruments::{Histogram, Unit};

/// The names and values of a sample's labels.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// A page of metrics that is being written.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// A family whose header is written; its samples follow.
pub struct Family<'a> {
    page: &'a mut Exposition,
    name: &'static str,
}

impl Exposition {
    /// Begins a counter, which only grows; its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// Begins a gauge, which goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Begins a histogram.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// Returns the text of the page.
    pub fn finish(self) -> String {
        self.0
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        self.line(format_args!("# HELP {name} {}", help.replace('\\', "\\\\").replace('\n', "\\n")));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family { page: self, name }
    }

    fn line(&mut self, text: impl Display) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{text}");
    }
}

impl Family<'_> {
    /// Writes one sample.
    pub fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        let name = self.name;
        self.page.line(format_args!("{name}{} {value}", braces(labels, None)));
        self
    }

    /// Writes a time or a duration, given in milliseconds, in seconds.
    pub fn seconds(&mut self, labels: Labels<'_>, millis: i64) -> &mut Self {
        let sign = if millis < 0 { "-" } else { "" };
        self.sample(labels, format_args!("{sign}{}", seconds_text(millis.unsigned_abs().saturating_mul(1_000))))
    }

    /// Writes the buckets, the sum and the count of a histogram.
    pub fn distribution(&mut self, labels: Labels<'_>, histogram: &Histogram) -> &mut Self {
        let name = self.name;
        let show = |value: u64| match histogram.unit() {
            Unit::Seconds => seconds_text(value),
            Unit::Pieces => value.to_string(),
        };
        let (bounded, total) = histogram.cumulative();
        for (bound, count) in bounded {
            self.page.line(format_args!("{name}_bucket{} {count}", braces(labels, Some(&show(bound)))));
        }
        self.page.line(format_args!("{name}_bucket{} {total}", braces(labels, Some("+Inf"))));
        self.page.line(format_args!("{name}_sum{} {}", braces(labels, None), show(histogram.sum())));
        self.page.line(format_args!("{name}_count{} {total}", braces(labels, None)));
        self
    }
}

fn braces(labels: Labels<'_>, upper: Option<&str>) -> String {
    let labels = labels.iter().copied().chain(upper.map(|upper| ("le", upper)));
    let inside: Vec<String> = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if inside.is_empty() { String::new() } else { format!("{{{}}}", inside.join(",")) }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes microseconds as seconds, without a float.
fn seconds_text(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_reads_as_the_format_wants_it() {
        let waits = Histogram::quick();
        waits.observe(Duration::from_micros(1_500));
        let mut page = Exposition::default();
        page.counter("jobs_total", "Jobs\nof all kinds.").sample(&[("kind", "a\"b\\c\n")], 3).sample(&[], 4);
        page.gauge("age_seconds", "Age.").seconds(&[], -1_250);
        page.histogram("wait_seconds", "Waits.").distribution(&[("queue", "q")], &waits);
        let text = page.finish();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..10],
            [
                "# HELP jobs_total Jobs\\nof all kinds.",
                "# TYPE jobs_total counter",
                "jobs_total{kind=\"a\\\"b\\\\c\\n\"} 3",
                "jobs_total 4",
                "# HELP age_seconds Age.",
                "# TYPE age_seconds gauge",
                "age_seconds -1.25",
                "# HELP wait_seconds Waits.",
                "# TYPE wait_seconds histogram",
                "wait_seconds_bucket{queue=\"q\",le=\"0.001\"} 0",
            ]
        );
        assert_eq!(lines[10], "wait_seconds_bucket{queue=\"q\",le=\"0.0025\"} 1");
        assert_eq!(
            lines[lines.len() - 3..],
            [
                "wait_seconds_bucket{queue=\"q\",le=\"+Inf\"} 1",
                "wait_seconds_sum{queue=\"q\"} 0.0015",
                "wait_seconds_count{queue=\"q\"} 1"
            ]
        );
    }
}
