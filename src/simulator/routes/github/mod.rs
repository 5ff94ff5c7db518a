//! A GitHub to sign in at: the pages of its OAuth web flow, and the part of its API that names the account.
//!
//! Shapes and error texts are those of GitHub's public documentation ("Authorizing OAuth apps", its two pages of
//! troubleshooting, and REST "Users" and "Emails"). The API is below `api/v3`, as on an Enterprise Server. Spec section 12
//! requires such a sign-in, and a test or `demo` cannot use the real one. Where the documentation leaves a choice, this
//! GitHub is strict: the first try of the client spends a code, even when it fails, and a code verifier without a
//! challenge is refused.
//!
//! There are no passwords: the visitor picks one of four invented accounts. The browser is redirected to loopback
//! addresses only, so a simulator that others can reach cannot be used to send them elsewhere.

mod accounts;
mod authorize;

use std::collections::BTreeMap;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rand::{TryRngCore, rngs::OsRng};
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::accounts::{ACCOUNTS, Access, emails, user};
use self::authorize::{AuthorizeRequest, page};
use crate::domain::money::units::Timestamp;
use crate::simulator::http::request::{Host, Request};
use crate::simulator::http::response::Answer;

/// The id of the only registered application.
pub const CLIENT_ID: &str = "simulated-client";
/// The secret of the only registered application. It is public.
pub const CLIENT_SECRET: &str = "simulated-secret-known-to-all";

const CODE_MILLIS: i64 = 600_000;
/// GitHub revokes the oldest token of an account that has more.
const TOKENS_MAX: usize = 10;
/// The scopes that can be granted; others are left out, as GitHub does.
const SCOPES: [&str; 3] = ["read:user", "user", "user:email"];
const TROUBLES: &str = "/apps/managing-oauth-apps/troubleshooting-authorization-request-errors/";
const TOKEN_TROUBLES: &str = "/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/";

/// Open codes and valid tokens. They come from the operating system, not from the seeded generator: another start with
/// the same seed must not know them.
#[derive(Default)]
pub struct GitHub {
    codes: BTreeMap<String, Grant>,
    /// Oldest first.
    tokens: Vec<(String, Access)>,
}

/// What a code can be exchanged for, and on which conditions.
struct Grant {
    access: Access,
    redirect_uri: String,
    challenge: Option<String>,
    until: Timestamp,
}

/// Decoded pairs of a query or a form.
struct Pairs(Vec<(String, String)>);

/// An error of the token route, in GitHub's words. `page` and `anchor` make its `error_uri`.
struct Refusal {
    error: &'static str,
    description: &'static str,
    page: &'static str,
    anchor: &'static str,
}

const WRONG_CLIENT: Refusal = Refusal {
    error: "incorrect_client_credentials",
    description: "The client_id and/or client_secret passed are incorrect.",
    page: TOKEN_TROUBLES,
    anchor: "incorrect-client-credentials",
};
const WRONG_CODE: Refusal = Refusal {
    error: "bad_verification_code",
    description: "The code passed is incorrect or expired.",
    page: TOKEN_TROUBLES,
    anchor: "bad-verification-code",
};
const WRONG_REDIRECT: Refusal = Refusal {
    error: "redirect_uri_mismatch",
    description: "The redirect_uri MUST match the registered callback URL for this application.",
    page: TROUBLES,
    anchor: "redirect-uri-mismatch2",
};
const WRONG_GRANT: Refusal = Refusal {
    error: "unsupported_grant_type",
    description: "The grant_type passed is not supported.",
    page: TOKEN_TROUBLES,
    anchor: "unsupported-grant-type",
};

/// Answers a request to GitHub.
pub(super) fn answer(github: &mut GitHub, request: &Request, now: Timestamp) -> Answer {
    match (request.post, request.path.as_str()) {
        (false, "/login/oauth/authorize") => match AuthorizeRequest::read(&Pairs(request.pairs())) {
            Ok(request) => request.page(),
            Err(refused) => refused,
        },
        (true, "/login/oauth/authorize") => match AuthorizeRequest::read(&Pairs::posted(request)) {
            Ok(request) => github.authorize(&request, now),
            Err(refused) => refused,
        },
        (true, "/login/oauth/access_token") => github.exchange(request, now),
        (false, "/api/v3/user") => github.api(request, user),
        (false, "/api/v3/user/emails") => github.api(request, emails),
        (_, path) if path.starts_with("/api/") => Answer::error(Host::GitHub, 404, "Not Found"),
        _ => page(404, "<p>This is not the web page you are looking for.</p>"),
    }
}

impl GitHub {
    /// `POST /login/oauth/authorize`: a button of the page was pressed.
    fn authorize(&mut self, request: &AuthorizeRequest<'_>, now: Timestamp) -> Answer {
        if !request.pairs.get("cancel").is_empty() {
            return request.redirect(&[
                ("error", "access_denied"),
                ("error_description", "The user has denied your application access."),
                ("error_uri", &format!("{TROUBLES}#access-denied")),
            ]);
        }
        let Some(account) = ACCOUNTS.iter().find(|account| account.login == request.pairs.get("login")) else {
            return page(404, "<p>Nobody has this name.</p>");
        };
        let Some(code) = random_hex(10) else { return no_randomness() };
        let grant = Grant {
            access: Access { account, scope: granted(request.pairs.get("scope")) },
            redirect_uri: request.redirect_uri.to_owned(),
            challenge: Some(request.pairs.get("code_challenge").to_owned()).filter(|text| !text.is_empty()),
            until: now.plus_millis(CODE_MILLIS),
        };
        self.codes.retain(|_, grant| now < grant.until);
        self.codes.insert(code.clone(), grant);
        request.redirect(&[("code", &code)])
    }

