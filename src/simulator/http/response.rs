//! Responses as plain values, without a socket.

use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::money::units::Timestamp;

use super::json_objects::each_object;
use super::request::Host;

/// Returns a time as HTTP headers print it: `Sun, 22 Nov 2026 10:01:30 GMT`.
pub fn http_date(at: Timestamp) -> String {
    let date = chrono::DateTime::from_timestamp_millis(at.millis()).unwrap_or_default();
    date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The response of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// Returns a JSON response with status 200.
    pub fn json<T: Serialize>(value: &T) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status: 200, content_type: "application/json", headers: Vec::new(), body }
    }

    /// Returns a response in plain text.
    pub fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", headers: Vec::new(), body: text.into() }
    }

    /// Returns the HTML page of a proxy.
    pub fn html(status: u16, title: &str) -> Self {
        let body = format!(
            "<!DOCTYPE html><html><head><title>{status} {title}</title></head><body><center><h1>{status} \
             {title}</h1></center><hr><center>cloudflare</center></body></html>"
        );
        Self { content_type: "text/html", ..Self::text(status, &body) }
    }

    /// Returns an error in the JSON shape of this host.
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

    /// Returns an error of the Data API: `{error, code, retryable, trace_id, parameter?}`.
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

    /// Adds a header.
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns the body as JSON; null when it is not JSON.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Applies `change` to each object of the body. The keys of the result are in alphabetical order.
    pub fn rewritten(self, change: &dyn Fn(&mut Value)) -> Self {
        let mut value = self.value();
        each_object(&mut value, change);
        Self { body: value.to_string().into_bytes(), ..self }
    }
}
