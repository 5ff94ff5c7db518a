//! Where pages are served, and how users sign in.

use std::net::SocketAddr;

use actix_web::http::header::HeaderName;

use super::{Secret, SettingError, Sources, http_url};
use crate::domain::money::email::Email;

/// Settings of the web server.
#[derive(Debug, Clone)]
pub struct WebSettings {
    /// `BIND`: where pages are served. Default: `127.0.0.1:8080`. Loopback only, unless users sign in with GitHub.
    pub bind: SocketAddr,
    /// `PUBLIC_URL`: the server's address as a browser sees it, if it differs from `BIND`.
    pub public_url: Option<String>,
    /// `SESSION_SECRET`: at least 64 characters. Without it sessions end with the process.
    pub session_secret: Option<Secret>,
    /// Sign-in with GitHub. Without it the program prints a one-time link.
    pub github: Option<GithubSettings>,
    /// `ADMIN_EMAIL`: this address may sign in from the first start.
    pub admin_email: Option<Email>,
    /// `REAL_IP_HEADER`: the header in which a proxy in front of the server sends the client's address. Without it a
    /// client's address is that of its connection.
    pub real_ip_header: Option<HeaderName>,
}

impl WebSettings {
    /// Returns settings with an address only.
    pub const fn at(bind: SocketAddr) -> Self {
        Self { bind, public_url: None, session_secret: None, github: None, admin_email: None, real_ip_header: None }
    }
}

/// An OAuth app at GitHub or at a GitHub Enterprise server.
#[derive(Debug, Clone)]
pub struct GithubSettings {
    /// `GITHUB_CLIENT_ID`
    pub client_id: String,
    /// `GITHUB_CLIENT_SECRET`
    pub client_secret: Secret,
    /// `GITHUB_BASE_URL`: where people sign in. Default: `https://github.com`.
    pub base_url: String,
    /// `GITHUB_API_BASE_URL`: default `https://api.github.com`, and of another `GITHUB_BASE_URL` its `/api/v3`.
    pub api_base_url: String,
}

const GITHUB: &str = "https://github.com";
const GITHUB_API: &str = "https://api.github.com";

/// Parses the settings of the web server.
///
/// # Errors
/// [`SettingError`] for the first one that is invalid, or missing beside the others.
pub(super) fn web(sources: &Sources) -> Result<WebSettings, SettingError> {
    let github = github(sources)?;
    let bind = bind(sources, github.is_some())?;
    let public_url = public_url(sources, &bind, github.is_some())?;
    let session_secret = session_secret(sources)?;
    if github.is_some() && session_secret.is_none() {
        // Otherwise every restart would sign all users out, and two web processes would not accept each other's sessions.
        return Err(missing("SESSION_SECRET", "at least 64 characters when users sign in with GitHub"));
    }
    Ok(WebSettings {
        bind,
        public_url,
        session_secret,
        github,
        admin_email: admin_email(sources)?,
        real_ip_header: real_ip_header(sources)?,
    })
}

fn missing(name: &'static str, should_be: &'static str) -> SettingError {
    SettingError::Wrong { name, was: String::new(), should_be }
}

fn bind(sources: &Sources, has_provider: bool) -> Result<SocketAddr, SettingError> {
    let text = sources.text_or("BIND", "127.0.0.1:8080");
    let wrong = |should_be| SettingError::Wrong { name: "BIND", was: text.to_owned(), should_be };
    let address: SocketAddr = text.parse().map_err(|_| wrong("an address and port such as 127.0.0.1:8080"))?;
    if !has_provider && !address.ip().is_loopback() {
        return Err(wrong(
            "a loopback address (127.0.0.1 or [::1]) unless GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET are set: the one-time \
             link signs in anyone who opens it",
        ));
    }
    Ok(address)
}

/// Parses the address to which GitHub redirects users. Off this machine it must be https: cookies and codes pass there.
fn public_url(sources: &Sources, bind: &SocketAddr, has_provider: bool) -> Result<Option<String>, SettingError> {
    if sources.text("PUBLIC_URL").is_none() {
        return match has_provider && !bind.ip().is_loopback() {
            true => Err(missing("PUBLIC_URL", "the https:// address under which browsers reach this server")),
            false => Ok(None),
        };
    }
    let url = http_url(sources, "PUBLIC_URL", "")?;
    if url.contains('@') {
        // `http://127.0.0.1@elsewhere.example` is the host `elsewhere.example`.
        let should_be = "an address without a user's name in it";
        return Err(SettingError::Wrong { name: "PUBLIC_URL", was: "***".to_owned(), should_be });
    }
    if has_provider && !url.starts_with("https://") && !is_loopback(&url) {
        let should_be = "an https:// address, or http:// on this machine";
        return Err(SettingError::Wrong { name: "PUBLIC_URL", was: url, should_be });
    }
    Ok(Some(url))
}

