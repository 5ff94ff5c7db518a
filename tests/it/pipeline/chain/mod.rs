//! The chain watcher against a real node that drops connections, loses its state, stops answering and reorganises its
//! chain.

mod node;

use polymarketspy::db::Db;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::domain::money::units::UsdcMicros;
use polymarketspy::simulator::{Fill, Host, NewMarket, wallet_of};
use polymarketspy::testkit::{TestBot, eventually};
use serde_json::{Value, json};

use super::api_lag::SELDOM;
use node::{EXCHANGES, Node, Order};

/// A row of the chain watcher.
#[derive(Debug, Clone, PartialEq, Eq, sqlx_macros::FromRow)]
struct Sighting {
    tx_hash: String,
    block_hash: String,
    removed: bool,
    proxy_wallet: String,
    side: String,
    share_micros: i64,
    notional_micros: i64,
    event_time: i64,
}

async fn bot() -> TestBot {
    let bot = TestBot::new().await;
    bot.configure(SELDOM).await;
    bot
}

/// Returns the rows of the chain watcher in the order of their inserts.
async fn sightings(bot: &TestBot) -> Vec<Sighting> {
    let Db::Sqlite { read, .. } = &bot.db else { unreachable!("a bot has an SQLite file") };
    let text = "select tx_hash, block_hash, removed, proxy_wallet, side, share_micros, notional_micros, event_time
        from trade_event where source = 'ALCHEMY' and not is_canonical order by rowid";
    sqlx::query_as(text).fetch_all(read).await.unwrap()
}

async fn seen(bot: &TestBot, what: &str, enough: impl Fn(&[Sighting]) -> bool) -> Vec<Sighting> {
    eventually(what, async || Some(sightings(bot).await).filter(|rows| enough(rows))).await
}

/// Returns the state of the chain watcher that the worker stored last.
async fn watcher(bot: &TestBot) -> Option<Value> {
    let worker: Value = serde_json::from_str(&bot.db.checkpoint("worker:actors").await.unwrap()?).unwrap();
    let watcher = worker["actors"].as_array()?.iter().find(|actor| actor["name"] == "chain_watcher")?;
    Some(watcher["observed"]["state"].clone())
}

/// Waits until the bot sees fills of this wallet: fills one order a block until a fill is seen.
async fn in_sight(bot: &TestBot, node: &Node, wallet: &Wallet) {
    let n_before = sightings(bot).await.len();
    eventually("a fill seen through the node", async || {
        node.fill(EXCHANGES[0], &[Order::buy(wallet, EXCHANGES[0], 1_000_000, 500_000)]).await;
        (sightings(bot).await.len() > n_before).then_some(())
    })
    .await;
}

mod on_anvil {
    use super::*;

