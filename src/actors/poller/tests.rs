use super::*;
use crate::domain::config::effective::SystemPatch;
use crate::domain::events::event::Side;
use crate::domain::money::ids::Wallet;
use crate::domain::money::units::UsdcMicros;
use crate::health::actor_state::LATE_ROWS;
use crate::queue::Queue;
use crate::simulator::{Fault, FaultKind, Fill, Host, SimMarket, wallet_of};
use crate::testkit::feed_setup::{FeedSetup, Received};
use crate::testkit::wait::within;

struct Reading {
    setup: FeedSetup,
    wallet: Wallet,
    user: FollowedUser,
    market: SimMarket,
}

async fn reading() -> Reading {
    let setup = FeedSetup::new().await;
    // Only what a test asks for: no regular poll comes in between.
    setup.configure(SystemPatch { polling_interval_ms: Some(3_600_000), ..SystemPatch::default() }).await;
    let wallet = wallet_of("leader");
    let user = setup.follow(&wallet).await;
    let market = setup.market("rain");
    Reading { setup, wallet, user, market }
}

impl Reading {
    fn fills(&self, n: usize) {
        let asset = self.market.asset(0).unwrap();
        for _ in 0..n {
            let fill = Fill::maker(&self.wallet, asset, Side::Buy, 500_000, 10_000_000);
            self.setup.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
        }
    }

    async fn start(&self) -> Addr<Poller> {
        self.start_with(self.setup.polymarket()).await
    }

    async fn start_with(&self, polymarket: Polymarket) -> Addr<Poller> {
        self.start_poller(polymarket, std::sync::Arc::default()).await
    }

    async fn start_counted(&self, metrics: std::sync::Arc<Metrics>) -> Addr<Poller> {
        self.start_poller(self.setup.polymarket(), metrics).await
    }

    async fn start_poller(&self, polymarket: Polymarket, metrics: std::sync::Arc<Metrics>) -> Addr<Poller> {
        let setup = &self.setup;
        let deps = PollerDeps {
            db: setup.db.clone(),
            polymarket,
            clock: setup.clock,
            wakeups: setup.wakeups.clone(),
            live: setup.live.clone(),
            metrics,
            fence: None,
            pace: ReadingPace::default(),
            reads: None,
        };
        Poller::start(deps, self.user.clone(), setup.directory().await, &setup.supervisor)
    }

    /// Reads the last minute again and returns the result.
    async fn window(&self, poller: &Addr<Poller>) -> Result<Polled, NotPolled> {
        let now = self.setup.clock.now();
        within(poller.send(PollWindow { start: now.plus_millis(-60_000), end: now, by: Reader::Asked })).await.unwrap()
    }

    async fn checkpoint(&self) -> Timestamp {
        let key = format!("api:lastTradeTime:{}", self.user.id);
        let text = self.setup.db.checkpoint(&key).await.unwrap().unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        Timestamp::parse_iso(value["time"].as_str().unwrap()).unwrap()
    }
}

async fn trades(announced: &mut Received<Announce>) -> usize {
    announced.next().await.0.iter().filter(|fact| matches!(fact, LiveFact::TradeSeen(_))).count()
}

#[actix_web::test]
async fn a_start_reads_the_backfill_and_each_row_becomes_two_jobs_once() {
    let mut reading = reading().await;
    reading.fills(3);
    let mut wakeups = reading.setup.wakeups.listen(Queue::GroupEvents);
    let poller = reading.start().await;
    within(wakeups.notified()).await;
    assert_eq!(trades(&mut reading.setup.announced).await, 3);
    for queue in [Queue::IngestEvents, Queue::GroupEvents] {
        assert_eq!(reading.setup.jobs(queue).await.len(), 3);
    }
    let again = reading.window(&poller).await.unwrap();
    assert_eq!((again.n_rows, again.n_new), (3, 0));
    assert_eq!(reading.setup.jobs(Queue::GroupEvents).await.len(), 3);
    let age = reading.setup.clock.now().millis_since(reading.checkpoint().await);
    assert!((0..60_000).contains(&age), "the checkpoint stands at the newest row: {age} ms ago");
}

#[actix_web::test]
async fn a_requested_window_brings_new_rows_without_moving_the_checkpoint() {
    let mut reading = reading().await;
    reading.fills(1);
    let poller = reading.start().await;
    assert_eq!(trades(&mut reading.setup.announced).await, 1);
    let checkpoint = reading.checkpoint().await;
    reading.fills(2);
    assert_eq!(reading.window(&poller).await.unwrap().n_new, 2);
    assert_eq!(reading.checkpoint().await, checkpoint);
}

