//! `/trades`: its tabs and filters, its older pages, and its empty states.

use super::*;
use crate::domain::events::event::{ActivityEvent, ActivityKind, ActivityPayload};

pub(super) fn activity(user: FollowedUserId, n: u32, kind: ActivityKind, at: Timestamp) -> ActivityEvent {
    let source_id = format!("activity {n}");
    ActivityEvent {
        id: EventId::of("DATA_API", &source_id),
        source_id,
        profile_wallet: wallet(),
        proxy_wallet: None,
        followed_user: user,
        kind,
        payload: ActivityPayload {
            tx_hash: format!("0x{n:064x}"),
            condition_id: Some(market_id()),
            token_id: None,
            share_micros: ShareMicros(120_000_000),
            cash_micros: UsdcMicros(119_500_000),
            row: "{}".to_owned(),
        },
        event_time: at,
        detect_time: at,
    }
}

pub(super) async fn record_activities(web: &TestWeb, activities: Vec<ActivityEvent>) {
    let poll = PollWrite {
        user: activities[0].followed_user,
        fence: None,
        trades: Vec::new(),
        activities,
        dead: Vec::new(),
        new_wallets: Vec::new(),
        checkpoints: Vec::new(),
        now: web.now,
    };
    web.db.record_poll(poll).await.unwrap();
}

