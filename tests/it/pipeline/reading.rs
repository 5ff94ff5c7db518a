//! Which wallets the bot polls, and how it handles the cached, late and incomplete rows of the real API.

use std::collections::BTreeSet;

use polymarketspy::clock::Clock;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::simulator::{CacheSettings, Fill, Host, NewMarket, SimMarket, SimulatorSettings};
use polymarketspy::testkit::{TestBot, eventually};

fn market(bot: &TestBot) -> SimMarket {
    bot.exchange.world(|world| world.add_market(NewMarket::binary("rain")))
}

fn buys(bot: &TestBot, wallet: &Wallet, market: &SimMarket) {
    let fill = Fill::maker(wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 10_000_000);
    bot.exchange.world(|world| world.push_fill(fill)).unwrap();
}

/// Returns the number of requests for the activity of this wallet.
fn n_polls(bot: &TestBot, wallet: &Wallet) -> usize {
    bot.exchange.world(|world| world.n_heard(Host::Data, &format!("/v2/activity?user={wallet}")))
}

async fn polled_again(bot: &TestBot, wallet: &Wallet, times: usize) {
    let wanted = n_polls(bot, wallet) + times;
    eventually("a poll", async || (n_polls(bot, wallet) >= wanted).then_some(())).await;
}

async fn n_trades(bot: &TestBot) -> usize {
    bot.db.trades_page(&Default::default(), None, 1_000).await.unwrap().rows.len()
}

#[actix::test]
async fn leaders_are_polled_from_the_moment_they_are_followed_and_not_while_they_are_disabled() {
    let bot = TestBot::new().await;
    let market = market(&bot);
    let app = bot.start().await;
    let (_, first) = bot.follow("the first").await;
    polled_again(&bot, &first, 1).await;
    let (id, second) = bot.follow("the second").await;
    polled_again(&bot, &second, 1).await;
    buys(&bot, &second, &market);
    bot.attempts(2).await;

    bot.db.set_enabled(id, false, "test", Clock::System.now()).await.unwrap();
    // One poll may still be under way. Polls of the other leader show that time passes.
    eventually("the polls of the second leader to end", async || {
        let before = n_polls(&bot, &second);
        polled_again(&bot, &first, 10).await;
        (n_polls(&bot, &second) == before).then_some(())
    })
    .await;
    buys(&bot, &second, &market);
    let before = n_polls(&bot, &second);
    polled_again(&bot, &first, 5).await;
    assert_eq!((n_polls(&bot, &second), n_trades(&bot).await), (before, 1));

    bot.db.set_enabled(id, true, "test", Clock::System.now()).await.unwrap();
    eventually("the fill made while the leader was disabled", async || (n_trades(&bot).await == 2).then_some(())).await;
    bot.attempts(4).await;
    app.stop().await;
}

#[actix::test]
async fn a_row_that_is_completed_later_is_one_event_and_no_poll_is_answered_from_the_cache() {
    let settings =
        SimulatorSettings { complete_after: 1_000, cache: CacheSettings::RECORDED, ..SimulatorSettings::default() };
    let bot = TestBot::with(settings).await;
    let market = market(&bot);
    let (_, wallet) = bot.follow("leader").await;
    let app = bot.start().await;
    for n in 1..=3 {
        buys(&bot, &wallet, &market);
        // The cache keeps an answer for 15 s. Each fill was seen at once, so no request was answered from the cache.
        eventually("the row", async || (n_trades(&bot).await == n).then_some(())).await;
    }
    bot.attempts(6).await;
    bot.exchange.advance(1_000);
    polled_again(&bot, &wallet, 3).await;
    assert_eq!(n_trades(&bot).await, 3, "the completed rows are not stored again");
    assert_eq!(bot.attempts(6).await.len(), 6);
    let urls: Vec<String> = bot.exchange.world(|world| {
        assert_eq!(world.heard().filter(|heard| heard.from_cache).count(), 0);
        world.heard().filter(|heard| heard.path == "/v2/activity").map(|heard| heard.query.clone()).collect()
    });
    assert_eq!(urls.iter().collect::<BTreeSet<_>>().len(), urls.len());
    app.stop().await;
}
