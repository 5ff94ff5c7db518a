//! From the chain's notification to the row: how soon a fill is in the database after the API first lists it.

use std::collections::BTreeMap;

use polymarketspy::clock::Clock;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::simulator::{Fill, Host, NewMarket};
use polymarketspy::testkit::{TestBot, eventually};

/// How long after its log the API lists each fill, in ms: between, at and beyond the requests at 2, 4, 8 and 16 s.
const DELAYS: [i64; 8] = [700, 2_300, 4_100, 6_500, 8_400, 9_000, 12_700, 19_300];

/// A poll interval so long that only the chain can trigger a request.
pub const SELDOM: &str = r#"{"system": {"pollingIntervalMs": 3600000}}"#;

#[actix::test]
async fn a_fill_seen_on_chain_is_in_the_database_within_three_seconds_of_the_api_showing_it() {
    let bot = TestBot::new().await;
    bot.configure(SELDOM).await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
    let mut leaders = Vec::new();
    for delay in DELAYS {
        leaders.push((bot.follow(&format!("leader-{delay}")).await.1, delay));
    }
    let app = bot.start_watching(&bot.exchange.chain_ws_url()).await;
    eventually("one subscription and every first poll", async || {
        bot.exchange.with(|exchange| {
            let polled = exchange.n_requests(Host::Data, "/v2/activity") >= DELAYS.len();
            (polled && exchange.chain.n_log_subscriptions() == 1).then_some(())
        })
    })
    .await;

    let asked_before = bot.exchange.with(|exchange| exchange.n_requests(Host::Data, "/v2/activity"));
    let mut shown: BTreeMap<String, (i64, Timestamp)> = BTreeMap::new();
    for (wallet, delay) in &leaders {
        let visible_at = Clock::System.now().plus_millis(*delay);
        let fill = Fill::taker(wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 10_000_000).visible_at(visible_at);
        let tx_hash = bot.exchange.with(|exchange| exchange.push_fill(fill)).unwrap().tx_hash;
        shown.insert(tx_hash, (*delay, visible_at));
    }
    let mut late: BTreeMap<i64, i64> = BTreeMap::new();
    eventually("every fill", async || {
        let rows = bot.db.trades_page(&Default::default(), None, 100).await.unwrap().rows;
        let now = Clock::System.now();
        for row in rows {
            let (delay, visible_at) = shown[&row.trade.tx_hash];
            late.entry(delay).or_insert_with(|| now.millis_since(visible_at));
        }
        (late.len() == DELAYS.len()).then_some(())
    })
    .await;
    let asked = bot.exchange.with(|exchange| exchange.n_requests(Host::Data, "/v2/activity")) - asked_before;
    eprintln!("ms after the log -> ms from the API showing it to the row: {late:?}; {asked} asks");
    assert!(late.values().all(|late| *late < 3_000), "{late:?}");
    // One request at once and one every two seconds, and some room for the regular catch-up of each minute.
    let allowed: i64 =
        DELAYS.iter().map(|delay| 2 + delay / 2_000).sum::<i64>() + 2 * i64::try_from(DELAYS.len()).unwrap();
    assert!(i64::try_from(asked).unwrap() <= allowed, "{asked} asks where {allowed} would do");

    let leads = bot.db.chain_lags(Timestamp::EPOCH, Clock::System.now().plus_millis(1)).await.unwrap();
    let all = leads.all.unwrap();
    assert_eq!((all.n_fills, all.n_api_first, leads.by_user.len()), (8, 0, 8));
    assert!(all.p50_ms >= DELAYS[3] && all.p90_ms >= DELAYS[7] && all.p90_ms < DELAYS[7] + 3_000, "{all:?}");
    app.stop().await;
}
