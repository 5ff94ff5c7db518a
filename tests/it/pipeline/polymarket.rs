//! The clients against the simulator: both sides speak the same wire format.

use std::time::Duration;

use polymarketspy::clock::Clock;
use polymarketspy::domain::events::event::{ActivityKind, Side};
use polymarketspy::domain::market::facts::FeeSchedule;
use polymarketspy::domain::money::ids::{AssetId, MarketId, Wallet};
use polymarketspy::domain::money::units::{ShareMicros, Timestamp};
use polymarketspy::polymarket::{Polymarket, PolymarketError, PolymarketSettings, Priority, ProfileMatch, Window};
use polymarketspy::simulator::{
    CacheSettings, Fault, FaultKind, Fill, Host, NewMarket, RetryAfter, SimMarket, SimulatorSettings, Times, price,
    wallet_of,
};
use polymarketspy::testkit::TestExchange;

fn settings(simulator: &TestExchange) -> PolymarketSettings {
    let mut settings = simulator.polymarket_settings();
    settings.limits.backoff_base = Duration::from_millis(2);
    settings.limits.breaker.rest_base = Duration::from_millis(2);
    settings
}

fn client(simulator: &TestExchange) -> Polymarket {
    Polymarket::new(settings(simulator), Clock::System)
}

fn leader() -> Wallet {
    wallet_of("a leader")
}

fn market(simulator: &TestExchange, new: NewMarket) -> SimMarket {
    simulator.with(|exchange| exchange.add_market(new))
}

fn push(simulator: &TestExchange, fill: Fill) {
    simulator.with(|exchange| exchange.push_fill(fill)).unwrap();
}

/// Returns the activity of the last quarter of an hour.
async fn window(polymarket: &Polymarket) -> Window {
    let now = Clock::System.now();
    let window = polymarket.activity_window(&leader(), now.plus_millis(-900_000), now).await.unwrap();
    assert_eq!(window.bad, []);
    window
}

#[actix_web::test]
async fn makers_takers_and_twins_come_through_to_the_micro() {
    let simulator = TestExchange::with(SimulatorSettings::default());
    let market = market(&simulator, NewMarket::binary("rain").fee(50_000));
    let yes = market.asset(0).unwrap().clone();
    push(&simulator, Fill::maker(&leader(), &yes, Side::Buy, 480_000, 249_000_000).twice());
    push(&simulator, Fill::taker(&leader(), &yes, Side::Sell, 520_000, 7_123_457));
    let seen = window(&client(&simulator)).await;
    let mut figures: Vec<_> =
        seen.trades.iter().map(|draft| (draft.side, draft.shares.0, draft.notional.0, draft.fee.unwrap().0)).collect();
    figures.sort();
    // 7.123457 * 0.05 * 0.52 * 0.48 is 0.0889007…
    assert_eq!(
        figures,
        [
            (Side::Buy, 249_000_000, 119_520_000, 0),
            (Side::Buy, 249_000_000, 119_520_000, 0),
            (Side::Sell, 7_123_457, 3_704_198, 88_900),
        ]
    );
}

#[actix_web::test]
async fn a_transaction_split_over_two_pages_keeps_its_ordinals() {
    let simulator = TestExchange::with(SimulatorSettings::default());
    let market = market(&simulator, NewMarket::binary("rain"));
    let yes = market.asset(0).unwrap().clone();
    push(&simulator, Fill::maker(&leader(), &yes, Side::Buy, 480_000, 5_000_000).twice().twice());
    let mut small = settings(&simulator);
    small.limits.page_rows = 3;
    let in_pages = window(&Polymarket::new(small, Clock::System)).await;
    let at_once = window(&client(&simulator)).await;
    assert_eq!(in_pages.trades, at_once.trades);
    assert_eq!(in_pages.trades.len(), 4);
}

#[actix_web::test]
async fn rows_completed_later_and_cached_answers_change_no_id() {
    let lifelike =
        SimulatorSettings { complete_after: 3_600_000, cache: CacheSettings::RECORDED, ..SimulatorSettings::default() };
    let simulator = TestExchange::with(lifelike);
    let market = market(&simulator, NewMarket::binary("rain"));
    let yes = market.asset(0).unwrap().clone();
    let polymarket = client(&simulator);
    push(&simulator, Fill::maker(&leader(), &yes, Side::Buy, 480_000, 5_000_000));
    let early = window(&polymarket).await;
    push(&simulator, Fill::maker(&leader(), &yes, Side::Buy, 470_000, 5_000_000));
    let later = window(&polymarket).await;
    assert_eq!((early.trades.len(), later.trades.len()), (1, 2), "a cached answer would hide the second");
    assert!(later.trades.contains(&early.trades[0]));
}

