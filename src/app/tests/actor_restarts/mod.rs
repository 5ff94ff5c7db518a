//! Makes every actor of the bot fail, in a handler and in a future. Each must restart, load its state, and do its work
//! again, with nothing lost and nothing done twice.
//!
//! Each test starts its own bot, because a bot allows only five restarts in a minute.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::actors::live_hub::{LiveFact, LiveFrame, Subscribe, Topic};
use crate::actors::reconciler::ReconcileJob;
use crate::actors::supervise::fault_injection::InjectPanic::{AfterWork, BeforeWork, InFuture, InHandler, InWait};
use crate::actors::supervise::fault_injection::{InjectPanic, provoke, restarts, running};
use crate::clock::Clock;
use crate::db::health_key;
use crate::domain::accounting::ledger::{EntryType, PortfolioId};
use crate::domain::money::units::Timestamp;
use crate::queue::wakeup::redis::LIVE_CHANNEL;
use crate::queue::{self, Queue};
use crate::simulator::{Host, price};
use crate::testkit::worker_bot::{House, eventually};

/// The failures for an actor that works all the time. Its next incarnation loses its first work too, once before the
/// work was done and once after; then a later piece of work is lost without a restart in between.
const EVERY_WAY: [&[InjectPanic]; 3] = [&[BeforeWork, InHandler], &[AfterWork, InFuture], &[AfterWork]];

/// The failures for an actor that finds lost work only much later, when a lease ends or a slow timer fires.
const PANICS: [&[InjectPanic]; 3] = [&[BeforeWork, InHandler], &[InFuture], &[InWait]];

/// Makes the actor fail in each way, and checks after each that it works.
async fn comes_back(house: &mut House, name: &str, ways: &[&[InjectPanic]], mut work: impl AsyncFnMut(&mut House)) {
    let mut n_panics = 0;
    for way in ways {
        way.iter().for_each(|how| provoke(name, *how));
        n_panics += way.iter().filter(|how| matches!(how, InHandler | InFuture | InWait)).count();
        work(house).await;
        let panics_seen = || (restarts(name) as usize >= n_panics).then_some(());
        eventually("the restart to be counted", async || panics_seen()).await;
    }
}

async fn copying_survives(name: impl Fn(&House) -> String) {
    let mut house = House::of_its_own().await;
    let name = name(&house);
    house.copies_a_fill().await;
    comes_back(&mut house, &name, &EVERY_WAY, House::copies_a_fill).await;
    house.ends_well().await;
}

#[actix_web::test]
async fn a_poller_comes_back() {
    copying_survives(|house| format!("poller:{}", house.leader)).await;
}

#[actix_web::test]
async fn the_ingestor_comes_back() {
    copying_survives(|_| "ingestor".to_owned()).await;
}

#[actix_web::test]
async fn the_grouper_comes_back() {
    copying_survives(|_| "grouper".to_owned()).await;
}

#[actix_web::test]
async fn the_book_fetcher_comes_back() {
    copying_survives(|_| "book_fetcher".to_owned()).await;
}

#[actix_web::test]
async fn a_leaders_executor_comes_back() {
    copying_survives(|house| format!("user_executor:{}", house.leader)).await;
}

#[actix_web::test]
async fn the_global_executor_comes_back() {
    copying_survives(|_| "global_executor".to_owned()).await;
}

#[actix_web::test]
async fn the_ledger_writer_comes_back_with_every_portfolio() {
    copying_survives(|_| "ledger_writer".to_owned()).await;
}

#[actix_web::test]
async fn the_root_comes_back_and_follows_on() {
    let mut house = House::of_its_own().await;
    house.copies_a_fill().await;
    comes_back(&mut house, "root", &EVERY_WAY, House::copies_a_fill_of_somebody_new).await;
    house.copies_a_fill().await;
    house.ends_well().await;
}

#[actix_web::test]
async fn the_reconciler_comes_back_and_knows_which_poller_to_ask() {
    let mut house = House::of_its_own().await;
    let reads_a_span = async |house: &mut House| {
        let now = Clock::System.now();
        let job = ReconcileJob::Window { start: now.plus_millis(-5_000), end: now }.for_user(house.leader, now);
        queue::enqueue(&house.db, &[job], now).await.unwrap();
        house.queue_is_empty(Queue::Reconcile).await;
    };
    reads_a_span(&mut house).await;
    comes_back(&mut house, "reconciler", &PANICS, reads_a_span).await;
    house.copies_a_fill().await;
    house.ends_well().await;
}

