//! Planned faults: on which host, on which route, how often.

use serde_json::{Value, json};

use crate::domain::money::ids::Wallet;
use crate::domain::money::units::Timestamp;
use crate::simulator::http::request::Host;
use crate::simulator::http::response::{Response, http_date};
use crate::simulator::rng::{Rng, hex_of};

/// One planned fault.
#[derive(Debug, Clone)]
pub struct Fault {
    pub host: Host,
    /// The fault is for requests whose path and query contain this; for all when empty.
    pub route: String,
    pub kind: FaultKind,
    /// How many matching requests succeed first; 2 for "429 on the third page".
    pub after: u32,
    pub times: Times,
}

/// How often a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Times {
    /// This many requests, the next ones.
    Next(u32),
    Always,
    /// All requests before this time of the exchange.
    Until(Timestamp),
    /// Each request with this probability, in 0..1, drawn from the simulator's seeded generator.
    Chance(f64),
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    TooManyRequests(RetryAfter),
    /// The JSON error of the host with this status: 425, 500, 502, 503 …
    Status(u16),
    /// The HTML page of a proxy with this status, which may be 200.
    Html(u16),
    /// The correct answer, cut in half.
    CutBody,
    EmptyBody,
    /// This body in place of the correct one, with status 200.
    Body(String),
    /// The correct answer, this many milliseconds late.
    Delay(u64),
    /// No answer while the simulator runs.
    Hang,
    /// Each row has a `type` that does not exist.
    UnknownKind,
    /// Each object has an extra field that does not exist.
    UnknownFields,
    /// After the correct rows of a feed come this many rows of as many other wallets.
    RowsOfStrangers(u32),
    /// Each row names this wallet: the answer is that of another request.
    RowsOfWallet(Wallet),
}

/// How a 429 states when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// Not at all, in plain text: the recorded form.
    Silent,
    /// Not at all, in HTML.
    Html,
    /// As this number of seconds.
    Seconds(u32),
    /// As an HTTP date this many seconds ahead.
    Date(u32),
}

/// How long to delay an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    Not,
    Millis(u64),
    ForEver,
}

/// The planned faults of all hosts.
#[derive(Debug)]
pub struct Faults {
    planned: Vec<Fault>,
    rng: Rng,
}

impl Fault {
    /// Returns a fault that strikes the next request to this route, once.
    pub fn once(host: Host, route: &str, kind: FaultKind) -> Self {
        Self { host, route: route.to_owned(), kind, after: 0, times: Times::Next(1) }
    }

    /// Sets how often the fault strikes.
    pub fn times(self, times: Times) -> Self {
        Self { times, ..self }
    }

    /// Sets how many matching requests succeed first.
    pub fn after(self, after: u32) -> Self {
        Self { after, ..self }
    }
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        Self { planned: Vec::new(), rng: Rng::named(seed, "faults", 0) }
    }

    /// Adds a fault.
    pub fn plan(&mut self, fault: Fault) {
        self.planned.push(fault);
    }

    /// Drops all planned faults.
    pub fn clear(&mut self) {
        self.planned.clear();
    }

    /// Returns the routes of the faults that are still to strike. Faults by chance do not count.
    pub fn due(&self) -> Vec<String> {
        let due = self.planned.iter().filter(|fault| matches!(fault.times, Times::Next(n) if n > 0));
        due.map(|fault| fault.route.clone()).collect()
    }

    /// Returns the fault that strikes this request, if any. When several match, the one planned first wins.
    pub fn strike(&mut self, host: Host, path_and_query: &str, now: Timestamp) -> Option<FaultKind> {
        let rng = &mut self.rng;
        let matching =
            self.planned.iter_mut().filter(|fault| fault.host == host && path_and_query.contains(fault.route.as_str()));
        for fault in matching {
            if fault.after > 0 {
                fault.after -= 1;
                continue;
            }
            let strikes = match &mut fault.times {
                Times::Always => true,
                Times::Until(end) => now < *end,
                Times::Next(0) => false,
                Times::Next(left) => {
                    *left -= 1;
                    true
                }
                Times::Chance(probability) => rng.chance(*probability),
            };
            if strikes {
                return Some(fault.kind.clone());
            }
        }
        None
    }
}

impl FaultKind {
    /// Returns whether the correct answer is not needed.
    pub fn replaces_answer(&self) -> bool {
        matches!(
            self,
            Self::TooManyRequests(_) | Self::Status(_) | Self::Html(_) | Self::EmptyBody | Self::Body(_) | Self::Hang
        )
    }

    /// Returns how long this fault delays the answer.
    pub fn wait(&self) -> Wait {
        match self {
            Self::Delay(millis) => Wait::Millis(*millis),
            Self::Hang => Wait::ForEver,
            _ => Wait::Not,
        }
    }

