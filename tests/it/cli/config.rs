//! `config get`, `set` and `diff`.

use std::time::{Duration, Instant};

use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::events::event::Side;
use polymarketspy::simulator::{Fill, NewMarket};
use polymarketspy::testkit::TestBot;

use super::{answer, complaint, run, run_beside, told};

/// Longer than the second in which a bot promises to apply a change, because the machine may be busy.
const SECONDS: Duration = Duration::from_secs(30);

#[actix::test]
async fn a_field_is_read_changed_and_given_back() {
    let bot = TestBot::new().await;
    let get = || told(&run(&bot, &["config", "get", "maxSpreadMicros"]));
    assert_eq!(get(), "20000\n");
    let set = run(&bot, &["config", "set", "guardrails.maxSpreadMicros=15_000", "applyTakerFees=false"]);
    assert_eq!(set.status.code(), Some(0), "{}", complaint(&set));
    assert!(told(&set).contains("guardrails.maxSpreadMicros: 20000 → 15000"), "{}", told(&set));
    assert_eq!(get(), "15000\n");

    let one = answer(&run(&bot, &["config", "get", "sizing.applyTakerFees", "--json"]));
    assert_eq!((&one["value"], &one["default"], &one["source"]), (&false.into(), &true.into(), &"global".into()));
    let all = answer(&run(&bot, &["config", "get", "--json"]));
    assert_eq!(all.as_array().unwrap().len(), 34);
    assert!(told(&run(&bot, &["config", "get"])).contains("guardrails.maxSpreadMicros"));

    let diff = run(&bot, &["config", "diff", "--json"]);
    assert_eq!(diff.status.code(), Some(1));
    let spread =
        answer(&diff).as_array().unwrap().iter().find(|row| row["field"] == "guardrails.maxSpreadMicros").cloned();
    assert_eq!(spread.unwrap()["default"], 20_000);

    let names: Vec<String> = answer(&diff)
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{}=default", row["field"].as_str().unwrap()))
        .collect();
    let back: Vec<&str> = ["config", "set"].into_iter().chain(names.iter().map(String::as_str)).collect();
    assert_eq!(run(&bot, &back).status.code(), Some(0));
    let diff = run(&bot, &["config", "diff"]);
    assert_eq!((diff.status.code(), told(&diff).as_str()), (Some(0), "Nothing differs from the defaults.\n"));
    assert!(told(&run(&bot, &back)).contains("Nothing changed: every field has this value already"));

    let audits = bot.db.audits(Some("save_config"), None, 2).await.unwrap();
    assert!(audits.iter().all(|row| row.audit.who == "command line"));
    assert!(audits[1].audit.before_json.as_deref().unwrap().contains(r#""maxSpreadMicros":20000"#));
    assert!(audits[1].audit.after_json.as_deref().unwrap().contains(r#""maxSpreadMicros":15000"#));
}

#[actix::test]
async fn a_new_opening_bankroll_says_that_open_accounts_keep_theirs() {
    let bot = TestBot::new().await;
    bot.follow("quiet harbour").await;
    let set = told(&run(&bot, &["config", "set", "system.initialBankrollMicros=20000000000"]));
    assert!(set.contains("system.initialBankrollMicros: 10000000000 → 20000000000"), "{set}");
    assert!(set.contains("Accounts that are open keep the bankroll they opened with"), "{set}");
    assert!(set.contains("`polymarketspy account deposit`"), "{set}");
    let other = told(&run(&bot, &["config", "set", "jitterMsMax=300"]));
    assert!(other.contains("Saved.") && !other.contains("account deposit"), "{other}");
}

#[actix::test]
async fn a_traders_own_values_override_the_global_ones() {
    let bot = TestBot::new().await;
    bot.follow("quiet harbour").await;
    let set = run(&bot, &["config", "set", "--user", "Quiet Harbour", "maxTradeNotionalMicros=50000000"]);
    assert_eq!(set.status.code(), Some(0), "{}", complaint(&set));
    let own = answer(&run(&bot, &["config", "get", "--user", "1", "maxTradeNotionalMicros", "--json"]));
    assert_eq!((&own["value"], &own["source"]), (&50_000_000.into(), &"user".into()));
    assert_eq!(told(&run(&bot, &["config", "get", "maxTradeNotionalMicros"])), "250000000\n");

    let diff = run(&bot, &["config", "diff", "--user", "1", "--json"]);
    assert_eq!(diff.status.code(), Some(1));
    let row =
        serde_json::json!([{"field": "sizing.maxTradeNotionalMicros", "value": 50_000_000, "global": 250_000_000}]);
    assert_eq!(answer(&diff), row);

    assert_eq!(run(&bot, &["config", "set", "--user", "1", "maxTradeNotionalMicros=inherit"]).status.code(), Some(0));
    assert_eq!(run(&bot, &["config", "diff", "--user", "1"]).status.code(), Some(0));

    let whole = run(&bot, &["config", "set", "--user", "1", "copyEngineEnabled=false"]);
    assert_eq!(whole.status.code(), Some(2));
    assert!(complaint(&whole).contains("`copyEngineEnabled` is a setting of the whole bot"), "{}", complaint(&whole));
    let nobody = run(&bot, &["config", "get", "--user", "nobody"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(complaint(&nobody).contains("`nobody`"), "{}", complaint(&nobody));
}

#[actix::test]
async fn one_wrong_value_is_named_and_nothing_is_saved() {
    let bot = TestBot::new().await;
    let before = bot.db.directory().await.unwrap();
    let check = |change: &str, part: &str| {
        let refused = run(&bot, &["config", "set", "jitterMsMax=7", change]);
        assert_eq!(refused.status.code(), Some(2), "{change}");
        assert!(complaint(&refused).contains(part), "{}", complaint(&refused));
    };
    check("maxSpreadMicros=-1", "`maxSpreadMicros` is `-1`, which is not within 0 and 1000000");
    check("maxSpreadMicros=wide", "`maxSpreadMicros` must be a whole number");
    check("maxSpread=1", "`maxSpread` is not a field; did you mean `guardrails.maxSpreadMicros`?");
    check("maxSpreadMicros", "FIELD=VALUE");
    assert_eq!(bot.db.directory().await.unwrap(), before);
}

/// Has the leader buy until the newest decisions are as `wanted`; each fill is decided before the next is made.
async fn buys_until(bot: &TestBot, fill: &Fill, wanted: impl Fn(&[ReasonCode]) -> bool) {
    let begun = Instant::now();
    let mut n_attempts = bot.attempts(0).await.len();
    loop {
        bot.exchange.with(|exchange| exchange.push_fill(fill.clone()).unwrap());
        n_attempts += 2;
        let attempts = bot.attempts(n_attempts).await;
        if attempts[n_attempts - 2..].iter().all(|listed| wanted(&listed.attempt.reasons)) {
            return;
        }
        assert!(begun.elapsed() < SECONDS, "the bot did not notice within seconds");
    }
}

#[actix::test]
async fn a_running_bot_applies_a_change_of_another_process() {
    let bot = TestBot::new().await;
    let (_, wallet) = bot.follow("leader").await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("paused")));
    let fill = Fill::taker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
    let app = bot.start().await;
    let is_paused = |reasons: &[ReasonCode]| reasons == [ReasonCode::EnginePaused];
    buys_until(&bot, &fill, |reasons| !is_paused(reasons)).await;
    assert!(run_beside(&bot, &["config", "set", "copyEngineEnabled=false"]).await.status.success());
    buys_until(&bot, &fill, is_paused).await;
    assert!(run_beside(&bot, &["config", "set", "copyEngineEnabled=default"]).await.status.success());
    buys_until(&bot, &fill, |reasons| !is_paused(reasons)).await;
    app.stop().await;
}
