//! Which session or token opens which route, for how long, and that nothing else does.

use crate::db::TokenScope;
use crate::testkit::eventually;
use crate::token;
use crate::web::server::routes::{CLOSED, OPEN};
use crate::web::tests::*;

/// Fills the placeholders of a route's path, so that its handler would answer it.
fn example(path: &str) -> String {
    let id = if path.starts_with("/attempts") || path.starts_with("/api/copy-attempts") {
        "018f3c4e-0000-7000-8000-000000000000"
    } else {
        "7"
    };
    path.replace("{id}", id).replace("{what}.{format}", "trades.csv")
}

impl TestWeb {
    /// Stores a token and returns the value of its `Authorization` header.
    async fn token(&self, name: &str, scope: TokenScope) -> String {
        let secret = format!("pmspy_{}", token::random_text().unwrap());
        let hash = token::hex(&token::hash(&secret));
        assert!(matches!(self.db.insert_token(name, &hash, scope, "test", self.now).await, Ok(Inserted::New(_))));
        format!("Bearer {secret}")
    }

    async fn actions(&self) -> Vec<String> {
        self.db.audits(None, None, 100).await.unwrap().into_iter().map(|row| row.audit.action).collect()
    }
}

#[actix_web::test]
async fn only_the_open_routes_let_a_signed_out_visitor_in() {
    let web = TestWeb::full().await;
    assert!(CLOSED.len() > 50, "the list is that of the server");
    let origin = web.origin();
    for (method, path) in CLOSED {
        let path = example(path);
        let answer = web.send(method, &path, &[("origin", &origin)]).await;
        match path.starts_with("/api/") || path.starts_with("/ws/") {
            true => assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path}"),
            false => assert_eq!(
                (answer.status, answer.header("location")),
                (StatusCode::SEE_OTHER, "/login"),
                "{method} {path}"
            ),
        }
        assert!(!answer.body.contains("10,400"), "{method} {path}");
    }
    let open: Vec<&str> = OPEN.iter().map(|(_, path)| *path).collect();
    let meant =
        ["/assets/{name:.*}", "/login", "/login/github", "/login/github/callback", "/login/{token}", "/api/health"];
    assert_eq!(open, meant);
}

#[actix_web::test]
async fn no_route_changes_anything_without_a_csrf_token_and_our_origin() {
    let web = TestWeb::full().await;
    let (origin, before) = (web.origin(), web.db.audits(None, None, 1000).await.unwrap());
    let changing: Vec<_> = CLOSED.iter().filter(|(method, _)| *method != "get").collect();
    assert!(changing.len() > 15);
    for (method, path) in changing {
        let path = example(path);
        let cookie = ("cookie", web.cookie.as_str());
        let elsewhere = web.send(method, &path, &[cookie, ("origin", "https://evil.example")]).await;
        assert_eq!(elsewhere.status, StatusCode::FORBIDDEN, "{method} {path} from elsewhere");
        let no_origin = web.send(method, &path, &[cookie]).await;
        assert_eq!(no_origin.status, StatusCode::FORBIDDEN, "{method} {path} without an origin");
        for csrf in ["", "wrong"] {
            let headers =
                [cookie, ("origin", origin.as_str()), ("x-csrf-token", csrf), ("content-type", "application/json")];
            let answer = web.send(method, &path, &headers).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path} with the CSRF token `{csrf}`");
        }
    }
    assert_eq!(web.db.audits(None, None, 1000).await.unwrap(), before);
}

