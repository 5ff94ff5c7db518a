//! The HTTP client of every request that the program sends.

use std::time::Duration;

use awc::Client;
use awc::http::Version;

/// Returns a client that speaks HTTP/1.1 only, follows no redirect, and fails after `timeout` without an answer.
///
/// - HTTP/2 is not offered in the TLS handshake: it would be spoken by `h2` 0.3, a line of the crate that is no longer
///   maintained. Websockets need HTTP/1.1 in any case.
/// - A redirect is an answer like any other. Followed, it would lead the request, and a secret in it, to a machine that
///   no setting names.
///
/// `clippy.toml` forbids other ways to make a client.
#[allow(clippy::disallowed_methods)] // The one place.
pub fn http_client(timeout: Duration) -> Client {
    Client::builder().max_http_version(Version::HTTP_11).disable_redirects().timeout(timeout).finish()
}

#[cfg(test)]
mod tests;
