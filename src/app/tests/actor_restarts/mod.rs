//! Every actor of the bot panics, in a handler and in a future, and is restarted: it loads its state and works on, with
//! nothing lost and nothing doubled.
//!
//! Each test starts its own bot, because a bot ends itself after more than five restarts within a minute.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::actors::live_hub::{LiveFact, LiveFrame, Subscribe, Topic};
use crate::actors::reconciler::ReconcileJob;
use crate::actors::supervise::fault_injection;
use crate::actors::supervise::fault_injection::InjectPanic::{AfterWork, BeforeWork, InFuture, InHandler, InWait};
use crate::actors::supervise::fault_injection::{InjectPanic, provoke, restarts};
use crate::clock::Clock;
use crate::db::health_key;
use crate::domain::accounting::ledger::{EntryType, PortfolioId};
use crate::domain::config::follow_state::FollowState;
use crate::domain::money::units::Timestamp;
use crate::queue::wakeup::redis::LIVE_CHANNEL;
use crate::queue::{self, Queue};
use crate::simulator::{Host, price};
use crate::testkit::eventually;
use crate::testkit::running_bot::RunningBot;

/// The failures for an actor that works all the time. Its next incarnation loses its first work too, once before the
/// work was done and once after; then a later piece of work is lost without a restart in between.
const EVERY_WAY: [&[InjectPanic]; 3] = [&[BeforeWork, InHandler], &[AfterWork, InFuture], &[AfterWork]];

/// The failures for an actor that finds lost work only much later, when a lease ends or a slow timer fires.
const PANICS: [&[InjectPanic]; 3] = [&[BeforeWork, InHandler], &[InFuture], &[InWait]];

/// Has the actor fail in each way, and lets it show after each that it works.
async fn comes_back(
    running: &mut RunningBot,
    name: &str,
    ways: &[&[InjectPanic]],
    mut work: impl AsyncFnMut(&mut RunningBot),
) {
    let mut n_panics = 0;
    for way in ways {
        way.iter().for_each(|how| provoke(name, *how));
        n_panics += way.iter().filter(|how| matches!(how, InHandler | InFuture | InWait)).count();
        work(running).await;
        let panics_seen = || (restarts(name) as usize >= n_panics).then_some(());
        eventually("the restart to be counted", async || panics_seen()).await;
    }
}

async fn copying_survives(name: impl Fn(&RunningBot) -> String) {
    let mut running = RunningBot::on_sqlite().await;
    let name = name(&running);
    running.copies_a_fill().await;
    comes_back(&mut running, &name, &EVERY_WAY, RunningBot::copies_a_fill).await;
    running.ends_well().await;
}

#[actix_web::test]
async fn a_poller_comes_back() {
    copying_survives(|running| format!("poller:{}", running.leader)).await;
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
    copying_survives(|running| format!("user_executor:{}", running.leader)).await;
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
    let mut running = RunningBot::on_sqlite().await;
    running.copies_a_fill().await;
    comes_back(&mut running, "root", &EVERY_WAY, RunningBot::copies_a_fill_of_a_new_leader).await;
    running.copies_a_fill().await;
    running.ends_well().await;
}

#[actix_web::test]
async fn the_position_checker_comes_back_and_opens_the_books_of_a_new_leader() {
    let mut running = RunningBot::on_sqlite().await;
    running.copies_a_fill().await;
    comes_back(&mut running, "position_checker", &EVERY_WAY, async |running| {
        running.copies_a_fill_of_a_new_leader().await;
        let users = || running.bot.db.followed_users();
        eventually("every opening", async || {
            users().await.unwrap().iter().all(|user| user.opened_at.is_some()).then_some(())
        })
        .await;
    })
    .await;
    running.ends_well().await;
}

#[actix_web::test]
async fn the_reconciler_comes_back_and_knows_which_poller_to_ask() {
    let mut running = RunningBot::on_sqlite().await;
    let reads_a_span = async |running: &mut RunningBot| {
        let now = Clock::System.now();
        let job = ReconcileJob::Window { start: now.plus_millis(-5_000), end: now }.for_user(running.leader, now);
        queue::enqueue(&running.bot.db, &[job], now).await.unwrap();
        running.queue_is_empty(Queue::Reconcile).await;
    };
    reads_a_span(&mut running).await;
    comes_back(&mut running, "reconciler", &PANICS, reads_a_span).await;
    running.copies_a_fill().await;
    running.ends_well().await;
}