#[actix_web::test]
async fn a_failing_upstream_is_reported_once_and_polled_until_it_answers() {
    let mut reading = reading().await;
    reading.fills(1);
    // More failures than one call retries by itself.
    let fault = Fault::once(Host::Data, "/v2/activity", FaultKind::Status(400)).times(crate::simulator::Times::Next(2));
    reading.setup.exchange.with(|exchange| exchange.fault(fault));
    let _poller = reading.start().await;
    let healthy = |announce: Announce| match announce.0.as_slice() {
        [LiveFact::HealthChanged(change)] => change.healthy,
        other => panic!("{other:?}"),
    };
    assert!(!healthy(reading.setup.announced.next().await));
    assert!(healthy(reading.setup.announced.next().await));
    assert_eq!(trades(&mut reading.setup.announced).await, 1);
}

#[actix_web::test]
async fn a_row_that_cannot_be_read_is_kept_and_the_others_go_on() {
    let mut reading = reading().await;
    let now = reading.setup.clock.now();
    let (wallet, cash) = (reading.wallet.clone(), UsdcMicros(1_000_000));
    reading.setup.exchange.with(|exchange| exchange.pay(&wallet, "REWARD", cash, now)).unwrap();
    let row = serde_json::json!({
        "proxy_wallet": wallet, "timestamp": now.seconds(), "type": "TRADE", "condition_id": "nonsense",
        "token_id": "1", "side": "BUY", "size": 1, "price": 0.5, "usdc_size": 0.5, "transaction_hash": "0xab",
    });
    let body = serde_json::json!({
        "data": [row], "pagination": {"limit": 500, "offset": 0, "has_more": false, "next_cursor": null},
    });
    let poller = reading.start().await;
    assert!(matches!(reading.setup.announced.next().await.0[0], LiveFact::ActivitySeen(_)));
    let broken = Fault::once(Host::Data, "/v2/activity", FaultKind::Body(body.to_string()));
    for n_dead in [1, 0] {
        let broken = broken.clone();
        reading.setup.exchange.with(|exchange| exchange.fault(broken));
        let polled = reading.window(&poller).await.unwrap();
        assert_eq!((polled.n_new, polled.n_dead), (0, n_dead), "one dead letter for each text");
    }
}

/// Ordinals are assigned when all pages are read. Half a window would number the repeats of the other half again.
#[actix_web::test]
async fn a_window_whose_last_page_fails_stores_nothing_and_is_read_whole_the_next_time() {
    let mut reading = reading().await;
    let asset = reading.market.asset(0).unwrap();
    let fill = Fill::maker(&reading.wallet, asset, Side::Buy, 500_000, 10_000_000).twice().twice();
    reading.setup.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
    let fault = Fault::once(Host::Data, "/v2/activity", FaultKind::Status(400)).after(1);
    reading.setup.exchange.with(|exchange| exchange.fault(fault));
    let mut settings = reading.setup.exchange.polymarket_settings();
    settings.limits.page_rows = 3;
    let _poller = reading.start_with(Polymarket::new(settings, reading.setup.clock)).await;
    let LiveFact::HealthChanged(failed) = reading.setup.announced.next().await.0.remove(0) else { panic!("it failed") };
    assert!(!failed.healthy);
    assert_eq!(reading.setup.jobs(Queue::GroupEvents).await, []);
    assert_eq!(reading.setup.db.checkpoint(&format!("api:lastTradeTime:{}", reading.user.id)).await.unwrap(), None);

    reading.setup.announced.next().await;
    assert_eq!(trades(&mut reading.setup.announced).await, 4, "four equal fills of one transaction are four");
}

/// Settings under which a window holds four rows, in pages of three.
fn small_windows(reading: &Reading) -> Polymarket {
    let mut settings = reading.setup.exchange.polymarket_settings();
    settings.limits.page_rows = 3;
    settings.limits.window_rows = 4;
    Polymarket::new(settings, reading.setup.clock)
}

#[actix_web::test]
async fn a_span_with_too_many_rows_for_the_memory_is_stored_window_by_window() {
    let mut reading = reading().await;
    for age_s in (1..=20).rev() {
        reading.fill_of_age(Side::Buy, age_s);
    }
    // Two fills of one second and one transaction belong to one window.
    let asset = reading.market.asset(0).unwrap();
    let fill = Fill::maker(&reading.wallet, asset, Side::Buy, 500_000, 10_000_000).twice();
    reading.setup.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
    let poller = reading.start_with(small_windows(&reading)).await;
    assert!(trades(&mut reading.setup.announced).await > 0);
    for queue in [Queue::IngestEvents, Queue::GroupEvents] {
        assert_eq!(reading.setup.jobs(queue).await.len(), 22);
    }
    let age = reading.setup.clock.now().millis_since(reading.checkpoint().await);
    assert!((0..60_000).contains(&age), "the checkpoint is that of the newest row: {age} ms ago");
    let again = reading.window(&poller).await.unwrap();
    assert_eq!((again.n_rows, again.n_new), (22, 0), "each row is in one window");
    let starts = reading.setup.exchange.with(|exchange| {
        let asked = exchange.requests().filter(|asked| asked.path.starts_with("/v2/activity"));
        let start = |query: &str| query.split('&').find(|part| part.starts_with("start=")).map(str::to_owned);
        asked.filter_map(|asked| start(&asked.query)).collect::<std::collections::BTreeSet<_>>()
    });
    assert!(starts.len() > 5, "{starts:?}");
}

