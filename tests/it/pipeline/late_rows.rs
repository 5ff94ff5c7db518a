//! Rows that the Data API shows minutes or hours late, and decisions that come late: nothing is lost, nothing stale is
//! copied (spec 3.1, 7.1).

use std::process::Command;

use polymarketspy::audit::audit;
use polymarketspy::chance::Chance;
use polymarketspy::clock::Clock;
use polymarketspy::db::ListedAttempt;
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::queue::{self, Failed, JobScope, Queue};
use polymarketspy::simulator::{Fill, NewMarket, SimMarket, SimulatorSettings, wallet_of};
use polymarketspy::testkit::{TestBot, TestDb, eventually};

const HOUR_MS: i64 = 3_600_000;

/// Follows a leader as if that had begun two days ago, and nothing had happened since.
async fn follow_for_long(bot: &TestBot) -> Wallet {
    let (wallet, now) = (wallet_of("leader"), Clock::System.now());
    bot.exchange.with(|exchange| exchange.add_profile(&wallet, "leader"));
    let _ = bot.db.follow("leader", &wallet, "test", now.plus_millis(-48 * HOUR_MS)).await.unwrap();
    let user = bot.db.followed_user_by_wallet(&wallet).await.unwrap().unwrap().id;
    let json = serde_json::json!({ "time": now.plus_millis(-47 * HOUR_MS) }).to_string();
    for kind in ["api:lastTradeTime", "api:lastActivityTime"] {
        bot.db.put_checkpoint(&format!("{kind}:{user}"), &json, now).await.unwrap();
    }
    wallet
}

fn fill(bot: &TestBot, wallet: &Wallet, market: &SimMarket, side: Side, age_ms: i64) {
    let at = Clock::System.now().plus_millis(-age_ms);
    let fill = Fill::maker(wallet, market.asset(0).unwrap(), side, 500_000, 100_000_000).at(at);
    bot.exchange.with(|exchange| exchange.push_fill(fill.visible_at(exchange.now()))).unwrap();
}

async fn n_trades(bot: &TestBot) -> usize {
    bot.db.trades_page(&Default::default(), None, 1_000).await.unwrap().rows.len()
}

/// Returns the decision and the reasons of each attempt.
fn decided(attempts: &[ListedAttempt]) -> Vec<(DecisionKind, Vec<ReasonCode>)> {
    attempts.iter().map(|row| (row.attempt.decision, row.attempt.reasons.clone())).collect()
}

