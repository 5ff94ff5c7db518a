//! What a person does beside the copying: wind a leader down, close positions by hand, move cash in and out.

use std::process::{Command, Output};

use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::db::{AttemptFilter, CloseWanted, ListedAttempt};
use polymarketspy::domain::accounting::ledger::PortfolioId;
use polymarketspy::domain::config::follow_state::FollowState;
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::events::group::GroupKind;
use polymarketspy::domain::money::ids::{FollowedUserId, Wallet};
use polymarketspy::domain::money::units::ShareMicros;
use polymarketspy::simulator::{Fault, FaultKind, Fill, Host, NewMarket, SimMarket, SimulatorSettings, Times};
use polymarketspy::testkit::{TestBot, TestDb, eventually};

use crate::recovery::process::Process;

/// 2,000 shares at one half: a copy of 1 % is 10 USDC.
const SHARES: i64 = 2_000_000_000;
const HALF: i64 = 500_000;

async fn on_sqlite() -> TestBot {
    TestBot::new().await
}

async fn on_postgres() -> TestBot {
    TestBot::at(TestDb::postgres().await, None, SimulatorSettings::default()).await
}

fn command(bot: &TestBot, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(arguments).envs(bot.environment()).env("LOG_LEVEL", "warn");
    command
}

/// Runs a command while the bot of this process goes on running.
async fn run(bot: &TestBot, arguments: &[&str]) -> Output {
    let mut command = command(bot, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn trades(bot: &TestBot, wallet: &Wallet, market: &SimMarket, side: Side) {
    let fill = Fill::taker(wallet, market.asset(0).unwrap(), side, HALF, SHARES);
    bot.exchange.with(|exchange| exchange.push_fill(fill)).unwrap();
}

fn add_market(bot: &TestBot, slug: &str) -> SimMarket {
    bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary(slug)))
}

async fn state(bot: &TestBot, leader: FollowedUserId) -> FollowState {
    let users = bot.db.followed_users().await.unwrap();
    users.iter().find(|user| user.id == leader).unwrap().state
}

/// Returns what both accounts hold of the leader.
async fn held(bot: &TestBot, leader: FollowedUserId) -> Vec<ShareMicros> {
    let mut held = Vec::new();
    for account in [PortfolioId::ExecUser(leader), PortfolioId::ExecGlobal] {
        let portfolio = bot.db.unmarked_portfolio(account).await.unwrap().portfolio;
        held.extend(portfolio.lots().filter(|lot| lot.leader == leader).map(|lot| lot.shares));
    }
    held
}

async fn closes(bot: &TestBot) -> Vec<ListedAttempt> {
    let filter = AttemptFilter { kind: Some(GroupKind::Close), ..AttemptFilter::default() };
    bot.db.attempts_page(&filter, None, 100).await.unwrap().rows
}

async fn a_leader_winds_down_until_stopped(bot: TestBot) {
    let (leader, wallet) = bot.follow("leader").await;
    let (market, other) = (add_market(&bot, "rain"), add_market(&bot, "snow"));
    let app = bot.start().await;
    trades(&bot, &wallet, &market, Side::Buy);
    let bought = bot.attempts(2).await;
    assert!(bought.iter().all(|row| row.attempt.decision == DecisionKind::Execute), "{bought:?}");

    let said = told(&run(&bot, &["unfollow", "leader", "--wind-down"]).await);
    assert!(said.contains("is winding down: nothing new is copied, exits are"), "{said}");
    // The executors work with the new state within a second.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    trades(&bot, &wallet, &other, Side::Buy);
    let skipped = bot.attempts(4).await;
    for row in skipped.iter().filter(|row| row.market == *other.id()) {
        assert_eq!(row.attempt.reasons, [ReasonCode::OpensPaused]);
    }
    assert_eq!(state(&bot, leader).await, FollowState::WindingDown, "a lot is left to sell");

    trades(&bot, &wallet, &market, Side::Sell);
    let sold = bot.attempts(6).await;
    let sold = sold.iter().filter(|row| row.side == Some(Side::Sell));
    assert!(sold.clone().all(|row| row.attempt.decision == DecisionKind::Execute), "exits are copied: {sold:?}");
    eventually("the leader to be stopped", async || (state(&bot, leader).await == FollowState::Stopped).then_some(()))
        .await;
    assert_eq!(held(&bot, leader).await, []);
    let audits = bot.db.audits(Some("wound_down"), None, 9).await.unwrap();
    assert_eq!((audits.len(), audits[0].audit.who.as_str()), (1, "winding down"));
    assert_eq!(audits[0].audit.subject, format!("user:{leader}"));
    app.stop().await;
    assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());
    bot.close().await;
}

