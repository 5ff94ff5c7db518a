//! Measures our limits (spec 3.3) at the other end, by the times at which the simulator received each request.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::rt::spawn;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::polymarket::http::client::Polymarket;
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::limiter::Given;
use crate::polymarket::http::settings::{LimitSettings, PolymarketSettings};
use crate::simulator::{Fault, FaultKind, Host, LoggedRequest, Times, wallet_of};
use crate::testkit::TestExchange;

const PER_SECOND: f64 = 20.0;
const BURST: f64 = 40.0;

/// An exchange with one market, and a client of it.
pub(super) struct LimitSetup {
    pub sim: TestExchange,
    pub polymarket: Polymarket,
    pub market: MarketId,
    pub asset: AssetId,
    pub wallet: Wallet,
}

impl LimitSetup {
    pub fn new(limits: LimitSettings) -> Self {
        let sim = TestExchange::start();
        let market = sim.add_market("rain");
        let wallet = wallet_of("a leader");
        sim.with(|exchange| exchange.add_profile(&wallet, "Quiet Heron"));
        let settings = PolymarketSettings { limits, ..sim.polymarket_settings() };
        let polymarket = Polymarket::new(settings, Clock::System);
        Self { sim, polymarket, market: market.id().clone(), asset: market.asset(0).unwrap().clone(), wallet }
    }

    pub fn heard(&self) -> Vec<LoggedRequest> {
        self.sim.with(|exchange| exchange.requests().cloned().collect())
    }

    pub fn fault(&self, fault: Fault) {
        self.sim.with(|exchange| exchange.fault(fault));
    }

    /// Starts tasks that send one request after the other until they are aborted.
    fn load(&self, n_tasks: usize) -> Vec<JoinHandle<()>> {
        let ask = |n: usize| {
            let (polymarket, market, asset) = (self.polymarket.clone(), self.market.clone(), self.asset.clone());
            let wallet = self.wallet.clone();
            spawn(async move {
                for round in n.. {
                    bulk(&polymarket, round, &market, &asset, &wallet).await;
                }
            })
        };
        (0..n_tasks).map(ask).collect()
    }

    async fn book(&self) {
        self.polymarket.book(&self.asset, Priority::Interactive).await.unwrap();
    }
}

/// Sends every kind of bulk request. Its result does not matter here.
async fn bulk(polymarket: &Polymarket, n: usize, market: &MarketId, asset: &AssetId, wallet: &Wallet) {
    let now = Clock::System.now();
    match n % 7 {
        0 => drop(polymarket.activity_window(wallet, now.plus_millis(-60_000), now).await),
        1 => drop(polymarket.positions(wallet, std::slice::from_ref(market)).await),
        2 => drop(polymarket.resolution(market).await),
        3 => drop(polymarket.midpoints(std::slice::from_ref(asset), 1).await),
        4 => drop(polymarket.market(market).await),
        5 => drop(polymarket.market_by_token(asset).await),
        _ => drop(polymarket.book(asset, Priority::Bulk).await),
    }
}

/// Returns how many requests may have been sent between two times: the burst, and the rate.
fn most_between(from: Timestamp, until: Timestamp) -> f64 {
    // Times are truncated to whole milliseconds.
    let millis = until.millis_since(from) + 1;
    BURST + PER_SECOND * f64::from(u32::try_from(millis).unwrap()) / 1_000.0
}

/// Fails when there are more than `most_between` between any two times. `from[i]` begins a span and `until[j]` ends it.
fn assert_within_the_rate(from: &[Timestamp], until: &[Timestamp], what: &str) {
    for (i, begin) in from.iter().enumerate() {
        for (j, end) in until.iter().enumerate().skip(i) {
            let n = u32::try_from(j - i + 1).unwrap();
            let most = most_between(*begin, *end);
            assert!(f64::from(n) <= most, "{n} {what} in {} ms, where {most} may be", end.millis_since(*begin));
        }
    }
}

pub(super) fn endpoint_of(heard: &LoggedRequest) -> Endpoint {
    let is = |part: &str| heard.path.starts_with(part);
    match heard.host {
        Host::Data if is("/v2/activity") => Endpoint::Activity,
        Host::Data if is("/v2/positions") => Endpoint::Positions,
        Host::Data if is("/v2/resolutions") => Endpoint::Resolutions,
        Host::Data if is("/v2/tokens") => Endpoint::Tokens,
        Host::Data => Endpoint::Status,
        Host::Clob if is("/books") => Endpoint::Books,
        Host::Clob if is("/book") => Endpoint::Book,
        Host::Clob if is("/midpoints") => Endpoint::Midpoints,
        Host::Clob if is("/spreads") => Endpoint::Spreads,
        Host::Clob if is("/clob-markets") || is("/markets/") => Endpoint::ClobMarket,
        Host::Clob if is("/markets-by-token") => Endpoint::MarketByToken,
        Host::Clob => Endpoint::ServerTime,
        Host::Gamma if is("/public-search") => Endpoint::Search,
        Host::Gamma if is("/public-profile") => Endpoint::Profile,
        Host::Gamma => Endpoint::Markets,
        Host::GitHub => panic!("the client of Polymarket asked {}", heard.path),
    }
}