#[actix_web::test]
async fn the_chain_watcher_comes_back_and_sees_the_chain_again() {
    let mut running = RunningBot::on_sqlite().await;
    let sees_a_fill = async |running: &mut RunningBot| {
        let seen = async |running: &RunningBot| {
            let leads = running.bot.db.chain_lags(Timestamp::EPOCH, Clock::System.now().plus_millis(1)).await.unwrap();
            leads.all.map_or(0, |all| all.n_fills)
        };
        let before = seen(running).await;
        // Fills while it is out of sight come by polling alone.
        while seen(running).await == before {
            running.copies_a_fill().await;
        }
    };
    sees_a_fill(&mut running).await;
    comes_back(&mut running, "chain_watcher", &PANICS, sees_a_fill).await;
    running.ends_well().await;
}

#[actix_web::test]
async fn the_price_refresher_comes_back_and_prices_held_assets() {
    let mut running = RunningBot::on_sqlite().await;
    running.copies_a_fill().await;
    let asked =
        |running: &RunningBot| running.bot.exchange.with(|exchange| exchange.n_requests(Host::Clob, "/midpoints"));
    let mut n_asked = asked(&running);
    let prices = async |running: &mut RunningBot| {
        n_asked = eventually("a round of prices", async || Some(asked(running)).filter(|n| *n > n_asked)).await;
        running.queue_is_empty(Queue::Prices).await;
    };
    comes_back(&mut running, "price_refresher", &[&[BeforeWork, InHandler], &[AfterWork, InFuture]], prices).await;
    let asset = running.market.asset(0).unwrap().clone();
    assert_eq!(running.bot.db.newest_prices(&[asset]).await.unwrap().len(), 1);
    running.ends_well().await;
}

