//! The overview full and empty, lists with cursors, problems and error pages; hostile text stays text.

use super::*;

#[actix_web::test]
async fn the_overview_shows_its_figures_with_their_units() {
    let web = TestWeb::full().await;
    let page = web.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    for expected in [
        "Equity 10,400.00 USDC",
        "PnL today −100.00 USDC −0.96 % · UTC day",
        "PnL 7 days +400.00 USDC +4.00 %",
        "Win rate – of – closed",
        "PnL total +400.00 USDC +400.00 realized",
        "Cash 9,100.00 USDC 87.50 % of equity",
        "Exposure 1,300.00 USDC 12.50 % of equity",
        "Drawdown 0.95 % from peak 10,500.00",
        // The leader and the PnL of copying them.
        "0x1111…1111 −10.00 copy PnL, USDC",
        // The trade.
        "+12 s tx 52.37¢ 2,345.67 sh 1,228.43 USDC fee 0.12",
        // The attempts.
        "Partly copied 50.00 % · 24.63 sh 50.75¢ theirs 50.00¢ 12.50 USDC of 25.00",
        "Skipped Spread too wide +1 – theirs 50.00¢ 0.00 USDC of 25.00",
        "Database working",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(page.body.contains(r#"class="amount loss""#) && page.body.contains(r#"class="amount gain""#));
}

#[actix_web::test]
async fn hostile_labels_titles_and_slugs_stay_text() {
    let web = TestWeb::full().await;
    let body = web.get("/").await.body;
    assert!(!body.contains("<script>alert"), "{body}");
    assert!(body.contains("&lt;script&gt;alert"), "the label is shown, escaped");
    assert!(!body.contains("Yes <i>"));
    let link = "https://polymarket.com/market/will-it-rain%2F%2E%2E%2F%22onmouseover\"";
    assert!(body.contains(link), "a slug stays one segment of the link");
    assert!(body.contains(&format!("https://polymarket.com/profile/{}", wallet())));
    assert!(body.contains("https://polygonscan.com/tx/0x0000"));
}

#[actix_web::test]
async fn an_empty_overview_says_what_to_do_next() {
    let web = TestWeb::empty().await;
    let page = web.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    let text = page.text();
    for expected in [
        "No copy attempts yet",
        "No trades seen yet",
        "polymarketspy follow &lt;",
        "Equity – USDC no snapshot yet",
        "Follow a trader",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
}

#[actix_web::test]
async fn a_followed_leader_without_trades_is_shown() {
    let web = TestWeb::empty().await;
    web.follow("Ilse").await;
    let text = web.get("/").await.text();
    assert!(text.contains("The leaders' fills appear here"), "{text}");
    assert!(text.contains("Ilse 0x1111…1111 – copy PnL, USDC"), "{text}");
}

#[actix_web::test]
async fn page_and_json_show_the_same_figures() {
    let web = TestWeb::full().await;
    let overview = web.get("/api/overview").await.json();
    assert_eq!(overview["figures"]["equity_micros"], 10_400_000_000_i64);
    assert_eq!(overview["figures"]["pnl_today_micros"], -100_000_000);
    assert_eq!(overview["users"][0]["pnl_total_micros"], -10_000_000);
    assert_eq!(overview["trades"][0]["price_micros"], 523_700);
    assert_eq!(overview["trades"][0]["followed_user_label"], HOSTILE);
    assert_eq!(overview["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(overview["health"]["status"], "ok");
}

#[actix_web::test]
async fn lists_are_pages_with_a_cursor() {
    let web = TestWeb::empty().await;
    let user = web.follow("Ilse").await;
    web.db.save_market(&market()).await.unwrap();
    let trades: Vec<_> = (0..5).map(|n| trade(user, n, web.now.plus_millis(i64::from(n) * 1000))).collect();
    web.record_trades(&trades).await;
    let first = web.get("/api/trades?limit=3").await.json();
    let of = |page: &serde_json::Value| -> Vec<String> {
        let rows = page["data"].as_array().unwrap().iter();
        rows.map(|row| row["source_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of(&first), ["fill 4", "fill 3", "fill 2"]);
    assert_eq!(first["data"][0]["event_time"].as_str().unwrap().len(), "2026-01-15T12:00:00.123Z".len());
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = web.get(&format!("/api/trades?limit=3&cursor={cursor}")).await.json();
    assert_eq!(of(&second), ["fill 1", "fill 0"]);
    assert_eq!(second["next_cursor"], serde_json::Value::Null);
}

#[actix_web::test]
async fn attempts_can_be_asked_for_by_decision_and_reason_and_one_by_one() {
    let web = TestWeb::full().await;
    let count = async |query: &str| {
        let list = web.get(&format!("/api/copy-attempts?{query}")).await.json();
        list["data"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count("decision=EXECUTE").await, 1);
    assert_eq!(count("decision=SKIP&reason=INSUFFICIENT_DEPTH").await, 1);
    assert_eq!(count("reason=RISK_CAP_USER").await, 0);
    let list = web.get("/api/copy-attempts?decision=EXECUTE").await.json();
    let id = list["data"][0]["id"].as_str().unwrap();
    let one = web.get(&format!("/api/copy-attempts/{id}")).await.json();
    assert_eq!(one["filled_ratio_bps"], 5_000);
    assert_eq!(one["executable_fills"][0]["fill_price_micros"], 507_500);
    assert!(one["explain_json"]["checks"].is_array());
}

#[actix_web::test]
async fn a_wrong_query_is_a_problem_and_names_what_is_wrong() {
    let web = TestWeb::full().await;
    for (path, status, detail) in [
        ("/api/trades?cursor=nonsense", 400, "`cursor`"),
        ("/api/trades?market=nonsense", 400, "`nonsense` is not a condition id"),
        ("/api/trades?sied=BUY", 400, "sied"),
        ("/api/copy-attempts?decision=MAYBE", 400, "MAYBE"),
        ("/api/copy-attempts/00000000-0000-0000-0000-000000000000", 404, "nothing"),
        ("/api/copy-attempts/7", 404, "nothing"),
        ("/api/nothing", 404, "nothing"),
    ] {
        let answer = web.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{path}: {problem}");
    }
    let page = web.get("/nowhere").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.text().contains("Not Found There is nothing at this address. Back to the overview"));
}

#[actix_web::test]
async fn a_database_that_does_not_work_is_said_with_its_cause() {
    let web = TestWeb::full().await;
    web.db.close().await;
    let page = web.get("/").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    let said =
        "The database does not work now: cannot reach the database: attempted to acquire a connection on a closed pool";
    assert!(page.text().contains(said), "{}", page.text());
    let health = web.get_signed_out("/api/health").await;
    assert_eq!((health.status, health.body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"down"}"#));
}
