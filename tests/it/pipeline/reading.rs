//! What the bot reads of the market, and of whom: with the cache, the late and the unfinished rows of the real one.

use std::collections::BTreeSet;

use polymarketspy::clock::Clock;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::simulator::{CacheSettings, Fill, Host, NewMarket, SimMarket, SimulatorSettings};

use super::bot::{Stage, eventually};

fn market(stage: &Stage) -> SimMarket {
    stage.exchange.world(|world| world.add_market(NewMarket::binary("rain")))
}

fn buys(stage: &Stage, wallet: &Wallet, market: &SimMarket) {
    let fill = Fill::maker(wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 10_000_000);
    stage.exchange.world(|world| world.push_fill(fill)).unwrap();
}

/// How often the activity of this wallet was asked for.
fn n_polls(stage: &Stage, wallet: &Wallet) -> usize {
    stage.exchange.world(|world| world.n_heard(Host::Data, &format!("/v2/activity?user={wallet}")))
}

async fn polled_again(stage: &Stage, wallet: &Wallet, times: usize) {
    let wanted = n_polls(stage, wallet) + times;
    eventually("a poll", async || (n_polls(stage, wallet) >= wanted).then_some(())).await;
}

async fn n_trades(stage: &Stage) -> usize {
    stage.db.trades_page(&Default::default(), None, 1_000).await.unwrap().rows.len()
}

#[actix::test]
async fn leaders_are_polled_from_the_moment_they_are_followed_and_not_while_they_are_disabled() {
    let stage = Stage::new().await;
    let market = market(&stage);
    let app = stage.start().await;
    let (_, first) = stage.follow("the first").await;
    polled_again(&stage, &first, 1).await;
    let (id, second) = stage.follow("the second").await;
    polled_again(&stage, &second, 1).await;
    buys(&stage, &second, &market);
    stage.attempts(2).await;

    stage.db.set_enabled(id, false, "test", Clock::System.now()).await.unwrap();
    // A poll that was under way may still come; the other leader's polls tell that time goes on.
    eventually("the end of the second's polls", async || {
        let before = n_polls(&stage, &second);
        polled_again(&stage, &first, 10).await;
        (n_polls(&stage, &second) == before).then_some(())
    })
    .await;
    buys(&stage, &second, &market);
    let before = n_polls(&stage, &second);
    polled_again(&stage, &first, 5).await;
    assert_eq!((n_polls(&stage, &second), n_trades(&stage).await), (before, 1));

    stage.db.set_enabled(id, true, "test", Clock::System.now()).await.unwrap();
    eventually("what they did meanwhile", async || (n_trades(&stage).await == 2).then_some(())).await;
    stage.attempts(4).await;
    app.stop().await;
}

#[actix::test]
async fn a_row_that_is_completed_later_is_one_event_and_no_poll_is_answered_from_the_cache() {
    let settings =
        SimulatorSettings { complete_after: 1_000, cache: CacheSettings::RECORDED, ..SimulatorSettings::default() };
    let stage = Stage::with(settings).await;
    let market = market(&stage);
    let (_, wallet) = stage.follow("leader").await;
    let app = stage.start().await;
    for n in 1..=3 {
        buys(&stage, &wallet, &market);
        // The cache keeps an answer for 15 s: seeing each fill at once means that nobody was answered from it.
        eventually("the row", async || (n_trades(&stage).await == n).then_some(())).await;
    }
    stage.attempts(6).await;
    stage.exchange.advance(1_000);
    polled_again(&stage, &wallet, 3).await;
    assert_eq!(n_trades(&stage).await, 3, "the same rows with more in them");
    assert_eq!(stage.attempts(6).await.len(), 6);
    let urls: Vec<String> = stage.exchange.world(|world| {
        assert_eq!(world.heard().filter(|heard| heard.from_cache).count(), 0);
        world.heard().filter(|heard| heard.path == "/v2/activity").map(|heard| heard.query.clone()).collect()
    });
    assert_eq!(urls.iter().collect::<BTreeSet<_>>().len(), urls.len());
    app.stop().await;
}
