//! One leader's page: figures, distributions, positions, feed.

use super::*;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::domain::events::event::{ActivityEvent, ActivityKind, ActivityPayload};
use crate::domain::events::group::Member;

fn fill(portfolio: PortfolioId, shares: i64, cash: i64, n: u32) -> LedgerEntry {
    LedgerEntry {
        portfolio,
        attributed_user: portfolio.owner(),
        market: Some(market_id()),
        asset: Some(asset()),
        kind: EntryType::TradeFill,
        shares: ShareMicros(shares * 1_000_000),
        cash: UsdcMicros(cash * 1_000_000),
        price: PriceMicros::new(500_000).ok(),
        ref_id: format!("copy:{n}"),
        created_at: Timestamp::EPOCH,
    }
}

fn redeem(user: FollowedUserId, at: Timestamp) -> ActivityEvent {
    let source_id = "redeem 1".to_owned();
    ActivityEvent {
        id: EventId::of("DATA_API", &source_id),
        source_id,
        profile_wallet: wallet(),
        proxy_wallet: None,
        followed_user: user,
        kind: ActivityKind::Redeem,
        payload: ActivityPayload {
            tx_hash: format!("0x{:064x}", 9),
            condition_id: Some(market_id()),
            token_id: None,
            share_micros: ShareMicros(7_000_000),
            cash_micros: UsdcMicros(7_000_000),
            row: "{}".to_owned(),
        },
        event_time: at,
        detect_time: at,
    }
}

/// Starts a server over one leader with three trades (one copied in part, one skipped, one undecided) and a
/// redemption; leader and copies hold the market.
pub(super) async fn with_leader() -> (TestWeb, FollowedUserId) {
    let web = TestWeb::empty().await;
    let user = web.follow(HOSTILE).await;
    web.db.save_market(&market()).await.unwrap();
    let (copies, shadow, now) = (PortfolioId::ExecUser(user), PortfolioId::ShadowUser(user), web.now);
    let trades: Vec<TradeEvent> = (0..3).map(|n| trade(user, n, now.plus_millis(i64::from(n)))).collect();
    web.record_trades(&trades).await;
    let poll = PollWrite {
        user,
        fence: None,
        trades: Vec::new(),
        activities: vec![redeem(user, now)],
        dead: Vec::new(),
        new_wallets: Vec::new(),
        checkpoints: Vec::new(),
        now,
    };
    web.db.record_poll(poll).await.unwrap();
    for (n, decision) in [(0, DecisionKind::Execute), (1, DecisionKind::Skip)] {
        let group = group(user, n, now);
        let members = vec![Member::Trade(trades[n as usize].id)];
        let write = ClosedGroupWrite { group: group.clone(), members, finishes: Vec::new(), copy_due: now };
        let _ = web.db.close_groups(&[write], now).await.unwrap();
        let made = CopyAttempt {
            portfolio: copies,
            id: AttemptId::of(&copies.to_string(), &group.key),
            ..attempt(&group, decision, now)
        };
        web.db.commit(&[LedgerWrite { attempt: Some(made), ..LedgerWrite::default() }], now).await.unwrap();
    }
    let entries =
        vec![fill(copies, 10, -6, 1), fill(copies, -10, 8, 2), fill(copies, 4, -2, 3), fill(shadow, -300, 150, 4)];
    for entry in entries {
        web.db.commit(&[LedgerWrite { entries: vec![entry], ..LedgerWrite::default() }], now).await.unwrap();
    }
    let bucket = now.bucket(60_000);
    web.db
        .insert_snapshots(&[snapshot(copies, bucket, 10_003, 3), snapshot(shadow, bucket, 150, 150)], &[], now)
        .await
        .unwrap();
    (web, user)
}

