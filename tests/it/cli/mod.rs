//! The commands as an operator types them, against the simulator.

mod access;
mod backfill;
mod config;
mod jobs;
mod tail;

use std::process::{Command, Output};

use polymarketspy::domain::events::event::Side;
use polymarketspy::simulator::{Fill, NewMarket, wallet_of};
use polymarketspy::testkit::TestBot;

fn command(bot: &TestBot, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command.args(arguments).envs(bot.environment()).env("LOG_LEVEL", "warn");
    command
}

fn run(bot: &TestBot, arguments: &[&str]) -> Output {
    command(bot, arguments).output().unwrap()
}

/// Runs a command while the bot of this process goes on running.
async fn run_beside(bot: &TestBot, arguments: &[&str]) -> Output {
    let mut command = command(bot, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Parses the output of a command with `--json`.
fn answer(output: &Output) -> serde_json::Value {
    serde_json::from_str(&told(output))
        .unwrap_or_else(|error| panic!("{error}: {} {}", told(output), complaint(output)))
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn person(bot: &TestBot, name: &str) -> String {
    let wallet = wallet_of(name);
    bot.exchange.with(|exchange| exchange.add_profile(&wallet, name));
    wallet.to_string()
}

#[actix::test]
async fn a_trader_is_followed_by_exact_name_or_by_wallet_and_only_if_they_exist() {
    let bot = TestBot::new().await;
    let wallet = person(&bot, "Quiet Harbour");
    person(&bot, "Quiet Harbour II");

    let by_name = run(&bot, &["follow", "quiet harbour"]);
    assert_eq!(by_name.status.code(), Some(0), "{}", complaint(&by_name));
    assert!(told(&by_name).contains(&wallet), "{}", told(&by_name));

    let again = run(&bot, &["follow", &wallet.to_uppercase().replace("0X", "0x")]);
    assert!(told(&again).contains("followed already"), "{}", told(&again));

    let nobody = run(&bot, &["follow", "Quiet Harb"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(complaint(&nobody).contains("no profile is called exactly `Quiet Harb`"), "{}", complaint(&nobody));

    let stranger = run(&bot, &["follow", "0x00000000000000000000000000000000000000aa"]);
    assert_eq!(stranger.status.code(), Some(2));
    assert!(complaint(&stranger).contains("no profile and no activity"), "{}", complaint(&stranger));

    let broken = run(&bot, &["follow", "0x12"]);
    assert!(complaint(&broken).contains("40 hex digits"), "{}", complaint(&broken));

    let hostile = run(&bot, &["follow", "\u{1b}]0;mine\u{7}"]);
    assert_eq!(hostile.status.code(), Some(2));
    assert!(!complaint(&hostile).contains('\u{1b}'), "the error message contains no control character");

    let users: serde_json::Value = serde_json::from_str(&told(&run(&bot, &["users", "--json"]))).unwrap();
    assert_eq!((users.as_array().unwrap().len(), &users[0]["profile_wallet"]), (1, &wallet.clone().into()));

    assert!(told(&run(&bot, &["users"])).contains("Quiet Harbour"));

    let winding = told(&run(&bot, &["unfollow", "quiet harbour", "--wind-down"]));
    assert!(winding.contains(&format!("To make them active again: polymarketspy follow {wallet}")), "{winding}");
    let active = told(&run(&bot, &["follow", &wallet]));
    assert!(active.contains("was winding down and is active again"), "{active}");
    let state = || -> serde_json::Value { serde_json::from_str(&told(&run(&bot, &["users", "--json"]))).unwrap() };
    assert_eq!(state()[0]["state"], "ACTIVE");

    assert!(told(&run(&bot, &["unfollow", "quiet harbour"])).contains("No longer following"));
    assert_eq!(state()[0]["enabled"], false);
    let again = told(&run(&bot, &["follow", &wallet]));
    assert!(again.contains("was stopped and is followed again"), "{again}");
    assert_eq!(state()[0]["state"], "ACTIVE");
}

#[actix::test]
async fn a_running_bot_notices_a_leader_that_another_process_follows() {
    let bot = TestBot::new().await;
    let app = bot.start().await;
    let wallet = wallet_of("latecomer");
    person(&bot, "latecomer");
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("late")));
    // The exchange answers from its own thread, so waiting for the command here blocks only the bot.
    assert!(run(&bot, &["follow", "latecomer"]).status.success());
    let fill = Fill::taker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
    bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
    assert_eq!(bot.attempts(2).await.len(), 2);
    app.stop().await;

    let audit = run(&bot, &["audit", "--json"]);
    assert_eq!(audit.status.code(), Some(0), "{}", told(&audit));
    let report: serde_json::Value = serde_json::from_str(&told(&audit)).unwrap();
    assert_eq!((report["problems"].as_array().unwrap().len(), report["portfolios"].as_array().unwrap().len()), (0, 3));
}

#[actix::test]
async fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let bot = TestBot::new().await;
    let well = run(&bot, &["doctor"]);
    assert_eq!(well.status.code(), Some(0), "{}", told(&well));
    assert!(told(&well).contains("no trader is followed"), "{}", told(&well));
    assert!(told(&well).contains("no REDIS_URL") && told(&well).contains("HEALTH_BIND takes any free port"));

    let named = run(&bot, &["doctor", "--follow", "ada=0x1111111111111111111111111111111111111111"]);
    assert!(told(&named).contains("0 followed; FOLLOW adds 1 when the bot starts"), "{}", told(&named));

    let ill = run(&bot, &["doctor", "--polymarket-clob-base-url", "http://127.0.0.1:9", "--json"]);
    assert_eq!(ill.status.code(), Some(1));
    let findings: serde_json::Value = serde_json::from_str(&told(&ill)).unwrap();
    let clob = findings.as_array().unwrap().iter().find(|finding| finding["check"] == "clob").unwrap();
    assert_eq!(clob["state"], "wrong");
    assert!(clob["advice"].as_str().unwrap().contains("POLYMARKET_CLOB_BASE_URL"));
}

#[actix::test]
async fn the_doctor_checks_redis_and_what_listens_on_the_health_port() {
    let bot = TestBot::new().await;
    let findings = async |arguments: &[&str]| {
        let all = answer(&run_beside(&bot, &[&["doctor", "--json"], arguments].concat()).await);
        let state = |check: &str| {
            let finding = all.as_array().unwrap().iter().find(|finding| finding["check"] == check).unwrap().clone();
            (finding["state"].as_str().unwrap().to_owned(), finding["detail"].as_str().unwrap().to_owned())
        };
        (state("health"), state("redis"))
    };
    let app = bot.start().await;
    let ours = app.health_address().unwrap().to_string();
    let ((health, said), (redis, _)) = findings(&["--health-bind", &ours, "--redis-url", "redis://127.0.0.1:1"]).await;
    assert_eq!((health.as_str(), redis.as_str()), ("fine", "wrong"), "{said}");
    assert!(said.contains("a bot runs at"), "{said}");
    let theirs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = theirs.local_addr().unwrap().to_string();
    // A server that closes every connection at once.
    std::thread::spawn(move || theirs.incoming().for_each(drop));
    let ((health, said), _) = findings(&["--health-bind", &address]).await;
    assert_eq!(health, "wrong", "{said}");
    app.stop().await;
}

#[actix::test]
async fn a_wrong_setting_stops_the_start_with_its_name() {
    let bot = TestBot::new().await;
    let output = run(&bot, &["run", "--bind", "somewhere"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains("setting `BIND` is `somewhere`, it should be"), "{}", complaint(&output));
}
