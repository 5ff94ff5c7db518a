//! The global portfolio: positions, limits, breakers, the reset of a peak, and the curves.

use super::*;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};

/// Books a deposit of 10,000 USDC and a lot of 100 shares for 40 USDC, marked at 50 cents.
pub(super) async fn book_lot(web: &TestWeb, user: FollowedUserId) {
    web.db.save_market(&market()).await.unwrap();
    let global = PortfolioId::ExecGlobal;
    let deposit = LedgerEntry::opening_deposit(global, UsdcMicros(10_000_000_000), web.now);
    let fill = LedgerEntry {
        attributed_user: Some(user),
        market: Some(market_id()),
        asset: Some(asset()),
        kind: EntryType::TradeFill,
        shares: ShareMicros(100_000_000),
        cash: UsdcMicros(-40_000_000),
        price: Some(PriceMicros::new(400_000).unwrap()),
        ref_id: "copy:1".to_owned(),
        ..deposit.clone()
    };
    let write = LedgerWrite { entries: vec![deposit, fill], ..LedgerWrite::default() };
    web.db.commit(&[write], web.now).await.unwrap();
    let half = PriceMicros::new(500_000).unwrap();
    web.db.insert_prices(web.now.bucket(30_000), &[(asset(), half)]).await.unwrap();
}

#[actix_web::test]
async fn positions_limits_and_breakers_are_shown_in_their_units() {
    let web = TestWeb::full().await;
    let user = web.db.followed_users().await.unwrap()[0].id;
    book_lot(&web, user).await;
    let page = web.get("/portfolio").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let text = page.text();
    for expected in [
        // The lot: shares, cost, mark, value, what the best bid would pay (there is none), and gain.
        "100.00 40.00¢ 50.00¢ 50.00 cost 40.00 0.00 if sold now +10.00",
        "1 lot",
        // 50 used of three limits: 70 %, 5 % and 20 % of the equity of 10,010.
        "Total exposure 0.71 % 50.00 of 7,007.00 USDC",
        "Market exposure 9.99 %",
        "50.00 of 500.50 USDC",
        "Leader exposure 2.49 %",
        // From the snapshots: down 100 since yesterday's 10,500, which is the peak.
        "Global closed Reset peak equity 10,400.00 USDC, – if sold now · peak 10,500.00 USDC",
        "Daily loss 31.74 % 100.00 of 315.00 USDC",
        "Drawdown 7.93 % 100.00 of 1,260.00 USDC",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(!page.body.contains("<script>alert"));
    let json = web.get("/api/portfolio/global").await.json();
    assert_eq!(json["positions"][0]["unrealized_pnl_micros"], 10_000_000);
    assert_eq!(json["by_leader"][0]["exposure_micros"], 50_000_000);
    assert_eq!(json["limits"][0]["limit_micros"], 7_007_000_000_i64);
    assert_eq!(json["breakers"][0]["losses"][2]["used_micros"], 100_000_000);
}

#[actix_web::test]
async fn an_empty_portfolio_says_what_will_come() {
    let web = TestWeb::empty().await;
    let text = web.get("/portfolio").await.text();
    for expected in ["Nothing is held. When a leader's buy is copied", "No portfolio has a snapshot yet", "Equity –"]
    {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
}

#[actix_web::test]
async fn a_tripped_breaker_is_shown_and_a_reset_ends_it_and_can_be_undone() {
    let mut web = TestWeb::full().await;
    let fallen = snapshot(PortfolioId::ExecGlobal, web.now.bucket(60_000).plus_millis(60_000), 9_240, -760);
    web.db.insert_snapshots(&[fallen], &[], web.now).await.unwrap();
    let drawdown = async |web: &TestWeb| web.get("/api/portfolio/global").await.json()["breakers"][0].clone();
    let before = drawdown(&web).await;
    assert_eq!((&before["tripped"], &before["losses"][2]["state"]), (&true.into(), &"reached".into()));
    assert!(web.get("/portfolio").await.text().contains("Global tripped"));

    let answer = web.post("/portfolio/peak", &[("portfolio", "EXEC_GLOBAL")]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/portfolio"), "{}", answer.body);
    let after = drawdown(&web).await;
    assert_eq!((&after["losses"][2]["used_micros"], &after["peak_micros"]), (&0.into(), &9_240_000_000_i64.into()));
    assert_eq!(web.get("/api/overview").await.json()["figures"]["drawdown_bps"], 0);
    let page = web.get("/portfolio").await;
    assert!(
        page.text().contains("The drawdown of EXEC_GLOBAL is measured from its equity of now. Undo"),
        "{}",
        page.text()
    );
    let audit = web.db.audits(Some("reset_peak"), None, 1).await.unwrap().remove(0).audit;
    assert_eq!(audit.before_json.as_deref(), Some("10500000000"));

    web.post("/portfolio/peak", &[("portfolio", "EXEC_GLOBAL"), ("peak_micros", "10500000000")]).await;
    assert_eq!(drawdown(&web).await["peak_micros"], 10_500_000_000_i64);
    for (fields, problem) in [
        (vec![("portfolio", "EXEC_NOBODY")], "`EXEC_NOBODY` is neither `EXEC_GLOBAL` nor `EXEC_USER:`"),
        (vec![("portfolio", "EXEC_GLOBAL"), ("peak_micros", "1")], "below the equity"),
    ] {
        let answer = web.post("/portfolio/peak", &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text().contains(problem), "{}", answer.text());
    }
}

#[actix_web::test]
async fn curves_have_a_value_for_each_time_and_the_fall_below_zero() {
    let web = TestWeb::full().await;
    let chart = web.get("/api/series/portfolio?range=7d").await.json();
    let times = chart["times"].as_array().unwrap();
    assert_eq!(times.len(), 2);
    for pane in chart["panes"].as_array().unwrap() {
        for line in pane["lines"].as_array().unwrap() {
            assert_eq!(line["values"].as_array().unwrap().len(), times.len(), "{line}");
        }
    }
    assert_eq!(chart["panes"][0]["lines"][0]["values"], serde_json::json!([10_500_000_000_i64, 10_400_000_000_i64]));
    assert_eq!(chart["panes"][1]["lines"][0]["values"], serde_json::json!([0, -96]));
    let user = web.db.followed_users().await.unwrap()[0].id;
    let beside = web.get(&format!("/api/series/user/{user}?range=all")).await.json();
    assert_eq!(beside["panes"][1]["lines"][0]["label"], "Tracking gap");
    assert_eq!(web.get("/api/series/portfolio?range=2d").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(web.get("/api/series/portfolio?of=EXEC_NOBODY").await.status, StatusCode::BAD_REQUEST);
}