#[actix_web::test]
async fn the_page_sets_both_results_and_both_sides_beside_each_other() {
    let (web, user) = with_leader().await;
    let page = web.get(&format!("/users/{user}")).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let text = page.text();
    for expected in [
        "Leader's PnL +150.00 USDC +1.50 at 1.00 %",
        "Copies' PnL +3.00 USDC +3.00 today, +3.00 in 7 d",
        "Tracking gap +1.50 USDC",
        "Attempts, 24 h 2 2 a day, 12.50 filled",
        "Fill rate, 24 h 50.00 % 100.00 % of them in part",
        "Win rate 100.00 % 1 won, 0 lost of 1 closed",
        "0 better , 0 the same within 0.1¢, 1 worse",
        "2 groups, half of them",
        "Spread too wide 1 100.00 % of skips",
        "1 skipped of 2.",
        // The leader's shares are below zero, and the page explains that.
        "Their shares −300.00 at 50.00¢",
        "Our shares 4.00 at 50.00¢",
        "Shares below zero: more was sold than is known to be held. The next position check ends this.",
        // The feed.
        "Not decided yet",
        "Partly copied 50.00 %, 24.63 sh",
        "Skipped Spread too wide, insufficient depth",
        "Redeem",
        "Nothing to copy",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    for expected in [
        r#"data-src="/api/series/user/1""#,
        r#"href="/config?user=1""#,
        r#"href="/export/trades.csv?user=1""#,
        r#"href="/export/attempts.csv?user=1""#,
        r#"href="/export/checks.csv?user=1""#,
        r#"href="/export/corrections.csv?user=1""#,
        r#"href="/attempts/"#,
        r#"data-only-user="1""#,
        r#"class="worse""#,
    ] {
        assert!(page.body.contains(expected), "`{expected}` is not in the page");
    }
    assert!(!page.body.contains("<script>alert") && page.body.contains("&lt;script&gt;alert"));
    assert!(!page.body.contains("Yes <i>"));
}

#[actix_web::test]
async fn page_and_json_show_the_same_figures_for_every_range() {
    let (web, user) = with_leader().await;
    let json = web.get(&format!("/api/users/{user}?range=7d")).await.json();
    assert_eq!(json["range"], "7d");
    assert_eq!(json["tracking_gap_micros"], 1_500_000);
    assert_eq!(json["attempts"]["fill_rate_bps"], 5_000);
    assert_eq!(json["attempts"]["partial_rate_bps"], 10_000);
    assert_eq!(json["win_rate"]["won_bps"], 10_000);
    assert_eq!(json["slippage"]["worse"], 1);
    assert_eq!(json["positions"]["data"][0]["theirs"]["share_micros"], -300_000_000);
    assert_eq!(json["feed"].as_array().unwrap().len(), 4);
    let states: Vec<&str> =
        json["feed"].as_array().unwrap().iter().map(|row| row["fate"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["open", "skipped", "partly", "none"]);
    for range in ["1h", "24h", "30d", "all"] {
        let page = web.get(&format!("/users/{user}?range={range}")).await;
        assert_eq!(page.status, StatusCode::OK, "{range}");
    }
    let wrong = web.get(&format!("/api/users/{user}?range=year")).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.json()["detail"].as_str().unwrap().contains("year"), "{}", wrong.body);
}

#[actix_web::test]
async fn a_leader_without_history_has_a_page_that_says_so() {
    let web = TestWeb::empty().await;
    web.follow("Ilse").await;
    let text = web.get("/users/1").await.text();
    for expected in [
        "Leader's PnL – USDC",
        "Attempts, 24 h 0",
        "Fill rate, 24 h – ",
        "No copies in this time.",
        "No groups in this time.",
        "Nothing was skipped in this time.",
        "Neither the leader's shadow nor our copies hold anything now.",
        "Nothing seen yet.",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
}

#[actix_web::test]
async fn an_unknown_leader_is_not_found() {
    let web = TestWeb::empty().await;
    assert_eq!(web.get("/users/7").await.status, StatusCode::NOT_FOUND);
    let json = web.get("/api/users/7").await;
    assert_eq!((json.status, json.header("content-type")), (StatusCode::NOT_FOUND, "application/problem+json"));
    assert_eq!(web.get("/users/ilse").await.status, StatusCode::NOT_FOUND);
    assert_eq!(web.get_signed_out("/users/7").await.header("location"), "/login");
}

/// Spec 5: EXACT; ADJUSTED (n times, last, x USDC); NOT_EXACT since.
#[actix_web::test]
async fn the_pages_and_the_json_say_whether_the_books_are_exact() {
    use crate::db::PositionCheck;
    use crate::domain::accounting::shadow::exactness::CheckOutcome;
    use crate::domain::accounting::shadow::reading::Drift;
    use crate::domain::money::ids::PositionCheckId;

    let (web, user) = with_leader().await;
    let at = |minutes: i64| web.now.plus_millis(minutes * 60_000);
    let drift = || Drift {
        asset: asset(),
        market: Some(market_id()),
        leader_holds: ShareMicros(7_000_000),
        shadow_holds: ShareMicros(2_000_000),
        shares: ShareMicros(5_000_000),
        counted_to: web.now,
        price: PriceMicros::new(500_000).ok(),
    };
    let check = async |minutes: i64, outcome: CheckOutcome, drifts: Vec<(Drift, UsdcMicros)>| {
        let checked_at = at(minutes);
        let id = PositionCheckId::of(user, checked_at.millis());
        let check = PositionCheck { id, user, checked_at, n_assets: 3, outcome, drifts, problem: None };
        web.db.insert_position_check(&check).await.unwrap();
    };
    let shows = async |of_list: &str, of_leader: &[&str], json: serde_json::Value| {
        let list = web.get("/users").await.text();
        assert!(list.contains(of_list), "`{of_list}` is not in: {list}");
        let page = web.get(&format!("/users/{user}")).await.text();
        for expected in of_leader {
            assert!(page.contains(expected), "`{expected}` is not in: {page}");
        }
        for (path, at) in [("/api/users".to_owned(), "/data/0/exactness"), (format!("/api/users/{user}"), "/exactness")]
        {
            let answer = web.get(&path).await.json();
            let exactness = answer.pointer(at).unwrap_or_else(|| panic!("{path}: {answer}"));
            for (field, value) in json.as_object().unwrap() {
                assert_eq!(&exactness[field], value, "{field} of {path}");
            }
        }
    };
    let before = serde_json::json!({
        "state": "NOT_EXACT", "since": web.now, "cause": "NO_OPENING", "n_adjustments": 0, "adjusted_micros": 0,
    });
    let why = "because what the leader held before is not read yet";
    shows("not exact", &["Books: not exact since", why, "not checked yet"], before).await;

    let opened = LedgerWrite { opened: Some((user, at(1))), ..LedgerWrite::default() };
    web.db.commit(&[opened], at(1)).await.unwrap();
    check(2, CheckOutcome::Exact, Vec::new()).await;
    let exact = serde_json::json!({"state": "EXACT", "since": null, "cause": null, "n_adjustments": 0});
    shows("exact", &["Books: exact", "3 holdings agree"], exact).await;

    check(62, CheckOutcome::Drifting, vec![(drift(), UsdcMicros(2_500_000))]).await;
    let differs = serde_json::json!({"state": "NOT_EXACT", "since": at(62), "cause": "DRIFT"});
    let why = "because the venue lists other holdings";
    shows("not exact", &["Books: not exact since", why, "1 of 3 holdings differ, 2.50 USDC"], differs).await;

    let value = UsdcMicros(2_500_000);
    check(68, CheckOutcome::Adjusted { value }, vec![(drift(), value)]).await;
    let adjusted = serde_json::json!({
        "state": "ADJUSTED", "since": null, "n_adjustments": 1, "adjusted_micros": 2_500_000, "last_adjusted_at": at(68),
    });
    let texts = ["Books: adjusted 1 time last", "2.50 USDC in all", "1 of 3 holdings were adjusted, 2.50 USDC"];
    shows("adjusted 1 time", &texts, adjusted).await;
}
