//! The followed users: the table, following a new one with the simulator as Polymarket, and what can be changed.

use super::*;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::simulator::{
    Fault, FaultKind, Fill, Host, NewMarket, Simulator, SimulatorHandle, SimulatorSettings, wallet_of,
};

/// Starts a simulated Polymarket and a server that asks it. `Ilse Fink` has a profile and two fills, `ghost` neither.
async fn exchange() -> (SimulatorHandle, TestWeb) {
    // A second install in this process is refused, and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exchange = Simulator::start(SimulatorSettings::default()).unwrap();
    exchange.with(|exchange| {
        let asset = exchange.add_market(NewMarket::binary("rain")).facts.outcomes[0].asset.clone();
        let ilse = wallet_of("ilse");
        exchange.add_profile(&ilse, "Ilse Fink");
        exchange.add_profile(&wallet_of("other"), "Ilse Finkelstein");
        for shares in [10_000_000, 20_000_000] {
            exchange.push_fill(Fill::taker(&ilse, &asset, Side::Buy, 500_000, shares)).unwrap();
        }
    });
    let hosts = PolymarketSettings::new(&exchange.data_api_base(), &exchange.clob_base(), &exchange.gamma_base());
    let web = TestWeb::with_polymarket(&hosts).await;
    (exchange, web)
}

async fn last_audit(web: &TestWeb) -> (String, String, Option<String>, Option<String>) {
    let audit = web.db.audits(None, None, 1).await.unwrap().remove(0).audit;
    (audit.action, audit.subject, audit.before_json, audit.after_json)
}