    /// `POST /login/oauth/access_token`: exchanges a code for a token.
    fn exchange(&mut self, request: &Request, now: Timestamp) -> Answer {
        let posted = Pairs::posted(request);
        let pairs = match self.redeem(request, &posted, now) {
            Ok(access) => {
                let Some(token) = random_hex(18).map(|text| format!("gho_{text}")) else { return no_randomness() };
                let pairs = [
                    ("access_token", token.clone()),
                    ("scope", access.scope.clone()),
                    ("token_type", "bearer".to_owned()),
                ];
                self.keep(token, access);
                pairs
            }
            Err(refusal) => [
                ("error", refusal.error.to_owned()),
                ("error_description", refusal.description.to_owned()),
                ("error_uri", format!("{}#{}", refusal.page, refusal.anchor)),
            ],
        };
        if request.header("accept").contains("application/json") {
            let fields = pairs.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
            return Answer::json(&Value::Object(fields.collect()));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        Answer { content_type: "application/x-www-form-urlencoded; charset=utf-8", ..Answer::text(200, &body) }
    }

    /// Checks client, grant type, code, redirect and proof, in this order. A known code is spent, even when a later check
    /// fails.
    fn redeem(&mut self, request: &Request, pairs: &Pairs, now: Timestamp) -> Result<Access, Refusal> {
        let basic = basic(request.header("authorization"));
        let (id, secret) = match &basic {
            Some((id, secret)) => (id.as_str(), secret.as_str()),
            None => (pairs.get("client_id"), pairs.get("client_secret")),
        };
        if (id, secret) != (CLIENT_ID, CLIENT_SECRET) {
            return Err(WRONG_CLIENT);
        }
        if !matches!(pairs.get("grant_type"), "" | "authorization_code") {
            return Err(WRONG_GRANT);
        }
        let grant = self.codes.remove(pairs.get("code")).filter(|grant| now < grant.until).ok_or(WRONG_CODE)?;
        if grant.redirect_uri != pairs.get("redirect_uri") {
            return Err(WRONG_REDIRECT);
        }
        let verifier = pairs.get("code_verifier");
        let is_proven = match &grant.challenge {
            Some(challenge) => URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == *challenge,
            None => verifier.is_empty(),
        };
        if is_proven { Ok(grant.access) } else { Err(WRONG_CODE) }
    }

    /// Adds a token; revokes the account's oldest one when it has too many.
    fn keep(&mut self, token: String, access: Access) {
        let of_same = |(_, known): &(String, Access)| known.account.login == access.account.login;
        if self.tokens.iter().filter(|known| of_same(known)).count() == TOKENS_MAX
            && let Some(oldest) = self.tokens.iter().position(of_same)
        {
            self.tokens.remove(oldest);
        }
        self.tokens.push((token, access));
    }

    /// Answers a request to the API with `respond`, when its token is valid.
    fn api(&self, request: &Request, respond: impl Fn(&Access) -> Answer) -> Answer {
        if request.header("user-agent").is_empty() {
            let message =
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent header";
            return Answer::text(403, message);
        }
        let given = request.header("authorization");
        if given.is_empty() {
            return Answer::error(Host::GitHub, 401, "Requires authentication");
        }
        let token = given
            .split_once(' ')
            .filter(|(scheme, _)| ["bearer", "token"].iter().any(|known| known.eq_ignore_ascii_case(scheme)));
        let access = token.and_then(|(_, token)| self.tokens.iter().find(|(known, _)| known == token.trim()));
        match access {
            None => Answer::error(Host::GitHub, 401, "Bad credentials"),
            Some((_, access)) => respond(access).with_header("X-OAuth-Scopes", access.scope.replace(',', ", ")),
        }
    }
}

impl Pairs {
    fn posted(request: &Request) -> Self {
        Self(form_urlencoded::parse(&request.body).into_owned().collect())
    }

    /// Returns the first value of this name; empty when there is none, which GitHub treats as the same.
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// Returns the known scopes among those asked for, as GitHub writes them; `user` includes the others.
fn granted(asked: &str) -> String {
    let asked: Vec<&str> = asked.split([' ', ',']).collect();
    let known = SCOPES.iter().filter(|scope| asked.contains(scope));
    if asked.contains(&"user") { "user".to_owned() } else { known.copied().collect::<Vec<_>>().join(",") }
}

/// Returns name and secret of HTTP Basic, each encoded as in a form (RFC 6749, 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let decoded =
        |text: &str| form_urlencoded::parse(format!("x={text}").as_bytes()).next().map(|(_, value)| value.into_owned());
    Some((decoded(id)?, decoded(secret)?))
}

fn random_hex(n_bytes: usize) -> Option<String> {
    let mut bytes = vec![0; n_bytes];
    OsRng.try_fill_bytes(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

fn no_randomness() -> Answer {
    Answer::error(Host::GitHub, 500, "The operating system returned no random numbers")
}