/// Returns requests, errors and 429s of each endpoint, as the client counts them.
pub(super) fn counted(polymarket: &Polymarket) -> BTreeMap<Endpoint, (u64, u64, u64)> {
    let sums = polymarket.observe().endpoints.into_iter().map(|traffic| {
        let add = |sum: (u64, u64, u64), minute: &crate::polymarket::http::traffic::MinuteCounts| {
            (sum.0 + minute.requests, sum.1 + minute.errors, sum.2 + minute.rate_limited)
        };
        (traffic.endpoint, traffic.minutes.iter().fold((0, 0, 0), add))
    });
    sums.collect()
}

/// Returns the same, as the simulator counts them.
pub(super) fn served(heard: &[LoggedRequest]) -> BTreeMap<Endpoint, (u64, u64, u64)> {
    let mut served: BTreeMap<Endpoint, (u64, u64, u64)> = BTreeMap::new();
    for request in heard {
        let sum = served.entry(endpoint_of(request)).or_default();
        sum.0 += 1;
        sum.1 += u64::from(request.status >= 300);
        sum.2 += u64::from(request.status == 429);
    }
    served
}

/// A request arrives after its permit was received, so the n-th arrival comes after the n-th permit was asked for. Between
/// two permits there are at most as many as a burst of 40 and 20 per second allow. Both hold on any machine, however slow.
/// To show that they hold between two arrivals too, the test measures how long requests were on their way.
#[actix_web::test]
async fn never_more_than_a_burst_of_40_and_20_a_second_whatever_the_load() {
    let setup = LimitSetup::new(LimitSettings::default());
    let load = setup.load(60);
    let begun = Clock::System.now();
    let mut slowest_book = 0;
    while Clock::System.now().millis_since(begun) < 10_500 {
        let asked = Clock::System.now();
        setup.book().await;
        slowest_book = slowest_book.max(Clock::System.now().millis_since(asked));
        setup.polymarket.search_profile("quiet heron").await.unwrap();
        setup.polymarket.profile(&setup.wallet).await.unwrap();
        // A decision and a search from time to time: this sets the rate of the load, and is not a wait.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    load.iter().for_each(JoinHandle::abort);

    let heard = setup.heard();
    let arrived: Vec<Timestamp> = heard.iter().map(|heard| heard.at).collect();
    let given = setup.polymarket.gate().given();
    assert!(arrived.len() <= given.len(), "a request went out without a permit");
    let asked: Vec<Timestamp> = given.iter().map(|given| given.asked).collect();
    let received: Vec<Timestamp> = given.iter().map(|given| given.received).collect();
    assert_within_the_rate(&asked, &received, "permits");
    assert_within_the_rate(&asked, &arrived, "arrivals since a permit");

    let under_way = arrived.iter().zip(&asked).map(|(arrived, asked)| arrived.millis_since(*asked)).max().unwrap();
    let left: Vec<Timestamp> = arrived.iter().map(|arrived| arrived.plus_millis(-under_way)).collect();
    assert_within_the_rate(&left, &arrived, "arrivals");
    let took = arrived.last().unwrap().millis_since(arrived[0]);
    let kinds: std::collections::BTreeSet<Endpoint> = heard.iter().map(endpoint_of).collect();
    assert!(took >= 10_000 && kinds.len() >= 9, "{took} ms of {kinds:?}");
    eprintln!(
        "{} requests of {} kinds in {took} ms, {under_way} ms under way at most; a book took {slowest_book} ms at most",
        arrived.len(),
        kinds.len(),
    );
}

#[actix_web::test]
async fn a_book_requested_while_500_bulk_requests_wait_is_sent_next() {
    let setup = LimitSetup::new(LimitSettings::default());
    let load = setup.load(540);
    let waiting = || setup.polymarket.observe().waiting_bulk;
    while setup.heard().len() < 40 || waiting() < 450 {
        tokio::task::yield_now().await;
    }
    let n_given = setup.polymarket.gate().given().len();
    setup.book().await;
    let next: &[Given] = &setup.polymarket.gate().given()[n_given..];
    assert_eq!(next[0].priority, Priority::Interactive, "{next:?}");
    let heard = setup.heard();
    let before = heard.iter().position(|heard| heard.query.contains(setup.asset.as_str())).unwrap_or(heard.len());
    assert!(before < 200 && waiting() > 300, "{before} requests came before the book");

    // A request that gives up leaves the queue, and takes no permit.
    load.iter().for_each(JoinHandle::abort);
    for call in load {
        let _ = call.await;
    }
    assert_eq!(waiting(), 0);
    setup.book().await;
}

/// Requests that hang keep their connections, and a client has only 100.
#[actix_web::test]
async fn a_book_does_not_wait_for_bulk_requests_that_hang() {
    let limits = LimitSettings { requests_per_second: 1_000, burst: 500, ..LimitSettings::default() };
    let setup = LimitSetup::new(limits);
    setup.fault(Fault::once(Host::Data, "", FaultKind::Hang).times(Times::Always));
    let ask = || {
        let (polymarket, market) = (setup.polymarket.clone(), setup.market.clone());
        spawn(async move { drop(polymarket.resolution(&market).await) })
    };
    let hanging: Vec<JoinHandle<()>> = (0..150).map(|_| ask()).collect();
    while setup.heard().len() < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    setup.book().await;
    assert!(setup.heard().len() <= 150 + 1, "the book was asked for once");
    hanging.iter().for_each(JoinHandle::abort);
}