/// After a newer row, rows appear that are 2, 4, 8, 14 and 30 minutes and 3 hours old; that of 8 minutes is a sale.
async fn late_rows_are_booked_and_of_them_only_the_sale_is_copied(bot: TestBot) {
    bot.configure(r#"{"guardrails": {"maxSignalAgeSeconds": 60}}"#).await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
    let wallet = follow_for_long(&bot).await;
    let app = bot.start().await;
    fill(&bot, &wallet, &market, Side::Buy, 0);
    for row in bot.attempts(2).await {
        assert_eq!(row.attempt.decision, DecisionKind::Execute, "{:?}", row.attempt.reasons);
    }
    app.stop().await;

    const MINUTE_MS: i64 = 60_000;
    for (side, minutes) in [(Side::Buy, 2), (Side::Buy, 4), (Side::Sell, 8), (Side::Buy, 14), (Side::Buy, 30)] {
        fill(&bot, &wallet, &market, side, minutes * MINUTE_MS);
    }
    fill(&bot, &wallet, &market, Side::Buy, 3 * HOUR_MS);
    let app = bot.start().await;
    eventually("all late rows", async || (n_trades(&bot).await == 7).then_some(())).await;
    // Six groups, because the window of rows of one poll runs over their own time; two scopes.
    let attempts = bot.attempts(2 + 12).await;
    let (copied, skipped): (Vec<_>, Vec<_>) =
        decided(&attempts).into_iter().skip(2).partition(|(decision, _)| *decision == DecisionKind::Execute);
    assert_eq!((copied.len(), skipped.len()), (2, 10), "{copied:?} {skipped:?}");
    assert!(skipped.iter().all(|(_, reasons)| *reasons == [ReasonCode::SignalTooOld]), "{skipped:?}");
    app.stop().await;
    let report = audit(&bot.db).await.unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    bot.close().await;
}

/// A group waits for its decision when the process stops, and is decided after the next start.
async fn a_decision_that_comes_after_a_stop_is_on_a_signal_of_its_real_age(bot: TestBot) {
    bot.configure(r#"{"guardrails": {"decisionLatencyMs": 4000, "maxSignalAgeSeconds": 5}}"#).await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
    let (_, wallet) = bot.follow("leader").await;
    let app = bot.start().await;
    fill(&bot, &wallet, &market, Side::Buy, 2_500);
    eventually("the group", async || {
        let groups = bot.db.groups_detected(None, Clock::System.now().plus_millis(-HOUR_MS), Clock::System.now(), 9);
        (!groups.await.unwrap().is_empty()).then_some(())
    })
    .await;
    app.stop().await;
    let app = bot.start().await;
    for row in bot.attempts(2).await {
        assert_eq!(row.attempt.reasons, [ReasonCode::SignalTooOld]);
    }
    app.stop().await;
    bot.close().await;
}

/// Fails open jobs of a queue until they are dead letters.
async fn given_up(bot: &TestBot, queue: Queue, mut now: Timestamp) -> usize {
    let mut n = 0;
    while let Some(job) = queue::claim(&bot.db, queue, &JobScope::All, now, 1_000, 1).await.unwrap().pop() {
        match queue::fail(&bot.db, &job, "no luck", now, &mut Chance).await.unwrap() {
            Failed::Retry(due) => now = due.max(now),
            Failed::Dead => n += 1,
            Failed::FenceLost => panic!("no worker is running"),
        }
    }
    n
}

/// The bot of an hour ago stored one fill and stopped before its copies were decided; of another fill it did not even make
/// a group. All of these jobs failed, and are sent round again an hour later.
async fn jobs_that_are_retried_an_hour_later_copy_nothing_stale(test_db: TestDb) {
    let then = Clock::System.now().plus_millis(-HOUR_MS);
    let settings = SimulatorSettings { now: Clock::starting_at(then), ..SimulatorSettings::default() };
    let bot = TestBot::at(test_db, None, settings).await;
    bot.configure(r#"{"guardrails": {"decisionLatencyMs": 60000}}"#).await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
    let (_, wallet) = bot.follow("leader").await;
    let app = bot.start_at(Clock::starting_at(then)).await;
    let buys = |shares: i64| {
        let fill = Fill::maker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, shares);
        bot.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
    };
    buys(1_000_000_000);
    let open = async |queue| queue::peek_open(&bot.db, queue).await.unwrap().len();
    eventually("the group's copies to be due later", async || {
        let (user, global) = (open(Queue::CopyAttemptUser).await, open(Queue::CopyAttemptGlobal).await);
        (user == 1 && global == 1).then_some(())
    })
    .await;
    // A window that does not close before the bot stops.
    bot.configure(r#"{"system": {"aggregationWindowMs": 60000}}"#).await;
    app.look_at_directory();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    buys(2_000_000_000);
    eventually("the second fill", async || (n_trades(&bot).await == 2).then_some(())).await;
    app.stop().await;
    let mut failed = Vec::new();
    for queue in [Queue::GroupEvents, Queue::CopyAttemptUser, Queue::CopyAttemptGlobal] {
        failed.push(given_up(&bot, queue, then.plus_millis(5 * 60_000)).await);
    }
    assert_eq!(failed, [1, 1, 1], "a fill without a group, and two copies");

    bot.configure(r#"{"system": {"aggregationWindowMs": 100}, "guardrails": {"decisionLatencyMs": 0}}"#).await;
    bot.exchange.advance(HOUR_MS);
    let app = bot.start().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(["jobs", "retry", "--all"]).envs(bot.environment()).env("LOG_LEVEL", "warn");
    let retried = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(retried.status.success(), "{}", String::from_utf8_lossy(&retried.stderr));
    let attempts = bot.attempts(4).await;
    for (decision, reasons) in decided(&attempts) {
        assert_eq!((decision, reasons.as_slice()), (DecisionKind::Skip, [ReasonCode::SignalTooOld].as_slice()));
    }
    eventually("no job is left", async || (open(Queue::GroupEvents).await == 0).then_some(())).await;
    assert_eq!(bot.db.count_dead_letters().await.unwrap(), 0);
    app.stop().await;
    assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());
    bot.close().await;
}

#[actix::test]
async fn jobs_that_are_retried_an_hour_later_copy_nothing_stale_on_sqlite() {
    jobs_that_are_retried_an_hour_later_copy_nothing_stale(TestDb::sqlite().await).await;
}

#[actix::test]
async fn late_rows_are_booked_and_of_them_only_the_sale_is_copied_on_sqlite() {
    late_rows_are_booked_and_of_them_only_the_sale_is_copied(TestBot::new().await).await;
}

#[actix::test]
async fn a_decision_that_comes_after_a_stop_is_on_a_signal_of_its_real_age_on_sqlite() {
    a_decision_that_comes_after_a_stop_is_on_a_signal_of_its_real_age(TestBot::new().await).await;
}

mod on_postgres {
    use super::*;

    async fn bot() -> TestBot {
        TestBot::at(TestDb::postgres().await, None, SimulatorSettings::default()).await
    }

    #[actix::test]
    async fn jobs_that_are_retried_an_hour_later_copy_nothing_stale() {
        super::jobs_that_are_retried_an_hour_later_copy_nothing_stale(TestDb::postgres().await).await;
    }

    #[actix::test]
    async fn late_rows_are_booked_and_of_them_only_the_sale_is_copied() {
        super::late_rows_are_booked_and_of_them_only_the_sale_is_copied(bot().await).await;
    }

    #[actix::test]
    async fn a_decision_that_comes_after_a_stop_is_on_a_signal_of_its_real_age() {
        super::a_decision_that_comes_after_a_stop_is_on_a_signal_of_its_real_age(bot().await).await;
    }
}