#[actix_web::test]
async fn the_settler_comes_back_and_settles_resolved_markets() {
    let mut running = RunningBot::on_sqlite().await;
    for way in [&[BeforeWork, InHandler], &[AfterWork, InFuture]] {
        let market = running.holds_another_market().await;
        let mut facts = running.bot.db.market(market.id()).await.unwrap().unwrap();
        facts.close_time = Some(Clock::System.now().plus_millis(-1_000));
        running.bot.db.save_market(&facts).await.unwrap();
        running.bot.exchange.with(|exchange| exchange.resolve(market.id(), &[price(1_000_000), price(0)]));
        comes_back(&mut running, "settler", &[way], async |running| {
            for portfolio in [PortfolioId::ExecUser(running.leader), PortfolioId::ExecGlobal] {
                let n_settled = eventually("the settlement", async || {
                    let entries = running.bot.db.entries_after(portfolio, 0, 1_000).await.unwrap();
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
    running.ends_well().await;
}

#[actix_web::test]
async fn winding_down_comes_back_and_stops_the_leader_who_has_nothing_left() {
    let mut running = RunningBot::on_sqlite().await;
    let stops = async |running: &mut RunningBot| {
        let now = Clock::System.now();
        running.bot.db.set_state(running.leader, FollowState::WindingDown, "test", now).await.unwrap();
        eventually("the leader to be stopped", async || {
            let users = running.bot.db.followed_users().await.unwrap();
            let leader = users.iter().find(|user| user.id == running.leader).unwrap();
            (leader.state == FollowState::Stopped).then_some(())
        })
        .await;
    };
    comes_back(&mut running, "winding_down", &[&[BeforeWork, InHandler], &[AfterWork, InFuture]], stops).await;
    running.ends_well().await;
}

#[actix_web::test]
async fn the_snapshotter_comes_back_and_keeps_every_portfolio() {
    let mut running = RunningBot::on_sqlite().await;
    let keeps = async |running: &mut RunningBot| {
        running.copies_a_fill().await;
        running.queue_is_empty(Queue::PortfolioApply).await;
    };
    comes_back(&mut running, "snapshotter", &[&[BeforeWork, InHandler], &[AfterWork, InFuture]], keeps).await;
    let snapshot = running.bot.db.newest_snapshot(PortfolioId::ExecGlobal).await.unwrap();
    assert!(snapshot.is_some(), "and its minute is written");
    eventually("health that counts its restarts", async || {
        let stored = running.bot.db.checkpoint(&health_key(None)).await.unwrap()?;
        let health: serde_json::Value = serde_json::from_str(&stored).unwrap();
        let actors = health["actors"].as_array().unwrap();
        let snapshotter = actors.iter().find(|actor| actor["name"] == "snapshotter").unwrap();
        let (n, cause) = (snapshotter["restarts"].as_u64().unwrap(), snapshotter["last_cause"].as_str());
        // Two injected panics, and one restart for each of the two works that were lost.
        (n == 4 && cause.unwrap().contains("provoked")).then_some(())
    })
    .await;
    running.ends_well().await;
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

/// A subscriber receives each fill and each attempt once.
async fn shows_a_fill(running: &mut RunningBot) {
    let (to, mut frames) = mpsc::unbounded_channel();
    let watching = Watching(to).start();
    let topics = vec![Topic::Trades, Topic::Attempts];
    let subscribe = Subscribe { to: watching.recipient(), topics, after: None };
    running.app.live_hub().send(subscribe).await.unwrap();
    let begun = Clock::System.now();
    running.copies_a_fill().await;
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
    let mut running = RunningBot::on_sqlite().await;
    shows_a_fill(&mut running).await;
    for way in [InHandler, InFuture, InWait] {
        let (to, mut frames) = mpsc::unbounded_channel();
        let subscribe = Subscribe { to: Watching(to).start().recipient(), topics: vec![Topic::Trades], after: None };
        running.app.live_hub().send(subscribe).await.unwrap();
        provoke("live_hub", way);
        let told = tokio::time::timeout(Duration::from_secs(60), frames.recv()).await.unwrap();
        assert!(matches!(told, Some(LiveFrame::Lagged)), "{told:?}");
        shows_a_fill(&mut running).await;
    }
    assert_eq!(restarts("live_hub"), 3);
    running.ends_well().await;
}

mod on_postgres {
    use super::*;

    #[actix_web::test]
    async fn the_live_feed_comes_back_and_shows_nothing_twice() {
        let mut running = RunningBot::on_postgres_and_redis().await;
        shows_a_fill(&mut running).await;
        comes_back(&mut running, "live_feed", &EVERY_WAY, shows_a_fill).await;
        running.ends_well().await;
    }

    #[actix_web::test]
    async fn the_lease_keeper_comes_back_holds_what_it_held_and_takes_what_is_new() {
        let mut running = RunningBot::on_postgres_and_redis().await;
        running.copies_a_fill().await;
        comes_back(&mut running, "lease_keeper", &EVERY_WAY, RunningBot::copies_a_fill_of_a_new_leader).await;
        running.copies_a_fill().await;
        running.ends_well().await;
    }

    #[actix_web::test]
    async fn the_bell_relay_comes_back_and_wakes_the_pages_of_others() {
        let mut running = RunningBot::on_postgres_and_redis().await;
        let wakes = async |running: &mut RunningBot| {
            let client = ::redis::Client::open(running.redis_url()).unwrap();
            let mut channel = client.get_async_pubsub().await.unwrap();
            channel.subscribe(LIVE_CHANNEL).await.unwrap();
            let mut heard = channel.into_on_message();
            running.copies_a_fill().await;
            tokio::time::timeout(Duration::from_secs(60), heard.next()).await.expect("pages are woken");
        };
        wakes(&mut running).await;
        comes_back(&mut running, "bell_relay", &PANICS, wakes).await;
        running.ends_well().await;
    }

    /// The tests above name every actor there is; `book_sampler`, `broadcaster`, `housekeeper` and `queue_watch` have theirs beside them.
    #[actix_web::test]
    async fn no_actor_is_left_out() {
        let mut running = RunningBot::on_postgres_and_redis().await;
        running.copies_a_fill().await;
        let trades: BTreeSet<String> = fault_injection::running()
            .into_iter()
            .map(|name| name.split(':').next().unwrap_or_default().to_owned())
            .collect();
        let proved = [
            "bell_relay",
            "book_fetcher",
            "book_sampler",
            "broadcaster",
            "chain_watcher",
            "global_executor",
            "grouper",
            "housekeeper",
            "ingestor",
            "lease_keeper",
            "ledger_writer",
            "live_feed",
            "live_hub",
            "poller",
            "position_checker",
            "price_refresher",
            "queue_watch",
            "reconciler",
            "root",
            "settler",
            "snapshotter",
            "user_executor",
            "winding_down",
        ];
        assert_eq!(trades.iter().map(String::as_str).collect::<Vec<_>>(), proved);
        running.ends_well().await;
    }
}
