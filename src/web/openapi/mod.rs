//! The OpenAPI 3.1 description of the JSON routes, made from the types that answer them.
//!
//! In    the views, which derive their schema; `schemas` for the types of the domain, which know nothing of OpenAPI;
//!       `paths`, the table of the routes.
//! Out   `GET /api/openapi.json`. `tests/openapi.rs` compares it with the routes and with real answers.

mod paths;
mod schemas;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApiBuilder, Tag};

const ABOUT: &str = "Everything that the pages show, as JSON. Amounts are integers of millionths of a USDC (`_micros`) and \
    parts are hundredths of a percent (`_bps`). Times are ISO 8601 in UTC with milliseconds. A list answers `{data, \
    next_cursor}`; pass `next_cursor` as `cursor` for the next page. An error is an `application/problem+json`. Labels, \
    questions, slugs and outcomes are texts of strangers: escape them. docs/api.md is the page for people.";

/// Fields that an answer may lack.
const OPTIONAL: &[&str] = &["looked_back_to", "taker_delay_ms", "order_notional_micros", "order_share_micros", "exit"];

/// The description as JSON text. It never changes while the program runs.
static TEXT: LazyLock<String> = LazyLock::new(|| document().to_string());

/// Answers `GET /api/openapi.json`.
pub async fn json() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(TEXT.as_str())
}

/// Builds the description.
pub(in crate::web) fn document() -> Value {
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of `polymarketspy token new`. Its scope is READ, or WRITE to change things. It needs no CSRF token.",
    ));
    let session = ApiKeyValue::with_description(
        "polymarketspy",
        "The session cookie of a browser; its name ends with the port when people sign in by a link. A changing \
         request also needs the header `x-csrf-token`.",
    );
    let (components, paths) = (schemas::components(), paths::paths());
    let components = components
        .security_scheme("token", SecurityScheme::Http(token.build()))
        .security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
    let info =
        InfoBuilder::new().title("polymarketspy").version(env!("CARGO_PKG_VERSION")).description(Some(ABOUT)).build();
    let document = OpenApiBuilder::new().info(info).paths(paths).components(Some(components.build())).tags(Some(
        paths::TAGS.iter().map(|(name, about)| {
            let mut tag = Tag::new(*name);
            tag.description = Some((*about).to_owned());
            tag
        }),
    ));
    let mut document = serde_json::to_value(document.build()).expect("a description has no map with other keys");
    for (name, schema) in document["components"]["schemas"].as_object_mut().into_iter().flatten() {
        lift_descriptions(schema);
        if !schemas::PARTIAL.contains(&name.as_str()) {
            require_all(schema);
        }
    }
    document
}

/// Makes every field of an answer a required one. The derive takes an `Option` for a field that may be missing, but our
/// answers have it, as null.
fn require_all(schema: &mut Value) {
    if let Some(properties) = schema["properties"].as_object() {
        let names = properties.keys().filter(|name| !OPTIONAL.contains(&name.as_str()));
        schema["required"] = names.cloned().collect();
    }
    for parts in ["allOf", "oneOf"] {
        schema.get_mut(parts).and_then(Value::as_array_mut).into_iter().flatten().for_each(require_all);
    }
}

/// Moves the description of a field that may be null from the choice beside null to the field, where readers look for it.
fn lift_descriptions(schema: &mut Value) {
    for (_, field) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        let choices = field.get_mut("oneOf").and_then(Value::as_array_mut).into_iter().flatten();
        let texts = choices.filter_map(|choice| choice.as_object_mut()?.remove("description"));
        if let Some(text) = texts.last() {
            field["description"] = text;
        }
    }
    for parts in ["allOf", "oneOf"] {
        schema.get_mut(parts).and_then(Value::as_array_mut).into_iter().flatten().for_each(lift_descriptions);
    }
}
