//! Health and metrics, as supervisors and scrapers read them.

use std::collections::{BTreeMap, BTreeSet};

use polymarketspy::app::{App, AppSettings, Role};
use polymarketspy::clock::Clock;
use polymarketspy::config::Secret;
use polymarketspy::domain::events::event::Side;
use polymarketspy::queue::{self, NewJob, Queue};
use polymarketspy::simulator::{Fill, NewMarket, wallet_of};
use polymarketspy::testkit::{TestBot, eventually, test_client};

/// Returns status and body of a path of the bot's health server.
pub async fn watched(app: &App, path: &str) -> (u16, String) {
    let address = format!("http://{}{path}", app.health_address().unwrap());
    let mut answer = test_client().get(address).send().await.unwrap();
    let text = answer.body().limit(1 << 20).await.unwrap();
    (answer.status().as_u16(), String::from_utf8(text.to_vec()).unwrap())
}

pub async fn health(app: &App) -> (u16, serde_json::Value) {
    let (code, text) = watched(app, "/health").await;
    (code, serde_json::from_str(&text).unwrap())
}

/// Returns the value of the sample with this name and these labels.
pub fn sample(page: &str, name: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

async fn one_copied_fill(bot: &TestBot) {
    let (_, wallet) = bot.follow("hidden-name").await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("secret-title-of-a-market")));
    let fill = Fill::taker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
    bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
    bot.attempts(2).await;
}

