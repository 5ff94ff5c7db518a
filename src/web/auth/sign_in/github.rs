//! Signing in with GitHub, or a GitHub Enterprise server: the OAuth authorization code flow with state and PKCE.
//!
//! In    the settings of an OAuth app; the code and state that a browser brings back.
//! Out   where to send a browser, and the verified e-mails of whoever came back.
//! Fails `GithubError`.

use std::time::Duration;

use awc::Client;
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse, TokenUrl,
    basic::BasicClient,
};
use serde::{Deserialize, Serialize};

use crate::config::GithubSettings;
use crate::domain::money::email::Email;
use crate::domain::money::units::Timestamp;
use crate::token;

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 256 * 1024;
const SCOPE: &str = "user:email";
/// Somebody who signs in takes no longer; a link from an old tab is refused.
const ATTEMPT_MS: i64 = 10 * 60_000;

type App = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// One web thread's way to GitHub.
pub struct Github {
    app: App,
    emails_url: String,
    http: Client,
}

/// A sign-in that was begun, kept in the browser's session until it comes back.
#[derive(Serialize, Deserialize)]
pub struct Begun {
    state: String,
    verifier: String,
    at: Timestamp,
}

/// What a browser brings back.
#[derive(Deserialize)]
pub struct CameBack {
    code: Option<String>,
    state: Option<String>,
    /// Why there is no code: `access_denied` when somebody pressed Cancel.
    error: Option<String>,
}

/// Why nobody came in.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// No sign-in was begun in this browser, or another one, or long ago; or the state was made up.
    #[error("this sign-in was not begun in this browser, or is older than ten minutes")]
    Forged,
    #[error("GitHub says that it was cancelled")]
    Cancelled,
    /// A code that was used, ran out, or was begun elsewhere.
    #[error("GitHub does not accept this sign-in")]
    Refused,
    #[error("GitHub does not answer as it should")]
    Unanswered(#[source] Box<dyn std::error::Error>),
}

#[derive(Deserialize)]
struct EmailRow {
    email: String,
    verified: bool,
}

/// What GitHub says, with status 200, instead of a token.
#[derive(Deserialize)]
struct Refusal {
    #[allow(dead_code)]
    error: String,
}

#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("no connection")]
    Send(#[from] awc::error::SendRequestError),
    #[error("no whole answer")]
    Payload(#[from] awc::error::PayloadError),
    #[error("an answer that makes no sense")]
    JsonTree(#[from] oauth2::http::Error),
    #[error("not JSON")]
    Json(#[from] serde_json::Error),
    #[error("status {0}")]
    Status(awc::http::StatusCode),
}

impl Github {
    /// The provider, with people sent back to `callback`.
    ///
    /// # Errors
    /// When one of the addresses is none.
    pub fn new(settings: &GithubSettings, callback: String) -> Result<Self, oauth2::url::ParseError> {
        let at_base = |path: &str| format!("{}/login/oauth/{path}", settings.base_url);
        let app = BasicClient::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.reveal().to_owned()))
            .set_auth_uri(AuthUrl::new(at_base("authorize"))?)
            .set_token_uri(TokenUrl::new(at_base("access_token"))?)
            .set_redirect_uri(RedirectUrl::new(callback)?)
            .set_auth_type(AuthType::RequestBody);
        // Whoever redirects us must not get the app's secret.
        let http = Client::builder().disable_redirects().timeout(TIMEOUT).finish();
        Ok(Self { app, emails_url: format!("{}/user/emails", settings.api_base_url), http })
    }

    /// Where the browser goes to sign in, and what is to be remembered until it is back.
    pub fn begin(&self, now: Timestamp) -> (String, Begun) {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state) = self
            .app
            .authorize_url(CsrfToken::new_random)
            .add_scope(Scope::new(SCOPE.to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let begun = Begun { state: state.into_secret(), verifier: verifier.into_secret(), at: now };
        (url.into(), begun)
    }

    /// The verified e-mails of whoever came back.
    ///
    /// # Errors
    /// `GithubError`.
    pub async fn finish(
        &self,
        begun: Option<Begun>,
        came: &CameBack,
        now: Timestamp,
    ) -> Result<Vec<Email>, GithubError> {
        let begun = begun.filter(|begun| (0..ATTEMPT_MS).contains(&now.millis_since(begun.at)));
        let begun = begun.ok_or(GithubError::Forged)?;
        if !came.state.as_deref().is_some_and(|state| token::same(state, &begun.state)) {
            return Err(GithubError::Forged);
        }
        let Some(code) = came.code.as_deref().filter(|_| came.error.is_none()) else {
            return Err(GithubError::Cancelled);
        };
        let token = self.exchange(code, begun.verifier).await?;
        self.emails(&token).await.map_err(|error| GithubError::Unanswered(Box::new(error)))
    }

    async fn exchange(&self, code: &str, verifier: String) -> Result<String, GithubError> {
        let send = |request| send(&self.http, request);
        let answer = self
            .app
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier))
            .request_async(&send)
            .await;
        match answer {
            Ok(token) => Ok(token.access_token().secret().clone()),
            Err(RequestTokenError::ServerResponse(_)) => Err(GithubError::Refused),
            Err(RequestTokenError::Parse(_, body)) if serde_json::from_slice::<Refusal>(&body).is_ok() => {
                Err(GithubError::Refused)
            }
            // The body of such an answer may hold a token: it is not told.
            Err(RequestTokenError::Parse(error, _)) => Err(GithubError::Unanswered(Box::new(error.into_inner()))),
            Err(RequestTokenError::Request(error)) => Err(GithubError::Unanswered(Box::new(error))),
            Err(RequestTokenError::Other(error)) => Err(GithubError::Unanswered(error.into())),
        }
    }

    async fn emails(&self, token: &str) -> Result<Vec<Email>, HttpError> {
        let request = self
            .http
            .get(&self.emails_url)
            .bearer_auth(token)
            .insert_header(("accept", "application/vnd.github+json"))
            .insert_header(("user-agent", "polymarketspy"));
        let mut answer = request.send().await?;
        let body = answer.body().limit(ANSWER_BYTES_MAX).await?;
        if !answer.status().is_success() {
            return Err(HttpError::Status(answer.status()));
        }
        let rows: Vec<EmailRow> = serde_json::from_slice(&body)?;
        Ok(rows.into_iter().filter(|row| row.verified).filter_map(|row| Email::parse(&row.email).ok()).collect())
    }
}

/// What oauth2 sends, by awc; the two know different versions of `http`.
async fn send(http: &Client, request: oauth2::HttpRequest) -> Result<oauth2::HttpResponse, HttpError> {
    let (head, body) = request.into_parts();
    let method = awc::http::Method::from_bytes(head.method.as_str().as_bytes()).unwrap_or(awc::http::Method::POST);
    let mut ours = http.request(method, head.uri.to_string()).insert_header(("user-agent", "polymarketspy"));
    for (name, value) in &head.headers {
        ours = ours.insert_header((name.as_str(), value.as_bytes()));
    }
    let mut answer = ours.send_body(body).await?;
    let mut theirs = oauth2::http::Response::builder().status(answer.status().as_u16());
    for (name, value) in answer.headers() {
        theirs = theirs.header(name.as_str(), value.as_bytes());
    }
    let body = answer.body().limit(ANSWER_BYTES_MAX).await?;
    Ok(theirs.body(body.to_vec())?)
}
