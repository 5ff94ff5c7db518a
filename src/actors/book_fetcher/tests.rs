use super::*;
use crate::{
    actors::test_house::{Exchange, House},
    domain::{group::EventGroup, ledger_samples::at},
    simulator::{Host, Quotes},
};

fn fetcher(house: &House, exchange: &Exchange) -> Addr<BookFetcher> {
    let (db, polymarket, metrics) = (house.db.clone(), exchange.polymarket.clone(), Arc::default());
    let deps = BookFetcherDeps { db, clock: house.clock, polymarket, metrics };
    BookFetcher::start(deps, &house.guard)
}

fn wanted(exchange: &Exchange, group: &EventGroup) -> FetchBook {
    FetchBook { group: group.id, asset: exchange.asset(0) }
}

#[actix_web::test]
async fn both_executors_and_the_next_life_get_the_one_book_that_was_fetched() {
    let house = House::new().await;
    let exchange = Exchange::start(house.clock);
    let group = exchange.group(house.alice, 1);
    house.close(&group).await;
    let first_life = fetcher(&house, &exchange);
    let asks: Vec<_> = (0..10).map(|_| first_life.send(wanted(&exchange, &group))).collect();
    let mut books = Vec::new();
    for ask in asks {
        books.push(ask.await.unwrap().unwrap());
    }
    assert_eq!(exchange.n_asked(Host::Clob, "/book?"), 1);
    assert_eq!(books[0].book.as_ref().unwrap().best_ask().micros(), 500_000);
    assert!(books.iter().all(|book| book == &books[0]));

    let moved = Quotes::of(&[(100_000, 1_000_000)], &[(900_000, 1_000_000)]);
    exchange.simulator.world(|world| world.set_book(&exchange.asset(0), moved));
    let next_life = fetcher(&house, &exchange);
    let again = next_life.send(wanted(&exchange, &group)).await.unwrap().unwrap();
    assert_eq!(again, books[0]);
    assert_eq!(exchange.n_asked(Host::Clob, "/book?"), 1);
}

#[actix_web::test]
async fn that_there_was_no_book_is_kept_as_well() {
    let house = House::new().await;
    let exchange = Exchange::start(house.clock);
    exchange.simulator.world(|world| world.remove_book(&exchange.market.id));
    let group = exchange.group(house.alice, 1);
    house.close(&group).await;
    let none = fetcher(&house, &exchange).send(wanted(&exchange, &group)).await.unwrap().unwrap();
    assert!(none.book.is_err());

    let quotes = Quotes::of(&[(490_000, 1_000_000)], &[(500_000, 1_000_000)]);
    exchange.simulator.world(|world| world.set_book(&exchange.asset(0), quotes));
    let still = fetcher(&house, &exchange).send(wanted(&exchange, &group)).await.unwrap().unwrap();
    assert_eq!(still, none);
}

#[actix_web::test]
async fn a_book_of_a_group_that_is_not_there_fails_and_holds_up_nobody() {
    let house = House::new().await;
    let exchange = Exchange::start(house.clock);
    let (unknown, group) = (exchange.group(house.alice, 1), exchange.group(house.alice, 2));
    house.close(&group).await;
    let fetcher = fetcher(&house, &exchange);
    let failed = fetcher.send(wanted(&exchange, &unknown)).await.unwrap();
    assert!(matches!(failed, Err(FetchFailed::Storing(_))), "{failed:?}");
    assert!(fetcher.send(wanted(&exchange, &group)).await.unwrap().is_ok());
}

#[actix_web::test]
async fn market_facts_are_fetched_once_kept_and_read_again_when_the_blacklist_changes() {
    let house = House::new().await;
    let exchange = Exchange::start(house.clock);
    let fetcher = fetcher(&house, &exchange);
    let know = || fetcher.send(KnowMarket(exchange.market.id.clone()));
    let market = know().await.unwrap().unwrap();
    assert_eq!((market.question.as_str(), market.outcomes.len()), ("will it rain?", 2));
    let asked = exchange.n_asked(Host::Gamma, "/markets");
    know().await.unwrap().unwrap();
    assert_eq!(exchange.n_asked(Host::Gamma, "/markets"), asked);
    assert!(house.db.market(&market.id).await.unwrap().is_some());

    house.db.set_blacklisted(&market.id, true, "test", at(0)).await.unwrap();
    fetcher.send(DirectoryChanged(house.directory().await)).await.unwrap();
    assert!(know().await.unwrap().unwrap().blacklisted);
}
