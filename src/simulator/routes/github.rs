//! A GitHub to sign in at: the pages and routes of its OAuth web flow and of its API that tell whose the sign-in is.
//!
//! Shapes, errors and their words are those of GitHub's public documentation ("Authorizing OAuth apps", its two pages of
//! troubleshooting, and REST "Users" and "Emails"), with the API below `api/v3` as on an Enterprise Server. Spec section 12
//! asks for such a sign-in; a test or `demo` cannot ask the real one. It is stricter in what it leaves open: a code is
//! spent by the first try of its client, good or bad, and proof without a challenge is refused.
//!
//! Anybody may be anybody: whoever opens the page picks one of four invented people. Only a loopback address can be
//! sent back to, so a simulator within reach of others cannot be used to lead them elsewhere.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr},
};

use actix_web::http::Uri;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rand::{TryRngCore, rngs::OsRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::domain::money::units::Timestamp;

use super::answer::{Answer, Host, Request};

/// The one application that is registered, and its secret, which is none.
pub const CLIENT_ID: &str = "simulated-client";
pub const CLIENT_SECRET: &str = "simulated-secret-known-to-all";

const CODE_MILLIS: i64 = 600_000;
/// GitHub takes back the oldest token of a person who has more.
const TOKENS_MAX: usize = 10;
/// Scopes that are granted when asked for; others are left out, as GitHub does.
const SCOPES: [&str; 3] = ["read:user", "user", "user:email"];
const TROUBLES: &str = "/apps/managing-oauth-apps/troubleshooting-authorization-request-errors/";
const TOKEN_TROUBLES: &str = "/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/";

/// Sign-ins under way and done. Codes and tokens come from the operating system, not from the dice: another start with
/// the same seed must not know them.
#[derive(Default)]
pub struct GitHub {
    codes: BTreeMap<String, Grant>,
    /// Oldest first.
    tokens: Vec<(String, Access)>,
}

/// What a code stands for.
struct Grant {
    access: Access,
    redirect_uri: String,
    challenge: Option<String>,
    until: Timestamp,
}

#[derive(Clone)]
struct Access {
    person: &'static Person,
    scope: String,
}

struct Person {
    login: &'static str,
    id: u64,
    name: &'static str,
    emails: &'static [Email],
}

struct Email {
    address: &'static str,
    verified: bool,
    /// The first one is primary, and only that one has a visibility.
    public: bool,
}

/// One who may come in, one who may by her second address written otherwise, a stranger, and one who only claims to.
const PEOPLE: [Person; 4] = [
    Person { login: "ada", id: 1815, name: "Ada", emails: &[private("ada@example.org")] },
    Person {
        login: "grace",
        id: 1906,
        name: "Grace",
        emails: &[private("grace@elsewhere.example"), private("Ada@Example.org")],
    },
    Person {
        login: "mallory",
        id: 1988,
        name: "Mallory <script>",
        emails: &[Email { public: true, ..private("mallory@example.org") }],
    },
    Person { login: "eve", id: 1984, name: "Eve", emails: &[Email { verified: false, ..private("ada@example.org") }] },
];

const fn private(address: &'static str) -> Email {
    Email { address, verified: true, public: false }
}

/// What an authorize request asks for, once it is known to come from the client and to lead back to it.
struct Wish<'a> {
    pairs: &'a Pairs,
    redirect_uri: &'a str,
}

struct Pairs(Vec<(String, String)>);

/// An error of the token route.
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

pub fn answer(github: &mut GitHub, request: &Request, now: Timestamp) -> Answer {
    match (request.post, request.path.as_str()) {
        (false, "/login/oauth/authorize") => match Wish::read(&Pairs(request.pairs())) {
            Ok(wish) => wish.page(),
            Err(refused) => refused,
        },
        (true, "/login/oauth/authorize") => match Wish::read(&Pairs::posted(request)) {
            Ok(wish) => github.decide(&wish, now),
            Err(refused) => refused,
        },
        (true, "/login/oauth/access_token") => github.exchange(request, now),
        (false, "/api/v3/user") => github.api(request, |access| user(access.person)),
        (false, "/api/v3/user/emails") => github.api(request, emails),
        (_, path) if path.starts_with("/api/") => Answer::error(Host::GitHub, 404, "Not Found"),
        _ => page(404, "<p>This is not the web page you are looking for.</p>"),
    }
}