#[actix::test]
async fn the_worker_reports_its_health_and_empty_queues() {
    let bot = TestBot::new().await;
    let app = bot.start().await;
    let (code, report) = health(&app).await;
    assert_eq!((code, &report["status"], &report["wsConnected"]), (200, &"ok".into(), &serde_json::Value::Null));
    assert!(report["lastCanonicalEventTime"].is_null());
    one_copied_fill(&bot).await;
    let (_, report) = health(&app).await;
    assert!(report["lastCanonicalEventTime"].as_str().is_some_and(|time| time.ends_with('Z')), "{report}");
    let queues: Vec<&str> = report["queueDepths"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected: BTreeSet<&str> = Queue::ALL.iter().map(|queue| queue.as_str()).collect();
    assert_eq!(queues.into_iter().collect::<BTreeSet<_>>(), expected);
    app.stop().await;
}

#[actix::test]
async fn what_a_fill_sets_in_motion_is_counted_with_help_and_units_and_without_names() {
    let bot = TestBot::new().await;
    let app = bot.start_watching(&bot.exchange.chain_ws_url()).await;
    one_copied_fill(&bot).await;
    let expected = [
        ("polymarketspy_copy_attempts_total{portfolio=\"EXEC_GLOBAL\",decision=\"EXECUTE\"}", 1.0),
        ("polymarketspy_copy_attempts_total{portfolio=\"EXEC_USER\",decision=\"EXECUTE\"}", 1.0),
        ("polymarketspy_detection_lag_seconds_count", 1.0),
        ("polymarketspy_decision_lag_seconds_count", 2.0),
        ("polymarketspy_book_fetch_seconds_count", 1.0),
        ("polymarketspy_upstream_requests_total{upstream=\"clob\",endpoint=\"book\"}", 1.0),
        ("polymarketspy_upstream_request_errors_total{upstream=\"clob\",endpoint=\"book\"}", 0.0),
        ("polymarketspy_upstream_request_seconds_count{upstream=\"clob\",endpoint=\"book\"}", 1.0),
        ("polymarketspy_upstream_breaker_state{upstream=\"clob\",state=\"closed\"}", 1.0),
        ("polymarketspy_queue_stuck{queue=\"q_group_events\"}", 0.0),
        ("polymarketspy_actor_restarts_total{actor=\"poller\"}", 0.0),
        ("polymarketspy_chain_connected", 1.0),
        ("polymarketspy_live_sockets", 0.0),
        ("polymarketspy_database_up", 1.0),
    ];
    let page = eventually("the metrics of one copied fill", async || {
        let (code, page) = watched(&app, "/metrics").await;
        assert_eq!(code, 200);
        expected.iter().all(|(name, value)| sample(&page, name) == Some(*value)).then_some(page)
    })
    .await;
    assert!(sample(&page, "polymarketspy_ledger_commits_total").unwrap() >= 1.0);
    assert!(sample(&page, "polymarketspy_database_size_bytes").unwrap() > 0.0);
    let leader = wallet_of("hidden-name").to_string();
    for private in ["secret-title", "hidden-name", leader.as_str(), "poller:"] {
        assert!(!page.contains(private), "`{private}` in {page}");
    }
    check_format(&page);
    app.stop().await;
}

/// Checks that each family has one header with a help text before its samples, and a name that ends in its unit.
fn check_format(page: &str) {
    let mut announced = BTreeSet::new();
    let mut kinds = BTreeMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(help.len() > 10 && announced.insert(name), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(announced.contains(name) && name.starts_with("polymarketspy_"), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            kinds.insert(name, kind);
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
            let family = family.filter(|family| kinds.get(family) == Some(&"histogram")).unwrap_or(name);
            assert!(kinds.contains_key(family), "{line}");
            line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        }
    }
    assert!(kinds.len() > 25, "{kinds:?}");
}

#[actix::test]
async fn a_queue_that_nobody_consumes_shows_in_health_and_metrics() {
    let bot = TestBot::new().await;
    let app = bot.start().await;
    let now = Clock::System.now();
    // A copy into the portfolio of a user that does not exist: no executor claims it.
    let job = NewJob {
        queue: Queue::CopyAttemptUser,
        key: "nobody's".to_owned(),
        followed_user: None,
        payload: String::new(),
        due: now.plus_millis(-61_000),
    };
    queue::enqueue(&bot.db, &[job], now).await.unwrap();
    let (code, report) = health(&app).await;
    assert_eq!((code, &report["status"]), (200, &"degraded".into()));
    assert_eq!(report["stuckQueues"], serde_json::json!(["q_copy_attempt_user"]));
    let (_, page) = watched(&app, "/metrics").await;
    assert_eq!(sample(&page, "polymarketspy_queue_stuck{queue=\"q_copy_attempt_user\"}"), Some(1.0));
    let age = sample(&page, "polymarketspy_queue_oldest_due_seconds{queue=\"q_copy_attempt_user\"}").unwrap();
    assert!((61.0..120.0).contains(&age), "{age}");
    app.stop().await;
}

#[actix::test]
async fn a_clock_that_is_over_30_seconds_off_degrades_the_health_until_it_is_right() {
    let bot = TestBot::new().await;
    bot.follow("leader").await;
    let app = bot.start().await;
    // The venue's clock against ours, and what the health says of it.
    for (skew_ms, status) in [(0, "ok"), (40_000, "degraded"), (20_000, "ok"), (-40_000, "degraded"), (0, "ok")] {
        bot.exchange.with(|exchange| exchange.date_skew_ms = skew_ms);
        let report = eventually(&format!("`{status}` with a skew of {skew_ms} ms"), async || {
            let (code, report) = health(&app).await;
            assert_eq!(code, 200, "a wrong clock does not take the bot down");
            let measured = report["venueClockOffsetMs"].as_i64()?;
            ((measured - skew_ms).abs() < 5_000 && report["status"] == status).then_some(report)
        })
        .await;
        assert_eq!(report["stuckQueues"], serde_json::json!([]));
    }
    app.stop().await;
}

#[actix::test]
async fn a_bot_whose_database_is_gone_is_down() {
    let bot = TestBot::new().await;
    let app = bot.start().await;
    app.database().close().await;
    let (code, report) = health(&app).await;
    assert_eq!((code, &report["status"]), (503, &"down".into()));
    let (code, page) = watched(&app, "/metrics").await;
    assert_eq!((code, sample(&page, "polymarketspy_database_up")), (200, Some(0.0)));
    // An orderly stop would wait for a database that does not come back; the program waits ten seconds for it.
    drop(app);
}

#[actix::test]
async fn a_busy_health_port_stops_the_start_with_the_name_of_the_setting() {
    let bot = TestBot::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = AppSettings::new(bot.settings());
    settings.health.bind = Some(taken.local_addr().unwrap());
    let refused = App::build(&settings, Clock::System).await.err().unwrap().to_string();
    assert!(refused.contains("`HEALTH_BIND`") && refused.contains("free"), "{refused}");
    // Nothing was started, so another process can own the database.
    settings.health.bind = None;
    let app = App::build(&settings, Clock::System).await.unwrap();
    assert_eq!(app.health_address(), None);
    app.stop().await;
}

#[actix::test]
async fn a_process_of_pages_alone_needs_no_health_port() {
    let bot = TestBot::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = AppSettings::new(bot.settings());
    settings.role = Role::Web;
    settings.redis.url = Some(Secret::new("redis://127.0.0.1:1"));
    settings.health.bind = Some(taken.local_addr().unwrap());
    let app = App::build(&settings, Clock::System).await.unwrap();
    assert_eq!(app.health_address(), None);
    app.stop().await;
}
