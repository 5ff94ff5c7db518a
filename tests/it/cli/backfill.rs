//! `backfill`, with a bot and without.

use polymarketspy::clock::Clock;
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::queue::{self, Queue};
use polymarketspy::simulator::{Fill, NewMarket, SimMarket};
use polymarketspy::testkit::{TestBot, eventually};

use super::{complaint, run, run_beside, told};

const HOUR_MS: i64 = 3_600_000;

/// Follows a trader since the day before yesterday: a row from before the start of following is not copied.
async fn follow_since_days(bot: &TestBot, name: &str) -> Wallet {
    let (user, wallet) = bot.follow(name).await;
    let now = Clock::System.now();
    bot.db.begin_following(user, now.plus_millis(-48 * HOUR_MS), now).await.unwrap();
    wallet
}

/// Pushes a fill that is more than a day old, so that no regular poll reads it, nor the hourly read of the last day.
fn old_fill(bot: &TestBot, wallet: &Wallet, market: &SimMarket, hours: i64) {
    let at = Clock::System.now().plus_millis(-hours * HOUR_MS);
    let fill = Fill::taker(wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000).at(at);
    bot.exchange.with(|exchange| exchange.push_fill(fill.visible_at(at)).unwrap());
}

async fn open_windows(bot: &TestBot) -> usize {
    queue::peek_open(&bot.db, Queue::Reconcile).await.unwrap().len()
}

#[actix::test]
async fn a_running_bot_reads_what_was_missed_and_copies_none_of_it() {
    let bot = TestBot::new().await;
    let wallet = follow_since_days(&bot, "leader").await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("old")));
    let app = bot.start().await;
    old_fill(&bot, &wallet, &market, 26);
    old_fill(&bot, &wallet, &market, 30);

    let output = run_beside(&bot, &["backfill", "--hours", "28"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let text = told(&output);
    assert!(text.contains("Requested the last 28 hours of leader") && text.contains("in 29 windows"), "{text}");
    assert!(text.contains("Read. New rows: 1."), "{text}");
    let attempts = bot.attempts(2).await;
    assert_eq!(attempts.len(), 2, "the older fill was not asked for");
    assert!(attempts.iter().all(|listed| listed.attempt.reasons == [ReasonCode::SignalTooOld]), "{attempts:?}");

    let again = run_beside(&bot, &["backfill", "--hours", "28", "leader"]).await;
    assert!(told(&again).contains("New rows: 0."), "{}", told(&again));
    let left = run_beside(&bot, &["backfill", "--hours", "48", "--no-wait"]).await;
    assert!(told(&left).ends_with("The running bot is reading it now.\n"), "{}", told(&left));
    bot.attempts(4).await;
    app.stop().await;
    let audits = bot.db.audits(Some("backfill"), None, 9).await.unwrap();
    assert_eq!((audits.len(), audits[0].audit.who.as_str()), (3, "command line"));
}

#[actix::test]
async fn without_a_bot_it_waits_for_the_next_start_and_asking_twice_is_asking_once() {
    let bot = TestBot::new().await;
    let wallet = follow_since_days(&bot, "leader").await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("old")));
    old_fill(&bot, &wallet, &market, 26);
    let output = run(&bot, &["backfill", "--hours", "200"]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert!(told(&output).contains("No bot is running on this database"), "{}", told(&output));
    let n_windows = open_windows(&bot).await;
    assert!((40..=49).contains(&n_windows), "{n_windows}");
    assert!(run(&bot, &["backfill", "--hours", "200"]).status.success());
    // The last window ends at the time of the request. When a new hour begins between the two requests, all windows
    // move.
    let n_again = open_windows(&bot).await;
    assert!(n_again == n_windows + 1 || n_again >= 2 * n_windows - 1, "{n_again} after {n_windows}");

    let app = bot.start().await;
    bot.attempts(2).await;
    eventually("every window to be read", async || (open_windows(&bot).await == 0).then_some(())).await;
    app.stop().await;
}

#[actix::test]
async fn a_trader_followed_a_moment_ago_is_read_too() {
    let bot = TestBot::new().await;
    bot.follow("somebody else").await;
    let app = bot.start().await;
    let (_, wallet) = bot.follow("newcomer").await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("old")));
    old_fill(&bot, &wallet, &market, 26);
    let output = run_beside(&bot, &["backfill", "--hours", "28", "newcomer"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert!(told(&output).contains("New rows: 1."), "{}", told(&output));
    app.stop().await;
}

#[actix::test]
async fn an_invalid_argument_is_refused_by_name() {
    let bot = TestBot::new().await;
    let check = |arguments: &[&str], part: &str| {
        let output = run(&bot, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(complaint(&output).contains(part), "{}", complaint(&output));
    };
    check(&["backfill", "--hours", "5"], "no trader is followed");
    for hours in ["0", "721", "-3", "many"] {
        check(&["backfill", &format!("--hours={hours}")], "--hours <N>");
    }
    check(&["backfill"], "--hours <N>");
    let (user, _) = bot.follow("leader").await;
    check(&["backfill", "--hours", "5", "nobody"], "`nobody`");
    bot.db.set_enabled(user, false, "test", Clock::System.now()).await.unwrap();
    check(&["backfill", "--hours", "5", "leader"], "leader is not followed now");
    assert_eq!(open_windows(&bot).await, 0);
}