    /// Applies the fault to the correct answer.
    pub fn apply(&self, host: Host, truth: Response, now: Timestamp) -> Response {
        match self {
            Self::TooManyRequests(retry) => retry.answer(now),
            Self::Status(status) => Response::error(host, *status, reason(*status)),
            Self::Html(status) => Response::html(*status, reason(*status)),
            Self::CutBody => {
                let half = truth.body.len() / 2;
                Response { body: truth.body[..half].to_vec(), ..truth }
            }
            Self::EmptyBody => Response { body: Vec::new(), ..truth },
            Self::Body(body) => Response { status: 200, body: body.clone().into_bytes(), ..truth },
            Self::Delay(_) | Self::Hang => truth,
            Self::UnknownKind => truth.rewritten(&|value| {
                if let Some(kind) = value.get_mut("type") {
                    *kind = json!("TELEPORT");
                }
            }),
            Self::RowsOfStrangers(n) => with_strangers(truth, *n, now),
            Self::RowsOfWallet(wallet) => truth.rewritten(&|value| {
                if let Some(named) = value.get_mut("proxy_wallet") {
                    *named = json!(wallet.as_str());
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

/// Adds `n` rows of as many invented wallets to a page. They are like the page's last row, or like a small BUY when it
/// has none.
fn with_strangers(truth: Response, n: u32, now: Timestamp) -> Response {
    let mut page = truth.value();
    let Some(rows) = page.get_mut("data").and_then(Value::as_array_mut) else { return truth };
    let template = rows.last().cloned().unwrap_or_else(|| {
        json!({"proxy_wallet": "", "timestamp": now.seconds(), "type": "TRADE", "size": 5.0, "usdc_size": 2.5,
               "price": 0.5, "side": "BUY", "token_id": "7", "condition_id": format!("0x{}", "7".repeat(64)),
               "transaction_hash": "", "outcome_index": 999})
    });
    for number in 0..n {
        let mut row = template.clone();
        row["proxy_wallet"] = json!(hex_of(0, "stranger's wallet", u64::from(number), 20));
        row["transaction_hash"] = json!(hex_of(0, "stranger's transaction", u64::from(number), 32));
        rows.push(row);
    }
    Response { body: page.to_string().into_bytes(), ..truth }
}

impl RetryAfter {
    fn answer(self, now: Timestamp) -> Response {
        let plain = Response::text(429, "error code: 1015");
        match self {
            Self::Silent => plain,
            Self::Html => Response::html(429, "Too Many Requests"),
            Self::Seconds(seconds) => plain.with_header("Retry-After", seconds.to_string()),
            Self::Date(seconds) => {
                let at = now.plus_millis(i64::from(seconds) * 1000);
                plain.with_header("Retry-After", http_date(at))
            }
        }
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
        let now = Timestamp::EPOCH;
        let mut strike = |route| faults.strike(Host::Data, route, now).is_some();
        assert!(!strike("/v2/positions"));
        assert_eq!([(); 4].map(|()| strike("/v2/activity?user=1")), [false, false, true, false]);
        assert!(faults.strike(Host::Clob, "/v2/activity", now).is_none());
        assert_eq!(faults.due(), Vec::<String>::new());
    }

    #[test]
    fn a_chance_is_the_same_for_the_same_seed() {
        let strikes = |seed| {
            let mut faults = Faults::new(seed);
            faults.plan(Fault::once(Host::Clob, "", FaultKind::EmptyBody).times(Times::Chance(0.3)));
            (0..50).map(|_| faults.strike(Host::Clob, "/book", Timestamp::EPOCH).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(strikes(4), strikes(4));
        let n = strikes(4).into_iter().filter(|struck| *struck).count();
        assert!((5..30).contains(&n), "{n}");
    }

    #[test]
    fn a_429_tells_its_retry_time_in_each_of_the_ways_seen() {
        let now = Timestamp::parse_iso("2026-11-22T10:00:00Z").unwrap();
        let truth = || Response::json(&json!({"data": []}));
        let header = |retry| {
            let answer = FaultKind::TooManyRequests(retry).apply(Host::Data, truth(), now);
            assert_eq!(answer.status, 429);
            answer.headers.into_iter().find(|(name, _)| *name == "Retry-After").map(|(_, value)| value)
        };
        assert_eq!(header(RetryAfter::Silent), None);
        assert_eq!(header(RetryAfter::Html), None);
        assert_eq!(header(RetryAfter::Seconds(3)).as_deref(), Some("3"));
        assert_eq!(header(RetryAfter::Date(90)).as_deref(), Some("Sun, 22 Nov 2026 10:01:30 GMT"));
    }
}
