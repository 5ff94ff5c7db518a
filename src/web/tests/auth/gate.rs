//! What a signed-out visitor gets, the login link, and the headers of every answer.

use crate::web::tests::*;

#[actix_web::test]
async fn a_signed_out_visitor_gets_the_login_page_or_a_problem() {
    let web = TestWeb::full().await;
    let page = web.get_signed_out("/").await;
    assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/login"));
    for path in ["/api/overview", "/api/trades", "/api/copy-attempts", "/api/nothing", "/ws/live"] {
        let answer = web.get_signed_out(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
    }
    let login = web.get_signed_out("/login").await;
    assert_eq!(login.status, StatusCode::OK);
    assert!(login.text().contains("Sign in with the one-time link"));
    assert_eq!(web.get_signed_out("/api/health").await.body, r#"{"status":"ok"}"#);
    assert_eq!(web.get_signed_out("/assets/app.css").await.status, StatusCode::OK);
    assert_eq!(web.get_signed_out("/assets/..%2fCargo.toml").await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn the_login_link_works_once() {
    let web = TestWeb::empty().await;
    let link = web.server().login_link.clone().unwrap();
    let path = &link[link.find("/login").unwrap()..];
    let again = web.get_signed_out(path).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(again.headers.get("set-cookie").is_none());
    assert!(again.text().contains("This login link is wrong or was used before"), "{}", again.text());
    // A visitor with a session is not sent away from an old link.
    assert_eq!(web.get(path).await.header("location"), "/");
    // Guessing links is rate limited.
    let mut last = StatusCode::OK;
    for guess in 0..22 {
        last = web.get_signed_out(&format!("/login/{guess}")).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
    let refused = web.db.audits(Some("sign_in_refused"), None, 100).await.unwrap();
    assert_eq!((refused.len(), web.metrics.refused_attempts.value()), (1, 23), "an address has one row a minute");
}

#[actix_web::test]
async fn a_cookie_of_another_server_is_refused() {
    let (web, second) = (TestWeb::empty().await, TestWeb::empty().await);
    assert!(web.server().login_link.as_ref().unwrap().starts_with(&format!("http://{}/login/", web.server().addr)));
    assert!(web.cookie.starts_with(&format!("polymarketspy-{}=", web.server().addr.port())));
    let forged = format!("polymarketspy-{}={}", web.server().addr.port(), second.cookie.split_once('=').unwrap().1);
    let answer = TestResponse::read(
        web.client.get(web.url("/api/overview")).insert_header(("cookie", forged)).send().await.unwrap(),
    )
    .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn foreign_host_names_are_not_answered() {
    let web = TestWeb::empty().await;
    for host in ["evil.example", "127.0.0.1", "127.0.0.1:1"] {
        for path in ["/", "/login", "/api/health", "/assets/app.css"] {
            let answer = web.get_with(path, &[("host", host)]).await;
            assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
        }
    }
    let port = web.server().addr.port();
    assert_eq!(web.get_with("/login", &[("host", &format!("localhost:{port}"))]).await.status, StatusCode::SEE_OTHER);
}

#[actix_web::test]
async fn every_answer_has_the_headers_that_keep_others_out() {
    let web = TestWeb::full().await;
    for path in ["/", "/nowhere", "/api/trades", "/api/nothing", "/login", "/assets/app.css", "/login/wrong"] {
        for answer in [web.get(path).await, web.get_signed_out(path).await] {
            let policy = answer.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}");
            assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        }
    }
    assert_eq!(web.get("/").await.header("cache-control"), "no-store");
}

#[actix_web::test]
async fn pages_hold_no_inline_script_or_style() {
    let web = TestWeb::full().await;
    for path in ["/", "/login", "/nowhere"] {
        let body = web.get(path).await.body;
        for (position, _) in body.match_indices("<script") {
            assert!(body[position..].starts_with("<script src=\"/assets/"), "{path}");
        }
        assert!(!body.contains("<style") && !body.contains(" style=") && !body.contains(" onclick="), "{path}");
    }
}

#[actix_web::test]
async fn assets_are_kept_by_their_version_and_checked_without_it() {
    let web = TestWeb::empty().await;
    let body = web.get("/").await.body;
    let start = body.find("/assets/app.css?v=").unwrap();
    let address = body[start..].split('"').next().unwrap();
    assert_eq!(web.get(address).await.header("cache-control"), "public, max-age=31536000, immutable");
    let plain = web.get("/assets/app.css").await;
    assert_eq!(plain.header("cache-control"), "no-cache");
    assert_eq!(plain.header("content-type"), "text/css; charset=utf-8");
    let again = web.get_with("/assets/app.css", &[("if-none-match", plain.header("etag"))]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert_eq!(web.get("/assets/nothing.css").await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn signing_out_needs_the_form_of_our_own_page() {
    let web = TestWeb::empty().await;
    let body = web.get("/").await.body;
    let start = body.find(r#"name="csrf" value=""#).unwrap() + r#"name="csrf" value=""#.len();
    let csrf = body[start..].split('"').next().unwrap().to_owned();
    let logout = async |origin: Option<String>, csrf: &str| {
        let mut request = web.client.post(web.url("/logout")).insert_header(("cookie", web.cookie.as_str()));
        if let Some(origin) = origin {
            request = request.insert_header(("origin", origin));
        }
        TestResponse::read(request.send_form(&[("csrf", csrf)]).await.unwrap()).await
    };
    let ours = Some(format!("http://{}", web.server().addr));
    assert_eq!(logout(None, &csrf).await.status, StatusCode::FORBIDDEN);
    assert_eq!(logout(Some("http://evil.example".to_owned()), &csrf).await.status, StatusCode::FORBIDDEN);
    assert_eq!(logout(ours.clone(), "wrong").await.status, StatusCode::FORBIDDEN);
    let out = logout(ours, &csrf).await;
    assert_eq!((out.status, out.header("location")), (StatusCode::SEE_OTHER, "/login"));
    let gone = out.header("set-cookie");
    assert!(gone.contains("Max-Age=0") && gone.contains("HttpOnly") && gone.contains("SameSite=Lax"), "{gone}");
}

#[actix_web::test]
async fn pages_are_served_to_this_machine_only() {
    let web = TestWeb::empty().await;
    let settings = WebSettings::at("0.0.0.0:0".parse().unwrap());
    let (supervisor, _failures) = SupervisorContext::new(Clock::System);
    let deps = deps(&web.db, &web.hub, supervisor, &no_polymarket());
    let refused = http::start(&settings, deps).await.err().unwrap();
    assert!(refused.to_string().contains("`0.0.0.0:0` is not a loopback address"), "{refused}");
}

#[actix_web::test]
async fn behind_https_the_cookie_and_the_name_are_for_https_only() {
    let settings = WebSettings {
        public_url: Some("https://spy.example".to_owned()),
        ..WebSettings::at("127.0.0.1:0".parse().unwrap())
    };
    let web = TestWeb::signed_out(&settings, &no_polymarket()).await;
    let link = web.server().login_link.clone().unwrap();
    let path = link.strip_prefix("https://spy.example").unwrap();
    let login = web.send("get", path, &[("host", "spy.example")]).await;
    let cookie = login.header("set-cookie");
    assert!(cookie.starts_with("__Host-polymarketspy=") && cookie.contains("Secure"), "{cookie}");
    assert_eq!(login.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(TestWeb::empty().await.get("/").await.header("strict-transport-security"), "", "never over plain http");
}

#[actix_web::test]
async fn a_client_that_sends_too_slowly_is_disconnected() {
    use std::io::{Read, Write};
    let web = TestWeb::full().await;
    let (addr, csrf) = (web.server().addr, web.csrf().await);
    let head = "POST /theme HTTP/1.1\r\n";
    let whole = format!(
        "{head}host: {addr}\r\norigin: http://{addr}\r\ncookie: {}\r\nx-csrf-token: {csrf}\r\ncontent-length: 10\r\n\r\nth",
        web.cookie
    );
    let ended = [head.to_owned(), whole].map(|begun| {
        tokio::task::spawn_blocking(move || {
            let mut connection = std::net::TcpStream::connect(addr).unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            connection.write_all(begun.as_bytes()).unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).map(|_| answer)
        })
    });
    let [head, body] = ended;
    let head = head.await.unwrap().expect("the connection is closed");
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    let body = body.await.unwrap().expect("the connection is closed");
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
}

/// The crate that would speak HTTP/2 has a fault that lets a client fill the memory (RUSTSEC-2026-0258).
#[actix_web::test]
async fn http_2_is_not_spoken() {
    use std::io::{Read, Write};
    let addr = TestWeb::full().await.server().addr;
    let asked = tokio::task::spawn_blocking(move || {
        let mut connection = std::net::TcpStream::connect(addr).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // The preface of HTTP/2 and an empty SETTINGS frame. A server that speaks it answers with a frame of its own.
        connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    let answer = asked.await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:?}");
}
