//! `tail`: prints one line for each new row of a database until it is stopped.

use std::future::ready;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use polymarketspy::clock::Clock;
use polymarketspy::db::PollWrite;
use polymarketspy::domain::events::event::{Side, TradeEvent};
use polymarketspy::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use polymarketspy::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use polymarketspy::simulator::{Fill, NewMarket, wallet_of};
use polymarketspy::testkit::{TestBot, eventually};

use super::{command, complaint, run};

/// A running `tail` and its output.
struct Tail {
    child: Child,
    printed: Receiver<String>,
}

impl Tail {
    fn start(bot: &TestBot, arguments: &[&str]) -> Self {
        let arguments: Vec<&str> = ["tail"].iter().chain(arguments).copied().collect();
        let mut child = command(bot, &arguments).stdout(Stdio::piped()).spawn().unwrap();
        let (say, printed) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { child, printed }
    }

    /// Waits for the next `n` lines and returns them.
    async fn lines(&self, n: usize) -> Vec<String> {
        let mut lines = Vec::new();
        eventually(&format!("{n} lines of tail"), || {
            lines.extend(self.printed.try_iter());
            ready((lines.len() >= n).then_some(()))
        })
        .await;
        lines
    }

    /// Sends SIGINT, as Ctrl-C does; returns the exit code and the rest of the output.
    fn interrupt(mut self) -> (Option<i32>, Vec<String>) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let code = self.child.wait().unwrap().code();
        (code, self.printed.iter().collect())
    }
}

/// Ends the process, so that a test that fails leaves none behind.
impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn trade(user: FollowedUserId, wallet: &Wallet, n: u32, detect_time: Timestamp) -> TradeEvent {
    let source_id = format!("test:{n}");
    TradeEvent {
        id: EventId::of("DATA_API", &source_id),
        source_id,
        tx_hash: format!("0x{n:064x}"),
        profile_wallet: wallet.clone(),
        proxy_wallet: None,
        followed_user: user,
        market: MarketId::parse(&format!("0x{}", "ab".repeat(32))).unwrap(),
        asset: AssetId::parse("1234").unwrap(),
        side: Side::Buy,
        price: PriceMicros::new(500_000).unwrap(),
        shares: ShareMicros(10_000_000),
        notional: UsdcMicros(5_000_000),
        fee: None,
        event_time: detect_time,
        detect_time,
    }
}

async fn record(bot: &TestBot, trade: TradeEvent) {
    let poll = PollWrite {
        user: trade.followed_user,
        fence: None,
        now: trade.detect_time,
        trades: vec![trade],
        activities: vec![],
        dead: vec![],
        new_wallets: vec![],
        checkpoints: vec![],
    };
    bot.db.record_poll(poll).await.unwrap();
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[actix::test]
async fn a_fill_and_what_was_made_of_it_appear_beside_a_running_bot() {
    let bot = TestBot::new().await;
    let (_, wallet) = bot.follow("quiet harbour").await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("rain")));
    let app = bot.start().await;
    let (text, rows) =
        (Tail::start(&bot, &[]), Tail::start(&bot, &["--json", "--user", "Quiet Harbour", "--since", "1m"]));
    assert!(text.lines(1).await[0].starts_with("TIME (UTC)"), "it has begun");
    let fill = Fill::taker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
    bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());

    let shown = rows.lines(3).await;
    let tables: Vec<_> = shown.iter().map(|line| json(line)["table"].clone()).collect();
    assert_eq!(tables, ["trade_event", "copy_attempt", "copy_attempt"]);
    let first = json(&shown[0]);
    assert_eq!((&first["side"], &first["share_micros"]), (&"BUY".into(), &1_000_000_000.into()));
    assert_eq!(first["profile_wallet"], wallet.to_string());
    assert_eq!(json(&shown[1])["reason_codes"], serde_json::json!([]));

    let lines = text.lines(3).await;
    assert!(
        lines[0].contains("trade") && lines[0].contains("quiet harbour") && lines[0].contains("1,000.00"),
        "{lines:?}"
    );
    assert!(lines[1..].iter().all(|line| line.contains("copied")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "no colours outside a terminal: {lines:?}");
    app.stop().await;
    for tail in [text, rows] {
        assert_eq!(tail.interrupt(), (Some(0), vec![]));
    }
}

#[actix::test]
async fn a_row_committed_after_newer_ones_is_shown_and_each_row_once() {
    let bot = TestBot::new().await;
    let (user, wallet) = bot.follow("leader").await;
    let (other, other_wallet) = bot.follow("somebody else").await;
    let now = Clock::System.now();
    record(&bot, trade(user, &wallet, 1, now.plus_millis(-400_000))).await;
    record(&bot, trade(user, &wallet, 2, now.plus_millis(-100))).await;
    let tail = Tail::start(&bot, &["--trades", "--json", "--user", "leader", "--since", "2m"]);
    assert_eq!(json(&tail.lines(1).await[0])["source_id"], "test:2");
    record(&bot, trade(other, &other_wallet, 3, now)).await;
    record(&bot, trade(user, &wallet, 4, now)).await;
    assert_eq!(json(&tail.lines(1).await[0])["source_id"], "test:4");
    // Detected before the row that was printed last, but committed after it.
    record(&bot, trade(user, &wallet, 5, now.plus_millis(-200_000))).await;
    assert_eq!(json(&tail.lines(1).await[0])["source_id"], "test:5");
    record(&bot, trade(user, &wallet, 6, now.plus_millis(1))).await;
    assert_eq!(json(&tail.lines(1).await[0])["source_id"], "test:6");
    assert_eq!(tail.interrupt(), (Some(0), vec![]));
}

#[actix::test]
async fn hostile_names_do_not_steer_the_terminal() {
    let bot = TestBot::new().await;
    let wallet = wallet_of("hostile");
    let user = bot.follow_wallet("\u{1b}[2Jme\u{202e}\n", &wallet).await;
    record(&bot, trade(user, &wallet, 1, Clock::System.now())).await;
    for arguments in [&["--since", "1h"][..], &["--since", "1h", "--json"]] {
        let tail = Tail::start(&bot, arguments);
        let n = if arguments.contains(&"--json") { 1 } else { 2 };
        let lines = tail.lines(n).await;
        assert_eq!(lines.len(), n, "a name is no line of its own: {lines:?}");
        assert!(lines.iter().all(|line| !line.contains(['\u{1b}', '\u{202e}'])), "{lines:?}");
    }
}

#[actix::test]
async fn a_closed_pipe_ends_tail_well_and_a_wrong_time_span_does_not() {
    let bot = TestBot::new().await;
    let mut child = command(&bot, &["tail"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let code = eventually("the end of tail", || ready(child.try_wait().unwrap())).await;
    assert_eq!(code.code(), Some(0));
    let wrong = run(&bot, &["tail", "--since", "10"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(complaint(&wrong).contains("--since"), "{}", complaint(&wrong));
}