#[actix_web::test]
async fn each_tab_has_its_list_and_links_inside_the_site() {
    let web = TestWeb::full().await;
    let page = web.get("/trades").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let text = page.text();
    for expected in [
        "Trades &amp; attempts",
        "Partly copied 50.00 % · 24.63 sh 50.75¢ theirs 50.00¢ 12.50 USDC of 25.00",
        "Skipped Spread too wide +1",
        "From, UTC",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    let id = attempt(&group(FollowedUserId(1), 2, web.now), DecisionKind::Skip, web.now).id;
    for link in [
        format!(r#"href="/attempts/{id}""#),
        format!(r#"href="/markets/{}""#, market_id()),
        r#"href="/users/1""#.to_owned(),
        r#"aria-current="page">Copy attempts"#.to_owned(),
        r#"id="attempts" data-cap="50""#.to_owned(),
        r#"href="/export/attempts.csv""#.to_owned(),
    ] {
        assert!(page.body.contains(&link), "`{link}` is not in: {}", page.body);
    }
    let trades = web.get("/trades?tab=trades").await;
    assert!(trades.text().contains("+12 s tx 52.37¢ 2,345.67 sh 1,228.43 USDC fee 0.12"), "{}", trades.text());
    assert!(trades.body.contains(r#"id="trades" data-cap="50""#) && !trades.body.contains(r#"id="attempts""#));
    assert!(trades.body.contains("https://polygonscan.com/tx/0x0000"));
}

#[actix_web::test]
async fn filters_narrow_the_page_and_its_live_rows_alike() {
    let web = TestWeb::full().await;
    let page =
        web.get("/trades?decision=SKIP&reason=INSUFFICIENT_DEPTH&user=1&market=rain&side=BUY&scope=&from=&to=").await;
    let text = page.text();
    assert!(text.contains("Skipped Spread too wide +1") && !text.contains("Partly copied 50"), "{text}");
    let only = format!(
        r#"data-only-user="1" data-only-market="{}" data-only-side="BUY" data-only-decision="SKIP" data-only-reason="INSUFFICIENT_DEPTH" data-only-scope="""#,
        market_id()
    );
    assert!(page.body.contains(&only), "{}", page.body);
    assert!(page.body.contains(r#"<option value="SKIP" selected>"#));
    assert!(page.body.contains(r#"<option value="INSUFFICIENT_DEPTH" selected>Insufficient depth"#));
    // The chip of the reason takes only the reason away.
    let without = r#"href="/trades?user=1&amp;market=rain&amp;decision=SKIP&amp;side=BUY""#;
    let plain = without.replace("&amp;", "&");
    assert!(page.body.contains(without) || page.body.contains(&plain), "{}", page.body);
    let export = "/export/attempts.csv?user=1&amp;market=rain&amp;decision=SKIP&amp;reason=INSUFFICIENT%5FDEPTH";
    assert!(page.body.contains("/export/attempts.csv?user=1"), "{export} {}", page.body);

    let json = web.get("/api/copy-attempts?decision=SKIP&market=rain&side=BUY&user=1").await.json();
    assert_eq!(json["data"].as_array().unwrap().len(), 1);
    let none = web.get("/trades?side=SELL").await;
    assert!(none.text().contains("Nothing matches. Clear the filters"), "{}", none.text());
    let past = web.get("/trades?to=2020-01-01T00:00").await;
    assert!(!past.body.contains("data-cap") && past.text().contains("Nothing matches"), "{}", past.body);
}

#[actix_web::test]
async fn a_text_finds_its_market_or_asks_which_one_is_meant() {
    let web = TestWeb::full().await;
    let other = MarketId::parse(&format!("0x{}", "cd".repeat(32))).unwrap();
    let rainy = Market { question: "Will it rain in Rome?".to_owned(), ..Market::unknown(other.clone()) };
    web.db.save_market(&rainy).await.unwrap();
    let several = web.get("/trades?market=rain").await;
    let asked = several.text().split_once("Which market?").expect("a question").1.to_owned();
    assert!(asked.contains("Will it rain? &lt;script&gt;") && asked.contains("Will it rain in Rome?"), "{asked}");
    assert!(several.body.contains(&format!("market={other}")) && !several.body.contains("data-cap"));
    let one = web.get("/trades?market=will+it+rain+in+rome%3F").await;
    assert!(one.body.contains(&format!(r#"data-only-market="{other}""#)), "{}", one.body);
    assert!(one.body.contains(r#"value="Will it rain in Rome?""#));
    // A wildcard of SQL is a character like any other.
    for none in ["snow", "%25", "_"] {
        let page = web.get(&format!("/trades?market={none}")).await;
        assert!(page.text().contains("No market we know has that in its question"), "{none}: {}", page.text());
    }
    let problem = web.get("/api/trades?market=rain").await;
    assert_eq!(problem.status, StatusCode::BAD_REQUEST);
    assert!(problem.json()["detail"].as_str().unwrap().contains("`market`: `rain` fits several markets"));
}

#[actix_web::test]
async fn older_rows_are_one_link_away_and_do_not_change() {
    let web = TestWeb::empty().await;
    let user = web.follow("Ilse").await;
    web.db.save_market(&market()).await.unwrap();
    let trades: Vec<_> = (0..60).map(|n| trade(user, n, web.now.plus_millis(-i64::from(n) * 1000))).collect();
    web.record_trades(&trades).await;
    let first = web.get("/trades?tab=trades&side=SELL").await;
    assert_eq!(first.body.matches(r#"<tr id="trade-"#).count(), 50);
    let start =
        first.body.find(r#"rel="next" href=""#).expect("a link to what is older") + r#"rel="next" href=""#.len();
    let href = first.body[start..].split('"').next().unwrap().replace("&amp;", "&");
    let second = web.get(&href).await;
    assert_eq!(second.body.matches(r#"<tr id="trade-"#).count(), 10);
    assert!(!second.body.contains("data-cap") && second.text().contains("not live"), "{}", second.body);
    assert!(second.text().contains("A page from further down does not change. Newest"));
    assert!(!second.body.contains(r#"rel="next""#));
}

#[actix_web::test]
async fn other_activity_shows_what_it_moved_or_that_it_is_not_copied() {
    let web = TestWeb::full().await;
    let user = FollowedUserId(1);
    let old = web.now.plus_millis(-600_000);
    let rows = vec![
        activity(user, 1, ActivityKind::Merge, web.now),
        activity(user, 2, ActivityKind::Redeem, old),
        activity(user, 3, ActivityKind::Other("<b>AIRDROP".to_owned()), old),
    ];
    record_activities(&web, rows).await;
    let page = web.get("/trades?tab=activity").await;
    let text = page.text();
    for expected in [
        "Merged 120.00 sets for 119.50 USDC Merge · tx Waiting",
        "Redeemed 120.00 shares for 119.50 USDC Redeem · tx Moved nothing",
        "119.50 USDC &lt;b&gt;airdrop · tx Not copied",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(!page.body.contains("<b>AIRDROP") && page.body.contains("&lt;b&gt;airdrop"), "{}", page.body);
    assert!(!page.body.contains("/export/"), "there is no export of these");
    let merges = web.get("/api/activities?type=MERGE").await.json();
    assert_eq!(merges["data"].as_array().unwrap().len(), 1);
    assert_eq!((&merges["data"][0]["type"], &merges["data"][0]["outcome_of_it"]), (&"MERGE".into(), &"WAITING".into()));
    assert_eq!(web.get("/api/activities?market=rain&user=1").await.json()["data"].as_array().unwrap().len(), 3);
}

#[actix_web::test]
async fn an_empty_list_says_what_will_appear() {
    let web = TestWeb::empty().await;
    for (tab, expected) in
        [("attempts", "No copy attempts yet"), ("trades", "No trades seen yet"), ("activity", "No other activity yet")]
    {
        let page = web.get(&format!("/trades?tab={tab}")).await;
        assert!(page.text().contains(expected), "{tab}: {}", page.text());
    }
}

#[actix_web::test]
async fn a_wrong_filter_names_its_field() {
    let web = TestWeb::full().await;
    for (path, detail) in [
        ("/trades?side=LEFT", "`side`: `LEFT`"),
        ("/trades?reason=BECAUSE", "`reason`: `BECAUSE`"),
        ("/trades?from=noon", "`from`: `noon`"),
        ("/trades?user=Ilse", "`user`: `Ilse`"),
        ("/trades?cursor=x", "`cursor`"),
        ("/trades?tab=nothing", "nothing"),
    ] {
        let page = web.get(path).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(page.text().contains(detail), "{path}: {}", page.text());
    }
}
