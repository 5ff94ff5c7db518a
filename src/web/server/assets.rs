//! Styles, scripts and fonts, embedded in the binary. Debug builds read them from disk, so that an edit shows at once.

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

/// Folders of files with a version in their name. A style sheet or a licence refers to such a file by its exact name,
/// so its address gets no `?v=`.
const VERSIONED: [&str; 2] = ["fonts/", "vendor/"];

/// Returns the address of an asset, for example `/assets/app.css?v=…`. A changed file gets a new address, so browsers
/// may cache each one forever.
pub fn address(name: &str) -> String {
    match Assets::get(name).filter(|_| !is_versioned(name)) {
        Some(file) => format!("/assets/{name}?v={}", version(&file)),
        None => format!("/assets/{name}"),
    }
}

/// `GET /assets/{name}`. Needs no session, like the sign-in.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown name or a file type that we do not serve.
pub async fn serve(request: HttpRequest, name: Path<String>) -> Result<HttpResponse, WebError> {
    let Some(content_type) = content_type(&name) else { return Err(WebError::NotFound) };
    let file = Assets::get(&name).ok_or(WebError::NotFound)?;
    let tag = format!("\"{}\"", version(&file));
    let is_immutable = is_versioned(&name) || request.query_string() == format!("v={}", version(&file));
    let caching = if is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
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

/// Returns the content type by the ending of the name. `None` for a file that we do not serve, for example an editor's
/// backup file.
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