async fn positions_are_closed_by_hand_in_both_accounts_once(bot: TestBot) {
    let (leader, wallet) = bot.follow("leader").await;
    let (market, other) = (add_market(&bot, "rain"), add_market(&bot, "snow"));
    let process = Process::start(&bot);
    trades(&bot, &wallet, &market, Side::Buy);
    trades(&bot, &wallet, &other, Side::Buy);
    let bought = bot.attempts(4).await;
    assert!(bought.iter().all(|row| row.attempt.decision == DecisionKind::Execute), "{bought:?}");
    assert_eq!(held(&bot, leader).await.len(), 4);
    // Copying is off, and so is the leader: a close by hand works anyway.
    bot.configure(r#"{"system": {"copyEngineEnabled": false}}"#).await;
    bot.db.set_state(leader, FollowState::Stopped, "test", Clock::System.now()).await.unwrap();

    // The book comes late, so that the kill meets a close that is being worked on.
    bot.exchange.with(|exchange| {
        exchange.fault(Fault::once(Host::Clob, "/book", FaultKind::Delay(1_500)).times(Times::Next(4)))
    });
    let wanted = CloseWanted { leader, asset: None, scope: None };
    let asked = bot.db.ask_closes(&wanted, "test", Clock::System.now()).await.unwrap();
    assert!(asked.iter().all(|close| close.is_new && close.portfolios.len() == 2), "{asked:?}");
    let again = bot.db.ask_closes(&wanted, "test", Clock::System.now()).await.unwrap();
    assert!(again.iter().all(|close| !close.is_new), "{again:?}");
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    process.kill();
    bot.exchange.with(|exchange| exchange.clear_faults());
    let waiting = run(&bot, &["account", "close", "leader", "--account", "own"]).await;
    assert_eq!(waiting.status.code(), Some(0), "{}", told(&waiting));
    let says = ["being closed already", "the next `polymarketspy run` sells"];
    assert!(says.iter().all(|said| told(&waiting).contains(said)), "{}", told(&waiting));

    let process = Process::start(&bot);
    let closed = eventually("the closes of both accounts", async || {
        let closed = closes(&bot).await;
        (closed.len() >= 4).then_some(closed)
    })
    .await;
    let (_, code) = process.terminate();
    assert_eq!(code, Some(0));
    assert_eq!(closed.len(), 4, "each lot is closed once");
    assert!(closed.iter().all(|row| row.attempt.decision == DecisionKind::Execute), "{closed:?}");
    assert_eq!(held(&bot, leader).await, []);
    for account in [PortfolioId::ExecUser(leader), PortfolioId::ExecGlobal] {
        let entries = bot.db.entries_after(account, 0, 1_000).await.unwrap();
        let sold = entries.iter().filter(|placed| placed.entry.shares < ShareMicros::ZERO);
        assert_eq!(sold.count(), 2, "{account} sold each lot once");
    }
    assert_eq!(bot.db.audits(Some("close_by_hand"), None, 9).await.unwrap().len(), 2);
    assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());
    let nothing = run(&bot, &["account", "close", "leader"]).await;
    assert_eq!(nothing.status.code(), Some(1), "{}", told(&nothing));
    bot.close().await;
}

/// A holding brings at most its bid.
async fn the_list_says_what_each_account_would_bring(bot: &TestBot) {
    let listed = run(bot, &["account", "list", "--json"]).await;
    let accounts: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    for account in accounts.as_array().unwrap() {
        let [cash, sold, equity] = ["cash_micros", "if_sold_now_micros", "equity_micros"]
            .map(|field| account[field].as_i64().unwrap_or_else(|| panic!("{field} of {account}")));
        assert!(cash <= sold && sold < equity, "a holding brings at most its bid: {account}");
    }
    assert!(told(&run(bot, &["account", "list"]).await).contains("IF SOLD NOW"));
}

