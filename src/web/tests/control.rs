//! The pause switch, the colour theme, and what a request that changes something must carry.

use super::*;
use crate::domain::events::group::GroupKind;
use crate::queue::{self, Queue};

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
async fn new_positions_are_paused_beside_the_pause_of_everything() {
    let mut web = TestWeb::full().await;
    assert!(web.get("/").await.text().contains("Pause new positions"));
    web.post("/control/pause", &[("opens_paused", "true")]).await;
    assert!(!web.db.global_config().await.unwrap().system.opens_enabled);
    let page = web.get("/").await;
    for expected in ["New positions are paused: exits are still copied", "Resume new positions", "Pause copying"] {
        assert!(page.text().contains(expected), "`{expected}` is not in: {}", page.text());
    }
    web.post("/control/pause", &[("opens_paused", "false")]).await;
    assert!(web.db.global_config().await.unwrap().system.opens_enabled);
}

/// Our copies of the leader: 30 shares in the leader's own account and 20 in the global one.
async fn hold(web: &TestWeb) {
    let leader = FollowedUserId(1);
    let lot = |portfolio, shares: i64| {
        let (shares, cash) = (shares * 1_000_000, -shares * 500_000);
        crate::testkit::copy_setup::fill(portfolio, leader, &market_id(), &asset(), shares, cash, "copy:1")
    };
    let entries = vec![lot(PortfolioId::ExecUser(leader), 30), lot(PortfolioId::ExecGlobal, 20)];
    web.db.commit(&[LedgerWrite { entries, ..LedgerWrite::default() }], web.now).await.unwrap();
}

#[actix_web::test]
async fn a_position_is_closed_by_hand_once_for_each_request_that_is_open() {
    let mut web = TestWeb::full().await;
    hold(&web).await;
    for path in ["/portfolio", "/users/1"] {
        let page = web.get(path).await;
        assert!(page.body.contains(r#"action="/positions/close""#), "{path}: {}", page.body);
    }
    let answer = web.post("/positions/close", &[("followed_user_id", "1"), ("asset_id", ""), ("scope", "")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
    assert!(web.get("/portfolio").await.text().contains("1 position is being closed"));
    let audit = web.db.audits(Some("close_by_hand"), None, 9).await.unwrap().remove(0);
    assert_eq!((audit.audit.who.as_str(), audit.audit.subject.as_str()), ("login link", "user:1"));
    for queue in [Queue::CopyAttemptUser, Queue::CopyAttemptGlobal] {
        let jobs = queue::peek_open(&web.db, queue).await.unwrap();
        let groups: Vec<_> = jobs.iter().map(|job| job.group().unwrap()).collect();
        let groups = web.db.groups(&groups).await.unwrap();
        let closes = groups.iter().filter(|group| group.action.kind() == GroupKind::Close);
        assert_eq!(closes.clone().count(), 1, "{queue}");
        assert!(closes.clone().all(|group| group.detect_time == audit.created_at));
    }
    // Open ones are not asked for twice; the other account of a half-open request is.
    let body = serde_json::json!({"followed_user_id": 1, "asset_id": asset().as_str(), "scope": "EXEC_GLOBAL"});
    let again = web.post_json("/api/positions/close", &body).await;
    assert_eq!(again.status, StatusCode::ACCEPTED, "{}", again.body);
    let closes = &again.json()["closes"];
    assert_eq!(
        (closes[0]["is_new"].as_bool(), closes[0]["portfolio_scopes"].clone()),
        (Some(false), serde_json::json!(["EXEC_GLOBAL"]))
    );
    assert_eq!(web.db.audits(Some("close_by_hand"), None, 9).await.unwrap().len(), 1);
    for (body, status, detail) in [
        (serde_json::json!({"followed_user_id": 9}), 404, "nothing"),
        (serde_json::json!({"followed_user_id": 1, "scope": "SHADOW_USER"}), 400, "`scope`: `SHADOW_USER`"),
        (serde_json::json!({"followed_user_id": 1, "asset_id": "x"}), 400, "`asset_id`"),
        (serde_json::json!({"asset_id": "1"}), 400, "followed_user_id"),
    ] {
        let wrong = web.post_json("/api/positions/close", &body).await;
        assert_eq!(wrong.status.as_u16(), status, "{body}: {}", wrong.body);
        assert!(wrong.json()["detail"].as_str().unwrap().contains(detail), "{body}: {}", wrong.body);
    }
    let nothing =
        web.post_json("/api/positions/close", &serde_json::json!({"followed_user_id": 1, "asset_id": "5"})).await;
    assert_eq!(nothing.json(), serde_json::json!({"closes": []}));
}

#[actix_web::test]
async fn the_attempt_of_a_close_is_explained_in_its_own_words() {
    let mut web = TestWeb::full().await;
    hold(&web).await;
    web.post("/positions/close", &[("followed_user_id", "1")]).await;
    let job = queue::peek_open(&web.db, Queue::CopyAttemptGlobal).await.unwrap().pop().unwrap();
    let group = web.db.group(job.group().unwrap()).await.unwrap().unwrap();
    web.db.save_book(group.id, &super::explanation::book(group.detect_time)).await.unwrap();
    let attempt =
        CopyAttempt { their_reference_price: None, ..attempt(&group, DecisionKind::Execute, group.detect_time) };
    let id = attempt.id;
    web.db.commit(&[LedgerWrite { attempt: Some(attempt), ..LedgerWrite::default() }], web.now).await.unwrap();
    let text = web.get(&format!("/attempts/{id}")).await.text();
    for expected in [
        "Partly closed Sold 24.63 shares at 50.75¢ on average",
        "50.00 % of the position. The rest stays, because the book had no more bids within our limit.",
        "Close",
        "by hand, asked for by login link",
        "What was asked for",
        "Asked for",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(!text.contains("Leader's first fill"), "{text}");
    let json = web.get(&format!("/api/copy-attempts/{id}")).await.json();
    assert_eq!((json["action"].as_str(), json["asked_by"].as_str()), (Some("CLOSE"), Some("login link")));
    let listed = web.get("/trades?side=CLOSE").await;
    assert!(listed.text().contains("Partly closed") && !listed.text().contains("Skipped Spread"), "{}", listed.text());
    let of_market = web.get(&format!("/markets/{}", market_id())).await.text();
    assert!(of_market.contains("Partly closed"), "{of_market}");
    assert_eq!(web.get("/api/copy-attempts?side=CLOSE").await.json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(web.get("/api/copy-attempts?side=SELL").await.json()["data"].as_array().unwrap().len(), 0);
    let export = web.get("/export/attempts.csv?side=CLOSE").await.body;
    assert_eq!(export.lines().filter(|line| line.contains("CLOSE")).count(), 1, "{export}");
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
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::OK, serde_json::json!({"paused": true, "opens_paused": false}))
    );
    assert!(is_paused(&web).await);
    let opens = web.post_json("/api/control/pause", &serde_json::json!({"opens_paused": true})).await;
    assert_eq!(opens.json(), serde_json::json!({"paused": true, "opens_paused": true}));
    assert!(!web.db.global_config().await.unwrap().system.opens_enabled && is_paused(&web).await);
    let empty = web.post_json("/api/control/pause", &serde_json::json!({})).await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    assert!(empty.json()["detail"].as_str().unwrap().contains("send `paused` or `opens_paused`"), "{}", empty.body);
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
