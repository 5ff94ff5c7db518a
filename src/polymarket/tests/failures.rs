//! Failures of an upstream: how long it is left alone, when a request is retried, and what is counted.

use std::time::Duration;

use actix_web::rt::spawn;

use super::limits::{LimitSetup, counted, served};
use crate::polymarket::http::breaker::BreakerSettings;
use crate::polymarket::http::endpoint::Priority;
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::http::settings::LimitSettings;
use crate::simulator::{Fault, FaultKind, Host, LoggedRequest, RetryAfter, Times};

async fn book(setup: &LimitSetup) -> Result<(), PolymarketError> {
    setup.polymarket.book(&setup.asset, Priority::Interactive).await.map(|_| ())
}

fn once(kind: FaultKind) -> Fault {
    Fault::once(Host::Clob, "/book", kind)
}

fn gap(first: &LoggedRequest, second: &LoggedRequest) -> i64 {
    second.at.millis_since(first.at)
}

/// A 429 is retried after its `Retry-After`, or after about half a second without one; a 5xx after about a quarter second.
#[actix_web::test]
async fn every_429_and_5xx_is_retried_after_a_wait() {
    for (kind, least_millis) in [
        (FaultKind::TooManyRequests(RetryAfter::Seconds(1)), 1_000),
        (FaultKind::TooManyRequests(RetryAfter::Silent), 250),
        (FaultKind::TooManyRequests(RetryAfter::Html), 250),
        (FaultKind::Status(302), 125),
        (FaultKind::Status(425), 125),
        (FaultKind::Status(500), 125),
        (FaultKind::Status(502), 125),
        (FaultKind::Status(503), 125),
        (FaultKind::Status(504), 125),
        (FaultKind::Html(502), 125),
    ] {
        let setup = LimitSetup::new(LimitSettings::default());
        setup.fault(once(kind.clone()));
        assert_eq!(book(&setup).await, Ok(()), "{kind:?}");
        let heard = setup.heard();
        assert_eq!(heard.iter().map(|heard| heard.status).collect::<Vec<_>>()[1..], [200], "{kind:?}");
        // A wait starts at the answer, which is later than the request.
        assert!(gap(&heard[0], &heard[1]) >= least_millis, "{kind:?}: {} ms", gap(&heard[0], &heard[1]));
        assert_eq!(counted(&setup.polymarket), served(&heard), "{kind:?}");
    }
}

#[actix_web::test]
async fn after_a_429_with_a_date_no_client_sends_a_request_before_it() {
    let setup = LimitSetup::new(LimitSettings::default());
    setup.fault(once(FaultKind::TooManyRequests(RetryAfter::Date(2))));
    let other = async {
        while setup.heard().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The first answer is on its way; a request to another host gives it time to arrive.
        setup.polymarket.profile(&setup.wallet).await.unwrap();
        while setup.polymarket.observe().upstreams[1].breaker.state != "resting" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        setup.polymarket.midpoints(std::slice::from_ref(&setup.asset), 1).await.unwrap();
    };
    let (asked, ()) = tokio::join!(book(&setup), other);
    assert_eq!(asked, Ok(()));
    let heard = setup.heard();
    let until = heard[0].at.seconds() + 2;
    for later in heard.iter().skip(1).filter(|heard| heard.host == Host::Clob) {
        assert!(later.at.seconds() >= until, "{later:?}");
    }
    assert_eq!(heard.iter().filter(|heard| heard.host == Host::Clob).count(), 3);
    assert_eq!(heard.iter().filter(|heard| heard.host == Host::Gamma).count(), 1, "other hosts are still asked");
}

#[actix_web::test]
async fn a_rest_longer_than_a_decision_may_wait_is_an_error_at_once() {
    let setup = LimitSetup::new(LimitSettings::default());
    setup.fault(once(FaultKind::TooManyRequests(RetryAfter::Seconds(60))));
    let error = book(&setup).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    let error = book(&setup).await.unwrap_err();
    assert!(matches!(error, PolymarketError::Resting { .. }), "{error}");
    assert_eq!(setup.heard().len(), 1, "no other request was sent");
}

