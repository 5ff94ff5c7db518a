//! The log span of each request: enough to find it in a log, and no secret.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
};
use tracing::Span;
use tracing_actix_web::RootSpanBuilder;

/// Logs method, path and status. Queries and client addresses stay out of the log.
pub struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let path = loggable_path(request.path());
        // The span has the level of an error: otherwise a filter that shows errors alone would drop the request from
        // them.
        tracing::error_span!("request", service = "web", method = %request.method(), path, status = tracing::field::Empty)
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        let status = match outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        span.record("status", status.as_u16());
    }
}

/// Returns the path as a log may show it: the token of a login link is cut off.
pub fn loggable_path(path: &str) -> &str {
    if path.starts_with("/login/") { "/login/…" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_token_is_not_shown() {
        for (path, expected) in [("/login/5ec2e7", "/login/…"), ("/login", "/login"), ("/users/7", "/users/7")] {
            assert_eq!(loggable_path(path), expected);
        }
    }
}
