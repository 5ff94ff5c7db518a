//! Answers in the place of the network, for a simulation. Compiled for tests only.
//!
//! Everything around the exchange of bytes is the real client: the gate, retries, time limits, the venue's clock.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::polymarket::http::backoff;
use crate::polymarket::http::client::{Call, Received, fresh_date};
use crate::polymarket::http::endpoint::Upstream;
use crate::polymarket::http::error::PolymarketError;

/// A request as it would go on the wire.
#[derive(Debug, Clone)]
pub struct WireRequest {
    pub upstream: Upstream,
    pub path: String,
    /// A request with a body is a POST.
    pub body: Option<String>,
}

/// An answer as it would come from the wire.
#[derive(Debug, Clone)]
pub struct WireAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

type Answering = dyn Fn(WireRequest) -> BoxFuture<'static, Result<WireAnswer, String>> + Send + Sync;

/// Answers requests; an error is the reason why a host cannot be reached.
#[derive(Clone)]
pub struct InProcess(Arc<Answering>);

impl InProcess {
    /// Returns a network on which `answer` answers every request, in its own time.
    pub fn new(
        answer: impl Fn(WireRequest) -> BoxFuture<'static, Result<WireAnswer, String>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(answer))
    }

    pub(in crate::polymarket::http) async fn receive(
        &self,
        call: &Call,
        clock: Clock,
    ) -> Result<Received, PolymarketError> {
        let endpoint = call.endpoint;
        let (path, body) = (call.path.clone(), call.body.clone());
        let answer = (self.0)(WireRequest { upstream: endpoint.upstream(), path, body }).await;
        let answer = answer.map_err(|reason| PolymarketError::Unreachable { endpoint, reason })?;
        let at = clock.now();
        let header = |name: &str| {
            let mut headers = answer.headers.iter();
            headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let retry_after = header("retry-after").and_then(|text| backoff::retry_after(text, at));
        let date = fresh_date(header("age"), header("date"));
        Ok(Received { status: answer.status, date, retry_after, at, body: Ok(Bytes::from(answer.body)) })
    }
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}
