//! Styles, scripts and fonts, carried in the binary. Debug builds read them from disk, so an edit shows at once.

use std::borrow::Cow;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
    web::Path,
};
use rust_embed::RustEmbed;

use super::error::WebError;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Assets;

/// Files that carry their version in their name, because a style sheet or a licence names them as they are.
const VERSIONED: [&str; 2] = ["fonts/", "vendor/"];

/// `/assets/app.css?v=…`: a changed file has another address, so browsers may keep each for ever.
pub fn address(name: &str) -> String {
    match Assets::get(name).filter(|_| !is_versioned(name)) {
        Some(file) => format!("/assets/{name}?v={}", version(&file)),
        None => format!("/assets/{name}"),
    }
}

/// `GET /assets/{name}`, the one thing besides the login that needs no session.
pub async fn serve(request: HttpRequest, name: Path<String>) -> Result<HttpResponse, WebError> {
    let Some(content_type) = content_type(&name) else { return Err(WebError::NotFound) };
    let file = Assets::get(&name).ok_or(WebError::NotFound)?;
    let tag = format!("\"{}\"", version(&file));
    let is_for_ever = is_versioned(&name) || request.query_string() == format!("v={}", version(&file));
    let caching = if is_for_ever { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, caching)).insert_header((ETAG, tag.clone()));
    if request.headers().get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return Ok(HttpResponse::NotModified()
            .insert_header((CACHE_CONTROL, caching))
            .insert_header((ETAG, tag))
            .finish());
    }
    let body = match file.data {
        Cow::Borrowed(bytes) => bytes::Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes::Bytes::from(bytes),
    };
    Ok(response.content_type(content_type).body(body))
}

fn is_versioned(name: &str) -> bool {
    VERSIONED.iter().any(|folder| name.starts_with(folder))
}

/// Only what we serve has a type; an editor's backup file beside it does not exist.
fn content_type(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1 {
        "css" => Some("text/css; charset=utf-8"),
        "js" => Some("text/javascript; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        "woff2" => Some("font/woff2"),
        "txt" => Some("text/plain; charset=utf-8"),
        _ => None,
    }
}

fn version(file: &rust_embed::EmbeddedFile) -> String {
    hex::encode(&file.metadata.sha256_hash()[..8])
}