impl GitHub {
    /// Somebody pressed a button.
    fn decide(&mut self, wish: &Wish<'_>, now: Timestamp) -> Answer {
        if !wish.pairs.get("cancel").is_empty() {
            return wish.back(&[
                ("error", "access_denied"),
                ("error_description", "The user has denied your application access."),
                ("error_uri", &format!("{TROUBLES}#access-denied")),
            ]);
        }
        let Some(person) = PEOPLE.iter().find(|person| person.login == wish.pairs.get("login")) else {
            return page(404, "<p>Nobody has this name.</p>");
        };
        let Some(code) = random_hex(10) else { return no_randomness() };
        let grant = Grant {
            access: Access { person, scope: granted(wish.pairs.get("scope")) },
            redirect_uri: wish.redirect_uri.to_owned(),
            challenge: Some(wish.pairs.get("code_challenge").to_owned()).filter(|text| !text.is_empty()),
            until: now.plus_millis(CODE_MILLIS),
        };
        self.codes.retain(|_, grant| now < grant.until);
        self.codes.insert(code.clone(), grant);
        wish.back(&[("code", &code)])
    }

    /// A code for a token.
    fn exchange(&mut self, request: &Request, now: Timestamp) -> Answer {
        let pairs = Pairs::posted(request);
        let told = match self.redeem(request, &pairs, now) {
            Ok(access) => {
                let Some(token) = random_hex(18).map(|text| format!("gho_{text}")) else { return no_randomness() };
                let told = [
                    ("access_token", token.clone()),
                    ("scope", access.scope.clone()),
                    ("token_type", "bearer".to_owned()),
                ];
                self.keep(token, access);
                told
            }
            Err(refusal) => [
                ("error", refusal.error.to_owned()),
                ("error_description", refusal.description.to_owned()),
                ("error_uri", format!("{}#{}", refusal.page, refusal.anchor)),
            ],
        };
        if request.header("accept").contains("application/json") {
            let told = told.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
            return Answer::json(&Value::Object(told.collect()));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(told).finish();
        Answer { content_type: "application/x-www-form-urlencoded; charset=utf-8", ..Answer::text(200, &body) }
    }

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
        let proven = match &grant.challenge {
            Some(challenge) => URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) == *challenge,
            None => verifier.is_empty(),
        };
        if proven { Ok(grant.access) } else { Err(WRONG_CODE) }
    }

    fn keep(&mut self, token: String, access: Access) {
        let of_same = |(_, known): &(String, Access)| known.person.login == access.person.login;
        if self.tokens.iter().filter(|known| of_same(known)).count() == TOKENS_MAX
            && let Some(oldest) = self.tokens.iter().position(of_same)
        {
            self.tokens.remove(oldest);
        }
        self.tokens.push((token, access));
    }

    fn api(&self, request: &Request, tell: impl Fn(&Access) -> Answer) -> Answer {
        if request.header("user-agent").is_empty() {
            let why =
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent header";
            return Answer::text(403, why);
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
            Some((_, access)) => tell(access).with_header("X-OAuth-Scopes", access.scope.replace(',', ", ")),
        }
    }
}

impl<'a> Wish<'a> {
    fn read(pairs: &'a Pairs) -> Result<Self, Answer> {
        if pairs.get("client_id") != CLIENT_ID {
            return Err(page(404, "<p>No application has this client_id.</p>"));
        }
        let redirect_uri = pairs.get("redirect_uri");
        if !is_loopback(redirect_uri) {
            return Err(page(400, "<p>The redirect_uri is not associated with this application.</p>"));
        }
        let (challenge, method) = (pairs.get("code_challenge"), pairs.get("code_challenge_method"));
        let is_digest = URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|bytes| bytes.len() == 32);
        let is_good = if challenge.is_empty() { method.is_empty() } else { is_digest && method == "S256" };
        if !is_good {
            return Err(page(400, "<p>The code_challenge must be one of the method S256.</p>"));
        }
        Ok(Self { pairs, redirect_uri })
    }

    /// One button a person, and one for none. It works without styles, scripts and cookies.
    fn page(&self) -> Answer {
        let mut form = String::from("<p>Who are you?</p><form method=\"post\" action=\"authorize\">");
        for name in ["client_id", "redirect_uri", "state", "scope", "code_challenge", "code_challenge_method"] {
            let value = escaped(self.pairs.get(name));
            let _ = write!(form, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">");
        }
        for person in &PEOPLE {
            let login = person.login;
            let emails: Vec<String> = person.emails.iter().map(Email::told).collect();
            let told = escaped(&emails.join(", "));
            let _ = write!(form, "<p><button name=\"login\" value=\"{login}\">Continue as {login}</button> {told}</p>");
        }
        form.push_str("<p><button name=\"cancel\" value=\"1\">Cancel</button></p></form>");
        page(200, &form)
    }

    /// Sends the browser back with these, and with the state it came with.
    fn back(&self, told: &[(&str, &str)]) -> Answer {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(told);
        if !self.pairs.get("state").is_empty() {
            query.append_pair("state", self.pairs.get("state"));
        }
        let mark = if self.redirect_uri.contains('?') { '&' } else { '?' };
        let location = format!("{}{mark}{}", self.redirect_uri, query.finish());
        Answer::text(302, "").with_header("Location", location)
    }
}