    #[actix::test]
    async fn fills_at_all_three_exchanges_are_seen_once_each_for_maker_and_taker() {
        let (bot, node) = (bot().await, Node::start().await);
        let (_, maker) = bot.follow("maker").await;
        let (_, taker) = bot.follow("taker").await;
        let app = bot.start_watching(&node.ws_url()).await;
        in_sight(&bot, &node, &maker).await;
        let stranger = wallet_of("a stranger");
        let mut transactions = Vec::new();
        for (n, exchange) in (1..).zip(EXCHANGES) {
            let orders = [
                Order::sell(&maker, taker.as_str(), n * 2_000_000, n * 900_000),
                Order::sell(&stranger, taker.as_str(), n * 1_000_000, n * 450_000),
                Order::buy(&taker, exchange, n * 3_000_000, n * 1_350_000),
            ];
            transactions.push(node.fill(exchange, &orders).await);
        }
        let of = |rows: &[Sighting], tx_hash: &String| -> Vec<Sighting> {
            rows.iter().filter(|row| row.tx_hash == *tx_hash).cloned().collect()
        };
        let rows = seen(&bot, "two fills a transaction", |rows| {
            transactions.iter().all(|tx_hash| of(rows, tx_hash).len() >= 2)
        })
        .await;
        for (n, tx_hash) in (1..).zip(&transactions) {
            let rows = of(&rows, tx_hash);
            let figures: Vec<_> = rows
                .iter()
                .map(|row| (row.proxy_wallet.as_str(), row.side.as_str(), row.share_micros, row.notional_micros))
                .collect();
            let expected = [
                (maker.as_str(), "SELL", n * 2_000_000, n * 900_000),
                (taker.as_str(), "BUY", n * 3_000_000, n * 1_350_000),
            ];
            assert_eq!(figures, expected);
            for row in rows {
                assert_eq!(
                    Some(row.event_time / 1_000),
                    node.second_of(&row.block_hash).await,
                    "event time is the time of the block"
                );
            }
        }
        let asked = |wallet: &Wallet| bot.exchange.with(|exchange| exchange.n_requests(Host::Data, wallet.as_str()));
        eventually("both subscriptions were made", async || (asked(&maker) > 1 && asked(&taker) > 1).then_some(()))
            .await;
        assert_eq!(bot.db.count_trades_since(polymarketspy::domain::money::units::Timestamp::EPOCH).await.unwrap(), 0);
        app.stop().await;
        assert_eq!(bot.attempts(0).await, [], "nothing of the chain is copied");
    }

    #[actix::test]
    async fn a_wallet_added_while_fills_stream_in_is_seen_and_no_fill_is_lost() {
        let (bot, node) = (bot().await, Node::start().await);
        let (_, first) = bot.follow("first").await;
        let app = bot.start_watching(&node.ws_url()).await;
        in_sight(&bot, &node, &first).await;
        let mut sent = Vec::new();
        for n in 0..3 {
            let (_, added) = bot.follow(&format!("added-{n}")).await;
            eventually("fills of the added wallet", async || {
                for _ in 0..3 {
                    sent.push(node.fill(EXCHANGES[1], &[Order::buy(&first, EXCHANGES[1], 5_000_000, 1_000_000)]).await);
                }
                node.fill(EXCHANGES[2], &[Order::buy(&added, EXCHANGES[2], 7_000_000, 2_000_000)]).await;
                sightings(&bot).await.iter().any(|row| row.proxy_wallet == added.as_str()).then_some(())
            })
            .await;
        }
        let rows = seen(&bot, "every fill of the first wallet", |rows| {
            sent.iter().all(|tx_hash| rows.iter().any(|row| row.tx_hash == *tx_hash))
        })
        .await;
        let once = |tx_hash: &&String| rows.iter().filter(|row| row.tx_hash == **tx_hash).count() == 1;
        assert_eq!(sent.iter().filter(once).count(), sent.len(), "a log of both subscriptions is one row");
        eprintln!("{} fills while three wallets were added, each seen once", sent.len());
        app.stop().await;
    }

