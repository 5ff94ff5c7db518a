use super::*;
use crate::domain::events::group::EventGroup;
use crate::simulator::{Host, Quotes};
use crate::testkit::copy_setup::CopySetup;
use crate::testkit::exchange::OneMarketExchange;
use crate::testkit::samples::at;

fn fetcher(setup: &CopySetup, exchange: &OneMarketExchange) -> Addr<BookFetcher> {
    let (db, polymarket, metrics) = (setup.db.clone(), exchange.polymarket.clone(), Arc::default());
    let deps = BookFetcherDeps { db, clock: setup.clock, polymarket, metrics };
    BookFetcher::start(deps, &setup.supervisor)
}

fn wanted(exchange: &OneMarketExchange, group: &EventGroup) -> FetchBook {
    FetchBook { group: group.id, asset: exchange.asset(0) }
}

#[actix_web::test]
async fn both_executors_and_the_next_incarnation_get_the_one_book_that_was_fetched() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let group = exchange.group(setup.alice, 1);
    setup.close(&group).await;
    let first_life = fetcher(&setup, &exchange);
    let asks: Vec<_> = (0..10).map(|_| first_life.send(wanted(&exchange, &group))).collect();
    let mut books = Vec::new();
    for ask in asks {
        books.push(ask.await.unwrap().unwrap());
    }
    assert_eq!(exchange.n_asked(Host::Clob, "/book?"), 1);
    assert_eq!(books[0].book.as_ref().unwrap().best_ask().micros(), 500_000);
    assert!(books.iter().all(|book| book == &books[0]));

    let moved = Quotes::of(&[(100_000, 1_000_000)], &[(900_000, 1_000_000)]);
    exchange.simulator.with(|venue| venue.set_book(&exchange.asset(0), moved));
    let next_life = fetcher(&setup, &exchange);
    let again = next_life.send(wanted(&exchange, &group)).await.unwrap().unwrap();
    assert_eq!(again, books[0]);
    assert_eq!(exchange.n_asked(Host::Clob, "/book?"), 1);
}

#[actix_web::test]
async fn a_missing_book_is_stored_as_well() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    exchange.simulator.with(|venue| venue.remove_book(&exchange.market.id));
    let group = exchange.group(setup.alice, 1);
    setup.close(&group).await;
    let none = fetcher(&setup, &exchange).send(wanted(&exchange, &group)).await.unwrap().unwrap();
    assert!(none.book.is_err());

    let quotes = Quotes::of(&[(490_000, 1_000_000)], &[(500_000, 1_000_000)]);
    exchange.simulator.with(|venue| venue.set_book(&exchange.asset(0), quotes));
    let still = fetcher(&setup, &exchange).send(wanted(&exchange, &group)).await.unwrap().unwrap();
    assert_eq!(still, none);
}

/// Case 8: an answer is used up to 5 s after its fetch began.
#[actix_web::test]
async fn a_slow_book_is_used_and_one_that_is_slower_than_5_s_is_not() {
    let setup = CopySetup::new().await;
    for (millis, is_there) in [(2_500, true), (4_000, true), (7_000, false)] {
        let exchange = OneMarketExchange::start(setup.clock);
        let slow = crate::simulator::Fault::once(Host::Clob, "/book?", crate::simulator::FaultKind::Delay(millis));
        exchange.simulator.with(|exchange| exchange.fault(slow.times(crate::simulator::Times::Always)));
        let group = exchange.group(setup.alice, millis as i64);
        setup.close(&group).await;
        let answer = fetcher(&setup, &exchange).send(wanted(&exchange, &group)).await.unwrap().unwrap();
        assert_eq!(answer.book.is_ok(), is_there, "{millis} ms: {:?}", answer.book);
    }
}

#[actix_web::test]
async fn a_book_of_a_missing_group_fails_and_holds_up_no_other() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let (unknown, group) = (exchange.group(setup.alice, 1), exchange.group(setup.alice, 2));
    setup.close(&group).await;
    let fetcher = fetcher(&setup, &exchange);
    let failed = fetcher.send(wanted(&exchange, &unknown)).await.unwrap();
    assert!(matches!(failed, Err(FetchFailed::Storing(_))), "{failed:?}");
    assert!(fetcher.send(wanted(&exchange, &group)).await.unwrap().is_ok());
}

#[actix_web::test]
async fn market_facts_are_fetched_once_and_read_again_when_the_blacklist_changes() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let fetcher = fetcher(&setup, &exchange);
    let know = || fetcher.send(KnowMarket(exchange.market.id.clone()));
    let market = know().await.unwrap().unwrap();
    assert_eq!((market.question.as_str(), market.outcomes.len()), ("will it rain?", 2));
    let asked = exchange.n_asked(Host::Gamma, "/markets");
    know().await.unwrap().unwrap();
    assert_eq!(exchange.n_asked(Host::Gamma, "/markets"), asked);
    assert!(setup.db.market(&market.id).await.unwrap().is_some());

    setup.db.set_blacklisted(&market.id, true, "test", at(0)).await.unwrap();
    fetcher.send(DirectoryChanged(setup.directory().await)).await.unwrap();
    assert!(know().await.unwrap().unwrap().blacklisted);
}

