//! A signed-in visitor of a server on this machine.

use std::time::{Duration, Instant};

use anyhow::Context;
use awc::Client;

use crate::http_client::http_client;

/// Longer than any page takes.
const PATIENCE: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 256 << 20;

pub struct Visitor {
    client: Client,
    /// `http://127.0.0.1:<port>`.
    pub origin: String,
    /// The name and value of the session's cookie.
    pub cookie: String,
}

/// An answer with its whole body.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    /// From the request to the last byte of the answer.
    pub took: Duration,
}

impl Visitor {
    /// Signs in by the login link.
    pub async fn sign_in(link: &str) -> anyhow::Result<Self> {
        let client = http_client(PATIENCE);
        let (origin, _) = link.split_once("/login/").context("the server prints no login link")?;
        let answer = client.get(link).send().await.map_err(|error| anyhow::anyhow!("cannot sign in: {error}"))?;
        let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next()).context("the server sets no session cookie")?;
        Ok(Self { origin: origin.to_owned(), cookie: cookie.to_owned(), client })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let failed = |error: &dyn std::fmt::Display| anyhow::anyhow!("no answer for `{path}`: {error}");
        let begun = Instant::now();
        let request = self.client.get(format!("{}{path}", self.origin)).insert_header(("cookie", self.cookie.as_str()));
        let mut answer = request.send().await.map_err(|error| failed(&error))?;
        let body = answer.body().limit(ANSWER_BYTES_MAX).await.map_err(|error| failed(&error))?;
        Ok(Answer { status: answer.status().as_u16(), body: body.to_vec(), took: begun.elapsed() })
    }
}

/// Returns the value at `percent` of sorted values; zero when there are none.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
