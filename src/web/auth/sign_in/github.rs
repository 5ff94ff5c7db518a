//! Signing in with GitHub, or a GitHub Enterprise server: the OAuth authorization code flow with state and PKCE.
//!
//! In    the settings of an OAuth app; the code and state of the callback.
//! Out   the URL to redirect a browser to, and the verified e-mails of the person who signed in.
//! Fails [`GithubError`].

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
use crate::http_client::http_client;
use crate::token;

const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 256 * 1024;
const SCOPE: &str = "user:email";
/// A sign-in takes no longer than this; a callback from an old tab is refused.
pub(in crate::web::auth) const ATTEMPT_MS: i64 = 10 * 60_000;

type App = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// The GitHub client of one web thread.
pub struct Github {
    app: App,
    emails_url: String,
    http: Client,
}

/// A sign-in that was begun. It is kept in the browser's session until the callback.
#[derive(Serialize, Deserialize)]
pub struct PendingSignIn {
    state: String,
    verifier: String,
    at: Timestamp,
}

/// The query of the callback: GitHub redirects the browser to us with it.
#[derive(Deserialize)]
pub struct OAuthCallback {
    code: Option<String>,
    state: Option<String>,
    /// Why there is no code: `access_denied` when the person pressed Cancel.
    error: Option<String>,
}

/// Why a sign-in failed. The text is stored in the audit log.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// This browser began no sign-in, or another one, or began it too long ago; or the state is forged.
    #[error("this sign-in was not begun in this browser, or is older than ten minutes")]
    Forged,
    #[error("GitHub says that it was cancelled")]
    Cancelled,
    /// The code was used before, has expired, or belongs to another sign-in.
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

/// The error that GitHub sends, with status 200, in place of a token.
#[derive(Deserialize)]
struct Refusal {
    #[allow(dead_code)]
    error: String,
}

#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("the request could not be sent")]
    Send(#[from] awc::error::SendRequestError),
    #[error("the answer is incomplete")]
    Payload(#[from] awc::error::PayloadError),
    #[error("the answer is not valid HTTP")]
    Malformed(#[from] oauth2::http::Error),
    #[error("the answer is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("status {0}")]
    Status(awc::http::StatusCode),
}

impl Github {
    /// Creates a client whose sign-ins come back to the URL `callback`.
    ///
    /// # Errors
    /// `ParseError` when `callback` or the base URL of the settings is not a URL.
    pub fn new(settings: &GithubSettings, callback: String) -> Result<Self, oauth2::url::ParseError> {
        let at_base = |path: &str| format!("{}/login/oauth/{path}", settings.base_url);
        let app = BasicClient::new(ClientId::new(settings.client_id.clone()))
            .set_client_secret(ClientSecret::new(settings.client_secret.reveal().to_owned()))
            .set_auth_uri(AuthUrl::new(at_base("authorize"))?)
            .set_token_uri(TokenUrl::new(at_base("access_token"))?)
            .set_redirect_uri(RedirectUrl::new(callback)?)
            .set_auth_type(AuthType::RequestBody);
        let http = http_client(TIMEOUT);
        Ok(Self { app, emails_url: format!("{}/user/emails", settings.api_base_url), http })
    }

    /// Begins a sign-in. Returns the URL to redirect the browser to, and the state to keep until the callback.
    pub fn begin(&self, now: Timestamp) -> (String, PendingSignIn) {
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state) = self
            .app
            .authorize_url(CsrfToken::new_random)
            .add_scope(Scope::new(SCOPE.to_owned()))
            .set_pkce_challenge(challenge)
            .url();
        let begun = PendingSignIn { state: state.into_secret(), verifier: verifier.into_secret(), at: now };
        (url.into(), begun)
    }

    /// Finishes a sign-in. Returns the verified e-mails of the person.
    ///
    /// # Errors
    /// [`GithubError`] when the callback does not belong to `begun`, or GitHub refuses or does not answer.
    pub async fn finish(
        &self,
        begun: Option<PendingSignIn>,
        callback: &OAuthCallback,
        now: Timestamp,
    ) -> Result<Vec<Email>, GithubError> {
        let begun = begun.filter(|begun| (0..ATTEMPT_MS).contains(&now.millis_since(begun.at)));
        let begun = begun.ok_or(GithubError::Forged)?;
        if !callback.state.as_deref().is_some_and(|state| token::same(state, &begun.state)) {
            return Err(GithubError::Forged);
        }
        let Some(code) = callback.code.as_deref().filter(|_| callback.error.is_none()) else {
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
            // The body of such an answer may contain a token, so it is not part of the error.
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

/// Sends a request of `oauth2` with `awc`. The two crates use different versions of `http`.
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