/// Five failures open the breaker. The first probe finds the exchange still failing, so the breaker stays open for twice as
/// long. The second probe succeeds, and all waiting requests are sent.
#[actix_web::test]
async fn the_breaker_opens_probes_opens_for_longer_probes_again_and_closes() {
    let open_for = Duration::from_millis(300);
    let breaker = BreakerSettings { open_for, ..BreakerSettings::default() };
    let setup = LimitSetup::new(LimitSettings { tries: 1, breaker, ..LimitSettings::default() });
    setup.fault(once(FaultKind::Status(503)).times(Times::Next(6)));
    let state = || setup.polymarket.observe().upstreams[1].breaker.state;
    for n in 1..=5 {
        assert_eq!(state(), "closed", "before failure {n}");
        assert!(matches!(book(&setup).await, Err(PolymarketError::Unavailable { status: 503, .. })));
    }
    let opened = crate::clock::Clock::System.now();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (polymarket, asset) = (setup.polymarket.clone(), setup.asset.clone());
            spawn(async move { polymarket.book(&asset, Priority::Interactive).await.is_ok() })
        })
        .collect();
    let mut n_answered = 0;
    for call in waiting {
        n_answered += usize::from(call.await.unwrap());
    }
    assert_eq!(n_answered, 19, "all but the first probe");
    let heard = setup.heard();
    assert_eq!(heard.iter().map(|heard| heard.status).collect::<Vec<_>>(), [vec![503; 6], vec![200; 19]].concat());
    assert!(gap(&heard[4], &heard[5]) >= 300, "{} ms", gap(&heard[4], &heard[5]));
    assert!(gap(&heard[5], &heard[6]) >= 600, "{} ms", gap(&heard[5], &heard[6]));
    assert!(heard[5].at >= opened && state() == "closed");
    assert_eq!(counted(&setup.polymarket), served(&heard));
}

/// Requests that wait for a slow probe must not spend permits, which other hosts need, on checking again.
#[actix_web::test]
async fn requests_that_wait_for_a_probe_take_no_permits() {
    let breaker = BreakerSettings { open_for: Duration::from_millis(200), ..BreakerSettings::default() };
    let setup = LimitSetup::new(LimitSettings { tries: 1, breaker, ..LimitSettings::default() });
    setup.fault(once(FaultKind::Status(503)).times(Times::Next(5)));
    for _ in 0..5 {
        assert!(book(&setup).await.is_err());
    }
    setup.fault(once(FaultKind::Delay(1_500)));
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let (polymarket, asset) = (setup.polymarket.clone(), setup.asset.clone());
            spawn(async move { polymarket.book(&asset, Priority::Interactive).await })
        })
        .collect();
    for call in waiting {
        call.await.unwrap().unwrap();
    }
    let (n_given, n_heard) = (setup.polymarket.gate().given().len(), setup.heard().len());
    assert_eq!(n_heard, 15);
    // When the rest ends, each of them may try once to be the probe.
    assert!(n_given <= n_heard + 9, "{n_given} permits for {n_heard} requests");
}

