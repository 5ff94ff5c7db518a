//! Worker and web as separate processes, on PostgreSQL and Redis.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::cookie::Cookie;
use polymarketspy::audit::audit;
use polymarketspy::db::Db;
use polymarketspy::domain::events::event::Side;
use polymarketspy::simulator::{Fill, NewMarket};
use polymarketspy::testkit::wait::attempt_arrives;
use polymarketspy::testkit::{TestBot, eventually, test_client};

use super::kill::{Crowd, n_trades};
use super::process::Process;
use crate::storage::harness::number;

const WORKER: &[&str] = &["run", "--role", "worker"];
const WEB: &[&str] = &["run", "--role", "web"];

/// A latency long enough that groups of both workers are in line before either is due, on a busy machine too.
const UNHURRIED: &str = r#"{"guardrails": {"decisionLatencyMs": 2000}}"#;

/// Opens the login link; returns the session cookie.
async fn signed_in(link: &str) -> Cookie<'static> {
    let client = test_client();
    let answer = client.get(link).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    answer.cookies().unwrap()[0].clone().into_owned()
}

/// Returns each lease and the worker that holds it.
async fn holders(db: &Db) -> Vec<(String, Option<String>)> {
    let Db::Postgres(pool, _) = db else { unreachable!() };
    sqlx::query_as("select name, holder from lease order by name").fetch_all(pool).await.unwrap()
}

fn n_of(holders: &[(String, Option<String>)], worker: &str) -> usize {
    holders.iter().filter(|(name, holder)| name != "global" && holder.as_deref() == Some(worker)).count()
}

