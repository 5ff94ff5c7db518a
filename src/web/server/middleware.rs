//! What every request passes: the host check, and the envelope every answer leaves in.

use std::{net::SocketAddr, panic::AssertUnwindSafe};

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
use crate::web::auth::user::{has_token, reads};

/// No inline script or style, nothing from elsewhere, no frame.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Nothing here takes pictures, pays, or wants to know where anybody is.
const PERMISSIONS_POLICY: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), \
                                  magnetometer=(), microphone=(), payment=(), usb=()";
/// A year of https only, for this name alone: what else its owner serves is not ours to say.
const HTTPS_ONLY: &str = "max-age=31536000";

/// Header lines of one request, all together; a session cookie is the longest of ours.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Filters of a list with everything filled in are a tenth of it.
const ADDRESS_BYTES_MAX: usize = 4 * 1024;

/// The names under which browsers reach this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    /// `scheme://host[:port]`, lower case.
    origins: Vec<String>,
    /// Browsers reach us by https.
    secure: bool,
}

impl Hosts {
    /// Where we listen, the loopback names of that port, and the origin of `public_url`.
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

    /// Whether a page of ours sent this. Browsers always say where a websocket or a changing request comes from.
    pub fn are_the_origin_of(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        origin.is_some_and(|origin| self.origins.contains(&origin.to_ascii_lowercase()))
    }

    /// The path and query of the page of ours that sent this; the overview when none says so.
    pub fn path_of_referer(&self, headers: &HeaderMap) -> String {
        let referer = headers.get(REFERER).and_then(|referer| referer.to_str().ok()).unwrap_or_default();
        let ours = origin_of(referer).is_some_and(|origin| self.origins.contains(&origin));
        let after_scheme = referer.split_once("://").filter(|_| ours);
        let path = after_scheme.and_then(|(_, rest)| rest.find('/').map(|start| &rest[start..]));
        // Two slashes would name another host.
        path.filter(|path| !path.starts_with("//")).unwrap_or("/").to_owned()
    }
}

/// `https://spy.example` of `https://spy.example/path`.
fn origin_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    Some(format!("{scheme}://{authority}").to_ascii_lowercase())
}

/// Refuses requests for a foreign host name: a hostile page may point its own name at this address (DNS rebinding) and
/// would then read ours as its own. Refuses changing requests that do not come from our own pages.
pub async fn host_check<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    let Some(hosts) = request.app_data::<Data<Hosts>>() else { return Err(WebError::WrongHost.into()) };
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(|host| hosts.has_host(host)) {
        return Err(WebError::WrongHost.into());
    }
    let needs_origin = !reads(request.method()) && !has_token(request.headers());
    if needs_origin && !hosts.are_the_origin_of(request.headers()) {
        return Err(WebError::Forbidden("this request does not come from a page of ours").into());
    }
    next.call(request).await
}

/// Outermost: turns errors and panics into answers, and gives every answer its headers.
pub async fn security_headers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let failed =
        FailedRequest { path: request.path().to_owned(), in_place: request.headers().contains_key("hx-request") };
    let Some(templates) = request.app_data::<Data<Templates>>().cloned() else {
        return Err(WebError::Busy.into());
    };
    let secure = request.app_data::<Data<Hosts>>().is_some_and(|hosts| hosts.secure);
    if let Err(error) = fits(&request) {
        return Err(wrapped(answer(&error, &failed, &templates), secure));
    }
    // A panicking handler would otherwise drop the connection without a word.
    let outcome = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    match outcome {
        Ok(Ok(response)) => {
            let mut response = match response.response().error() {
                Some(error) => {
                    let mut answer = answer_to(error, &failed, &templates);
                    // What became of the session holds, however the answer looks.
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
        Ok(Err(error)) => Err(wrapped(answer_to(&error, &failed, &templates), secure)),
        Err(_) => Err(wrapped(answer(&WebError::Ours("a handler panicked".into()), &failed, &templates), secure)),
    }
}

/// The middleware that failed has used the request up; an error that carries its answer is all that can be returned.
fn wrapped(mut answer: HttpResponse, secure: bool) -> Error {
    add_headers(answer.headers_mut(), secure);
    InternalError::from_response("answered", answer).into()
}

fn answer_to(error: &Error, failed: &FailedRequest, templates: &Templates) -> HttpResponse {
    match error.as_error::<WebError>() {
        Some(ours) => answer(ours, failed, templates),
        None => {
            let status = error.as_response_error().status_code();
            answer(&WebError::of_status(status, error.to_string()), failed, templates)
        }
    }
}

fn fits(request: &ServiceRequest) -> Result<(), WebError> {
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
    // `no-referrer` would make browsers send `Origin: null` with our own forms.
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
            hosts.are_the_origin_of(&headers)
        };
        assert!(from("http://127.0.0.1:8080"));
        assert!(from("https://spy.example"));
        assert!(!from("http://spy.example"));
        assert!(!from("https://127.0.0.1:8080"));
        assert!(!from("null"));
        assert!(!hosts.are_the_origin_of(&HeaderMap::new()));
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
