//! What goes wrong on command: on which host, which route, how often.

use serde_json::{Value, json};

use crate::domain::money::units::Timestamp;

use crate::simulator::life::rng::Dice;
use crate::simulator::routes::answer::{Answer, Host};

/// One planned misfortune.
#[derive(Debug, Clone)]
pub struct Fault {
    pub host: Host,
    /// Requests whose path and query contain this; all when empty.
    pub route: String,
    pub kind: FaultKind,
    /// This many matching requests go through first: "429 on the third page".
    pub after: u32,
    pub times: Times,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    /// The next so many.
    Next(u32),
    Always,
    /// Each time with this probability, thrown with the simulator's own dice.
    Chance(f64),
}

#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    TooManyRequests(RetryAfter),
    /// The host's own JSON error with this status: 425, 500, 502, 503 …
    Status(u16),
    /// A proxy's HTML page with this status, 200 included.
    Html(u16),
    /// The true answer, cut in half.
    CutBody,
    EmptyBody,
    /// This body instead of the true one, with status 200.
    Body(String),
    /// The true answer, this many milliseconds late.
    Delay(u64),
    /// No answer for as long as the simulator lives.
    Hang,
    /// Every listed row is of a kind nobody has heard of.
    UnknownKind,
    /// Every object carries a field nobody has heard of.
    UnknownFields,
}

/// What a 429 says about coming back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// Nothing, in plain text: what was seen in life.
    Silent,
    /// Nothing, in HTML.
    Html,
    Seconds(u32),
    /// An HTTP date this many seconds ahead.
    Date(u32),
}

/// How long to wait before answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Not,
    Millis(u64),
    ForEver,
}

#[derive(Debug)]
pub struct Faults {
    planned: Vec<Fault>,
    dice: Dice,
}

impl Fault {
    /// The next request to this route goes wrong, once.
    pub fn once(host: Host, route: &str, kind: FaultKind) -> Self {
        Self { host, route: route.to_owned(), kind, after: 0, times: Times::Next(1) }
    }

    pub fn times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    pub fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self { planned: Vec::new(), dice: Dice::named(seed, "faults", 0) }
    }

    pub fn plan(&mut self, fault: Fault) {
        self.planned.push(fault);
    }

    pub fn clear(&mut self) {
        self.planned.clear();
    }

    /// The routes of those still to come, not counting chances.
    pub fn due(&self) -> Vec<String> {
        let due = self.planned.iter().filter(|fault| matches!(fault.times, Times::Next(n) if n > 0));
        due.map(|fault| fault.route.clone()).collect()
    }

    /// What befalls this request, if anything. The first planned fault that strikes wins.
    pub fn strike(&mut self, host: Host, path_and_query: &str) -> Option<FaultKind> {
        let dice = &mut self.dice;
        let matching =
            self.planned.iter_mut().filter(|fault| fault.host == host && path_and_query.contains(fault.route.as_str()));
        for fault in matching {
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            let strikes = match &mut fault.times {
                Times::Always => true,
                Times::Next(0) => false,
                Times::Next(left) => {
                    *left -= 1;
                    true
                }
                Times::Chance(probability) => dice.chance(*probability),
            };
            if strikes {
                return Some(fault.kind.clone());
            }
        }
        None
    }
}

impl FaultKind {
    /// Whether the true answer is not needed at all.
    pub fn replaces_answer(&self) -> bool {
        !matches!(self, Self::CutBody | Self::Delay(_) | Self::UnknownKind | Self::UnknownFields)
    }

    pub fn wait(&self) -> Wait {
        match self {
            Self::Delay(millis) => Wait::Millis(*millis),
            Self::Hang => Wait::ForEver,
            _ => Wait::Not,
        }
    }

