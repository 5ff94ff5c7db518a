//! The system page: a worker that reports, a silent one, and what can be done with dead letters.

use super::*;
use crate::{
    db::{DeadRow, health_key},
    queue::{self, JobScope, NewJob, Queue},
};

/// Returns the health checkpoint of a worker, with a hostile text in it.
pub(super) fn report(at: Timestamp) -> String {
    serde_json::json!({
        "at": at, "started_at": at.plus_millis(-7_200_000), "version": "0.1.0",
        "actors": [
            {"name": "poller:1", "restarts": 2, "silences": 0, "last_restart": at, "last_cause": HOSTILE,
             "observed": {"state": {"failures": 3}, "last_activity": at}},
            {"name": "chain_watcher", "restarts": 0, "silences": 0, "last_restart": null, "last_cause": null,
             "observed": {"state": {"connected": true, "watching_since": at, "wallets": 4, "last_block": 99_668_152,
                "failures": 0, "hindsight": {"lead": {"n_fills": 12, "p50_ms": 2_340, "p90_ms": 5_000, "n_api_first": 1},
                "unconfirmed": 0}}, "last_activity": at}},
        ],
        "upstreams": [{"upstream": "clob", "state": "open", "failures": 5, "until": at}],
        "endpoints": [{"endpoint": "book", "upstream": "clob", "minutes": [[10, 0, 0], [12, 4, 3]]}],
        "waiting_interactive": 1, "waiting_bulk": 2,
        "latencies": [{"what": "decision", "n": 20, "p50_micros": 25_000, "p95_micros": 50_000, "p99_micros": 1_000_000}],
    })
    .to_string()
}

/// Stores two dead letters: a job that failed for good, and a row that could not be read.
pub(super) async fn bury_two(web: &TestWeb) {
    let now = web.now;
    let job = NewJob {
        queue: Queue::Prices,
        key: format!("key {HOSTILE}"),
        followed_user: None,
        payload: "{\"ids\":[1]}".to_owned(),
        due: now.plus_millis(-1_000),
    };
    queue::enqueue(&web.db, &[job], now).await.unwrap();
    for n in 0..=queue::RETRIES {
        let at = now.plus_millis(i64::from(n) * 3_600_000);
        let taken = queue::claim(&web.db, Queue::Prices, &JobScope::All, at, 1, 1).await.unwrap();
        queue::fail(&web.db, &taken[0], "it broke", at, &mut crate::chance::Chance).await.unwrap();
    }
    let dead = DeadRow { text: format!("row {HOSTILE}"), reason: "TRADE row without size".to_owned() };
    let poll = PollWrite {
        user: FollowedUserId(1),
        fence: None,
        trades: Vec::new(),
        activities: Vec::new(),
        dead: vec![dead],
        new_wallets: Vec::new(),
        checkpoints: vec![("api:lastTradeTime:1".to_owned(), "{\"time\":\"2026-01-15T12:00:00.000Z\"}".to_owned())],
        now,
    };
    web.db.record_poll(poll).await.unwrap();
}