async fn a_deposit_and_a_withdrawal_move_no_pnl(bot: TestBot) {
    let (leader, wallet) = bot.follow("leader").await;
    let market = add_market(&bot, "rain");
    let (own, global) = (PortfolioId::ExecUser(leader), PortfolioId::ExecGlobal);
    let early = run(&bot, &["account", "deposit", "leader", "5"]).await;
    assert_eq!(early.status.code(), Some(2));
    assert!(told(&early).contains("is not open yet"), "{}", told(&early));
    let app = bot.start().await;
    trades(&bot, &wallet, &market, Side::Buy);
    bot.attempts(2).await;
    let figures =
        async |account| bot.db.running_portfolio(account, Clock::System.now()).await.unwrap().portfolio.figures();
    let before = (figures(own).await, figures(global).await);

    let deposit = run(&bot, &["account", "deposit", "leader", "500", "--id", "may"]).await;
    assert_eq!(deposit.status.code(), Some(0), "{}", told(&deposit));
    assert!(told(&deposit).contains(&format!("Booked: 500.00 USDC into {own}.")), "{}", told(&deposit));
    let again = run(&bot, &["account", "deposit", "leader", "500", "--id", "may"]).await;
    assert!(told(&again).contains("is booked already"), "{}", told(&again));
    let withdrawal = run(&bot, &["account", "withdraw", "global", "99.5"]).await;
    assert_eq!(withdrawal.status.code(), Some(0), "{}", told(&withdrawal));
    let too_much = run(&bot, &["account", "withdraw", "global", "1000000"]).await;
    assert_eq!(too_much.status.code(), Some(2));
    let allowed = "`usdc` is 1000000.00, which is more than the cash of EXEC_GLOBAL; at most ";
    assert!(told(&too_much).contains(allowed), "{}", told(&too_much));

    let after = (figures(own).await, figures(global).await);
    for (before, after, moved) in [(before.0, after.0, 500_000_000), (before.1, after.1, -99_500_000)] {
        assert_eq!((after.cash.0 - before.cash.0, after.deposits.0 - before.deposits.0), (moved, moved));
        assert_eq!(after.realized, before.realized);
        // A new price may have come between the two: it moves both by the same amount.
        assert_eq!(after.unrealized.0 - before.unrealized.0, after.exposure.0 - before.exposure.0);
    }
    let movements = bot.db.cash_movements(2).await.unwrap();
    let moved: Vec<_> = movements.iter().map(|placed| (placed.entry.portfolio, placed.entry.cash.0)).collect();
    assert_eq!(moved, [(global, -99_500_000), (own, 500_000_000)]);
    for (action, account) in [("deposit", own), ("withdraw", global)] {
        let audits = bot.db.audits(Some(action), None, 9).await.unwrap();
        assert_eq!((audits.len(), audits[0].audit.subject.clone()), (1, format!("portfolio:{account}")));
        assert_eq!(audits[0].audit.who, "command line");
    }
    app.stop().await;
    assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());

    the_list_says_what_each_account_would_bring(&bot).await;
    let left = run(&bot, &["account", "deposit", "global", "1"]).await;
    assert!(told(&left).contains("the next `polymarketspy run` books it"), "{}", told(&left));
    let app = bot.start().await;
    eventually("the deposit of the next start", async || {
        (bot.db.cash_movements(1).await.unwrap()[0].entry.cash.0 == 1_000_000).then_some(())
    })
    .await;
    app.stop().await;
    bot.close().await;
}

macro_rules! scenes {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[actix::test]
            async fn $name() {
                super::$name(super::on_sqlite().await).await;
            })+
        }

        mod whole_bots_on_postgres {
            $(#[actix::test]
            async fn $name() {
                super::$name(super::on_postgres().await).await;
            })+
        }
    };
}

scenes! {
    a_leader_winds_down_until_stopped,
    positions_are_closed_by_hand_in_both_accounts_once,
    a_deposit_and_a_withdrawal_move_no_pnl,
}