#[actix_web::test]
async fn the_chain_watcher_comes_back_and_sees_the_chain_again() {
    let mut house = House::of_its_own().await;
    let sees_a_fill = async |house: &mut House| {
        let seen = async |house: &House| {
            let leads = house.db.chain_lags(Timestamp::EPOCH, Clock::System.now().plus_millis(1)).await.unwrap();
            leads.all.map_or(0, |all| all.n_fills)
        };
        let before = seen(house).await;
        // While the watcher is disconnected, fills come by polling only.
        while seen(house).await == before {
            house.copies_a_fill().await;
        }
    };
    sees_a_fill(&mut house).await;
    comes_back(&mut house, "chain_watcher", &PANICS, sees_a_fill).await;
    house.ends_well().await;
}

#[actix_web::test]
async fn the_price_refresher_comes_back_and_prices_held_assets() {
    let mut house = House::of_its_own().await;
    house.copies_a_fill().await;
    let asked = |house: &House| house.exchange.world(|world| world.n_heard(Host::Clob, "/midpoints"));
    let mut n_asked = asked(&house);
    let prices = async |house: &mut House| {
        n_asked = eventually("a round of prices", async || Some(asked(house)).filter(|n| *n > n_asked)).await;
        house.queue_is_empty(Queue::Prices).await;
    };
    comes_back(&mut house, "price_refresher", &[&[BeforeWork, InHandler], &[AfterWork, InFuture]], prices).await;
    let asset = house.market.asset(0).unwrap().clone();
    assert_eq!(house.db.newest_prices(&[asset]).await.unwrap().len(), 1);
    house.ends_well().await;
}

#[actix_web::test]
async fn the_settler_comes_back_and_settles_resolved_markets() {
    let mut house = House::of_its_own().await;
    for way in [&[BeforeWork, InHandler], &[AfterWork, InFuture]] {
        let market = house.holds_another_market().await;
        let mut facts = house.db.market(market.id()).await.unwrap().unwrap();
        facts.close_time = Some(Clock::System.now().plus_millis(-1_000));
        house.db.save_market(&facts).await.unwrap();
        house.exchange.world(|world| world.resolve(market.id(), &[price(1_000_000), price(0)]));
        comes_back(&mut house, "settler", &[way], async |house| {
            for portfolio in [PortfolioId::ExecUser(house.leader), PortfolioId::ExecGlobal] {
                let n_settled = eventually("the settlement", async || {
                    let entries = house.db.entries_after(portfolio, 0, 1_000).await.unwrap();
                    let of_market = entries.iter().filter(|placed| {
                        placed.entry.kind == EntryType::Settlement && placed.entry.market.as_ref() == Some(market.id())
                    });
                    Some(of_market.count()).filter(|n| *n > 0)
                })
                .await;
                assert_eq!(n_settled, 1);
            }
        })
        .await;
    }
    house.ends_well().await;
}

#[actix_web::test]
async fn the_snapshotter_comes_back_and_keeps_every_portfolio() {
    let mut house = House::of_its_own().await;
    let keeps = async |house: &mut House| {
        house.copies_a_fill().await;
        house.queue_is_empty(Queue::PortfolioApply).await;
    };
    comes_back(&mut house, "snapshotter", &[&[BeforeWork, InHandler], &[AfterWork, InFuture]], keeps).await;
    let snapshot = house.db.newest_snapshot(PortfolioId::ExecGlobal).await.unwrap();
    assert!(snapshot.is_some(), "and its minute is written");
    eventually("health that counts its restarts", async || {
        let stored = house.db.checkpoint(&health_key(None)).await.unwrap()?;
        let health: serde_json::Value = serde_json::from_str(&stored).unwrap();
        let actors = health["actors"].as_array().unwrap();
        let snapshotter = actors.iter().find(|actor| actor["name"] == "snapshotter").unwrap();
        let (n, cause) = (snapshotter["restarts"].as_u64().unwrap(), snapshotter["last_cause"].as_str());
        // Two injected panics, and one restart for each of the two works that were lost.
        (n == 4 && cause.unwrap().contains("provoked")).then_some(())
    })
    .await;
    house.ends_well().await;
}

/// A page that is subscribed to the hub.
struct Watching(mpsc::UnboundedSender<LiveFrame>);

impl Actor for Watching {
    type Context = Context<Self>;
}

impl Handler<LiveFrame> for Watching {
    type Result = ();

