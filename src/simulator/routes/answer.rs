//! A request and an answer without sockets, and the cache that stands in front of the answers.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::money::units::Timestamp;

use crate::simulator::state::fault::each_object;

/// The hosts the simulator stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    Data,
    Clob,
    Gamma,
    GitHub,
}

/// What was asked, as a route sees it.
#[derive(Debug, Clone)]
pub struct Request {
    pub host: Host,
    pub post: bool,
    /// Below the base, with the leading slash.
    pub path: String,
    /// As sent, still encoded.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What a route answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// One request that came in, as tests look back at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub host: Host,
    pub path: String,
    pub query: String,
    pub status: u16,
    pub at: Timestamp,
    pub from_cache: bool,
}

impl Request {
    pub fn get(host: Host, path_and_query: &str) -> Self {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        Self {
            host,
            post: false,
            path: path.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn post(host: Host, path: &str, body: &Value) -> Self {
        Self { post: true, body: body.to_string().into_bytes(), ..Self::get(host, path) }
    }

    pub fn url(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }

    /// Empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Decoded pairs in order; a query that cannot be read has none.
    pub fn pairs(&self) -> Vec<(String, String)> {
        actix_web::web::Query::<Vec<(String, String)>>::from_query(&self.query)
            .map(actix_web::web::Query::into_inner)
            .unwrap_or_default()
    }
}

impl Answer {
    pub fn json<T: Serialize>(value: &T) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status: 200, content_type: "application/json", headers: Vec::new(), body }
    }

    pub fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body: text.into() }
    }

    pub fn html(status: u16, title: &str) -> Self {
        let body = format!(
            "<!DOCTYPE html><html><head><title>{status} {title}</title></head><body><center><h1>{status} \
             {title}</h1></center><hr><center>cloudflare</center></body></html>"
        );
        Self { content_type: "text/html", ..Self::text(status, &body) }
    }

    /// The host's own way of saying that something is wrong.
    pub fn error(host: Host, status: u16, message: &str) -> Self {
        let body = match host {
            Host::Data => return Self::data_error(status, message, None),
            Host::Clob => json!({"error": message}),
            Host::Gamma => json!({"type": format!("{status}"), "error": message}),
            Host::GitHub => json!({
                "message": message,
                "documentation_url": "https://docs.github.com/rest",
                "status": format!("{status}"),
            }),
        };
        Self { status, ..Self::json(&body) }
    }

    /// `{error, code, retryable, trace_id, parameter?}`.
    pub fn data_error(status: u16, message: &str, parameter: Option<&str>) -> Self {
        let code = match status {
            400 => "invalid_request",
            404 => "not_found",
            405 => "method_not_allowed",
            429 => "rate_limited",
            503 => "dependency_unavailable",
            _ => "internal",
        };
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            code: &'a str,
            retryable: bool,
            trace_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            parameter: Option<&'a str>,
        }
        let trace_id = "00000000000000000000000000000000";
        let body = Body { error: message, code, retryable: matches!(status, 429 | 500..), trace_id, parameter };
        Self { status, ..Self::json(&body) }
    }

    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The body as JSON; null when it is none.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The same answer with every object of its body changed. Keys come out in alphabetical order.
    pub fn rewritten(self, change: &dyn Fn(&mut Value)) -> Self {
        let mut value = self.value();
        each_object(&mut value, change);
        Self { body: value.to_string().into_bytes(), ..self }
    }
}

/// How long the network in front of the exchange keeps an answer for the identical URL, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    pub activity: i64,
    pub trades: i64,
    pub positions: i64,
    /// Gamma's lists.
    pub lists: i64,
}

impl CacheSettings {
    pub const OFF: Self = Self { activity: 0, trades: 0, positions: 0, lists: 0 };
    /// As the response headers of September 2026 had it.
    pub const RECORDED: Self = Self { activity: 15_000, trades: 300_000, positions: 5_000, lists: 300_000 };

    fn max_age(&self, request: &Request) -> i64 {
        match (request.host, request.path.as_str()) {
            (Host::Data, "/v2/activity") => self.activity,
            (Host::Data, "/v2/trades") => self.trades,
            (Host::Data, "/v2/positions") => self.positions,
            (Host::Gamma, "/markets" | "/events") => self.lists,
            _ => 0,
        }
    }
}

/// Answers by URL until they are too old, trace id and all.
#[derive(Debug)]
pub struct Cache {
    pub settings: CacheSettings,
    kept: BTreeMap<String, (Timestamp, Answer)>,
}

impl Cache {
    pub fn new(settings: CacheSettings) -> Self {
        Self { settings, kept: BTreeMap::new() }
    }

    pub fn find(&mut self, request: &Request, now: Timestamp) -> Option<Answer> {
        if request.post || self.settings.max_age(request) == 0 {
            return None;
        }
        let key = format!("{:?} {}", request.host, request.url());
        let (until, answer) = self.kept.get(&key)?;
        (now < *until).then(|| answer.clone().with_header("X-Cache", "Hit from cloudfront".to_owned()))
    }

    /// Keeps good answers only, and tells the reader how long.
    pub fn keep(&mut self, request: &Request, answer: Answer, now: Timestamp) -> Answer {
        let max_age = self.settings.max_age(request);
        if request.post || max_age == 0 || answer.status != 200 {
            return answer;
        }
        let answer = answer.with_header("Cache-Control", format!("public, max-age={}", max_age / 1000));
        if self.kept.len() >= 4_096 {
            self.kept.retain(|_, (until, _)| now < *until);
        }
        let key = format!("{:?} {}", request.host, request.url());
        self.kept.insert(key, (now.plus_millis(max_age), answer.clone()));
        answer.with_header("X-Cache", "Miss from cloudfront".to_owned())
    }
}