#[actix_web::test]
async fn a_window_that_fails_keeps_the_windows_before_it() {
    let reading = reading().await;
    let poller = reading.start_with(small_windows(&reading)).await;
    // The first poll finds nothing; a window that was asked for follows it.
    assert_eq!(reading.window(&poller).await.unwrap().n_rows, 0);
    for age_s in (1..=20).rev() {
        reading.fill_of_age(Side::Buy, age_s);
    }
    let fault = Fault::once(Host::Data, "/v2/activity", FaultKind::Status(400)).after(5);
    reading.setup.exchange.with(|exchange| exchange.fault(fault));
    reading.window(&poller).await.unwrap_err();
    let stored = reading.setup.jobs(Queue::IngestEvents).await.len();
    assert!((1..20).contains(&stored), "{stored}");
    assert_eq!(reading.window(&poller).await.unwrap().n_new, 20 - stored);
    assert_eq!(reading.setup.jobs(Queue::IngestEvents).await.len(), 20);
}

/// The API may show the fills of one transaction one after the other. If ordinals depended on the rows shown at one
/// time, the more expensive fill would be stored twice and the cheaper one never.
#[actix_web::test]
async fn two_fills_of_one_transaction_that_differ_in_price_alone_are_both_stored_whichever_is_shown_first() {
    for (first, second) in [("0.4", "0.3"), ("0.3", "0.4")] {
        let mut reading = reading().await;
        let now = reading.setup.clock.now();
        let row = |price: &str| {
            let price: f64 = price.parse().unwrap();
            serde_json::json!({
                "proxy_wallet": reading.wallet, "timestamp": now.seconds(), "type": "TRADE", "side": "BUY", "size": 5,
                "condition_id": reading.market.id(), "token_id": reading.market.asset(0), "price": price,
                "usdc_size": 5.0 * price, "transaction_hash": "0xab",
            })
        };
        let (first, second) = (row(first), row(second));
        reading.setup.exchange.with(|exchange| exchange.push_row(&first)).unwrap();
        let poller = reading.start().await;
        assert_eq!(trades(&mut reading.setup.announced).await, 1);
        reading.setup.exchange.with(|exchange| exchange.push_row(&second)).unwrap();
        assert_eq!(reading.window(&poller).await.unwrap().n_new, 1);
        assert_eq!(reading.window(&poller).await.unwrap().n_new, 0);
        let mut ids = Vec::new();
        for job in reading.setup.jobs(Queue::IngestEvents).await {
            let Ok(crate::domain::events::group::Member::Trade(id)) = job.event() else { panic!("{job:?}") };
            ids.push(id);
        }
        let stored = reading.setup.db.trades_by_id(&ids).await.unwrap();
        let mut prices: Vec<i64> = stored.iter().map(|trade| trade.price.micros()).collect();
        prices.sort_unstable();
        assert_eq!(prices, [300_000, 400_000]);
    }
}

impl Reading {
    /// As if the leader had been followed and read for long: up to `minutes_ago`.
    async fn read_before(&mut self, minutes_ago: i64) {
        let now = self.setup.clock.now();
        self.user.created_at = now.plus_millis(-48 * 3_600_000);
        self.setup.db.begin_following(self.user.id, self.user.created_at, now).await.unwrap();
        let json = serde_json::json!({ "time": now.plus_millis(-60_000 * minutes_ago) }).to_string();
        for kind in ["api:lastTradeTime", "api:lastActivityTime"] {
            self.setup.db.put_checkpoint(&format!("{kind}:{}", self.user.id), &json, now).await.unwrap();
        }
    }

    fn fill_of_age(&self, side: Side, age_s: i64) {
        let at = self.setup.clock.now().plus_millis(-1_000 * age_s);
        let fill = Fill::maker(&self.wallet, self.market.asset(0).unwrap(), side, 500_000, 10_000_000).at(at);
        self.setup.exchange.with(|exchange| exchange.push_fill(fill.visible_at(exchange.now()))).unwrap();
    }

    async fn again(&self, poller: &Addr<Poller>, by: Reader) -> Polled {
        let end = self.setup.clock.now();
        let start = end.plus_millis(-by.span_ms().unwrap());
        within(poller.send(PollWindow { start, end, by })).await.unwrap().unwrap()
    }
}