#[actix_web::test]
async fn the_table_sets_the_leaders_result_beside_ours() {
    let web = TestWeb::full().await;
    let user = FollowedUserId(1);
    let bucket = web.now.bucket(60_000);
    let shadow = snapshot(PortfolioId::ShadowUser(user), bucket, 700, 700);
    let week_ago = snapshot(PortfolioId::ExecUser(user), web.now.plus_millis(-8 * 86_400_000), 9_950, -50);
    web.db.insert_snapshots(&[shadow, week_ago], &[], web.now).await.unwrap();
    let page = web.get("/users").await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    for expected in [
        "Shadow PnL +700.00 +7.00 at 1.00 %",
        "Copies, 7 days +40.00",
        "Copies, total −10.00",
        "Equity 9,990.00 1,300.00 exposed",
        "Attempts 24 h 0 none copied",
        "lag",
        "Together",
        "Rename",
        "Wind down",
        "Stop",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(page.body.contains(r#"href="/users/1""#));
    assert!(page.body.contains(&format!("https://polymarket.com/profile/{}", wallet())));
    let json = web.get("/api/users").await.json();
    assert_eq!(json["data"][0]["shadow_pnl_at_share_micros"], 7_000_000);
    assert_eq!(json["data"][0]["pnl_7d_micros"], 40_000_000);
    assert_eq!(json["sums"]["pnl_total_micros"], -10_000_000);
    // A sum of what is not known is not zero.
    assert_eq!(json["sums"]["if_sold_now_micros"], serde_json::Value::Null);
    assert_eq!(json["next_cursor"], serde_json::Value::Null);
}

#[actix_web::test]
async fn open_positions_are_counted_from_the_ledger() {
    let web = TestWeb::empty().await;
    let user = web.follow("Ilse").await;
    let entry = LedgerEntry {
        portfolio: PortfolioId::ExecUser(user),
        attributed_user: Some(user),
        market: Some(market_id()),
        asset: Some(asset()),
        kind: EntryType::TradeFill,
        shares: ShareMicros(5_000_000),
        cash: UsdcMicros(-2_500_000),
        price: PriceMicros::new(500_000).ok(),
        ref_id: "copy:1".to_owned(),
        created_at: web.now,
    };
    let write = LedgerWrite { entries: vec![entry], ..LedgerWrite::default() };
    web.db.commit(&[write], web.now).await.unwrap();
    assert_eq!(web.get("/api/users").await.json()["data"][0]["open_positions"], 1);
}

#[actix_web::test]
async fn an_empty_table_says_what_to_do_and_hostile_labels_stay_text() {
    let empty = TestWeb::empty().await;
    let text = empty.get("/users").await.text();
    assert!(text.contains("Nobody is followed yet"), "{text}");
    assert_eq!(empty.get("/api/users").await.json()["data"], serde_json::json!([]));
    let body = TestWeb::full().await.get("/users").await.body;
    assert!(!body.contains("<script>alert") && body.contains("&lt;script&gt;alert"));
}

#[actix_web::test]
async fn a_trader_is_looked_at_first_and_followed_then() {
    let (_exchange, mut web) = exchange().await;
    let wallet = wallet_of("ilse");
    for typed in ["Ilse%20Fink", "ilse+fink", wallet.as_str()] {
        let page = web.get(&format!("/users/follow?trader={typed}")).await;
        assert_eq!(page.status, StatusCode::OK);
        let text = page.text();
        for expected in
            ["Ilse Fink", wallet.as_str(), "Fills, last 24 h 2", "Open positions 1", "What to call them here"]
        {
            assert!(text.contains(expected), "{typed}: `{expected}` is not in: {text}");
        }
        assert!(page.body.contains(r#"value="Ilse Fink""#), "the name is offered as the label");
    }
    assert!(web.db.followed_users().await.unwrap().is_empty(), "looking changes nothing");

    let done = web.post("/users", &[("trader", wallet.as_str()), ("label", " My leader ")]).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/users"), "{}", done.body);
    let said = web.get("/users").await;
    assert!(said.text().contains("Following My leader as user 1."), "{}", said.text());
    assert!(said.body.contains(r#"action="/users/1""#) && said.body.contains("Undo"));
    let (action, subject, before, after) = last_audit(&web).await;
    assert_eq!((action.as_str(), subject.as_str(), before), ("follow", "user:1", None));
    assert!(after.unwrap().contains("My leader"));

    let again = web.get("/users/follow?trader=Ilse+Fink").await.text();
    assert!(again.contains("Followed already, as My leader"), "{again}");
    let undone = web.post("/users/1", &[("enabled", "false")]).await;
    assert_eq!(undone.status, StatusCode::SEE_OTHER);
    assert!(!web.db.followed_users().await.unwrap()[0].enabled());
    let known = web.get("/users/follow?trader=Ilse+Fink").await.text();
    assert!(known.contains("Known as My leader , and not followed now. Follow again"), "{known}");
    web.post("/users", &[("trader", wallet.as_str())]).await;
    let user = web.db.followed_users().await.unwrap().remove(0);
    assert_eq!((user.enabled(), user.label.as_str()), (true, "My leader"));
}

#[actix_web::test]
async fn a_trader_who_is_not_found_is_reported_beside_the_typed_name() {
    let (exchange, web) = exchange().await;
    let find = async |typed: &str| web.get(&format!("/users/follow?trader={typed}")).await;
    let near = find("Finkel").await;
    let text = near.text();
    assert!(text.contains("Nobody is called exactly `Finkel`."), "{text}");
    assert!(text.contains("Ilse Finkelstein") && text.contains("Choose"), "{text}");
    assert!(near.body.contains(r#"value="Finkel""#), "what was typed stays");
    assert!(near.body.contains(&format!("/users/follow?trader={}", wallet_of("other"))));
    let ghost = find(wallet_of("ghost").as_str()).await.text();
    assert!(ghost.contains("has no profile and no activity on Polymarket"), "{ghost}");
    let nonsense = find("0x12").await.text();
    assert!(nonsense.contains("`0x12` is not a wallet"), "{nonsense}");
    let hostile = find("%3Cscript%3Ealert(1)%3C%2Fscript%3E").await.body;
    assert!(!hostile.contains("<script>alert") && hostile.contains("&lt;script&gt;alert"));

    exchange.with(|exchange| {
        exchange.fault(Fault::once(Host::Gamma, "", FaultKind::Status(404)).times(crate::simulator::Times::Always));
    });
    let gone = find("Ilse").await;
    assert_eq!(gone.status, StatusCode::OK);
    assert!(gone.text().contains("Polymarket could not be asked who this is"), "{}", gone.text());
}

#[actix_web::test]
async fn without_polymarket_nothing_is_changed_and_the_page_says_so() {
    let mut web = TestWeb::empty().await;
    let answer = web.post("/users", &[("trader", wallet().as_str()), ("label", "Ilse")]).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().contains("Polymarket could not be asked who this is"), "{}", answer.text());
    assert!(web.db.followed_users().await.unwrap().is_empty());
}

#[actix_web::test]
async fn scripts_follow_and_change_by_json() {
    let (_exchange, web) = exchange().await;
    let body = serde_json::json!({"trader": "Ilse Fink"});
    let made = web.post_json("/api/users", &body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let user = made.json();
    assert_eq!(
        (user["id"].as_i64(), user["label"].as_str(), user["enabled"].as_bool()),
        (Some(1), Some("Ilse Fink"), Some(true))
    );
    assert_eq!(web.post_json("/api/users", &body).await.status, StatusCode::OK, "followed already");
    let changed = web.post_json("/api/users/1", &serde_json::json!({"label": "Ilse", "enabled": false})).await;
    assert_eq!(
        (changed.status, changed.json()["label"].as_str(), changed.json()["enabled"].as_bool()),
        (StatusCode::OK, Some("Ilse"), Some(false))
    );
    for (path, body, status, detail) in [
        ("/api/users", serde_json::json!({"trader": "nobody at all"}), 400, "`trader`: nobody is called exactly"),
        ("/api/users", serde_json::json!({"trader": "Ilse Fink", "label": ""}), 400, "`label` is empty"),
        ("/api/users", serde_json::json!({"label": "Ilse"}), 400, "trader"),
        ("/api/users/1", serde_json::json!({"label": "x".repeat(61)}), 400, "`label` has 61 characters"),
        ("/api/users/1", serde_json::json!({}), 400, "`label`, `state` or `enabled`"),
        ("/api/users/1", serde_json::json!({"enabled": true, "state": "STOPPED"}), 400, "send one of them"),
        ("/api/users/1", serde_json::json!({"state": "GONE"}), 400, "`GONE` is not a known FollowState"),
        ("/api/users/1", serde_json::json!({"enabled": "maybe"}), 400, "maybe"),
        ("/api/users/1", serde_json::json!({"profile_wallet": "0x1"}), 400, "profile_wallet"),
        ("/api/users/7", serde_json::json!({"enabled": true}), 404, "nothing"),
    ] {
        let answer = web.post_json(path, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{path} {body}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(answer.json()["detail"].as_str().unwrap().contains(detail), "{path} {body}: {}", answer.body);
    }
}

#[actix_web::test]
async fn following_a_leader_who_winds_down_makes_them_active_again_and_says_so() {
    let (_exchange, mut web) = exchange().await;
    let body = serde_json::json!({"trader": "Ilse Fink"});
    assert_eq!(web.post_json("/api/users", &body).await.status, StatusCode::CREATED);
    for (state, told, offered) in [
        ("WINDING_DOWN", "Ilse Fink was winding down and is active again", "Copy what they open again"),
        ("STOPPED", "Ilse Fink was stopped and is followed again", "Follow again"),
    ] {
        web.post("/users/1", &[("state", state)]).await;
        let found = web.get("/users/follow?trader=Ilse+Fink").await;
        assert!(found.text().contains(offered), "{}", found.text());
        web.post("/users", &[("trader", "Ilse Fink")]).await;
        let page = web.get("/users").await;
        assert!(page.text().contains(told), "{}", page.text());
        assert!(page.body.contains(&format!(r#"name="state" value="{state}""#)), "the way back");
        assert_eq!(web.get("/api/users").await.json()["data"][0]["state"], "ACTIVE");
    }
    web.post("/users", &[("trader", "Ilse Fink")]).await;
    assert!(web.get("/users").await.text().contains("Ilse Fink is followed already."));
    assert!(web.get("/users/follow?trader=Ilse+Fink").await.text().contains("Followed already, as Ilse Fink"));
}

#[actix_web::test]
async fn names_and_followings_are_changed_audited_and_undone() {
    let mut web = TestWeb::full().await;
    let renamed = web.post("/users/1", &[("label", "Ilse")]).await;
    assert_eq!(renamed.status, StatusCode::SEE_OTHER);
    let page = web.get("/users").await;
    assert!(page.text().contains("is now called Ilse."), "{}", page.text());
    assert!(page.body.contains(r#"name="label" value="&lt;script&gt;"#), "the way back holds the old name, as text");
    let (action, _, before, after) = last_audit(&web).await;
    assert_eq!((action.as_str(), after.as_deref()), ("rename", Some("\"Ilse\"")));
    assert_eq!(before, Some(serde_json::to_string(HOSTILE).unwrap()));

    web.post("/users/1", &[("enabled", "false")]).await;
    let page = web.get("/users").await;
    assert!(page.text().contains("Ilse is no longer followed."), "{}", page.text());
    assert!(page.text().contains("stopped") && page.text().contains("Follow again"));
    assert_eq!(last_audit(&web).await.0, "set_state");
    web.post("/users/1", &[("enabled", "true")]).await;
    assert!(web.get("/users").await.text().contains("Ilse is followed again from now on."));
    web.post("/users/1", &[("enabled", "true")]).await;
    assert!(web.get("/users").await.text().contains("Nothing to change"));

    web.post("/users/1", &[("state", "WINDING_DOWN")]).await;
    let page = web.get("/users").await;
    assert!(page.text().contains("Ilse is winding down: nothing new is copied"), "{}", page.text());
    assert!(page.body.contains(r#"name="state" value="ACTIVE""#), "the way back");
    let (action, _, before, after) = last_audit(&web).await;
    assert_eq!(
        (action.as_str(), before.as_deref(), after.as_deref()),
        ("set_state", Some("\"ACTIVE\""), Some("\"WINDING_DOWN\""))
    );
    let json = web.get("/api/users").await.json();
    assert_eq!(
        (json["data"][0]["state"].as_str(), json["data"][0]["enabled"].as_bool()),
        (Some("WINDING_DOWN"), Some(true))
    );
    web.post("/users/1", &[("state", "ACTIVE")]).await;

    let wrong = web.post("/users/1", &[("label", "  ")]).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("`label` is empty; it should be 1 to 60 characters"), "{}", wrong.text());
    let strangers = web.client.post(web.url("/users/1")).send_form(&[("enabled", "false")]).await.unwrap();
    assert_ne!(strangers.status(), StatusCode::OK);
    assert!(web.db.followed_users().await.unwrap()[0].enabled());
}
