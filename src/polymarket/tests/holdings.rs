//! Positions, spreads and books of a simulated exchange.

use std::collections::BTreeSet;

use crate::clock::Clock;
use crate::domain::events::event::Side;
use crate::domain::money::units::{ShareMicros, Timestamp};
use crate::simulator::{Fill, Host, NewMarket, Quotes, price, wallet_of};
use crate::testkit::exchange::TestExchange;

#[actix_web::test]
async fn all_that_is_held_is_read_without_a_time_bound_and_with_another_url_each_time() {
    let simulator = TestExchange::start();
    let market = simulator.add_market("old-bet");
    let wallet = wallet_of("a leader");
    let bought = Timestamp::from_millis(1_790_000_000_000);
    simulator.with(|exchange| {
        exchange.hold(&wallet, market.asset(0).unwrap(), ShareMicros(1_500_000_000), price(400_000), None);
        exchange.hold(&wallet, market.asset(1).unwrap(), ShareMicros(40_000), price(600_000), Some(bought));
    });
    let polymarket = simulator.polymarket(Clock::System);
    let held = polymarket.all_positions(&wallet).await.unwrap();
    let figures: Vec<_> = held
        .iter()
        .map(|position| (position.shares.0, position.average_price, position.current_price, position.last_event_at))
        .collect();
    let expected = [
        (1_500_000_000, Some(price(400_000)), Some(price(495_000)), None),
        (40_000, Some(price(600_000)), Some(price(505_000)), Some(bought)),
    ];
    assert_eq!(figures, expected);
    assert_eq!(held[0].opposite.as_ref(), market.asset(1));
    assert_eq!(polymarket.all_positions(&wallet).await.unwrap(), held);
    assert_eq!(polymarket.positions(&wallet, &[market.id().clone()]).await.unwrap(), held);
    let queries: Vec<String> =
        simulator.with(|exchange| exchange.requests().map(|request| request.query.clone()).collect());
    assert!(queries.iter().all(|query| !query.contains("start=") && !query.contains("end=")), "{queries:?}");
    assert_eq!(queries.iter().collect::<BTreeSet<_>>().len(), queries.len(), "{queries:?}");
}

#[actix_web::test]
async fn a_second_token_gets_the_id_that_is_traded_and_is_asked_for_once() {
    let simulator = TestExchange::start();
    let (moved, native) = (simulator.add_market("moved"), NewMarket::binary("native").on_new_ledger());
    let native = simulator.with(|exchange| exchange.add_market(native));
    let wallet = wallet_of("a leader");
    let second = simulator.with(|exchange| {
        let second = exchange.migrated_token(&moved, 1);
        exchange.hold(&wallet, &second, ShareMicros(5_000_000), price(400_000), None);
        exchange.hold(&wallet, native.asset(0).unwrap(), ShareMicros(7_000_000), price(400_000), None);
        second
    });
    let polymarket = simulator.polymarket(Clock::System);
    for _ in 0..2 {
        let held = polymarket.all_positions(&wallet).await.unwrap();
        let mut assets: Vec<_> = held.iter().map(|position| (position.shares.0, &position.asset)).collect();
        assets.sort();
        assert_eq!(assets, [(5_000_000, moved.asset(1).unwrap()), (7_000_000, native.asset(0).unwrap())]);
    }
    // The tokens, and the pairs of the one market that has some.
    assert_eq!(simulator.with(|exchange| exchange.n_requests(Host::Data, "/v2/tokens")), 2);

    // A row keeps the id that the token it names gives it.
    let sale = Fill::maker(&wallet, &second, Side::Sell, 500_000, 1_000_000);
    simulator.with(|exchange| exchange.push_fill(sale)).unwrap();
    let window = polymarket.activity_since(&wallet, Timestamp::from_millis(1_000)).await.unwrap();
    assert_eq!(&window.trades[0].asset, moved.asset(1).unwrap());
    assert!(window.trades[0].source_id.contains(second.as_str()), "{}", window.trades[0].source_id);
    assert_eq!(simulator.with(|exchange| exchange.n_requests(Host::Data, "/v2/tokens")), 2);
}

#[actix_web::test]
async fn a_book_with_one_side_has_neither_middle_nor_spread_and_a_closed_token_hides_no_other() {
    let simulator = TestExchange::start();
    let [one_side, both_sides, closed] = ["one-side", "both-sides", "over"].map(|slug| simulator.add_market(slug));
    let assets = [&one_side, &both_sides, &closed].map(|market| market.asset(0).unwrap().clone());
    simulator.with(|exchange| {
        exchange.set_book(&assets[0], Quotes::of(&[], &[(20_000, 5_000_000)]));
        exchange.close_market(closed.id());
        exchange.refuses_batches = true;
    });
    let polymarket = simulator.polymarket(Clock::System);
    let spreads = polymarket.spreads(&assets, 9).await.unwrap().found;
    assert_eq!(spreads.into_iter().collect::<Vec<_>>(), [(assets[1].clone(), price(10_000))]);
    let midpoints = polymarket.midpoints(&assets, 9).await.unwrap().found;
    assert_eq!(midpoints.into_iter().collect::<Vec<_>>(), [(assets[1].clone(), price(495_000))]);
    let books = polymarket.book_quotes(&assets, 9).await.unwrap().found;
    assert_eq!(books.len(), 2);
    let best = |n: usize| (books[&assets[n]].bid, books[&assets[n]].ask);
    assert_eq!(best(0), (None, Some(price(20_000))));
    assert_eq!(best(1), (Some(price(490_000)), Some(price(500_000))));
}
