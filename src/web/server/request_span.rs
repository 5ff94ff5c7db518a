//! The span around each request: enough to find it in a log, nothing that a log must not hold.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
};
use tracing::Span;
use tracing_actix_web::RootSpanBuilder;

/// Method, path and status. Queries and addresses stay out.
pub struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        let path = shown(request.path());
        // Of the highest level, or a filter for errors alone would take the request off them.
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

/// A path as a log may show it: that of a login link ends before its token.
pub fn shown(path: &str) -> &str {
    if path.starts_with("/login/") { "/login/…" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_token_is_not_shown() {
        for (path, expected) in [("/login/5ec2e7", "/login/…"), ("/login", "/login"), ("/users/7", "/users/7")] {
            assert_eq!(shown(path), expected);
        }
    }
}