    /// The spoiled form of `truth`.
    pub fn spoil(&self, host: Host, truth: Answer, now: Timestamp) -> Answer {
        match self {
            Self::TooManyRequests(retry) => retry.answer(now),
            Self::Status(status) => Answer::error(host, *status, reason(*status)),
            Self::Html(status) => Answer::html(*status, reason(*status)),
            Self::CutBody => {
                let half = truth.body.len() / 2;
                Answer { body: truth.body[..half].to_vec(), ..truth }
            }
            Self::EmptyBody => Answer { body: Vec::new(), ..truth },
            Self::Body(body) => Answer { status: 200, body: body.clone().into_bytes(), ..truth },
            Self::Delay(_) | Self::Hang => truth,
            Self::UnknownKind => truth.rewritten(&|value| {
                if let Some(kind) = value.get_mut("type") {
                    *kind = json!("TELEPORT");
                }
            }),
            Self::UnknownFields => truth.rewritten(&|value| {
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("shoe_size".to_owned(), json!({"eu": 46.5, "notes": [null, "<b>wide</b>"]}));
                }
            }),
        }
    }
}

impl RetryAfter {
    fn answer(self, now: Timestamp) -> Answer {
        let plain = Answer::text(429, "error code: 1015");
        match self {
            Self::Silent => plain,
            Self::Html => Answer::html(429, "Too Many Requests"),
            Self::Seconds(seconds) => plain.with_header("Retry-After", seconds.to_string()),
            Self::Date(seconds) => {
                let at = now.plus_millis(i64::from(seconds) * 1000);
                let date = chrono::DateTime::from_timestamp_millis(at.millis()).unwrap_or_default();
                plain.with_header("Retry-After", date.format("%a, %d %b %Y %H:%M:%S GMT").to_string())
            }
        }
    }
}

/// Runs `change` over every object in a value, inner ones first.
pub fn each_object(value: &mut Value, change: &dyn Fn(&mut Value)) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| each_object(value, change)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| each_object(value, change));
            change(value);
        }
        _ => {}
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        425 => "Too Early",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_the_planned_request_and_no_other() {
        let mut faults = Faults::new(1);
        faults.plan(Fault::once(Host::Data, "/v2/activity", FaultKind::Status(500)).after(2));
        let mut strike = |route| faults.strike(Host::Data, route).is_some();
        assert!(!strike("/v2/positions"));
        assert_eq!([(); 4].map(|()| strike("/v2/activity?user=1")), [false, false, true, false]);
        assert!(faults.strike(Host::Clob, "/v2/activity").is_none());
        assert_eq!(faults.due(), Vec::<String>::new());
    }

    #[test]
    fn a_chance_is_the_same_for_the_same_seed() {
        let strikes = |seed| {
            let mut faults = Faults::new(seed);
            faults.plan(Fault::once(Host::Clob, "", FaultKind::EmptyBody).times(Times::Chance(0.3)));
            (0..50).map(|_| faults.strike(Host::Clob, "/book").is_some()).collect::<Vec<_>>()
        };
        assert_eq!(strikes(4), strikes(4));
        let n = strikes(4).into_iter().filter(|struck| *struck).count();
        assert!((5..30).contains(&n), "{n}");
    }

    #[test]
    fn a_429_tells_its_retry_time_in_each_of_the_ways_seen() {
        let now = Timestamp::parse_iso("2026-11-22T10:00:00Z").unwrap();
        let truth = || Answer::json(&json!({"data": []}));
        let header = |retry| {
            let answer = FaultKind::TooManyRequests(retry).spoil(Host::Data, truth(), now);
            assert_eq!(answer.status, 429);
            answer.headers.into_iter().find(|(name, _)| *name == "Retry-After").map(|(_, value)| value)
        };
        assert_eq!(header(RetryAfter::Silent), None);
        assert_eq!(header(RetryAfter::Html), None);
        assert_eq!(header(RetryAfter::Seconds(3)).as_deref(), Some("3"));
        assert_eq!(header(RetryAfter::Date(90)).as_deref(), Some("Sun, 22 Nov 2026 10:01:30 GMT"));
    }
}