#[actix_web::test]
async fn the_page_shows_the_state_of_the_bot_in_words_and_figures() {
    let web = TestWeb::full().await;
    web.db.put_checkpoint(&health_key(None), &report(web.now), web.now).await.unwrap();
    bury_two(&web).await;
    let page = web.get("/status").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    let text = page.text();
    for expected in [
        "well Everything works.",
        "q_ingest_events Open 1 In work 0",
        "Fill to sight 1 · fills of the last 24 h",
        "Sight to attempt 2 · the newest 1,000 attempts",
        "Due to committed 20 · since the worker started p50 ≤ 25 ms p95 ≤ 50 ms p99 ≤ 1.0 s",
        "3 polls failed in a row",
        "never asked for",
        "connected since",
        "99,668,152",
        "half by 2.3 s, a tenth by 5.0 s or more",
        "clob breaker open, 5 failed in a row until",
        "book clob",
        "Requests 12 /min 22 in 30 min Errors 4 /min 4 in 30 min 429 3 /min 3 in 30 min",
        "Poller · &lt;script&gt;",
        "2 restarts, 1 urgent and 2 other calls wait for leave",
        "SQLite,",
        "Global portfolio",
        "q_prices · 1",
        "row · 1",
        "it broke",
        "TRADE row without size",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    assert!(!page.body.contains("<script>alert"), "payloads, errors and causes are text");
    assert!(page.body.contains(r#"href="/portfolio""#));
    let json = web.get("/api/status").await.json();
    assert_eq!(json["summary"], "Everything works.");
    assert_eq!(json["dead_letters"]["total"], 2);
    assert_eq!(json["endpoints"][0]["last_minute"]["errors"], 4);
    assert_eq!(json["chain"]["connected"], true);
    assert_eq!(json["users"][0]["last_trade_time"], "2026-01-15T12:00:00.000Z");
    assert_eq!(json["database"]["kind"], "SQLite");
    assert!(json["database"]["size_bytes"].as_i64().unwrap() > 0);
    assert_eq!(json["workers"][0]["actors"][0]["restarts"], 2);
    assert_eq!(json["latencies"].as_array().unwrap().len(), 3);
}

#[actix_web::test]
async fn a_silent_worker_is_trouble_and_a_missing_one_is_shown() {
    let web = TestWeb::empty().await;
    let text = web.get("/status").await.text();
    for expected in [
        "No worker has been heard of",
        "The chain is not watched",
        "No dead letters.",
        "Nobody is followed.",
        "none yet",
    ] {
        assert!(text.contains(expected), "`{expected}` is not in: {text}");
    }
    let long_ago = web.now.plus_millis(-60_000);
    web.db.put_checkpoint(&health_key(None), &report(long_ago), long_ago).await.unwrap();
    let page = web.get("/status").await.text();
    assert!(page.contains("needs a look It works, but actors needs a look: no sign of the worker for 60 s."), "{page}");
    assert!(page.contains("silent since"), "{page}");
}

#[actix_web::test]
async fn a_dead_letter_is_retried_or_dropped_and_audited() {
    let mut web = TestWeb::full().await;
    bury_two(&web).await;
    let letters = web.get("/api/status").await.json()["dead_letters"]["data"].clone();
    let id = |queue: &str| {
        letters.as_array().unwrap().iter().find(|letter| letter["queue"] == queue).unwrap()["id"].as_i64().unwrap()
    };
    let (job, row) = (id("q_prices"), id("row"));
    let refused = web.post(&format!("/status/dead-letters/{row}"), &[("deed", "retry")]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT, "a row is not a job");
    let retried = web.post(&format!("/status/dead-letters/{job}"), &[("deed", "retry")]).await;
    assert_eq!((retried.status, retried.header("location")), (StatusCode::SEE_OTHER, "/status"));
    let page = web.get("/status").await;
    assert!(page.text().contains(&format!("Dead letter {job} is a job of q_prices again")), "{}", page.text());
    assert_eq!(web.db.audits(None, None, 1).await.unwrap()[0].audit.action, "replay_dead_letter");
    let again = web.post(&format!("/status/dead-letters/{job}"), &[("deed", "put_away")]).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "it was retried already");

    assert!(page.body.contains("data-ask=\"Put dead letter"), "the page asks before it drops a dead letter");
    web.post(&format!("/status/dead-letters/{row}"), &[("deed", "put_away")]).await;
    let page = web.get("/status").await.text();
    assert!(page.contains(&format!("Dead letter {row} is put away.")), "{page}");
    assert!(page.contains("No dead letters."), "{page}");
    assert_eq!(web.db.audits(None, None, 1).await.unwrap()[0].audit.action, "drop_dead_letter");
    for fields in [[("deed", "burn")], [("x", "retry")]] {
        let wrong = web.post(&format!("/status/dead-letters/{row}"), &fields).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    }
}

#[actix_web::test]
async fn all_dead_letters_of_one_queue_are_retried_at_once() {
    let mut web = TestWeb::full().await;
    bury_two(&web).await;
    let wrong = web.post("/status/dead-letters", &[("queue", "row")]).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().contains("can only be put away"), "{}", wrong.text());
    let done = web.post("/status/dead-letters", &[("queue", "q_prices")]).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let text = web.get("/status?queue=row").await.text();
    assert!(text.contains("1 dead letter is a job of q_prices again."), "{text}");
    assert!(text.contains("TRADE row without size") && !text.contains("it broke"), "{text}");
    assert_eq!(web.get("/api/status?queue=q_nonsense").await.status, StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn many_dead_letters_come_in_pages() {
    let web = TestWeb::full().await;
    let dead = |n: i32| DeadRow { text: format!("row {n}"), reason: format!("reason {n}.") };
    let poll = PollWrite {
        user: FollowedUserId(1),
        fence: None,
        trades: Vec::new(),
        activities: Vec::new(),
        dead: (0..25).map(dead).collect(),
        new_wallets: Vec::new(),
        checkpoints: Vec::new(),
        now: web.now,
    };
    web.db.record_poll(poll).await.unwrap();
    let first = web.get("/api/status").await.json()["dead_letters"].clone();
    assert_eq!((first["total"].as_i64(), first["data"].as_array().unwrap().len()), (Some(25), 20));
    let before = first["next_before"].as_i64().unwrap();
    let page = web.get("/status").await.body;
    assert!(page.contains(&format!("/status?before={before}")), "the older ones can be reached");
    let second = web.get(&format!("/api/status?before={before}")).await.json()["dead_letters"].clone();
    assert_eq!((second["data"].as_array().unwrap().len(), second["next_before"].is_null()), (5, true));
}

#[actix_web::test]
async fn a_long_unreadable_row_is_a_line_with_the_length_and_the_hash_of_the_whole() {
    let web = TestWeb::full().await;
    let text = format!("{{\"size\":\"{}\u{e9}\"}}\nend", "x".repeat(1_000_000));
    let poll = PollWrite {
        user: FollowedUserId(1),
        fence: None,
        trades: Vec::new(),
        activities: Vec::new(),
        dead: vec![DeadRow { text: text.clone(), reason: "r".repeat(5_000) }],
        new_wallets: Vec::new(),
        checkpoints: Vec::new(),
        now: web.now,
    };
    web.db.record_poll(poll).await.unwrap();
    let letter = web.get("/api/status").await.json()["dead_letters"]["data"][0].clone();
    assert_eq!((letter["payload"].as_str().unwrap().len(), &letter["payload_bytes"]), (4_096, &text.len().into()));
    assert_eq!((letter["line"].as_str().unwrap().len(), &letter["is_cut"]), (200, &true.into()));
    assert_eq!(letter["error"].as_str().unwrap().len(), 512);
    let hash = crate::token::hex(&crate::token::hash(&text));
    assert_eq!(letter["sha256"], hash.as_str());
    let page = web.get("/status").await;
    assert!(page.text().contains(&format!("bytes; SHA-256 of the whole: {hash}")), "{}", page.text());
    assert!(!page.body.contains(&"x".repeat(201)), "{}", page.body.len());
}

#[actix_web::test]
async fn the_forecast_of_the_disk_is_shown_and_warns_under_two_weeks() {
    let web = TestWeb::full().await;
    let text = web.get("/status").await.text();
    assert!(text.contains("Growth not known before six hours are watched"), "{text}");
    let json = web.get("/api/status").await.json();
    assert!(json["database"]["growth_bytes_per_day"].is_null() && json["database"]["disk_days_left"].is_null());
    assert_eq!(json["database"]["disk_short"], false);

    for (grown, short) in [(1_000_000_000_000_000_i64, true), (3_000_000, false)] {
        let points = serde_json::json!([
            {"at": web.now.plus_millis(-24 * 3_600_000), "bytes": 0}, {"at": web.now, "bytes": grown}
        ]);
        web.db.put_checkpoint("storage:sizes", &points.to_string(), web.now).await.unwrap();
        let json = web.get("/api/status").await.json();
        let days = json["database"]["disk_days_left"].as_i64().unwrap();
        assert_eq!(json["database"]["growth_bytes_per_day"], grown);
        assert_eq!(days, json["database"]["disk_free_bytes"].as_i64().unwrap() / grown);
        assert_eq!((days < 14, json["database"]["disk_short"].as_bool().unwrap()), (short, short));
        let text = web.get("/status").await.text();
        assert_eq!(text.contains("under two weeks"), short, "{text}");
        assert!(short || text.contains("Growth 3 MB a day") || text.contains("Growth 3.0 MB a day"), "{text}");
        assert!(text.contains("free, enough for"), "{text}");
    }
}
