//! Sends one request through the gate, and retries it if that can help. Only this file uses an HTTP client.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use awc::error::{PayloadError, SendRequestError};
use awc::http::header::{ACCEPT, AGE, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER, USER_AGENT};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::future::{Either, select};
use serde::Deserialize;

use super::backoff;
use super::breaker::Failure;
use super::endpoint::{Endpoint, Priority, Upstream};
use super::error::PolymarketError;
use super::gate::{Gate, GateObserved};
use super::settings::{LimitSettings, PolymarketSettings};
use super::traffic::Ending;
use crate::chance;
use crate::clock::{Clock, VenueClock};
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::Timestamp;
use crate::http_client::http_client;

/// A client of Polymarket's public routes, which need no key. It is cheap to clone, and bound to its thread.
#[derive(Clone)]
pub struct Polymarket(Rc<Inner>);

struct Inner {
    settings: PolymarketSettings,
    /// A client has a hundred connections, and bulk requests that hang may hold all of them: decisions have their own.
    interactive: awc::Client,
    bulk: awc::Client,
    gate: Gate,
    clock: Clock,
    /// The name under which each known token of the new ledger trades.
    token_names: RefCell<BTreeMap<AssetId, AssetId>>,
}

/// One request: the endpoint, its priority, path and body.
pub(in crate::polymarket) struct Call {
    pub endpoint: Endpoint,
    pub priority: Priority,
    /// Path and query, starting with the slash after the host.
    pub path: String,
    /// JSON; with a body the request is a POST.
    pub body: Option<String>,
}

/// An answer of any status.
pub(super) struct Received {
    pub status: u16,
    /// When it was made; `None` when it does not say, or came out of a cache.
    pub date: Option<Timestamp>,
    pub retry_after: Option<Duration>,
    /// When its head arrived, by our clock.
    pub at: Timestamp,
    pub body: Result<Bytes, PolymarketError>,
}

impl Call {
    /// Returns a GET request.
    pub(in crate::polymarket) fn get(endpoint: Endpoint, priority: Priority, path: String) -> Self {
        Self { endpoint, priority, path, body: None }
    }
}

impl Polymarket {
    /// Creates a client with its own gate.
    pub fn new(settings: PolymarketSettings, clock: Clock) -> Self {
        let gate = Gate::new(&settings.limits, clock);
        Self::behind(gate, settings, clock)
    }

    /// Creates a client for another thread, which shares the limits and breakers behind `gate`.
    pub fn behind(gate: Gate, settings: PolymarketSettings, clock: Clock) -> Self {
        let http = || http_client(settings.limits.request_timeout);
        let (interactive, bulk) = (http(), http());
        Self(Rc::new(Inner { settings, interactive, bulk, gate, clock, token_names: RefCell::default() }))
    }

    /// Returns the gate, to share it with a client on another thread.
    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    /// Returns the state of the gate.
    pub fn observe(&self) -> GateObserved {
        self.0.gate.observe()
    }

    pub(in crate::polymarket) fn token_names(&self) -> &RefCell<BTreeMap<AssetId, AssetId>> {
        &self.0.token_names
    }

    /// Returns the number of rows of a full page of activity.
    pub fn rows_per_page(&self) -> u32 {
        self.page_rows()
    }

    pub(in crate::polymarket) fn limits(&self) -> &LimitSettings {
        &self.0.settings.limits
    }

    pub(in crate::polymarket) fn page_rows(&self) -> u32 {
        self.0.settings.limits.page_rows
    }

    /// Returns the venue's clock, as the dates of its answers show it.
    pub fn venue(&self) -> &VenueClock {
        self.0.gate.venue()
    }