#[actix_web::test]
async fn rows_that_are_no_trades_are_read_and_positions_follow_them() {
    let simulator = TestExchange::with(SimulatorSettings::default());
    let market = market(&simulator, NewMarket::binary("rain"));
    let now = Clock::System.now();
    simulator.with(|exchange| {
        exchange.split(&leader(), market.id(), ShareMicros(10_000_000), now).unwrap();
        exchange.merge(&leader(), market.id(), ShareMicros(4_000_000), now).unwrap();
    });
    let polymarket = client(&simulator);
    let held = polymarket.positions(&leader(), &[market.id().clone()]).await.unwrap();
    let held: Vec<i64> = held.iter().map(|position| position.shares.0).collect();
    assert_eq!(held, [6_000_000, 6_000_000]);

    simulator.with(|exchange| {
        exchange.resolve(market.id(), &[price(1_000_000), price(0)]);
        exchange.redeem(&leader(), market.id(), true, exchange.now()).unwrap();
    });
    let seen = window(&polymarket).await;
    let mut kinds: Vec<(&str, i64)> =
        seen.activities.iter().map(|draft| (draft.kind.as_str(), draft.payload.cash_micros.0)).collect();
    kinds.sort();
    assert_eq!(kinds, [("MERGE", 4_000_000), ("REDEEM", 0), ("REDEEM", 6_000_000), ("SPLIT", 10_000_000)]);
    assert!(seen.activities.iter().all(|draft| draft.kind != ActivityKind::Combo));
    let resolution = polymarket.resolution(market.id()).await.unwrap().unwrap();
    assert_eq!(resolution.payouts, [price(1_000_000), price(0)]);
}

#[actix_web::test]
async fn books_midpoints_and_facts_agree_with_the_world() {
    let simulator = TestExchange::with(SimulatorSettings::default());
    let closes = Timestamp::from_seconds(Clock::System.now().seconds() + 86_400).unwrap();
    let market = market(&simulator, NewMarket::binary("rain").fee(70_000).closes_at(closes));
    let yes = market.asset(0).unwrap().clone();
    let polymarket = client(&simulator);

    let answer = polymarket.book(&yes, Priority::Interactive).await.unwrap();
    assert_eq!((answer.book.best_bid(), answer.book.best_ask()), (price(490_000), price(500_000)));
    assert_eq!((answer.book.bids().len(), answer.tick), (20, Some(price(10_000))));
    let midpoints = polymarket.midpoints(&[yes.clone(), AssetId::parse("7").unwrap()], 9).await.unwrap().found;
    assert_eq!(midpoints.get(&yes), Some(&price(495_000)));

    let facts = polymarket.market(market.id()).await.unwrap().unwrap();
    assert_eq!((facts.close_time, facts.active), (Some(closes), true));
    assert_eq!(facts.fee, FeeSchedule { rate_micros: 70_000, exponent: 1 });
    assert_eq!(facts.outcomes[0].asset, yes);
    assert_eq!(polymarket.market_by_token(&yes).await, Ok(Some(market.id().clone())));
    assert!(polymarket.resolution(market.id()).await.unwrap().is_none_or(|row| row.payouts.is_empty()));

    simulator.with(|exchange| exchange.resolve(market.id(), &[price(500_000), price(500_000)]));
    assert!(!polymarket.market(market.id()).await.unwrap().unwrap().active, "a closed market is found");
    assert!(polymarket.book(&yes, Priority::Interactive).await.unwrap_err().is_not_found());
    let unknown = MarketId::parse(&format!("0x{}", "e".repeat(64))).unwrap();
    assert_eq!(polymarket.market(&unknown).await, Ok(None));
}

#[actix_web::test]
async fn people_are_found_by_name_and_by_wallet() {
    let simulator = TestExchange::with(SimulatorSettings::default());
    simulator.with(|exchange| exchange.add_profile(&leader(), "Quiet Heron"));
    let polymarket = client(&simulator);
    let ProfileMatch::One(found) = polymarket.search_profile("quiet heron").await.unwrap() else { panic!("no match") };
    assert_eq!((&found.wallet, found.name.as_str()), (&leader(), "Quiet Heron"));
    assert_eq!(polymarket.profile(&leader()).await.unwrap().unwrap(), found);
    assert_eq!(polymarket.profile(&wallet_of("nobody")).await, Ok(None));
    let away = polymarket.server_time().await.unwrap().millis_since(Clock::System.now());
    assert!((-3_000..=1_000).contains(&away), "{away} ms away");
    polymarket.data_api_lag_seconds().await.unwrap();
}

#[actix_web::test]
async fn a_passing_fault_costs_a_second_try_and_a_lasting_one_a_typed_error() {
    let simulator = TestExchange::with(SimulatorSettings::default());
    let market = market(&simulator, NewMarket::binary("rain"));
    push(&simulator, Fill::maker(&leader(), market.asset(0).unwrap(), Side::Buy, 480_000, 5_000_000));
    let fault = |kind: FaultKind, times| {
        simulator.with(|exchange| {
            exchange.fault(Fault { host: Host::Data, route: "activity".to_owned(), kind, after: 0, times });
        });
    };
    for kind in [
        FaultKind::TooManyRequests(RetryAfter::Silent),
        FaultKind::TooManyRequests(RetryAfter::Html),
        FaultKind::TooManyRequests(RetryAfter::Seconds(0)),
        FaultKind::Status(503),
        FaultKind::Html(200),
        FaultKind::CutBody,
        FaultKind::EmptyBody,
        FaultKind::UnknownFields,
    ] {
        fault(kind.clone(), Times::Next(1));
        assert_eq!(window(&client(&simulator)).await.trades.len(), 1, "{kind:?}");
    }
    fault(FaultKind::UnknownKind, Times::Next(1));
    assert_eq!(window(&client(&simulator)).await.activities.len(), 1, "an unknown kind is kept");
    fault(FaultKind::CutBody, Times::Always);
    let now = Clock::System.now();
    let error = client(&simulator).activity_window(&leader(), now.plus_millis(-60_000), now).await.unwrap_err();
    assert!(matches!(error, PolymarketError::Malformed { .. }) && error.is_transient(), "{error}");
}
