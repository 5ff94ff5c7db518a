//! The engine's switch, the colours, and what a changing request must bring.

use super::*;

async fn is_paused(world: &World) -> bool {
    !world.db.global_config().await.unwrap().system.copy_engine_enabled
}

#[actix_web::test]
async fn pausing_is_said_audited_and_can_be_undone() {
    let mut world = World::full().await;
    assert!(world.get("/").await.text().contains("Pause copying"));
    let answer = world.post("/control/pause", &[("paused", "true")]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    assert!(is_paused(&world).await);
    let page = world.get("/").await;
    for expected in ["Copying is paused.", "Undo", "Resume copying"] {
        assert!(page.text().contains(expected), "`{expected}` is not in: {}", page.text());
    }
    assert!(page.body.contains(r#"<input type="hidden" name="paused" value="false">"#), "the way back");
    let audit = world.db.audits(Some("save_config"), None, 1).await.unwrap().remove(0).audit;
    assert_eq!((audit.who.as_str(), audit.subject.as_str()), ("login link", "config:global"));
    world.post("/control/pause", &[("paused", "false")]).await;
    assert!(!is_paused(&world).await);
}

#[actix_web::test]
async fn what_was_done_is_said_once() {
    let mut world = World::full().await;
    world.post("/control/pause", &[("paused", "true")]).await;
    let page = world.get("/").await;
    assert!(page.text().contains("Copying is paused."));
    world.cookie = cookie(&page.headers);
    assert!(!world.get("/").await.text().contains("Copying is paused."));
}

#[actix_web::test]
async fn scripts_pause_by_json() {
    let world = World::full().await;
    let answer = world.post_json("/api/control/pause", &serde_json::json!({"paused": true})).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, serde_json::json!({"paused": true})));
    assert!(is_paused(&world).await);
    let wrong = world.post_json("/api/control/pause", &serde_json::json!({"paussed": true})).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.json()["detail"].as_str().unwrap().contains("paussed"), "{}", wrong.body);
}

#[actix_web::test]
async fn a_change_needs_its_proof_and_our_origin() {
    let world = World::full().await;
    let (origin, csrf) = (format!("http://{}", world.web().addr), world.csrf().await);
    let sent = async |origin: &str, csrf: &str| {
        let request = world.client.post(world.url("/control/pause")).insert_header(("cookie", world.cookie.as_str()));
        let form = [("csrf", csrf), ("paused", "true")];
        Answer::read(request.insert_header(("origin", origin)).send_form(&form).await.unwrap()).await.status
    };
    assert_eq!(sent(&origin, "").await, StatusCode::FORBIDDEN);
    assert_eq!(sent(&origin, "wrong").await, StatusCode::FORBIDDEN);
    assert_eq!(sent("http://evil.example", &csrf).await, StatusCode::FORBIDDEN);
    assert!(!is_paused(&world).await);
    assert_eq!(sent(&origin, &csrf).await, StatusCode::SEE_OTHER);
    let stranger = world.client.post(world.url("/control/pause")).insert_header(("origin", origin));
    let stranger =
        Answer::read(stranger.send_form(&[("csrf", csrf.as_str()), ("paused", "false")]).await.unwrap()).await;
    assert_eq!(stranger.header("location"), "/login");
    assert!(is_paused(&world).await);
}

#[actix_web::test]
async fn an_error_in_place_leaves_the_page_and_says_why() {
    let world = World::full().await;
    let (origin, csrf) = (format!("http://{}", world.web().addr), world.csrf().await);
    let request = world.client.post(world.url("/control/pause")).insert_header(("cookie", world.cookie.as_str()));
    let request = request.insert_header(("origin", origin)).insert_header(("hx-request", "true"));
    let sent = request.send_form(&[("csrf", csrf.as_str()), ("paused", "perhaps")]).await.unwrap();
    let answer = Answer::read(sent).await;
    assert_eq!((answer.status, answer.header("hx-reswap")), (StatusCode::BAD_REQUEST, "none"));
    let notice = answer.body.split(r#"<div id="notice""#).nth(1).unwrap().split("<main").next().unwrap();
    assert!(notice.contains("`paused`:"), "{notice}");
}

#[actix_web::test]
async fn the_colours_are_the_systems_until_somebody_switches() {
    let mut world = World::full().await;
    assert!(!world.get("/").await.body.contains("data-theme"));
    let answer = world.post("/theme", &[("theme", "dark")]).await;
    assert_eq!(answer.header("location"), "/");
    world.cookie = format!("{}; {}", world.cookie, cookie(&answer.headers));
    assert!(world.get("/").await.body.contains(r#"<html lang="en" data-theme="dark">"#));
}