/// Returns whether the host of `http://host[:port][/path]` is this machine.
fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(authority, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn github(sources: &Sources) -> Result<Option<GithubSettings>, SettingError> {
    let (client_id, client_secret) = match (sources.text("GITHUB_CLIENT_ID"), sources.text("GITHUB_CLIENT_SECRET")) {
        (None, None) => return Ok(None),
        (Some(id), Some(secret)) => (id.to_owned(), Secret::new(secret)),
        (Some(_), None) => return Err(missing("GITHUB_CLIENT_SECRET", "the secret of the app in GITHUB_CLIENT_ID")),
        (None, Some(_)) => return Err(missing("GITHUB_CLIENT_ID", "the id of the app in GITHUB_CLIENT_SECRET")),
    };
    let base_url = http_url(sources, "GITHUB_BASE_URL", GITHUB)?;
    let api = if base_url == GITHUB { GITHUB_API.to_owned() } else { format!("{base_url}/api/v3") };
    let api_base_url = http_url(sources, "GITHUB_API_BASE_URL", &api)?;
    Ok(Some(GithubSettings { client_id, client_secret, base_url, api_base_url }))
}

fn admin_email(sources: &Sources) -> Result<Option<Email>, SettingError> {
    let Some(text) = sources.text("ADMIN_EMAIL") else { return Ok(None) };
    let should_be = "an e-mail address such as you@example.com";
    Email::parse(text).map(Some).map_err(|_| SettingError::Wrong {
        name: "ADMIN_EMAIL",
        was: text.to_owned(),
        should_be,
    })
}

fn real_ip_header(sources: &Sources) -> Result<Option<HeaderName>, SettingError> {
    let Some(text) = sources.text("REAL_IP_HEADER") else { return Ok(None) };
    let should_be = "the name of a header that the proxy in front of this server always sets, such as X-Real-IP";
    HeaderName::try_from(text).map(Some).map_err(|_| SettingError::Wrong {
        name: "REAL_IP_HEADER",
        was: text.to_owned(),
        should_be,
    })
}

fn session_secret(sources: &Sources) -> Result<Option<Secret>, SettingError> {
    match sources.text("SESSION_SECRET") {
        Some(secret) if secret.len() < 64 => Err(SettingError::Wrong {
            name: "SESSION_SECRET",
            was: "***".to_owned(),
            should_be: "at least 64 characters, such as `openssl rand -hex 32` prints",
        }),
        secret => Ok(secret.map(Secret::new)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings::from_environment;
    use super::*;

    const APP: [(&str, &str); 2] = [("GITHUB_CLIENT_ID", "spy"), ("GITHUB_CLIENT_SECRET", "hunter2")];

    fn with_app(more: &[(&'static str, &str)]) -> Result<WebSettings, SettingError> {
        from_environment(&[&APP, more].concat()).map(|settings| settings.web)
    }

    #[test]
    fn sign_in_with_github_allows_any_address_with_an_https_url_and_lasting_sessions() {
        let secret = "s".repeat(64);
        let session = ("SESSION_SECRET", secret.as_str());
        let check = |more: &[(&'static str, &str)], name: &str| {
            let message = with_app(more).unwrap_err().to_string();
            assert!(message.contains(&format!("`{name}`")) && !message.contains("hunter2"), "{message}");
        };
        check(&[], "SESSION_SECRET");
        check(&[session, ("BIND", "0.0.0.0:80")], "PUBLIC_URL");
        check(&[session, ("PUBLIC_URL", "http://spy.example")], "PUBLIC_URL");
        check(&[session, ("PUBLIC_URL", "http://127.0.0.1.example")], "PUBLIC_URL");
        check(&[session, ("PUBLIC_URL", "http://127.0.0.1:80@evil.example")], "PUBLIC_URL");
        let web = with_app(&[session, ("BIND", "0.0.0.0:80"), ("PUBLIC_URL", "https://spy.example")]).unwrap();
        assert_eq!(web.github.unwrap().api_base_url, "https://api.github.com");
        for loopback in ["http://127.0.0.1:8080", "http://[::1]:8080/x", "http://localhost", "http://[::1]"] {
            assert!(with_app(&[session, ("PUBLIC_URL", loopback)]).is_ok(), "{loopback}");
        }
        let own = with_app(&[session, ("GITHUB_BASE_URL", "https://git.example/")]).unwrap().github.unwrap();
        assert_eq!(own.api_base_url, "https://git.example/api/v3");
        for (one, other) in [(0, "GITHUB_CLIENT_SECRET"), (1, "GITHUB_CLIENT_ID")] {
            let message = from_environment(&APP[one..=one]).unwrap_err().to_string();
            assert!(message.contains(other), "{message}");
        }
    }
}