    fn handle(&mut self, frame: LiveFrame, _: &mut Context<Self>) {
        let _ = self.0.send(frame);
    }
}

/// Checks that a subscriber sees each fill and each attempt once.
async fn shows_a_fill(house: &mut House) {
    let (to, mut frames) = mpsc::unbounded_channel();
    let watching = Watching(to).start();
    let topics = vec![Topic::Trades, Topic::Attempts];
    let subscribe = Subscribe { to: watching.recipient(), topics, after: None };
    house.app.live_hub().send(subscribe).await.unwrap();
    let begun = Clock::System.now();
    house.copies_a_fill().await;
    let mut shown = BTreeSet::new();
    while shown.len() < 3 {
        let frame = tokio::time::timeout(Duration::from_secs(60), frames.recv()).await;
        let (id, at) = match frame.expect("a fill is shown") {
            Some(LiveFrame::Fact { fact: LiveFact::TradeSeen(trade), .. }) => (trade.id.0, trade.detect_time),
            Some(LiveFrame::Fact { fact: LiveFact::AttemptRecorded(attempt), .. }) => {
                (attempt.id.0, attempt.created_at)
            }
            other => panic!("{other:?}"),
        };
        assert!(shown.insert(id), "shown twice");
        assert!(at >= begun, "shown before");
    }
}

#[actix_web::test]
async fn the_live_hub_comes_back_and_its_subscribers_are_told() {
    let mut house = House::of_its_own().await;
    shows_a_fill(&mut house).await;
    for way in [InHandler, InFuture, InWait] {
        let (to, mut frames) = mpsc::unbounded_channel();
        let subscribe = Subscribe { to: Watching(to).start().recipient(), topics: vec![Topic::Trades], after: None };
        house.app.live_hub().send(subscribe).await.unwrap();
        provoke("live_hub", way);
        let told = tokio::time::timeout(Duration::from_secs(60), frames.recv()).await.unwrap();
        assert!(matches!(told, Some(LiveFrame::Lagged)), "{told:?}");
        shows_a_fill(&mut house).await;
    }
    assert_eq!(restarts("live_hub"), 3);
    house.ends_well().await;
}

#[actix_web::test]
async fn the_live_feed_comes_back_and_shows_nothing_twice() {
    let mut house = House::among_others().await;
    shows_a_fill(&mut house).await;
    comes_back(&mut house, "live_feed", &EVERY_WAY, shows_a_fill).await;
    house.ends_well().await;
}

#[actix_web::test]
async fn the_lease_keeper_comes_back_keeps_its_leases_and_takes_new_ones() {
    let mut house = House::among_others().await;
    house.copies_a_fill().await;
    comes_back(&mut house, "lease_keeper", &EVERY_WAY, House::copies_a_fill_of_somebody_new).await;
    house.copies_a_fill().await;
    house.ends_well().await;
}

#[actix_web::test]
async fn the_redis_relay_comes_back_and_wakes_the_pages_of_other_processes() {
    let mut house = House::among_others().await;
    let wakes = async |house: &mut House| {
        let client = ::redis::Client::open(house.redis_url()).unwrap();
        let mut channel = client.get_async_pubsub().await.unwrap();
        channel.subscribe(LIVE_CHANNEL).await.unwrap();
        let mut heard = channel.into_on_message();
        house.copies_a_fill().await;
        tokio::time::timeout(Duration::from_secs(60), heard.next()).await.expect("pages are woken");
    };
    wakes(&mut house).await;
    comes_back(&mut house, "bell_relay", &PANICS, wakes).await;
    house.ends_well().await;
}

/// The tests above cover every actor; those of `broadcaster` and `queue_watch` lie beside these actors.
#[actix_web::test]
async fn no_actor_is_left_out() {
    let mut house = House::among_others().await;
    house.copies_a_fill().await;
    let trades: BTreeSet<String> =
        running().into_iter().map(|name| name.split(':').next().unwrap_or_default().to_owned()).collect();
    let proved = [
        "bell_relay",
        "book_fetcher",
        "broadcaster",
        "chain_watcher",
        "global_executor",
        "grouper",
        "ingestor",
        "lease_keeper",
        "ledger_writer",
        "live_feed",
        "live_hub",
        "poller",
        "price_refresher",
        "queue_watch",
        "reconciler",
        "root",
        "settler",
        "snapshotter",
        "user_executor",
    ];
    assert_eq!(trades.iter().map(String::as_str).collect::<Vec<_>>(), proved);
    house.ends_well().await;
}