/// Returns the copies in the order of their ledger entries, and in the global order.
async fn global_order(db: &Db) -> (Vec<String>, Vec<String>) {
    let Db::Postgres(pool, _) = db else { unreachable!() };
    let copies: Vec<(i64, i64, String)> = sqlx::query_as(
        "select g.detect_time, g.event_time, g.group_key from ledger_entry e
            join copy_attempt a on e.ref_id = 'copy:' || cast(a.id as text)
            join event_group g on g.id = a.group_id
        where e.portfolio_scope = 'EXEC_GLOBAL' and e.entry_type = 'TRADE_FILL' order by e.id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut sorted = copies.clone();
    sorted.sort();
    let keys = |copies: Vec<(i64, i64, String)>| copies.into_iter().map(|(_, _, key)| key).collect();
    (keys(copies), keys(sorted))
}

/// Returns how many wake-ups of the global lease's stream were read since Redis started, and how many are unfinished.
async fn calls(bot: &TestBot) -> (i64, i64) {
    let redis = bot.redis.as_ref().unwrap();
    let stream = "polymarketspy:bell:global";
    let groups: Vec<std::collections::BTreeMap<String, redis::Value>> =
        match redis.command::<i64>(&["EXISTS", stream]).await {
            0 => return (0, 0),
            _ => redis.command(&["XINFO", "GROUPS", stream]).await,
        };
    let read = groups.first().and_then(|group| redis::from_redis_value_ref(&group["entries-read"]).ok()).unwrap_or(0);
    (read, redis.command(&["XLEN", stream]).await)
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn pages_of_one_process_grow_with_what_another_commits() {
        let bot = TestBot::shared().await;
        let (_, wallet) = bot.follow("leader").await;
        let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
        let (_web, link) = Process::serving(&bot, WEB);
        let origin = link.split("/login/").next().unwrap();
        let session = signed_in(&link).await;
        let socket = test_client()
            .ws(format!("{origin}/ws/live?topics=attempts").replacen("http", "ws", 1))
            .origin(origin)
            .cookie(session.clone())
            .connect();
        let (_, mut frames) = socket.await.unwrap();

        let _worker = Process::start_with(&bot, WORKER);
        let fill = Fill::taker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
        bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
        attempt_arrives(&mut frames).await;
        let mut answer = test_client().get(format!("{origin}/api/copy-attempts")).cookie(session).send().await.unwrap();
        let attempts: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(attempts["data"].as_array().unwrap().len(), 2, "{attempts}");
    }

    #[actix::test]
    async fn two_workers_share_the_leaders_and_what_a_killed_one_held_moves_within_fifteen_seconds() {
        let bot = TestBot::shared().await;
        bot.configure(UNHURRIED).await;
        let mut crowd = Crowd::gather(&bot).await;
        let db = &bot.db;
        let trade_for = async |crowd: &mut Crowd, time: Duration| {
            let begun = Instant::now();
            while begun.elapsed() < time {
                crowd.trade(&bot);
                if crowd.n_rows.is_multiple_of(3) {
                    bot.redis.as_ref().unwrap().command::<()>(&["FLUSHALL"]).await;
                }
                // The pace of the load; the test waits for no event here.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let first = Process::start_with(&bot, WORKER);
        // A single worker holds every lease, the global one too.
        let alone = eventually("the first worker to hold all leases", async || {
            let holders = holders(db).await;
            let holder = holders.first()?.1.clone()?;
            holders.iter().all(|(_, other)| other.as_ref() == Some(&holder)).then_some(holder)
        })
        .await;
        let second = Process::start_with(&bot, WORKER);
        let n_leaders = crowd.leaders.len();
        eventually("a fair share for each", async || {
            let holders = holders(db).await;
            let mine = n_of(&holders, &alone);
            let is_shared = holders.iter().all(|(_, holder)| holder.is_some()) && mine > 0 && mine < n_leaders;
            is_shared.then_some(())
        })
        .await;
        trade_for(&mut crowd, Duration::from_secs(4)).await;

        // The worker that holds the global lease.
        first.kill();
        let killed = Instant::now();
        let moved = async {
            eventually("the second worker to hold all leases", async || {
                let holders = holders(db).await;
                holders.iter().all(|(_, holder)| holder.as_ref().is_some_and(|id| *id != alone)).then_some(())
            })
            .await;
            killed.elapsed()
        };
        let (took, ()) = tokio::join!(moved, trade_for(&mut crowd, Duration::from_secs(5)));
        eprintln!("what the killed worker held moved after {took:?}");
        assert!(took < Duration::from_secs(15), "the leases moved after {took:?}");
        trade_for(&mut crowd, Duration::from_secs(2)).await;
        crowd.settled(db).await;
        let (took, code) = second.terminate();
        assert_eq!(code, Some(0), "SIGTERM ends a worker with exit code 0");
        assert!(took < Duration::from_secs(10), "it took {took:?} to end");
        assert!(
            holders(db).await.iter().all(|(_, holder)| holder.is_none()),
            "a worker releases its leases when it ends"
        );

        assert_eq!(n_trades(db).await, crowd.n_rows, "every row of the exchange is one event");
        assert_eq!(audit(db).await.unwrap().problems, Vec::<String>::new());
        let (written, decided) = global_order(db).await;
        assert!(written.len() > 10, "{} copies", written.len());
        assert_eq!(written, decided, "the global order holds across the move");
    }

    /// Several commands give the same requests at once, while two workers share the accounts and one of them is killed.
    #[actix::test]
    async fn transfers_are_booked_once_whichever_worker_has_the_account() {
        let bot = TestBot::shared().await;
        let mut crowd = Crowd::gather(&bot).await;
        let workers = [Process::start_with(&bot, WORKER), Process::start_with(&bot, WORKER)];
        let accounts = ["leader-0", "leader-1", "leader-2", "global"];
        let opened = "select count(*) from ledger_entry where entry_type = 'DEPOSIT'";
        eventually("the accounts to open", async || {
            crowd.trade(&bot);
            (number!(&bot.db, opened) == accounts.len() as i64).then_some(())
        })
        .await;

        let [first, second] = workers;
        let mut first = Some(first);
        let mut commands = Vec::new();
        for n in 0..3 {
            for account in accounts {
                for way in ["deposit", "withdraw"] {
                    let (id, usdc) = (format!("{way}-{n}"), if way == "deposit" { "5" } else { "2" });
                    // The same request from two terminals.
                    for _ in 0..2 {
                        let request = ["account", way, account, usdc, "--id", &id];
                        let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
                        command.args(request).envs(bot.environment()).env("LOG_LEVEL", "warn");
                        commands.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
                    }
                }
            }
            crowd.trade(&bot);
            // The pace of the load. The kill after the second round meets transfers that are under way.
            tokio::time::sleep(Duration::from_millis(300)).await;
            if n == 1 {
                drop(first.take());
            }
        }
        for mut command in commands {
            tokio::task::spawn_blocking(move || command.wait().unwrap()).await.unwrap();
        }
        let moved = "select count(*) from ledger_entry where ref_id like '%deposit-%' or ref_id like '%withdraw-%'";
        let asked = 3 * 2 * accounts.len() as i64;
        eventually("every transfer", async || (number!(&bot.db, moved) == asked).then_some(())).await;
        crowd.settled(&bot.db).await;
        assert_eq!(second.terminate().1, Some(0));
        assert_eq!(number!(&bot.db, moved), asked);
        let cash = "select cast(sum(cash_delta_micros) as bigint) from ledger_entry
            where ref_id like '%deposit-%' or ref_id like '%withdraw-%'";
        assert_eq!(number!(&bot.db, cash), 3 * 3_000_000 * accounts.len() as i64);
        let refused = bot.db.audits(Some("withdraw_refused"), None, 9).await.unwrap();
        assert_eq!(refused.len(), 0);
        assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());
    }

    #[actix::test]
    async fn without_redis_the_workers_go_on_and_with_it_they_call_each_other_again() {
        let mut bot = TestBot::shared().await;
        bot.configure(UNHURRIED).await;
        let mut crowd = Crowd::gather(&bot).await;
        let workers = [Process::start_with(&bot, WORKER), Process::start_with(&bot, WORKER)];
        let rounds = ["with Redis", "without Redis", "with Redis again"];
        for round in rounds {
            match round {
                "without Redis" => bot.redis.as_mut().unwrap().stop(),
                "with Redis again" => bot.redis.as_mut().unwrap().start_again(),
                _ => {
                    eventually("a fair share for each", async || {
                        let holders = holders(&bot.db).await;
                        let ids: std::collections::BTreeSet<_> =
                            holders.iter().map(|(_, holder)| holder.clone()).collect();
                        (ids.len() == 2 && !ids.contains(&None)).then_some(())
                    })
                    .await;
                }
            }
            if round != "without Redis" {
                // Groups of the worker without the global lease reach the other worker by a wake-up.
                eventually("a wake-up from one worker to the other", async || {
                    crowd.trade(&bot);
                    (calls(&bot).await.0 > 0).then_some(())
                })
                .await;
                crowd.settled(&bot.db).await;
                eventually("every wake-up to be acknowledged", async || (calls(&bot).await.1 == 0).then_some(())).await;
            } else {
                for _ in 0..5 {
                    crowd.trade(&bot);
                }
                crowd.settled(&bot.db).await;
            }
        }
        drop(workers);
        assert_eq!(n_trades(&bot.db).await, crowd.n_rows);
        assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());
    }
}
