//! Who comes in, and what every answer carries.

use crate::web::tests::*;

#[actix_web::test]
async fn strangers_get_the_login_page_a_problem_or_nothing() {
    let world = World::full().await;
    let page = world.get_as_stranger("/").await;
    assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/login"));
    for path in ["/api/overview", "/api/trades", "/api/copy-attempts", "/api/nothing", "/ws/live"] {
        let answer = world.get_as_stranger(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
    }
    let login = world.get_as_stranger("/login").await;
    assert_eq!(login.status, StatusCode::OK);
    assert!(login.text().contains("Sign in with the one-time link"));
    assert_eq!(world.get_as_stranger("/api/health").await.body, r#"{"status":"ok"}"#);
    assert_eq!(world.get_as_stranger("/assets/app.css").await.status, StatusCode::OK);
    assert_eq!(world.get_as_stranger("/assets/..%2fCargo.toml").await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn the_login_link_works_once() {
    let world = World::empty().await;
    let link = world.web().login_link.clone().unwrap();
    let path = &link[link.find("/login").unwrap()..];
    let again = world.get_as_stranger(path).await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert!(again.headers.get("set-cookie").is_none());
    assert!(again.text().contains("This login link is wrong or was used before"), "{}", again.text());
    // Who is in already is not sent away from an old link.
    assert_eq!(world.get(path).await.header("location"), "/");
    // Guessing is slowed down.
    let mut last = StatusCode::OK;
    for guess in 0..22 {
        last = world.get_as_stranger(&format!("/login/{guess}")).await.status;
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[actix_web::test]
async fn a_cookie_of_another_server_is_nobodys() {
    let (world, second) = (World::empty().await, World::empty().await);
    assert!(world.web().login_link.as_ref().unwrap().starts_with(&format!("http://{}/login/", world.web().addr)));
    assert!(world.cookie.starts_with(&format!("polymarketspy-{}=", world.web().addr.port())));
    let forged = format!("polymarketspy-{}={}", world.web().addr.port(), second.cookie.split_once('=').unwrap().1);
    let answer = Answer::read(
        world.client.get(world.url("/api/overview")).insert_header(("cookie", forged)).send().await.unwrap(),
    )
    .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[actix_web::test]
async fn foreign_host_names_are_not_answered() {
    let world = World::empty().await;
    for host in ["evil.example", "127.0.0.1", "127.0.0.1:1"] {
        for path in ["/", "/login", "/api/health", "/assets/app.css"] {
            let answer = world.get_with(path, &[("host", host)]).await;
            assert_eq!(answer.status, StatusCode::MISDIRECTED_REQUEST, "{host} {path}");
        }
    }
    let port = world.web().addr.port();
    assert_eq!(world.get_with("/login", &[("host", &format!("localhost:{port}"))]).await.status, StatusCode::SEE_OTHER);
}

#[actix_web::test]
async fn every_answer_has_the_headers_that_keep_others_out() {
    let world = World::full().await;
    for path in ["/", "/nowhere", "/api/trades", "/api/nothing", "/login", "/assets/app.css", "/login/wrong"] {
        for answer in [world.get(path).await, world.get_as_stranger(path).await] {
            let policy = answer.header("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}: {policy}");
            assert!(!policy.contains("unsafe"), "{path}");
            assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        }
    }
    assert_eq!(world.get("/").await.header("cache-control"), "no-store");
}

#[actix_web::test]
async fn pages_hold_no_inline_script_or_style() {
    let world = World::full().await;
    for path in ["/", "/login", "/nowhere"] {
        let body = world.get(path).await.body;
        for (position, _) in body.match_indices("<script") {
            assert!(body[position..].starts_with("<script src=\"/assets/"), "{path}");
        }
        assert!(!body.contains("<style") && !body.contains(" style=") && !body.contains(" onclick="), "{path}");
    }
}

#[actix_web::test]
async fn assets_are_kept_by_their_version_and_checked_without_it() {
    let world = World::empty().await;
    let body = world.get("/").await.body;
    let start = body.find("/assets/app.css?v=").unwrap();
    let address = body[start..].split('"').next().unwrap();
    assert_eq!(world.get(address).await.header("cache-control"), "public, max-age=31536000, immutable");
    let plain = world.get("/assets/app.css").await;
    assert_eq!(plain.header("cache-control"), "no-cache");
    assert_eq!(plain.header("content-type"), "text/css; charset=utf-8");
    let again = world.get_with("/assets/app.css", &[("if-none-match", plain.header("etag"))]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    assert_eq!(world.get("/assets/nothing.css").await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn signing_out_needs_the_form_of_our_own_page() {
    let world = World::empty().await;
    let body = world.get("/").await.body;
    let start = body.find(r#"name="csrf" value=""#).unwrap() + r#"name="csrf" value=""#.len();
    let csrf = body[start..].split('"').next().unwrap().to_owned();
    let logout = async |origin: Option<String>, csrf: &str| {
        let mut request = world.client.post(world.url("/logout")).insert_header(("cookie", world.cookie.as_str()));
        if let Some(origin) = origin {
            request = request.insert_header(("origin", origin));
        }
        Answer::read(request.send_form(&[("csrf", csrf)]).await.unwrap()).await
    };
    let ours = Some(format!("http://{}", world.web().addr));
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
    let world = World::empty().await;
    let settings = WebSettings::at("0.0.0.0:0".parse().unwrap());
    let (supervisor, _failures) = SupervisorContext::new(Clock::System);
    let deps = deps(&world.db, &world.hub, supervisor, &PolymarketSettings::new(NOBODY, NOBODY, NOBODY));
    let refused = http::start(&settings, deps).await.err().unwrap();
    assert!(refused.to_string().contains("`0.0.0.0:0` is not a loopback address"), "{refused}");
}

#[actix_web::test]
async fn behind_https_the_cookie_and_the_name_are_for_https_only() {
    let settings = WebSettings {
        public_url: Some("https://spy.example".to_owned()),
        ..WebSettings::at("127.0.0.1:0".parse().unwrap())
    };
    let world = World::behind(&settings, &PolymarketSettings::new(NOBODY, NOBODY, NOBODY)).await;
    let link = world.web().login_link.clone().unwrap();
    let path = link.strip_prefix("https://spy.example").unwrap();
    let login = world.send("get", path, &[("host", "spy.example")]).await;
    let cookie = login.header("set-cookie");
    assert!(cookie.starts_with("__Host-polymarketspy=") && cookie.contains("Secure"), "{cookie}");
    assert_eq!(login.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(World::empty().await.get("/").await.header("strict-transport-security"), "", "never over plain http");
}

#[actix_web::test]
async fn whoever_sends_drop_by_drop_is_let_go() {
    use std::io::{Read, Write};
    let world = World::full().await;
    let (addr, csrf) = (world.web().addr, world.csrf().await);
    let head = "POST /theme HTTP/1.1\r\n";
    let whole = format!(
        "{head}host: {addr}\r\norigin: http://{addr}\r\ncookie: {}\r\nx-csrf-token: {csrf}\r\ncontent-length: 10\r\n\r\nth",
        world.cookie
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
