//! The middleware of every request: the host check, and the security headers of every answer.

use std::{net::SocketAddr, panic::AssertUnwindSafe};

use actix_session::storage::{LoadError, SaveError, UpdateError};
use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, REFERER,
        REFERRER_POLICY, SET_COOKIE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
    middleware::Next,
    web::Data,
};
use futures_util::FutureExt;

use super::error::WebError;
use super::error_page::{FailedRequest, answer};
use super::render::Templates;
use crate::web::auth::session_store::Sessions;
use crate::web::auth::user::{has_token, is_read_only};
use crate::web::views::health::BareHealth;

/// No inline script or style, nothing from another site, no frame.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The pages use no camera, no payment and no location.
const PERMISSIONS_POLICY: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
                                  magnetometer=(), microphone=(), payment=(), usb=()";
/// A year of https only, for this host name alone: other names of the same owner may serve http.
const HTTPS_ONLY: &str = "max-age=31536000";

/// All header lines of one request together. Our longest one is the session cookie.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// The filters of a list with every field filled in take a tenth of it.
const ADDRESS_BYTES_MAX: usize = 4 * 1024;

/// The names under which browsers reach this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// `scheme://host[:port]`, lower case.
    origins: Vec<String>,
    /// Whether browsers reach us by https.
    secure: bool,
}

impl Hosts {
    /// Accepts the address that we listen on, the loopback names of that port, and the origin of `public_url`.
    pub fn new(addr: SocketAddr, public_url: Option<&str>) -> Self {
        let port = addr.port();
        let mut origins = vec![format!("http://{addr}")];
        for name in ["127.0.0.1", "localhost", "[::1]"] {
            origins.push(format!("http://{name}:{port}"));
            if port == 80 {
                origins.push(format!("http://{name}"));
            }
        }
        origins.extend(public_url.and_then(origin_of));
        Self { origins, secure: public_url.is_some_and(|url| url.starts_with("https://")) }
    }

    fn has_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.origins.iter().any(|origin| origin.split_once("://").is_some_and(|(_, ours)| ours == host))
    }

    /// Returns whether a page of ours sent the request. Browsers always send `Origin` with a websocket or a changing
    /// request.
    pub fn allow_origin_of(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        origin.is_some_and(|origin| self.origins.contains(&origin.to_ascii_lowercase()))
    }

    /// Returns path and query of our page that sent the request, by its `Referer`. Without one it is the overview, `/`.
    pub fn path_of_referer(&self, headers: &HeaderMap) -> String {
        let referer = headers.get(REFERER).and_then(|referer| referer.to_str().ok()).unwrap_or_default();
        let ours = origin_of(referer).is_some_and(|origin| self.origins.contains(&origin));
        let after_scheme = referer.split_once("://").filter(|_| ours);
        let path = after_scheme.and_then(|(_, rest)| rest.find('/').map(|start| &rest[start..]));
        // A path that begins with two slashes would name another host.
        path.filter(|path| !path.starts_with("//")).unwrap_or("/").to_owned()
    }
}

/// Returns the origin of a URL: `https://spy.example` for `https://spy.example/path`.
fn origin_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{authority}").to_ascii_lowercase())
}

/// Refuses a request for a foreign host name. A hostile page may point its own host name at this address (DNS
/// rebinding) and would then read our answers as its own. Also refuses a changing request that does not come from our
/// own pages.
///
/// # Errors
/// [`WebError::WrongHost`] or [`WebError::Forbidden`].
pub async fn host_check<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let Some(hosts) = request.app_data::<Data<Hosts>>() else { return Err(WebError::WrongHost.into()) };
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| hosts.has_host(host)) {
        return Err(WebError::WrongHost.into());
    }
    let needs_origin = !is_read_only(request.method()) && !has_token(request.headers());
    if needs_origin && !hosts.allow_origin_of(request.headers()) {
        return Err(WebError::Forbidden("this request does not come from a page of ours").into());
    }
    next.call(request).await
}

/// The outermost middleware: turns errors and panics into answers, and adds the security headers to every answer.
///
/// # Errors
/// An error that carries a finished answer, when the request did not reach a handler.
pub async fn security_headers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let failed =
        FailedRequest { path: request.path().to_owned(), in_place: request.headers().contains_key("hx-request") };
    let Some(templates) = request.app_data::<Data<Templates>>().cloned() else {
        return Err(WebError::Busy.into());
    };
    let sessions = request.app_data::<Data<Sessions>>().cloned();
    let to_answer =
        |error: &Error| answer_to_error(error, &failed, &templates, sessions.as_ref().map(|it| it.get_ref()));
    let secure = request.app_data::<Data<Hosts>>().is_some_and(|hosts| hosts.secure);
    if let Err(error) = check_size(&request) {
        return Err(error_with(answer(&error, &failed, &templates), secure));
    }
    // Without this a handler that panics would drop the connection without an answer.
    let outcome = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    match outcome {
        Ok(Ok(response)) => {
            let mut response = match response.response().error() {
                Some(error) => {
                    let mut answer = to_answer(error);
                    // Changes of the session must reach the browser even if the request failed.
                    for cookie in response.headers().get_all(SET_COOKIE) {
                        answer.headers_mut().append(SET_COOKIE, cookie.clone());
                    }
                    response.into_response(answer)
                }
                None => response.map_into_boxed_body(),
            };
            add_headers(response.headers_mut(), secure);
            Ok(response)
        }
        Ok(Err(error)) => Err(error_with(to_answer(&error), secure)),
        Err(_) => Err(error_with(answer(&WebError::Ours("a handler panicked".into()), &failed, &templates), secure)),
    }
}

