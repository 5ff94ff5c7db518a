//! The sign-in over real sockets, step by step like a browser and an OAuth client.

use std::collections::BTreeMap;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::at_ten;
use crate::simulator::http::request::Host;
use crate::simulator::routes::github::{CLIENT_ID, CLIENT_SECRET};
use crate::simulator::state::fault::{Fault, FaultKind};
use crate::simulator::{Simulator, SimulatorHandle};
use crate::testkit::test_client;

type Pairs<'a> = BTreeMap<&'a str, &'a str>;

const REDIRECT: &str = "http://127.0.0.1:9/auth/callback";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters";
const STATE: &str = "a state";

struct Response {
    status: u16,
    location: String,
    content_type: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Returns the pairs in the query of the redirect.
    fn redirect_pairs(&self) -> BTreeMap<String, String> {
        assert_eq!(self.status, 302, "{}", self.body);
        let query = self.location.strip_prefix(REDIRECT).and_then(|rest| rest.strip_prefix('?')).unwrap();
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

fn start() -> SimulatorHandle {
    Simulator::start(at_ten()).unwrap()
}

fn client() -> awc::Client {
    test_client()
}

async fn send(request: awc::SendClientRequest) -> Response {
    let mut answer = request.await.unwrap();
    let header = |name| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let (location, content_type) = (header("location"), header("content-type"));
    let status = answer.status().as_u16();
    let body = String::from_utf8(answer.body().await.unwrap().to_vec()).unwrap();
    Response { status, location, content_type, body }
}

fn encoded(pairs: &Pairs<'_>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

/// Sends the authorize request of our bot with some pairs changed.
async fn authorize(simulator: &SimulatorHandle, post: bool, changed: &[(&str, &str)]) -> Response {
    let challenge = challenge();
    let mut pairs = Pairs::from([
        ("client_id", CLIENT_ID),
        ("redirect_uri", REDIRECT),
        ("state", STATE),
        ("scope", "user:email"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("response_type", "code"),
    ]);
    pairs.extend(changed.iter().copied());
    let url = format!("{}/login/oauth/authorize", simulator.github_base());
    let request = if post {
        let form = ("content-type", "application/x-www-form-urlencoded");
        client().post(url).insert_header(form).send_body(encoded(&pairs))
    } else {
        client().get(format!("{url}?{}", encoded(&pairs))).send()
    };
    send(request).await
}

async fn code_of(simulator: &SimulatorHandle, login: &str) -> String {
    authorize(simulator, true, &[("login", login)]).await.redirect_pairs()["code"].clone()
}

async fn exchange(simulator: &SimulatorHandle, code: &str, changed: &[(&str, &str)]) -> Response {
    let mut pairs = Pairs::from([
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("grant_type", "authorization_code"),
    ]);
    pairs.extend(changed.iter().copied());
    send(token_request(simulator).insert_header(("accept", "application/json")).send_body(encoded(&pairs))).await
}

fn token_request(simulator: &SimulatorHandle) -> awc::ClientRequest {
    let url = format!("{}/login/oauth/access_token", simulator.github_base());
    client().post(url).insert_header(("content-type", "application/x-www-form-urlencoded"))
}

/// Returns the error of a failed exchange; GitHub sends it with status 200.
async fn error_of(simulator: &SimulatorHandle, code: &str, changed: &[(&str, &str)]) -> String {
    let answer = exchange(simulator, code, changed).await;
    let body = answer.json();
    assert_eq!(answer.status, 200);
    assert!(body["error_description"].is_string() && body["error_uri"].is_string() && body["access_token"].is_null());
    body["error"].as_str().unwrap().to_owned()
}

async fn token_of(simulator: &SimulatorHandle, login: &str) -> String {
    let code = code_of(simulator, login).await;
    exchange(simulator, &code, &[]).await.json()["access_token"].as_str().unwrap().to_owned()
}

async fn api(simulator: &SimulatorHandle, path: &str, authorization: &str) -> Response {
    let request = client().get(format!("{}/api/v3{path}", simulator.github_base()));
    send(request.insert_header(("authorization", authorization)).insert_header(("user-agent", "test")).send()).await
}

async fn emails(simulator: &SimulatorHandle, login: &str) -> Value {
    let token = token_of(simulator, login).await;
    api(simulator, "/user/emails", &format!("Bearer {token}")).await.json()
}

#[actix_web::test]
async fn a_button_of_the_page_leads_to_a_token_of_its_account() {
    let simulator = start();
    let page = authorize(&simulator, false, &[]).await;
    assert_eq!((page.status, page.content_type.as_str()), (200, "text/html; charset=utf-8"));
    assert!(page.body.contains("<h1>Simulated GitHub</h1>") && !page.body.contains("<script"));
    for login in ["ada", "grace", "mallory", "eve"] {
        assert!(page.body.contains(&format!("<button name=\"login\" value=\"{login}\">")), "{login}");
    }
    let pairs = authorize(&simulator, true, &[("login", "ada")]).await.redirect_pairs();
    assert_eq!(pairs["state"], STATE);
    let told = exchange(&simulator, &pairs["code"], &[]).await;
    let mut body = told.json();
    let token = body["access_token"].take();
    let token = token.as_str().unwrap();
    assert!(token.starts_with("gho_") && token.len() == 40, "{token}");
    assert_eq!(body, json!({"access_token": null, "token_type": "bearer", "scope": "user:email"}));
    for scheme in ["Bearer", "bearer", "token"] {
        let user = api(&simulator, "/user", &format!("{scheme} {token}")).await.json();
        assert_eq!((&user["login"], &user["id"], &user["email"]), (&json!("ada"), &json!(1815), &Value::Null));
    }
    let emails = api(&simulator, "/user/emails", &format!("Bearer {token}")).await.json();
    assert_eq!(
        emails,
        json!([{"email": "ada@example.org", "primary": true, "verified": true, "visibility": "private"}])
    );
}

#[actix_web::test]
async fn client_and_secret_may_be_sent_as_http_basic_and_the_answer_as_a_form() {
    let simulator = start();
    let code = code_of(&simulator, "ada").await;
    let pairs = Pairs::from([("code", code.as_str()), ("redirect_uri", REDIRECT), ("code_verifier", VERIFIER)]);
    let encoded_id = CLIENT_ID.replace('-', "%2D");
    let with = |id: &str, secret: &str| {
        let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        send(token_request(&simulator).insert_header(("authorization", basic)).send_body(encoded(&pairs)))
    };
    let wrong = with(&encoded_id, "wrong").await;
    assert_eq!(wrong.content_type, "application/x-www-form-urlencoded; charset=utf-8");
    assert!(wrong.body.starts_with("error=incorrect_client_credentials&error_description=The+client_id"));
    let right = with(&encoded_id, CLIENT_SECRET).await;
    assert!(right.status == 200 && right.body.starts_with("access_token=gho_"), "{}", right.body);
    assert!(right.body.ends_with("&scope=user%3Aemail&token_type=bearer"), "{}", right.body);
}

#[actix_web::test]
async fn a_code_works_once_and_for_ten_minutes() {
    let simulator = start();
    let code = code_of(&simulator, "ada").await;
    assert_eq!(error_of(&simulator, "0123456789abcdef0123", &[]).await, "bad_verification_code");
    assert!(exchange(&simulator, &code, &[]).await.json()["access_token"].is_string());
    assert_eq!(error_of(&simulator, &code, &[]).await, "bad_verification_code");
    let (young, old) = (code_of(&simulator, "ada").await, code_of(&simulator, "ada").await);
    simulator.advance(590_000);
    assert!(exchange(&simulator, &young, &[]).await.json()["access_token"].is_string());
    simulator.advance(10_000);
    assert_eq!(error_of(&simulator, &old, &[]).await, "bad_verification_code");
}

#[actix_web::test]
async fn a_code_belongs_to_its_request_and_a_failed_try_of_its_client_spends_it() {
    let simulator = start();
    for (changed, error) in [
        ([("code_verifier", "another-verifier-of-forty-three-characters-or-so")], "bad_verification_code"),
        ([("code_verifier", "")], "bad_verification_code"),
        ([("redirect_uri", "http://127.0.0.1:9/auth/other")], "redirect_uri_mismatch"),
        ([("redirect_uri", "")], "redirect_uri_mismatch"),
    ] {
        let code = code_of(&simulator, "ada").await;
        assert_eq!(error_of(&simulator, &code, &changed).await, error, "{changed:?}");
        assert_eq!(error_of(&simulator, &code, &[]).await, "bad_verification_code", "{changed:?}");
    }
    let code = code_of(&simulator, "ada").await;
    for (changed, error) in [
        ([("client_secret", "wrong")], "incorrect_client_credentials"),
        ([("client_id", "wrong")], "incorrect_client_credentials"),
        ([("grant_type", "password")], "unsupported_grant_type"),
    ] {
        assert_eq!(error_of(&simulator, &code, &changed).await, error, "{changed:?}");
    }
    assert!(
        exchange(&simulator, &code, &[]).await.json()["access_token"].is_string(),
        "a try of another client does not spend it"
    );
    let unasked = [("login", "ada"), ("code_challenge", ""), ("code_challenge_method", "")];
    let bare = authorize(&simulator, true, &unasked).await.redirect_pairs()["code"].clone();
    assert_eq!(error_of(&simulator, &bare, &[]).await, "bad_verification_code", "a proof without a challenge");
    let bare = authorize(&simulator, true, &unasked).await.redirect_pairs()["code"].clone();
    assert!(exchange(&simulator, &bare, &[("code_verifier", "")]).await.json()["access_token"].is_string());
}

#[actix_web::test]
async fn cancel_redirects_with_the_state_and_without_a_code() {
    let simulator = start();
    let pairs = authorize(&simulator, true, &[("cancel", "1"), ("login", "ada")]).await.redirect_pairs();
    assert_eq!((pairs["error"].as_str(), pairs["state"].as_str()), ("access_denied", STATE));
    assert_eq!(pairs["error_description"], "The user has denied your application access.");
    assert!(!pairs.contains_key("code"));
    let stateless = authorize(&simulator, true, &[("login", "ada"), ("state", "")]).await.redirect_pairs();
    assert!(!stateless.contains_key("state"));
}

#[actix_web::test]
async fn it_redirects_to_this_machine_only() {
    let simulator = start();
    for good in [
        "http://localhost/x",
        "http://127.1.2.3:80",
        "https://127.0.0.1:8443/x",
        "http://[::1]:8080/auth/callback?kept=1",
    ] {
        let back = authorize(&simulator, true, &[("login", "ada"), ("redirect_uri", good)]).await;
        assert!(back.status == 302 && back.location.starts_with(good), "{good}");
        let mark = if good.contains('?') { "&code=" } else { "?code=" };
        assert!(back.location[good.len()..].starts_with(mark), "{}", back.location);
    }
    for bad in [
        "",
        "/auth/callback",
        "//127.0.0.1/x",
        "https://example.org/x",
        "https://127.0.0.1@example.org/x",
        "ftp://127.0.0.1/x",
        "javascript:alert(1)//127.0.0.1",
        "http://example.org/x",
        "http://127.0.0.1.example.org/x",
        "http://localhost.example.org/x",
        "http://127.0.0.1@example.org/x",
        "http://127.0.0.1:8080@example.org/x",
        "http://user@127.0.0.1/x",
        "http://example.org\\@127.0.0.1/x",
        "http://example.org#@127.0.0.1/x",
        "http://127.0.0.1/x#fragment",
        "http://127.0.0.1/x\r\nSet-Cookie: a=b",
        "http://127.0.0.1/ö",
        "http://10.0.0.1/x",
        "http://[::2]/x",
    ] {
        for post in [false, true] {
            let page = authorize(&simulator, post, &[("login", "ada"), ("redirect_uri", bad)]).await;
            assert_eq!((page.status, page.location.as_str()), (400, ""), "{bad}");
        }
    }
    for post in [false, true] {
        let unknown = authorize(&simulator, post, &[("login", "ada"), ("client_id", "another")]).await;
        assert_eq!((unknown.status, unknown.location.as_str()), (404, ""));
    }
    assert_eq!(authorize(&simulator, true, &[("login", "nobody")]).await.status, 404);
    for (name, value) in [("code_challenge", "short"), ("code_challenge_method", "plain"), ("code_challenge", "")] {
        assert_eq!(authorize(&simulator, false, &[(name, value)]).await.status, 400, "{name}={value}");
    }
}

#[actix_web::test]
async fn hostile_text_is_escaped_on_the_page_and_returned_unchanged() {
    let simulator = start();
    let state = "\"><script>alert('1')</script>&amp;\r\nSet-Cookie: a=b; ö %00 + #";
    let redirect = "http://127.0.0.1:9/auth/callback?x='b'";
    let page = authorize(&simulator, false, &[("state", state), ("scope", "<i>"), ("redirect_uri", redirect)]).await;
    assert_eq!(page.status, 200);
    for raw in ["<script", "'b'", "<i>", "alert('"] {
        assert!(!page.body.contains(raw), "{raw} in {}", page.body);
    }
    let escaped = "value=\"&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;";
    assert!(page.body.contains(escaped), "{}", page.body);
    let pairs = authorize(&simulator, true, &[("login", "ada"), ("state", state)]).await.redirect_pairs();
    assert_eq!(pairs["state"], state);
}

#[actix_web::test]
async fn each_account_has_its_addresses_and_some_are_not_verified() {
    let simulator = start();
    let grace = json!([
        {"email": "grace@elsewhere.example", "primary": true, "verified": true, "visibility": "private"},
        {"email": "Ada@Example.org", "primary": false, "verified": true, "visibility": null},
    ]);
    assert_eq!(emails(&simulator, "grace").await, grace);
    let eve = json!([{"email": "ada@example.org", "primary": true, "verified": false, "visibility": "private"}]);
    assert_eq!(emails(&simulator, "eve").await, eve);
    let mallory = json!([{"email": "mallory@example.org", "primary": true, "verified": true, "visibility": "public"}]);
    assert_eq!(emails(&simulator, "mallory").await, mallory);
}

#[actix_web::test]
async fn the_api_requires_a_valid_token_and_the_scope_of_the_route() {
    let simulator = start();
    let code = code_of(&simulator, "ada").await;
    for wrong in [format!("Bearer gho_{}", "0".repeat(36)), format!("Bearer {code}"), "Bearer".to_owned()] {
        let answer = api(&simulator, "/user", &wrong).await;
        assert_eq!((answer.status, &answer.json()["message"]), (401, &json!("Bad credentials")), "{wrong}");
    }
    let token = token_of(&simulator, "ada").await;
    assert_eq!(api(&simulator, "/user", &format!("Basic {token}")).await.status, 401);
    assert_eq!(api(&simulator, "/users", &format!("Bearer {token}")).await.status, 404);
    let url = format!("{}/api/v3/user", simulator.github_base());
    let anonymous = send(client().get(&url).insert_header(("user-agent", "test")).send()).await;
    assert_eq!((anonymous.status, &anonymous.json()["message"]), (401, &json!("Requires authentication")));
    for (asked, granted, emails_status) in [
        ("", "", 404),
        ("repo read:user", "read:user", 404),
        ("user:email read:user", "read:user,user:email", 200),
        ("user,user:email", "user", 200),
    ] {
        let back = authorize(&simulator, true, &[("login", "ada"), ("scope", asked)]).await;
        let body = exchange(&simulator, &back.redirect_pairs()["code"], &[]).await.json();
        assert_eq!(body["scope"], granted);
        let bearer = format!("Bearer {}", body["access_token"].as_str().unwrap());
        assert_eq!(api(&simulator, "/user", &bearer).await.status, 200);
        assert_eq!(api(&simulator, "/user/emails", &bearer).await.status, emails_status, "{asked}");
    }
}

#[actix_web::test]
async fn the_eleventh_token_of_an_account_revokes_the_first() {
    let simulator = start();
    let (of_eve, first) = (token_of(&simulator, "eve").await, token_of(&simulator, "ada").await);
    let mut last = String::new();
    for _ in 0..10 {
        last = token_of(&simulator, "ada").await;
    }
    let mut statuses = Vec::new();
    for token in [of_eve, first, last] {
        statuses.push(api(&simulator, "/user", &format!("token {token}")).await.status);
    }
    assert_eq!(statuses, [200, 401, 200]);
}

#[actix_web::test]
async fn planned_faults_strike_it_like_any_host() {
    let simulator = start();
    let code = code_of(&simulator, "ada").await;
    simulator.with(|exchange| exchange.fault(Fault::once(Host::GitHub, "/access_token", FaultKind::Status(503))));
    let failed = exchange(&simulator, &code, &[]).await;
    assert_eq!((failed.status, &failed.json()["message"]), (503, &json!("Service Unavailable")));
    assert!(
        exchange(&simulator, &code, &[]).await.json()["access_token"].is_string(),
        "the fault came before the code was used"
    );
    assert_eq!(simulator.with(|exchange| exchange.n_requests(Host::GitHub, "/login/oauth/access_token")), 2);
}