#[actix_web::test]
async fn rows_of_four_minutes_to_three_hours_ago_that_appear_late_are_read_again_and_counted() {
    let mut reading = reading().await;
    reading.read_before(1).await;
    let metrics = std::sync::Arc::new(Metrics::default());
    let poller = reading.start_counted(metrics.clone()).await;
    reading.fill_of_age(Side::Buy, 5);
    reading.again(&poller, Reader::Recent).await;
    for (side, minutes) in [(Side::Buy, 4), (Side::Sell, 8), (Side::Buy, 14), (Side::Buy, 30)] {
        reading.fill_of_age(side, 60 * minutes);
    }
    reading.fill_of_age(Side::Buy, 3 * 3_600);
    assert_eq!(reading.again(&poller, Reader::Hour).await.n_new, 4);
    assert_eq!(reading.again(&poller, Reader::Day).await.n_new, 1);
    assert_eq!(reading.again(&poller, Reader::Day).await.n_new, 0);
    for queue in [Queue::IngestEvents, Queue::GroupEvents] {
        assert_eq!(reading.setup.jobs(queue).await.len(), 6, "they enter the books like any other row");
    }
    let late: Vec<(Reader, u64)> = metrics.late_rows.by_reader().filter(|(_, n)| *n > 0).collect();
    assert_eq!(late, [(Reader::Hour, 4), (Reader::Day, 1)]);
    let key = format!("{LATE_ROWS}{}", reading.user.id);
    let stored = async || reading.setup.db.checkpoint(&key).await.unwrap().unwrap_or_default();
    within(async {
        while !stored().await.contains(r#""n":5"#) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[actix_web::test]
async fn an_answer_with_rows_of_forty_other_wallets_is_not_taken_and_is_asked_for_again() {
    let mut reading = reading().await;
    reading.fills(1);
    let metrics = std::sync::Arc::new(Metrics::default());
    let poller = reading.start_counted(metrics.clone()).await;
    assert_eq!(trades(&mut reading.setup.announced).await, 1);
    let now = reading.setup.clock.now();
    let row = |n: usize| {
        serde_json::json!({
            "proxy_wallet": wallet_of(&format!("stranger {n}")), "timestamp": now.seconds(), "type": "TRADE",
            "condition_id": reading.market.id(), "token_id": reading.market.asset(0), "side": "BUY", "size": 1,
            "price": 0.5, "usdc_size": 0.5, "transaction_hash": format!("0x{n:064x}"),
        })
    };
    let body = serde_json::json!({
        "data": (0..40).map(row).collect::<Vec<_>>(),
        "pagination": {"limit": 500, "offset": 0, "has_more": false, "next_cursor": null},
    });
    let foreign = Fault::once(Host::Data, "/v2/activity", FaultKind::Body(body.to_string()));
    reading.setup.exchange.with(|exchange| exchange.fault(foreign));
    let refused = reading.window(&poller).await.unwrap_err();
    assert!(refused.0.contains("rows of other wallets: 0x") && refused.0.contains("and 35 more"), "{refused}");
    assert_eq!(metrics.answers_refused.value(), 1);
    let LiveFact::HealthChanged(alert) = reading.setup.announced.next().await.0.remove(0) else { panic!("an alert") };
    assert_eq!((alert.part, alert.healthy), (format!("answers:{}", reading.user.id), false));
    let stored = reading.setup.db.followed_user_by_wallet(&reading.wallet).await.unwrap().unwrap();
    assert_eq!(stored.wallets, [], "the subscription to the chain does not grow");
    assert_eq!(reading.setup.jobs(Queue::IngestEvents).await.len(), 1);

    reading.fills(1);
    assert_eq!(reading.window(&poller).await.unwrap().n_new, 1);
    let urls = reading.setup.exchange.with(|exchange| {
        let asked = exchange.requests().filter(|asked| asked.path.starts_with("/v2/activity"));
        asked.map(|asked| asked.query.clone()).collect::<Vec<_>>()
    });
    assert_eq!(urls.iter().collect::<std::collections::BTreeSet<_>>().len(), urls.len(), "each request has a new URL");
}

#[actix_web::test]
async fn with_a_clock_two_hours_behind_or_twenty_minutes_ahead_fills_are_read() {
    for off_ms in [-2 * 3_600_000, 20 * 60_000] {
        let mut reading = reading().await;
        reading.fills(2);
        let clock = Clock::starting_at(reading.setup.clock.now().plus_millis(off_ms));
        reading.setup.clock = clock;
        let _poller = reading.start_with(reading.setup.exchange.polymarket(clock)).await;
        assert_eq!(trades(&mut reading.setup.announced).await, 2, "{off_ms} ms off");
    }
}