    #[actix::test]
    async fn a_fill_removed_by_a_reorganisation_is_marked_and_stored_again_in_its_new_block() {
        let (bot, node) = (bot().await, Node::start().await);
        let (_, leader) = bot.follow("leader").await;
        let app = bot.start_watching(&node.ws_url()).await;
        in_sight(&bot, &node, &leader).await;
        // The transactions so far get one block, and the fill gets the next.
        node.call("evm_mine", json!([])).await;
        let order = [Order::buy(&leader, EXCHANGES[0], 9_000_000, 4_000_000)];
        let tx_hash = node.fill(EXCHANGES[0], &order).await;
        let rows = seen(&bot, "the fill", |rows| rows.iter().any(|row| row.tx_hash == tx_hash)).await;
        let old = rows.into_iter().find(|row| row.tx_hash == tx_hash).unwrap();
        assert!(!old.removed);

        // Deep enough to replace the block of the fill and the blocks after it.
        let head = node.call("eth_blockNumber", json!([])).await;
        let at = node.call("eth_getBlockByHash", json!([old.block_hash, false])).await["number"].clone();
        let number = |text: &Value| i64::from_str_radix(text.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
        node.call("anvil_reorg", json!([number(&head) - number(&at) + 1, []])).await;
        assert_eq!(node.second_of(&old.block_hash).await, None, "the old block is not part of the chain");
        assert_eq!(node.fill(EXCHANGES[0], &order).await, tx_hash, "the same transaction");

        let of_it = |rows: &[Sighting]| -> Vec<Sighting> {
            rows.iter().filter(|row| row.tx_hash == tx_hash).cloned().collect()
        };
        let rows = seen(&bot, "the fill in its new block and the old one marked", |rows| {
            let rows = of_it(rows);
            rows.len() == 2 && rows[0].removed
        })
        .await;
        let rows = of_it(&rows);
        assert_eq!(rows[0].block_hash, old.block_hash);
        assert!(!rows[1].removed && node.second_of(&rows[1].block_hash).await.is_some());
        app.stop().await;
    }

    #[actix::test]
    async fn a_node_that_dies_is_found_again_and_the_gap_is_read_from_the_api() {
        let (bot, node) = (bot().await, Node::start().await);
        let (_, leader) = bot.follow("leader").await;
        let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
        let now = polymarketspy::clock::Clock::System.now();
        // Without a row of each kind, each poll would read the last 15 minutes.
        bot.exchange.with(|exchange| {
            let fill = Fill::maker(&leader, market.asset(0).unwrap(), Side::Buy, 500_000, 10_000_000);
            exchange.push_fill(fill.at(now)).unwrap();
            exchange.pay(&leader, "REWARD", UsdcMicros(1_000_000), now).unwrap();
        });
        let n_trades = async || bot.db.trades_page(&Default::default(), None, 10).await.unwrap().rows.len();
        let app = bot.start_watching(&node.ws_url()).await;
        eventually("the first fill", async || (n_trades().await == 1).then_some(())).await;
        in_sight(&bot, &node, &leader).await;
        // These fills go on while the node is killed: the next chain has none of them.
        for _ in 0..5 {
            node.fill(EXCHANGES[0], &[Order::buy(&leader, EXCHANGES[0], 3_000_000, 1_000_000)]).await;
        }
        // Four minutes ago: too old for the catch-up of each minute, young enough for the one after a reconnect.
        let missed = Fill::maker(&leader, market.asset(0).unwrap(), Side::Buy, 500_000, 10_000_000)
            .at(polymarketspy::clock::Clock::System.now().plus_millis(-240_000));
        let node = node
            .start_again(async || {
                bot.exchange.with(|exchange| exchange.push_fill(missed)).unwrap();
                eventually("the watcher to notice the lost connection", async || {
                    watcher(&bot).await.filter(|state| state["connected"] == false)
                })
                .await;
            })
            .await;
        let n_before = sightings(&bot).await.len();
        eventually("the fills missed during the outage", async || (n_trades().await == 2).then_some(())).await;
        in_sight(&bot, &node, &leader).await;
        let rows = sightings(&bot).await;
        assert!(rows.len() > n_before);
        assert!(node.second_of(&rows.last().unwrap().block_hash).await.is_some(), "a row of the new chain");
        app.stop().await;
    }

    #[actix::test]
    async fn a_node_that_falls_silent_is_left_and_seen_again_when_it_speaks() {
        let (bot, node) = (bot().await, Node::start().await);
        let (_, leader) = bot.follow("leader").await;
        let app = bot.start_watching(&node.ws_url()).await;
        in_sight(&bot, &node, &leader).await;
        let connected = async |expected: bool| {
            eventually(&format!("connected: {expected}"), async || {
                watcher(&bot).await.filter(|state| state["connected"] == expected)
            })
            .await
        };
        connected(true).await;
        node.freeze();
        let state = connected(false).await;
        assert!(state["failures"].as_u64().unwrap() >= 1, "{state}");
        node.thaw();
        connected(true).await;
        in_sight(&bot, &node, &leader).await;
        app.stop().await;
    }
}