#[actix_web::test]
async fn the_client_counts_the_requests_that_arrive() {
    let breaker = BreakerSettings { failures: u32::MAX, ..BreakerSettings::default() };
    let backoff_base = Duration::from_millis(2);
    let limits = LimitSettings { requests_per_second: 1_000, burst: 500, breaker, backoff_base, ..Default::default() };
    let setup = LimitSetup::new(limits);
    for (host, kind, chance) in [
        (Host::Data, FaultKind::Status(500), 0.3),
        (Host::Data, FaultKind::TooManyRequests(RetryAfter::Seconds(0)), 0.3),
        (Host::Clob, FaultKind::Html(502), 0.3),
        (Host::Clob, FaultKind::Status(400), 0.2),
        (Host::Gamma, FaultKind::TooManyRequests(RetryAfter::Seconds(0)), 0.5),
    ] {
        setup.fault(Fault::once(host, "", kind).times(Times::Chance(chance)));
    }
    for _ in 0..10 {
        let _ = setup.polymarket.positions(&setup.wallet, std::slice::from_ref(&setup.market)).await;
        let _ = setup.polymarket.resolution(&setup.market).await;
        let _ = setup.polymarket.data_api_lag_seconds().await;
        let _ = setup.polymarket.midpoints(std::slice::from_ref(&setup.asset), 1).await;
        let _ = setup.polymarket.market(&setup.market).await;
        let _ = setup.polymarket.market_by_token(&setup.asset).await;
        let _ = setup.polymarket.server_time().await;
        let _ = setup.polymarket.search_profile("quiet heron").await;
        let _ = setup.polymarket.profile(&setup.wallet).await;
        let _ = book(&setup).await;
    }
    let counted = counted(&setup.polymarket);
    assert_eq!(counted, served(&setup.heard()));
    let (errors, rate_limited) = counted.values().fold((0, 0), |sum, counts| (sum.0 + counts.1, sum.1 + counts.2));
    assert!(counted.len() >= 10 && errors > rate_limited && rate_limited > 0, "{counted:?}");
}

/// A decision waits up to five seconds for its book; what comes in that time is used.
#[actix_web::test]
async fn a_book_that_takes_up_to_five_seconds_is_used_and_opens_no_breaker() {
    let setup = LimitSetup::new(LimitSettings::default());
    setup.fault(once(FaultKind::Delay(2_500)).times(Times::Next(2)));
    assert_eq!(book(&setup).await, Ok(()));
    setup.fault(once(FaultKind::Delay(4_900)).times(Times::Next(2)));
    assert_eq!(book(&setup).await, Ok(()));
    let breaker = setup.polymarket.observe().upstreams[1].breaker.clone();
    assert_eq!((breaker.state, breaker.failures), ("closed", 0));
}

#[actix_web::test]
async fn a_second_request_is_sent_beside_one_that_hangs() {
    let limits = LimitSettings { second_request_after: Duration::from_millis(100), ..LimitSettings::default() };
    let setup = LimitSetup::new(limits);
    setup.fault(once(FaultKind::Hang));
    let begun = crate::clock::Clock::System.now();
    assert_eq!(book(&setup).await, Ok(()));
    assert!(crate::clock::Clock::System.now().millis_since(begun) < 2_000);
    assert_eq!(setup.heard().len(), 2);
}

#[actix_web::test]
async fn our_own_limits_of_time_open_no_breaker() {
    let short = Duration::from_millis(60);
    let limits = LimitSettings { tries: 1, interactive_budget: short, bulk_budget: short, ..LimitSettings::default() };
    let setup = LimitSetup::new(limits);
    setup.fault(Fault::once(Host::Clob, "", FaultKind::Hang).times(Times::Next(10)));
    for priority in [Priority::Interactive, Priority::Bulk].repeat(5) {
        let error = setup.polymarket.book(&setup.asset, priority).await.unwrap_err();
        assert!(matches!(error, PolymarketError::TimedOut { .. }), "{error}");
    }
    let breaker = setup.polymarket.observe().upstreams[1].breaker.clone();
    assert_eq!((breaker.state, breaker.failures), ("closed", 0));
    assert_eq!(book(&setup).await, Ok(()));
}

#[actix_web::test]
async fn the_offset_of_the_venues_clock_is_that_of_its_dates() {
    let setup = LimitSetup::new(LimitSettings::default());
    assert_eq!(setup.polymarket.venue().measured_ms(), None);
    setup.sim.with(|exchange| exchange.date_skew_ms = 7_200_000);
    book(&setup).await.unwrap();
    let offset = setup.polymarket.venue().offset_ms();
    assert!((7_198_000..7_202_000).contains(&offset), "{offset}");
    setup.sim.with(|exchange| exchange.date_skew_ms = 0);
    for _ in 0..9 {
        setup.polymarket.server_time().await.unwrap();
    }
    assert_eq!(setup.polymarket.venue().offset_ms(), 0);
}