    /// Sends the request, parses the answer with `read`, and retries after transient failures while the call's time budget
    /// lasts. Beside an interactive request without an answer a second one is sent, and the first answer is used: one
    /// lost connection must not cost a book, and a slow answer must not be thrown away.
    ///
    /// An answer that `read` refuses counts as a failure of the upstream, like an error status.
    ///
    /// # Errors
    /// The [`PolymarketError`] of the last attempt.
    pub(in crate::polymarket) async fn ask<T>(
        &self,
        call: Call,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, PolymarketError> {
        self.ask_text(call, |text| read(text)).await
    }

    /// Does the same for a `read` that keeps parts of the text without copying them.
    ///
    /// # Errors
    /// The [`PolymarketError`] of the last attempt.
    pub(in crate::polymarket) async fn ask_text<T>(
        &self,
        call: Call,
        read: impl Fn(&ByteString) -> Result<T, String>,
    ) -> Result<T, PolymarketError> {
        let limits = &self.0.settings.limits;
        let budget = match call.priority {
            Priority::Interactive => limits.interactive_budget,
            Priority::Bulk => limits.bulk_budget,
        };
        let deadline = later(self.0.clock.now(), budget);
        let first = std::pin::pin!(self.ask_until(&call, deadline, &read));
        if call.priority == Priority::Bulk {
            return first.await;
        }
        let patience = std::pin::pin!(tokio::time::sleep(limits.second_request_after));
        let first = match select(first, patience).await {
            Either::Left((answer, _)) => return answer,
            Either::Right(((), first)) => first,
        };
        tracing::debug!(endpoint = %call.endpoint, "no answer yet; a second request is sent beside the first");
        let second = std::pin::pin!(self.ask_until(&call, deadline, &read));
        match select(first, second).await {
            Either::Left((Err(_), second)) => second.await,
            Either::Right((Err(_), first)) => first.await,
            Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
        }
    }

    /// Sends the request until it is answered, it cannot be answered, or the time is over.
    async fn ask_until<T>(
        &self,
        call: &Call,
        deadline: Timestamp,
        read: impl Fn(&ByteString) -> Result<T, String>,
    ) -> Result<T, PolymarketError> {
        let limits = &self.0.settings.limits;
        let mut failures = 0;
        loop {
            let error = match self.attempt(call, deadline, &read).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failures += 1;
            let backoff = backoff::delay(limits.backoff_base, limits.backoff_max, failures - 1, chance::random());
            let wait = error.retry_after().unwrap_or_default().max(backoff);
            let too_late = later(self.0.clock.now(), wait) >= deadline;
            if !error.is_transient() || failures >= limits.tries || too_late {
                return Err(error);
            }
            tracing::debug!(endpoint = %call.endpoint, %error, wait_ms = wait.as_millis(), "retrying");
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt<T>(
        &self,
        call: &Call,
        deadline: Timestamp,
        read: impl Fn(&ByteString) -> Result<T, String>,
    ) -> Result<T, PolymarketError> {
        let pass = self.0.gate.enter(call.endpoint.upstream(), call.priority, deadline).await?;
        if self.0.clock.now() >= deadline {
            // The permit came too late. That is our own load, not a failure of the upstream: its breaker does not count it.
            drop(pass);
            return Err(PolymarketError::TimedOut { endpoint: call.endpoint, after: Duration::ZERO });
        }
        let begun = tokio::time::Instant::now();
        let answer = self.send(call, deadline).await.and_then(|body| {
            let malformed = |reason| PolymarketError::Malformed { endpoint: call.endpoint, reason };
            let text = ByteString::try_from(body).map_err(|error| malformed(error.to_string()))?;
            read(&text).map_err(|reason| malformed(excerpt(&reason, &text)))
        });
        let ending = match &answer {
            Ok(_) => Ending::Answered,
            Err(PolymarketError::RateLimited { .. }) => Ending::RateLimited,
            Err(_) => Ending::Failed,
        };
        self.0.gate.count(call.endpoint, ending, begun.elapsed());
        match &answer {
            Err(PolymarketError::RateLimited { retry_after, .. }) => pass.failed(Failure::RateLimited(*retry_after)),
            Err(PolymarketError::Unavailable { retry_after, .. }) => pass.failed(Failure::Broken(*retry_after)),
            // The limit of time is ours: that we did not wait longer says nothing about the upstream.
            Err(PolymarketError::TimedOut { .. }) => drop(pass),
            Err(error) if error.is_transient() => pass.failed(Failure::Broken(None)),
            // A refusal comes from a healthy upstream: the request was wrong.
            Ok(_) | Err(_) => pass.succeeded(),
        }
        answer
    }

    /// Sends one request and reads its whole answer, within the request's timeout and the call's deadline.
    async fn send(&self, call: &Call, deadline: Timestamp) -> Result<Bytes, PolymarketError> {
        let left = deadline.millis_since(self.0.clock.now()).max(1).unsigned_abs();
        let after = self.0.settings.limits.request_timeout.min(Duration::from_millis(left));
        match tokio::time::timeout(after, self.exchange(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(PolymarketError::TimedOut { endpoint: call.endpoint, after }),
        }
    }

    async fn exchange(&self, call: &Call) -> Result<Bytes, PolymarketError> {
        let endpoint = call.endpoint;
        let asked = self.0.clock.now();
        let received = self.receive(call).await?;
        if let Some(date) = received.date {
            self.venue().observe(date, asked, received.at);
        }
        let Received { status, retry_after, body, .. } = received;
        if (200..300).contains(&status) {
            return body;
        }
        // The body of an error only explains it; the status decides, even if the body is HTML, empty or cut.
        let message = error_text(&body.unwrap_or_default());
        Err(match status {
            429 => PolymarketError::RateLimited { endpoint, retry_after },
            // A redirect is not followed. It is how a proxy or a page of maintenance answers, so later may be better.
            300..400 | 408 | 425 | 500.. => PolymarketError::Unavailable { endpoint, status, retry_after, message },
            _ => PolymarketError::Refused { endpoint, status, message },
        })
    }

    /// Sends the request and reads the answer, whatever its status.
    async fn receive(&self, call: &Call) -> Result<Received, PolymarketError> {
        let endpoint = call.endpoint;
        #[cfg(any(test, feature = "testkit"))]
        if let Some(in_process) = &self.0.settings.in_process {
            return in_process.receive(call, self.0.clock).await;
        }
        let url = format!("{}{}", self.base(endpoint.upstream()), call.path);
        let http = match call.priority {
            Priority::Interactive => &self.0.interactive,
            Priority::Bulk => &self.0.bulk,
        };
        let sent = match &call.body {
            None => identified(http.get(url)).send(),
            Some(body) => {
                identified(http.post(url)).insert_header((CONTENT_TYPE, "application/json")).send_body(body.clone())
            }
        };
        let mut response = sent.await.map_err(|error| self.unreachable(endpoint, &error))?;
        let at = self.0.clock.now();
        let text = |name| response.headers().get(name).and_then(|header: &HeaderValue| header.to_str().ok());
        let date = fresh_date(text(AGE), text(DATE));
        let retry_after = text(RETRY_AFTER).and_then(|header| backoff::retry_after(header, at));
        let status = response.status().as_u16();
        let limit = self.0.settings.limits.body_limit;
        let body = response.body().limit(limit).await.map_err(|error| match error {
            PayloadError::Overflow => PolymarketError::TooLarge { endpoint, limit },
            error => PolymarketError::Malformed { endpoint, reason: error.to_string() },
        });
        Ok(Received { status, date, retry_after, at, body })
    }

    fn unreachable(&self, endpoint: Endpoint, error: &SendRequestError) -> PolymarketError {
        match error {
            SendRequestError::Timeout => {
                PolymarketError::TimedOut { endpoint, after: self.0.settings.limits.request_timeout }
            }
            error => PolymarketError::Unreachable { endpoint, reason: error.to_string() },
        }
    }

    fn base(&self, upstream: Upstream) -> &str {
        match upstream {
            Upstream::DataApi => &self.0.settings.data_api_base,
            Upstream::Clob => &self.0.settings.clob_base,
            Upstream::Gamma => &self.0.settings.gamma_base,
        }
    }

    pub(in crate::polymarket) fn clock(&self) -> Clock {
        self.0.clock
    }
}

/// Says who asks, and for what.
fn identified(request: awc::ClientRequest) -> awc::ClientRequest {
    request
        .insert_header((ACCEPT, "application/json"))
        .insert_header((USER_AGENT, concat!("polymarketspy/", env!("CARGO_PKG_VERSION"))))
}

/// Returns the time at which an answer was made. `None` for an answer out of a cache, which was made earlier.
pub(super) fn fresh_date(age: Option<&str>, date: Option<&str>) -> Option<Timestamp> {
    if age.is_some_and(|age| age.trim() != "0") {
        return None;
    }
    backoff::http_date(date?)
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.plus_millis(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
}

/// Returns the `error` of a JSON error body, or the beginning of any other body.
fn error_text(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct ErrorBody {
        error: String,
    }
    let text = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    text.chars().take(200).collect()
}

fn excerpt(reason: &str, text: &str) -> String {
    let beginning: String = text.trim().chars().take(80).collect();
    format!("{reason} in `{beginning}`")
}

/// Percent-encodes text for a query.
pub(in crate::polymarket) fn query_text(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
