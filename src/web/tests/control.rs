//! The pause switch, the colour theme, and what a request that changes something must carry.

use super::*;

async fn is_paused(web: &TestWeb) -> bool {
    !web.db.global_config().await.unwrap().system.copy_engine_enabled
}

#[actix_web::test]
async fn pausing_is_confirmed_audited_and_can_be_undone() {
    let mut web = TestWeb::full().await;
    assert!(web.get("/").await.text().contains("Pause copying"));
    let answer = web.post("/control/pause", &[("paused", "true")]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert!(is_paused(&web).await);
    let page = web.get("/").await;
    for expected in ["Copying is paused.", "Undo", "Resume copying"] {
        assert!(page.text().contains(expected), "`{expected}` is not in: {}", page.text());
    }
    assert!(page.body.contains(r#"<input type="hidden" name="paused" value="false">"#), "the undo button");
    let audit = web.db.audits(Some("save_config"), None, 1).await.unwrap().remove(0).audit;
    assert_eq!((audit.who.as_str(), audit.subject.as_str()), ("login link", "config:global"));
    web.post("/control/pause", &[("paused", "false")]).await;
    assert!(!is_paused(&web).await);
}

#[actix_web::test]
async fn a_flash_message_is_shown_once() {
    let mut web = TestWeb::full().await;
    web.post("/control/pause", &[("paused", "true")]).await;
    let page = web.get("/").await;
    assert!(page.text().contains("Copying is paused."));
    web.cookie = cookie(&page.headers);
    assert!(!web.get("/").await.text().contains("Copying is paused."));
}

#[actix_web::test]
async fn scripts_pause_by_json() {
    let web = TestWeb::full().await;
    let answer = web.post_json("/api/control/pause", &serde_json::json!({"paused": true})).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, serde_json::json!({"paused": true})));
    assert!(is_paused(&web).await);
    let wrong = web.post_json("/api/control/pause", &serde_json::json!({"paussed": true})).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.json()["detail"].as_str().unwrap().contains("paussed"), "{}", wrong.body);
}

#[actix_web::test]
async fn a_change_needs_a_csrf_token_and_our_origin() {
    let web = TestWeb::full().await;
    let (origin, csrf) = (format!("http://{}", web.server().addr), web.csrf().await);
    let sent = async |origin: &str, csrf: &str| {
        let request = web.client.post(web.url("/control/pause")).insert_header(("cookie", web.cookie.as_str()));
        let form = [("csrf", csrf), ("paused", "true")];
        TestResponse::read(request.insert_header(("origin", origin)).send_form(&form).await.unwrap()).await.status
    };
    assert_eq!(sent(&origin, "").await, StatusCode::FORBIDDEN);
    assert_eq!(sent(&origin, "wrong").await, StatusCode::FORBIDDEN);
    assert_eq!(sent("http://evil.example", &csrf).await, StatusCode::FORBIDDEN);
    assert!(!is_paused(&web).await);
    assert_eq!(sent(&origin, &csrf).await, StatusCode::SEE_OTHER);
    let stranger = web.client.post(web.url("/control/pause")).insert_header(("origin", origin));
    let stranger =
        TestResponse::read(stranger.send_form(&[("csrf", csrf.as_str()), ("paused", "false")]).await.unwrap()).await;
    assert_eq!(stranger.header("location"), "/login");
    assert!(is_paused(&web).await);
}

#[actix_web::test]
async fn an_error_in_place_leaves_the_page_and_says_why() {
    let web = TestWeb::full().await;
    let (origin, csrf) = (format!("http://{}", web.server().addr), web.csrf().await);
    let request = web.client.post(web.url("/control/pause")).insert_header(("cookie", web.cookie.as_str()));
    let request = request.insert_header(("origin", origin)).insert_header(("hx-request", "true"));
    let sent = request.send_form(&[("csrf", csrf.as_str()), ("paused", "perhaps")]).await.unwrap();
    let answer = TestResponse::read(sent).await;
    assert_eq!((answer.status, answer.header("hx-reswap")), (StatusCode::BAD_REQUEST, "none"));
    let notice = answer.body.split(r#"<div id="notice""#).nth(1).unwrap().split("<main").next().unwrap();
    assert!(notice.contains("`paused`:"), "{notice}");
}

#[actix_web::test]
async fn the_colours_follow_the_system_until_the_visitor_switches() {
    let mut web = TestWeb::full().await;
    assert!(!web.get("/").await.body.contains("data-theme"));
    let answer = web.post("/theme", &[("theme", "dark")]).await;
    assert_eq!(answer.header("location"), "/");
    web.cookie = format!("{}; {}", web.cookie, cookie(&answer.headers));
    assert!(web.get("/").await.body.contains(r#"<html lang="en" data-theme="dark">"#));
}