impl Pairs {
    fn posted(request: &Request) -> Self {
        Self(form_urlencoded::parse(&request.body).into_owned().collect())
    }

    /// The first of this name; empty when there is none, which GitHub takes for the same.
    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

impl Email {
    fn told(&self) -> String {
        if self.verified { self.address.to_owned() } else { format!("{} (not verified)", self.address) }
    }
}

/// Whether this is an address of this machine that a browser understands as we do; https is what a proxy in front speaks.
fn is_loopback(address: &str) -> bool {
    if !address.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\')) {
        return false;
    }
    let Ok(uri) = address.parse::<Uri>() else { return false };
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = uri.host().unwrap_or_default();
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let at_home = host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|host| host.is_loopback())
        || inner.and_then(|host| host.parse::<Ipv6Addr>().ok()).is_some_and(|host| host.is_loopback());
    matches!(uri.scheme_str(), Some("http" | "https")) && at_home && !authority.contains('@')
}

/// The known ones of the scopes asked for, as GitHub writes them; `user` holds the others.
fn granted(asked: &str) -> String {
    let asked: Vec<&str> = asked.split([' ', ',']).collect();
    let known = SCOPES.iter().filter(|scope| asked.contains(scope));
    if asked.contains(&"user") { "user".to_owned() } else { known.copied().collect::<Vec<_>>().join(",") }
}

/// Name and secret of HTTP Basic, each encoded as in a form (RFC 6749, 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':').filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let plain =
        |text: &str| form_urlencoded::parse(format!("x={text}").as_bytes()).next().map(|(_, value)| value.into_owned());
    Some((plain(id)?, plain(secret)?))
}

fn user(person: &Person) -> Answer {
    let Person { login, id, name, emails } = person;
    let public = emails.iter().find(|email| email.public).map(|email| email.address);
    Answer::json(&json!({
        "login": login,
        "id": id,
        "node_id": STANDARD.encode(format!("04:User{id}")),
        "avatar_url": "",
        "gravatar_id": "",
        "type": "User",
        "user_view_type": "public",
        "site_admin": false,
        "name": name,
        "company": null,
        "blog": "",
        "location": null,
        "email": public,
        "hireable": null,
        "bio": null,
        "public_repos": 0,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": "2011-01-25T18:44:36Z",
        "updated_at": "2026-11-01T08:00:00Z",
    }))
}

fn emails(access: &Access) -> Answer {
    if !access.scope.split(',').any(|scope| matches!(scope, "user" | "user:email")) {
        return Answer::error(Host::GitHub, 404, "Not Found");
    }
    let told = |(index, email): (usize, &Email)| {
        let visibility = (index == 0).then_some(if email.public { "public" } else { "private" });
        json!({"email": email.address, "primary": index == 0, "verified": email.verified, "visibility": visibility})
    };
    Answer::json(&access.person.emails.iter().enumerate().map(told).collect::<Vec<_>>())
}

fn page(status: u16, content: &str) -> Answer {
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

fn random_hex(n_bytes: usize) -> Option<String> {
    let mut bytes = vec![0; n_bytes];
    OsRng.try_fill_bytes(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

fn no_randomness() -> Answer {
    Answer::error(Host::GitHub, 500, "The operating system gives no random numbers")
}