/// Lets time pass so that facts become old. Afterwards time runs as usual, because the sockets need that.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// Requests the facts until they are as expected: a refresh runs in the background.
async fn until_known(fetcher: &Addr<BookFetcher>, id: &MarketId, expected: impl Fn(&Market) -> bool) -> Arc<Market> {
    let asking = async {
        loop {
            let market = fetcher.send(KnowMarket(id.clone())).await.unwrap().unwrap();
            if expected(&market) {
                return market;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("the facts are known in time")
}

#[actix_web::test]
async fn changed_facts_are_known_after_a_while_although_the_api_has_a_cache() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    exchange.simulator.with(|exchange| exchange.cache.settings = crate::simulator::CacheSettings::RECORDED);
    let (fetcher, id) = (fetcher(&setup, &exchange), exchange.market.id.clone());
    let before = until_known(&fetcher, &id, |_| true).await;
    assert_eq!((before.close_time, before.active), (None, true));

    let closes = setup.clock.now().plus_millis(7_200_000);
    exchange.simulator.with(|exchange| {
        exchange.change_market(&id, |market| {
            market.closes_at = Some(closes);
            market.facts.tick = Some(PriceMicros::new(1_000).unwrap());
            market.facts.fee = crate::domain::market::facts::FeeSchedule { rate_micros: 70_000, exponent: 1 };
        })
    });
    later(601).await;
    let changed = until_known(&fetcher, &id, |market| market.close_time.is_some()).await;
    assert_eq!((changed.tick.unwrap().micros(), changed.fee.rate_micros), (1_000, 70_000));

    // The clock of the exchange does not jump.
    exchange.simulator.with(|exchange| exchange.change_market(&id, |market| market.closes_at = Some(at(0))));
    later(601).await;
    let closed = until_known(&fetcher, &id, |market| !market.active).await;
    assert_eq!((closed.question.clone(), closed.outcomes.len()), (before.question.clone(), 2));
    let stored = setup.db.market(&id).await.unwrap().unwrap();
    assert_eq!((stored.active, stored.tick), (false, changed.tick));
    let from_cache =
        exchange.simulator.with(|exchange| exchange.requests().filter(|request| request.from_cache).count());
    assert_eq!(from_cache, 0, "no two URLs were equal");
}

#[actix_web::test]
async fn an_unknown_market_is_fetched_for_each_request_until_a_source_knows_it() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    exchange.simulator.with(|exchange| exchange.cache.settings = crate::simulator::CacheSettings::RECORDED);
    let fetcher = fetcher(&setup, &exchange);
    let elsewhere = OneMarketExchange::start(setup.clock);
    let new =
        elsewhere.simulator.with(|exchange| exchange.add_market(crate::simulator::NewMarket::binary("brand-new")));
    let unknown = until_known(&fetcher, new.id(), |_| true).await;
    assert!(unknown.outcomes.is_empty() && unknown.question.is_empty());

    exchange.simulator.with(|exchange| exchange.add_market(crate::simulator::NewMarket::binary("brand-new")));
    let known = until_known(&fetcher, new.id(), |_| true).await;
    assert_eq!((known.outcomes.len(), &known.question), (2, &new.facts.question));
}

/// Cases 16, 17 and 19: what the sources say of fees, delays, ends, tags and the event.
#[actix_web::test]
async fn the_facts_of_a_market_say_what_is_not_known() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let id = exchange.market.id.clone();
    let passed = setup.clock.now().plus_millis(-68 * 86_400_000);
    exchange.simulator.with(|exchange| {
        exchange.change_market(&id, |market| {
            market.quirks.gamma_without_fee = true;
            market.quirks.unknown_to_clob = true;
            market.quirks.end_date = Some(passed);
        })
    });
    let fetcher = fetcher(&setup, &exchange);
    let market = until_known(&fetcher, &id, |_| true).await;
    assert_eq!((market.fee, market.fee_known), (crate::domain::market::facts::FeeSchedule::HIGHEST, false));
    assert_eq!((market.close_time.is_some(), market.closes_after(setup.clock.now())), (true, None));
    assert_eq!(market.tags, ["geopolitics"]);
    assert!(market.event.as_ref().is_some_and(|event| !event.id.is_empty() && !event.slug.is_empty()));

    exchange.simulator.with(|exchange| {
        exchange.change_market(&id, |market| {
            market.quirks.unknown_to_clob = false;
            market.quirks.taker_delay_s = 3;
            market.quirks.delays_takers = true;
        })
    });
    later(61).await;
    let market = until_known(&fetcher, &id, |market| market.fee_known).await;
    assert_eq!((market.fee.rate_micros, market.taker_delay_ms), (0, Some(3_000)), "the CLOB has no `fd`: free");
    assert_eq!(setup.db.market(&id).await.unwrap().as_ref(), Some(market.as_ref()));
}

#[actix_web::test]
async fn incomplete_market_facts_are_fetched_again_after_a_minute() {
    let setup = CopySetup::new().await;
    let exchange = OneMarketExchange::start(setup.clock);
    let (fetcher, id) = (fetcher(&setup, &exchange), exchange.market.id.clone());
    let away = crate::simulator::Fault::once(Host::Gamma, "/markets", crate::simulator::FaultKind::Status(400));
    exchange.simulator.with(|exchange| exchange.fault(away.times(crate::simulator::Times::Always)));
    let half = until_known(&fetcher, &id, |_| true).await;
    assert_eq!((half.question.as_str(), half.outcomes.len()), ("", 2), "the CLOB knows enough to trade on");

    exchange.simulator.with(|exchange| exchange.faults.clear());
    later(61).await;
    until_known(&fetcher, &id, |market| !market.question.is_empty()).await;
}