#[actix_web::test]
async fn a_read_token_reads_and_a_write_token_changes_without_a_csrf_token() {
    let web = TestWeb::full().await;
    let (reads, writes) = (web.token("reader", TokenScope::Read).await, web.token("writer", TokenScope::Write).await);
    for path in ["/", "/api/overview", "/api/trades", "/export/trades.csv", "/access"] {
        let answer = web.send("get", path, &[("authorization", &reads)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    let pause = async |bearer: &str| {
        let request = web.client.post(web.url("/api/control/pause")).insert_header(("authorization", bearer));
        TestResponse::read(request.send_json(&serde_json::json!({"paused": true})).await.unwrap()).await
    };
    let refused = pause(&reads).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body.contains("may only read"), "{}", refused.body);
    assert!(web.db.global_config().await.unwrap().system.copy_engine_enabled);
    assert_eq!(pause(&writes).await.status, StatusCode::OK);
    assert!(!web.db.global_config().await.unwrap().system.copy_engine_enabled);
    let audit = web.db.audits(Some("save_config"), None, 1).await.unwrap().remove(0).audit;
    assert_eq!(audit.who, "token:writer");
    // Written beside the answers.
    eventually("the last use of both", async || {
        web.db.tokens().await.unwrap().iter().all(|token| token.last_used_at.is_some()).then_some(())
    })
    .await;
}

#[actix_web::test]
async fn a_revoked_or_made_up_token_is_refused_whatever_cookie_comes_with_it() {
    let web = TestWeb::full().await;
    let token = web.token("script", TokenScope::Write).await;
    let ask = async |bearer: &str| {
        web.send("get", "/api/overview", &[("authorization", bearer), ("cookie", &web.cookie)]).await.status
    };
    assert_eq!(ask(&token).await, StatusCode::OK);
    assert!(web.db.revoke_token("script", "test", web.now).await.unwrap());
    for wrong in [token.as_str(), "Bearer pmspy_guess", "Bearer", "bearer "] {
        assert_eq!(ask(wrong).await, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    let refused = async || web.actions().await.iter().filter(|action| *action == "token_refused").count();
    eventually("an audit", async || (refused().await == 1).then_some(())).await;
    assert_eq!(web.metrics.refused_attempts.value(), 4);
    // Basic credentials are for a proxy in front of us; the cookie still counts.
    assert_eq!(ask("Basic YTpi").await, StatusCode::OK);
    // Guessing tokens is rate limited, and working tokens are not.
    let mut last = StatusCode::OK;
    for _ in 0..18 {
        last = ask("Bearer guess").await;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((web.metrics.refused_attempts.value(), refused().await), (22, 1), "an address has one row a minute");
    let other = web.token("other", TokenScope::Read).await;
    assert_eq!(ask(&other).await, StatusCode::OK);
}

#[actix_web::test]
async fn a_token_is_revoked_on_the_page_and_its_name_is_free_again() {
    let mut web = TestWeb::full().await;
    web.token("script", TokenScope::Read).await;
    let said = web.post("/access/tokens/revoke", &[("name", "script")]).await;
    assert_eq!((said.status, said.header("location")), (StatusCode::SEE_OTHER, "/access"));
    let page = web.get("/access").await.text();
    assert!(page.contains("The token script lets nobody in any more."), "{page}");
    assert!(page.contains("script May read") && page.contains("revoked"), "{page}");
    assert!(page.contains("Token revoked") && page.contains("login link"), "{page}");
    web.token("script", TokenScope::Read).await;
    let rows: serde_json::Value = serde_json::from_str(&web.get("/api/audit?action=token_revoke").await.body).unwrap();
    assert_eq!(rows["rows"].as_array().unwrap().len(), 1);
    assert_eq!(rows["rows"][0]["subject"], "token:script");
}

#[actix_web::test]
async fn signing_out_ends_the_session_and_not_only_the_cookie() {
    let mut web = TestWeb::full().await;
    let stolen = web.cookie.clone();
    assert_eq!(web.post("/logout", &[]).await.header("location"), "/login");
    let answer = web.send("get", "/api/overview", &[("cookie", &stolen)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(web.actions().await[0], "sign_out");
}

#[actix_web::test]
async fn signing_out_everywhere_ends_what_began_before() {
    let mut web = TestWeb::full().await;
    let here = web.cookie.clone();
    assert_eq!(web.post("/logout/everywhere", &[]).await.status, StatusCode::SEE_OTHER);
    let answer = web.send("get", "/api/overview", &[("cookie", &here)]).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(web.actions().await[0], "sign_out_everywhere");
}

#[actix_web::test]
async fn requests_that_are_too_long_are_refused_with_their_own_words() {
    let web = TestWeb::full().await;
    let long = "x".repeat(20_000);
    assert_eq!(web.send("get", "/login", &[("x-long", &long)]).await.status.as_u16(), 431);
    assert_eq!(web.send("get", &format!("/login?{}", &long[..5_000]), &[]).await.status.as_u16(), 414);
    let csrf = web.csrf().await;
    let request = web.client.post(web.url("/api/config/global")).insert_header(("cookie", web.cookie.as_str()));
    let request = request.insert_header(("origin", web.origin())).insert_header(("x-csrf-token", csrf));
    let answer = TestResponse::read(request.send_body(vec![b'x'; 100_000]).await.unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[actix_web::test]
async fn a_script_that_changes_too_much_is_rate_limited_and_can_still_read() {
    let web = TestWeb::full().await;
    let token = web.token("wild", TokenScope::Write).await;
    let mut last = StatusCode::OK;
    for _ in 0..130 {
        let request = web.client.post(web.url("/api/control/pause")).insert_header(("authorization", token.as_str()));
        last = request.send_json(&serde_json::json!({"paused": true})).await.unwrap().status();
        if last == StatusCode::TOO_MANY_REQUESTS {
            break;
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(web.get("/api/overview").await.status, StatusCode::OK);
}