/// Wraps an answer in an error. The middleware that failed has consumed the request, so only an error can be returned.
fn error_with(mut answer: HttpResponse, secure: bool) -> Error {
    add_headers(answer.headers_mut(), secure);
    InternalError::from_response("answered", answer).into()
}

fn answer_to_error(
    error: &Error,
    failed: &FailedRequest,
    templates: &Templates,
    sessions: Option<&Sessions>,
) -> HttpResponse {
    let no_sessions = sessions.filter(|_| is_of_sessions(error)).and_then(Sessions::last_failure);
    match (error.as_error::<WebError>(), no_sessions) {
        (Some(ours), _) => answer(ours, failed, templates),
        // Who asks cannot be known: the answer is that for a request without a session.
        (None, Some(_)) if failed.path == "/api/health" => HttpResponse::Ok().json(BareHealth::DEGRADED),
        (None, Some(cause)) => answer(&WebError::NoSessions(cause), failed, templates),
        (None, None) => {
            let status = error.as_response_error().status_code();
            answer(&WebError::of_status(status, error.to_string()), failed, templates)
        }
    }
}

/// Returns whether the session of a request could not be read or stored.
fn is_of_sessions(error: &Error) -> bool {
    error.as_error::<InternalError<LoadError>>().is_some()
        || error.as_error::<InternalError<SaveError>>().is_some()
        || error.as_error::<InternalError<UpdateError>>().is_some()
        || error.as_error::<InternalError<anyhow::Error>>().is_some()
}

fn check_size(request: &ServiceRequest) -> Result<(), WebError> {
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let address = request.uri().path_and_query().map_or(0, |address| address.as_str().len());
    match (headers > HEADER_BYTES_MAX, address > ADDRESS_BYTES_MAX) {
        (true, _) => Err(WebError::LongHeaders),
        (_, true) => Err(WebError::LongAddress),
        (false, false) => Ok(()),
    }
}

fn add_headers(headers: &mut HeaderMap, secure: bool) {
    let mut add = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    add(CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    add(HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY);
    if secure {
        add(STRICT_TRANSPORT_SECURITY, HTTPS_ONLY);
    }
    add(X_FRAME_OPTIONS, "DENY");
    add(X_CONTENT_TYPE_OPTIONS, "nosniff");
    // With `no-referrer` browsers would send `Origin: null` with our own forms.
    add(REFERRER_POLICY, "same-origin");
    add(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    add(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_answered() {
        let hosts = Hosts::new("127.0.0.2:8080".parse().unwrap(), Some("https://Spy.example/dash"));
        for ours in
            ["127.0.0.2:8080", "127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080", "spy.example"]
        {
            assert!(hosts.has_host(ours), "{ours}");
        }
        for foreign in ["evil.example", "127.0.0.1", "127.0.0.1:8081", "evil.example:8080", "", "spy.example:443"] {
            assert!(!hosts.has_host(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_our_own_pages_may_open_a_socket_or_change_anything() {
        let hosts = Hosts::new("127.0.0.2:8080".parse().unwrap(), Some("https://spy.example"));
        let from = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            hosts.allow_origin_of(&headers)
        };
        assert!(from("http://127.0.0.1:8080"));
        assert!(from("https://spy.example"));
        assert!(!from("http://spy.example"));
        assert!(!from("https://127.0.0.1:8080"));
        assert!(!from("null"));
        assert!(!hosts.allow_origin_of(&HeaderMap::new()));
    }

    #[actix_web::test]
    async fn a_handler_that_panics_gives_an_answer() {
        use actix_web::{App, middleware::from_fn, test, web};

        async fn boom() -> &'static str {
            panic!("on purpose")
        }
        let app = App::new()
            .app_data(Data::new(Templates::load().unwrap()))
            .wrap(from_fn(security_headers))
            .route("/boom", web::get().to(boom))
            .route("/api/boom", web::get().to(boom));
        let app = test::init_service(app).await;
        for (path, content_type) in [("/boom", "text/html; charset=utf-8"), ("/api/boom", "application/problem+json")] {
            let request = test::TestRequest::get().uri(path).to_request();
            let answer = actix_web::dev::Service::call(&app, request).await.unwrap_err().error_response();
            assert_eq!(answer.status(), 500, "{path}");
            assert_eq!(answer.headers().get("content-type").unwrap(), content_type);
            assert!(answer.headers().contains_key(CONTENT_SECURITY_POLICY));
            let body = actix_web::body::to_bytes(answer.into_body()).await.ok().unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("on purpose"), "the visitor learns nothing of it");
        }
    }
}
