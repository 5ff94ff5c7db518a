//! The JSON of answers. Many programs read a number of JSON as a float, which is exact up to 2^53: a number beyond that is
//! a text in quotes, and a request with one is refused (spec 2).

use std::io::{Result as IoResult, Write};

use actix_web::body::BoxBody;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Responder};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::ser::Formatter;

use super::error::WebError;

/// The largest number that every reader of JSON reads exactly.
pub const SAFE_MAX: i64 = 1 << 53;

/// An answer of status 200.
pub struct Json<T>(pub T);

impl<T: Serialize> Responder for Json<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        answer(&mut HttpResponse::Ok(), &self.0)
    }
}

/// Returns an answer with this body.
pub fn answer(response: &mut HttpResponseBuilder, body: &impl Serialize) -> HttpResponse {
    match text(body) {
        Ok(text) => response.content_type("application/json").body(text),
        Err(error) => HttpResponse::from_error(WebError::ours(error)),
    }
}

/// Writes JSON in which no number is beyond 2^53.
///
/// # Errors
/// When a value cannot be JSON, such as a map whose keys are not texts.
pub fn text(body: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(1_024);
    body.serialize(&mut serde_json::Serializer::with_formatter(&mut text, SafeNumbers::default()))?;
    Ok(text)
}

/// Writes numbers beyond 2^53 in quotes.
#[derive(Default)]
struct SafeNumbers {
    /// A number that is a key is in quotes already.
    in_key: bool,
}

impl SafeNumbers {
    fn number<W: ?Sized + Write>(&self, writer: &mut W, number: i128) -> IoResult<()> {
        match self.in_key || number.unsigned_abs() <= SAFE_MAX.unsigned_abs().into() {
            true => write!(writer, "{number}"),
            false => write!(writer, "\"{number}\""),
        }
    }
}

impl Formatter for SafeNumbers {
    fn write_i64<W: ?Sized + Write>(&mut self, writer: &mut W, value: i64) -> IoResult<()> {
        self.number(writer, value.into())
    }

    fn write_u64<W: ?Sized + Write>(&mut self, writer: &mut W, value: u64) -> IoResult<()> {
        self.number(writer, value.into())
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> IoResult<()> {
        self.in_key = true;
        if first { Ok(()) } else { writer.write_all(b",") }
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _: &mut W) -> IoResult<()> {
        self.in_key = false;
        Ok(())
    }
}

/// Reads a whole number of a body or a form, up to 2^53 in either direction.
///
/// # Errors
/// When it is not a whole number, or is beyond 2^53: a client that counts in floats did not mean that number.
pub fn safe_number<'de, D: Deserializer<'de>>(body: D) -> Result<Option<i64>, D::Error> {
    let number = Option::<i64>::deserialize(body)?;
    match number {
        Some(number) if number.unsigned_abs() > SAFE_MAX.unsigned_abs() => {
            Err(D::Error::custom(format!("`{number}` should be a whole number from -{SAFE_MAX} to {SAFE_MAX}")))
        }
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::config::effective::StoredConfig;

    #[derive(Debug, Deserialize)]
    struct Form {
        #[serde(default, deserialize_with = "safe_number")]
        peak_micros: Option<i64>,
    }

    #[test]
    fn a_number_beyond_two_to_the_53_is_a_text() {
        let check = |value: serde_json::Value, expected: &str| {
            assert_eq!(String::from_utf8(text(&value).unwrap()).unwrap(), expected);
        };
        check(
            serde_json::json!([SAFE_MAX, -SAFE_MAX, 0, 1.5, null]),
            "[9007199254740992,-9007199254740992,0,1.5,null]",
        );
        check(
            serde_json::json!({"a": SAFE_MAX + 1, "b": {"c": i64::MIN}, "d": u64::MAX}),
            r#"{"a":"9007199254740993","b":{"c":"-9223372036854775808"},"d":"18446744073709551615"}"#,
        );
        let keys = BTreeMap::from([(i64::MAX, i64::MAX)]);
        assert_eq!(text(&keys).unwrap(), br#"{"9223372036854775807":"9223372036854775807"}"#);
    }

    #[test]
    fn a_number_beyond_two_to_the_53_or_with_a_fraction_is_refused() {
        let read = |text: &str| serde_json::from_str::<Form>(text).map(|form| form.peak_micros);
        assert_eq!(read(r#"{"peak_micros":9007199254740992}"#).unwrap(), Some(SAFE_MAX));
        assert_eq!((read("{}").unwrap(), read(r#"{"peak_micros":null}"#).unwrap()), (None, None));
        for wrong in ["9007199254740993", "-9007199254740993", "1.5", "1e3", "99999999999999999999", "\"1\""] {
            let refused = read(&format!(r#"{{"peak_micros":{wrong}}}"#));
            assert!(refused.is_err(), "{wrong}: {refused:?}");
        }
        let beyond: Vec<_> = StoredConfig::fields().filter(|field| field.max > SAFE_MAX).map(|f| f.name).collect();
        assert_eq!(beyond, Vec::<&str>::new(), "fields of the configuration have limits of their own");
    }
}
