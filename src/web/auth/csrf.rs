//! The body of a changing request, with its visitor, after a check that a page of ours made it (CSRF).
//!
//! In    a form (`application/x-www-form-urlencoded`) or JSON, at most 64 KiB. The CSRF token of the visitor's session
//! is
//!       the form's field `csrf` or the header `x-csrf-token`. A request with an API token needs no CSRF token.
//! Fails [`WebError`]: not signed in, no CSRF token, or a body that does not parse, with the field's name.

use std::{future::Future, pin::Pin, time::Duration};

use actix_session::{Session, SessionExt};
use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web::Bytes};
use serde::{Deserializer, de::DeserializeOwned};

use super::user::CurrentUser;
use crate::web::server::error::WebError;

const BYTES_MAX: usize = 64 * 1024;
const FIELD: &str = "csrf";
const HEADER: &str = "x-csrf-token";
/// A body this small arrives at once. A client that sends it byte by byte would only hold a connection.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// The body, parsed as `T`. As an extractor it refuses a request without a valid CSRF token.
pub struct CsrfForm<T> {
    pub visitor: CurrentUser,
    pub session: Session,
    pub form: T,
}

/// A form without fields.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyForm {}

impl<T: DeserializeOwned + 'static> FromRequest for CsrfForm<T> {
    type Error = WebError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, WebError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let visitor = CurrentUser::from_request(request, payload).into_inner();
        let body = Bytes::from_request(request, payload);
        let is_json = request.content_type() == "application/json";
        let header = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let session = request.get_session();
        Box::pin(async move {
            let visitor = visitor?;
            let body = tokio::time::timeout(BODY_TIMEOUT, body).await.map_err(|_| WebError::TooSlow)?;
            let body =
                body.map_err(|error| WebError::of_status(error.as_response_error().status_code(), error.to_string()))?;
            if body.len() > BYTES_MAX {
                return Err(WebError::TooLarge("a body of more than 64 KiB"));
            }
            let (text, field) = match is_json {
                true => (String::from_utf8_lossy(&body).into_owned(), None),
                false => split_csrf_token(&body),
            };
            visitor.check_csrf(header.or(field).as_deref().unwrap_or_default())?;
            let form = if is_json { from_json(&text)? } else { from_form(&text)? };
            Ok(Self { visitor, session, form })
        })
    }
}

/// Splits a form into its other fields and the CSRF token. Our tokens need no percent-decoding.
fn split_csrf_token(body: &[u8]) -> (String, Option<String>) {
    let text = String::from_utf8_lossy(body);
    let mut token = None;
    let rest: Vec<&str> = text
        .split('&')
        .filter(|pair| match pair.split_once('=') {
            Some((FIELD, value)) => {
                token = Some(value.to_owned());
                false
            }
            _ => true,
        })
        .collect();
    (rest.join("&"), token)
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, WebError> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    parse(&mut serde_json::Deserializer::from_str(text))
}

fn from_form<T: DeserializeOwned>(text: &str) -> Result<T, WebError> {
    parse(serde_urlencoded::Deserializer::new(form_urlencoded::parse(text.as_bytes())))
}

/// Deserializes a body. The error names the field if the format knows it.
fn parse<'de, T: DeserializeOwned, D: Deserializer<'de>>(body: D) -> Result<T, WebError> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let (field, problem) = (error.path().to_string(), error.inner().to_string());
        WebError::Mistake(if field == "." { problem } else { format!("`{field}`: {problem}") })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;
    use crate::testkit::malformed::{mutated_json, noise, number, words};

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        #[allow(dead_code)]
        paused: bool,
    }

    #[test]
    fn a_mistake_names_its_field() {
        let check = |error: WebError, field: &str| assert!(error.to_string().contains(field), "{error}");
        check(from_form::<Form>("paused=perhaps").unwrap_err(), "`paused`:");
        check(from_form::<Form>("pausd=true").unwrap_err(), "`pausd`");
        check(from_form::<Form>("").unwrap_err(), "`paused`");
        check(from_json::<Form>(r#"{"paused": 1}"#).unwrap_err(), "`paused`:");
        check(from_json::<Form>("{").unwrap_err(), "EOF");
        assert!(from_form::<Form>("paused=true").is_ok() && from_json::<Form>(r#"{"paused":true}"#).is_ok());
    }

    #[test]
    fn the_csrf_token_is_taken_out_of_a_form_at_any_place() {
        let check = |body: &str, rest: &str, token: Option<&str>| {
            let (text, found) = split_csrf_token(body.as_bytes());
            assert_eq!((text.as_str(), found.as_deref()), (rest, token), "{body}");
        };
        check("", "", None);
        check("label=A+%26+B", "label=A+%26+B", None);
        check("csrf=abc&label=A", "label=A", Some("abc"));
        check("label=A&csrf=abc", "label=A", Some("abc"));
        check("csrfx=abc", "csrfx=abc", None);
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Wide {
        label: Option<String>,
        enabled: Option<bool>,
        peak_micros: Option<i64>,
    }

    /// Pairs as a browser writes them, pairs that no browser writes, and names that resemble that of the CSRF token.
    fn forms() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            prop::sample::select(vec!["label", "enabled", "peak_micros", "paused", "csrf%00", "%63srf"])
                .prop_map(str::to_owned),
            words().prop_map(|text| form_urlencoded::byte_serialize(text.as_bytes()).collect()),
        ];
        let value = prop_oneof![
            prop::sample::select(vec!["true", "false", "7", "%", "%f", "%ff", "%00", "+", "a=b"])
                .prop_map(str::to_owned),
            number(),
            words().prop_map(|text| form_urlencoded::byte_serialize(text.as_bytes()).collect()),
        ];
        let pair = prop_oneof![8 => (name, value).prop_map(|(name, value)| format!("{name}={value}")), 1 => noise()];
        prop::collection::vec(pair, 0..5).prop_map(|pairs| pairs.join("&"))
    }

    fn is_a_mistake_with_a_text<T>(parsed: Result<T, WebError>) -> Result<(), TestCaseError> {
        if let Err(error) = parsed {
            prop_assert!(matches!(&error, WebError::Mistake(what) if !what.is_empty()), "{error}");
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn web_forms_are_read_or_refused_without_the_csrf_token(before in forms(), after in forms()) {
            const TOKEN: &str = "Zm9yZ2VkLXByb29mLW9mLW5vYm9keQ";
            let (rest, token) = split_csrf_token(format!("{before}&csrf={TOKEN}&{after}").as_bytes());
            prop_assert!(!rest.contains(TOKEN));
            prop_assert!(token.is_some());
            is_a_mistake_with_a_text(from_form::<Form>(&rest))?;
            is_a_mistake_with_a_text(from_form::<Wide>(&rest))?;
            is_a_mistake_with_a_text(from_form::<EmptyForm>(&rest))?;
            is_a_mistake_with_a_text(from_form::<Vec<(String, String)>>(&rest))?;
        }

        #[test]
        fn web_bodies_are_read_or_refused(
            text in mutated_json(vec![r#"{"label":"A & B","enabled":true,"peak_micros":7500000000}"#.to_owned()]),
        ) {
            is_a_mistake_with_a_text(from_json::<Form>(&text))?;
            is_a_mistake_with_a_text(from_json::<Wide>(&text))?;
            is_a_mistake_with_a_text(from_json::<EmptyForm>(&text))?;
            is_a_mistake_with_a_text(from_json::<Box<RawValue>>(&text))?;
            is_a_mistake_with_a_text(from_json::<Vec<(String, String)>>(&text))?;
        }
    }
}
