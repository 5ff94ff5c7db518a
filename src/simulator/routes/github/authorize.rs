//! `/login/oauth/authorize`: the sign-in page, and the way back to the client.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use actix_web::http::Uri;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::accounts::{ACCOUNTS, Email};
use super::{CLIENT_ID, Pairs};
use crate::simulator::http::response::Answer;

/// An authorize request of the registered client, with a redirect to loopback.
pub struct AuthorizeRequest<'a> {
    pub pairs: &'a Pairs,
    pub redirect_uri: &'a str,
}

impl<'a> AuthorizeRequest<'a> {
    /// Checks client, redirect and challenge.
    ///
    /// # Errors
    /// The page that GitHub shows instead.
    pub fn read(pairs: &'a Pairs) -> Result<Self, Answer> {
        if pairs.get("client_id") != CLIENT_ID {
            return Err(page(404, "<p>No application has this client_id.</p>"));
        }
        let redirect_uri = pairs.get("redirect_uri");
        if !is_loopback(redirect_uri) {
            return Err(page(400, "<p>The redirect_uri is not associated with this application.</p>"));
        }
        let (challenge, method) = (pairs.get("code_challenge"), pairs.get("code_challenge_method"));
        let is_digest = URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|bytes| bytes.len() == 32);
        let is_valid = if challenge.is_empty() { method.is_empty() } else { is_digest && method == "S256" };
        if !is_valid {
            return Err(page(400, "<p>The code_challenge must be one of the method S256.</p>"));
        }
        Ok(Self { pairs, redirect_uri })
    }

    /// Returns the sign-in page: one button for each account, and one to cancel. It works without styles, scripts and
    /// cookies.
    pub fn page(&self) -> Answer {
        let mut form = String::from("<p>Who are you?</p><form method=\"post\" action=\"authorize\">");
        for name in ["client_id", "redirect_uri", "state", "scope", "code_challenge", "code_challenge_method"] {
            let value = escaped(self.pairs.get(name));
            let _ = write!(form, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">");
        }
        for account in &ACCOUNTS {
            let login = account.login;
            let emails: Vec<String> = account.emails.iter().map(Email::label).collect();
            let label = escaped(&emails.join(", "));
            let _ =
                write!(form, "<p><button name=\"login\" value=\"{login}\">Continue as {login}</button> {label}</p>");
        }
        form.push_str("<p><button name=\"cancel\" value=\"1\">Cancel</button></p></form>");
        page(200, &form)
    }

    /// Redirects the browser to the client with these pairs, and with the state of the request.
    pub fn redirect(&self, pairs: &[(&str, &str)]) -> Answer {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs);
        if !self.pairs.get("state").is_empty() {
            query.append_pair("state", self.pairs.get("state"));
        }
        let separator = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{}{separator}{}", self.redirect_uri, query.finish());
        Answer::text(302, "").with_header("Location", location)
    }
}

/// Returns whether this is an address of this machine, written so that a browser reads it like we do. `https` is allowed
/// for a proxy in front of the bot.
fn is_loopback(address: &str) -> bool {
    if !address.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\')) {
        return false;
    }
    let Ok(uri) = address.parse::<Uri>() else { return false };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().unwrap_or_default();
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_local = host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|host| host.is_loopback())
        || inner.and_then(|host| host.parse::<Ipv6Addr>().ok()).is_some_and(|host| host.is_loopback());
    matches!(uri.scheme_str(), Some("http" | "https")) && is_local && !authority.contains('@')
}

/// Returns a page of the simulated GitHub.
pub fn page(status: u16, content: &str) -> Answer {
    let body = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Simulated GitHub</title></head>\
         <body><h1>Simulated GitHub</h1>{content}</body></html>"
    );
    Answer { content_type: "text/html; charset=utf-8", ..Answer::text(status, &body) }
        .with_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'".to_owned())
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}
