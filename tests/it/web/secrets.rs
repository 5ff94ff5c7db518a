//! Nothing that the program prints or serves contains one of its secrets, whatever goes wrong (spec 13).

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};

use actix::{Actor, ActorContext, StreamHandler};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;
use polymarketspy::domain::events::event::Side;
use polymarketspy::simulator::routes::github::{CLIENT_ID, CLIENT_SECRET};
use polymarketspy::simulator::{Fill, NewMarket};
use polymarketspy::testkit::db::postgres_server;
use polymarketspy::testkit::{TestBot, eventually, test_client};

use super::sign_in::CurrentUser;

const DATABASE: &str = "hunter2-of-the-database";
const REDIS: &str = "hunter2-of-redis";
const NODE: &str = "hunter2-of-the-node";
const SESSION: &str = "hunter2-of-sessions-hunter2-of-sessions-hunter2-of-sessions-hunter2";
const GITHUB: &str = "hunter2-of-github-hunter2-of-github";
/// The beginning of every secret of these tests, so that a part of one is found too.
const MARK: &str = "hunter2";

/// A running program whose output goes to files.
struct BotProcess {
    child: Child,
    folder: tempfile::TempDir,
}

impl BotProcess {
    fn start(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| Stdio::from(File::create(folder.path().join(name)).unwrap());
        let child = command.stdout(file("stdout")).stderr(file("stderr")).spawn().unwrap();
        Self { child, folder }
    }

    fn printed(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    /// Returns the lines of the log so far; each must be a JSON object.
    fn log(&self) -> Vec<serde_json::Value> {
        let text = self.printed("stderr");
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    async fn says(&self, what: &str, is_it: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        eventually(what, async || self.log().into_iter().find(|line| is_it(line))).await
    }

    /// Sends SIGTERM; returns the exit code.
    fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

/// Ends the process, so that a test that fails leaves no bot behind.
impl Drop for BotProcess {
    fn drop(&mut self) {
        // The process may have ended already; then both calls fail, which does no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(bot: &TestBot, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    command
        .args(arguments)
        .envs(bot.environment())
        .env("LOG_LEVEL", "trace")
        .env("SESSION_SECRET", SESSION)
        .env("REDIS_URL", format!("redis://:{REDIS}@127.0.0.1:1"))
        .env("ALCHEMY_WS_URL", format!("ws://127.0.0.1:1/v2/{NODE}"));
    command
}

/// Flags whose address may hold a secret; with one they are refused.
const ADDRESSES: [(&str, &str); 3] =
    [("--database-url", "DATABASE_URL"), ("--redis-url", "REDIS_URL"), ("--alchemy-ws-url", "ALCHEMY_WS_URL")];

/// Puts the addresses into the environment, and leaves the other arguments as they are.
fn with_addresses(bot: &TestBot, arguments: &[&str]) -> Command {
    let (mut rest, mut settings, mut given) = (Vec::new(), Vec::new(), arguments.iter());
    while let Some(argument) = given.next() {
        match ADDRESSES.iter().find(|(flag, _)| flag == argument) {
            Some((_, name)) => settings.push((*name, *given.next().unwrap())),
            None => rest.push(*argument),
        }
    }
    let mut command = command(bot, &rest);
    command.envs(settings);
    command
}

fn assert_clean(what: &str, text: &str) {
    if let Some(at) = text.find(MARK) {
        let begin = text.floor_char_boundary(at.saturating_sub(300));
        let end = text.floor_char_boundary((at + 300).min(text.len()));
        panic!("{what} repeats a secret: …{}…", &text[begin..end]);
    }
}

/// Returns the login token and the cookie of a visitor, then every text that a visitor or a scraper can read.
async fn pages(process: &BotProcess) -> ([String; 2], Vec<(String, String)>) {
    let link = eventually("the login link", async || {
        let printed = process.printed("stdout");
        printed.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
    })
    .await;
    let at = |message: &'static str| move |line: &serde_json::Value| line["message"] == message;
    let health = process.says("the health address", at("serving health and metrics")).await;
    let client = test_client();
    let signed_in = client.get(&link).send().await.unwrap();
    let cookie = signed_in.headers().get("set-cookie").unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
    let base = &link[..link.find("/login").unwrap()];
    let watched = format!("http://{}", health["address"].as_str().unwrap());
    let token = link.rsplit('/').next().unwrap().to_owned();
    let mut read = vec![("the cookie".to_owned(), cookie.clone())];
    for (base, path) in [
        (base, "/"),
        (base, "/api/overview"),
        (base, "/api/health"),
        (base, "/api/trades"),
        (base, "/api/copy-attempts"),
        (base, "/api/nothing"),
        (&watched, "/health"),
        (&watched, "/metrics"),
    ] {
        let mut answer = client.get(format!("{base}{path}")).insert_header(("cookie", &*cookie)).send().await.unwrap();
        let text = answer.body().limit(4 << 20).await.unwrap();
        read.push((path.to_owned(), String::from_utf8_lossy(&text).into_owned()));
    }
    ([token, cookie.split_once('=').unwrap().1.to_owned()], read)
}

/// Copies one fill, reads the pages and ends the bot. No output may contain a secret, and each log line is one object.
async fn live_and_end(bot: &TestBot, mut process: BotProcess) -> Vec<serde_json::Value> {
    let (_, wallet) = bot.follow("leader").await;
    let market = bot.exchange.with(|exchange| exchange.add_market(NewMarket::binary("market")));
    let fill = Fill::taker(&wallet, market.asset(0).unwrap(), Side::Buy, 500_000, 1_000_000_000);
    bot.exchange.with(|exchange| exchange.push_fill(fill).unwrap());
    process.says("the new row", |line| line["message"] == "new rows").await;
    bot.attempts(1).await;
    let (keys, read) = pages(&process).await;
    for (path, text) in read {
        assert_clean(&path, &text);
    }
    assert_eq!(process.terminate(), Some(0));
    let log = process.printed("stderr");
    assert!(keys.iter().all(|key| key.len() > 20 && !log.contains(key)), "who reads the log is let in: {keys:?}");
    for stream in ["stdout", "stderr"] {
        assert_clean(stream, &process.printed(stream));
    }
    let lines = process.log();
    for line in &lines {
        for field in ["timestamp", "level", "service", "target", "message"] {
            assert!(line[field].as_str().is_some_and(|text| !text.is_empty()), "no {field}: {line}");
        }
        let ours = line["target"].as_str().unwrap().starts_with("polymarketspy");
        assert!(ours || ["ERROR", "WARN", "INFO"].iter().any(|level| line["level"] == *level), "{line}");
    }
    let of_leader = lines.iter().find(|line| line["message"] == "new rows").unwrap();
    assert_eq!((&of_leader["service"], &of_leader["actor"]), (&"worker".into(), &"poller:1".into()), "{of_leader}");
    assert_eq!(of_leader["user_id"], "1");
    lines
}

fn trouble_with_redis(line: &serde_json::Value) -> bool {
    line["actor"] == "bell_relay" && line["level"] == "WARN"
}

#[actix::test]
async fn a_bot_that_reaches_neither_node_nor_redis_prints_no_secret_and_only_json() {
    let bot = TestBot::new().await;
    let process = BotProcess::start(command(&bot, &["run"]));
    process.says("trouble with the node", |line| line["actor"] == "chain_watcher" && line["level"] == "WARN").await;
    process.says("trouble with Redis", trouble_with_redis).await;
    let lines = live_and_end(&bot, process).await;
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "the filter lets more through than `info`");
}

#[actix::test]
async fn answers_of_node_and_redis_are_logged_without_the_secrets_they_repeat() {
    let bot = TestBot::new().await;
    let mut run = command(&bot, &["run"]);
    run.env("ALCHEMY_WS_URL", format!("ws://{}/v2/{NODE}", rude_node()));
    run.env("REDIS_URL", format!("redis://:{REDIS}@{}", rude_redis()));
    let process = BotProcess::start(run);
    let told = process.says("the node's refusal", |line| line["reason"].to_string().contains("refused request")).await;
    assert!(told["reason"].as_str().unwrap().contains("app *** is over its limit"), "{told}");
    process.says("trouble with Redis", trouble_with_redis).await;
    live_and_end(&bot, process).await;
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn a_postgres_that_cuts_every_connection_is_reported_without_its_password() {
        let bot = TestBot::new().await;
        let (url, admin, name) = postgres().await;
        let mut run = command(&bot, &["run"]);
        run.env("DATABASE_URL", &url);
        let process = BotProcess::start(run);
        process.says("the address of pages", |line| line["message"] == "serving pages").await;
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1";
        let closed = sqlx::AssertSqlSafe(format!("alter database {name} with allow_connections false"));
        sqlx::query(closed).execute(&admin).await.unwrap();
        sqlx::query(cut).bind(&name).execute(&admin).await.unwrap();
        process
            .says("trouble with the database", |line| {
                line["level"] == "ERROR" && line["message"].to_string().contains("configuration cannot be read")
            })
            .await;
        let opened = sqlx::AssertSqlSafe(format!("alter database {name} with allow_connections true"));
        sqlx::query(opened).execute(&admin).await.unwrap();
        process.says("the database's return", |line| line["message"] == "the database can be read again").await;
        for stream in ["stdout", "stderr"] {
            assert_clean(stream, &process.printed(stream));
        }
        for (path, text) in pages(&process).await.1 {
            assert_clean(&path, &text);
        }
        drop(process);
        let gone = sqlx::AssertSqlSafe(format!("drop database {name} with (force)"));
        sqlx::query(gone).execute(&admin).await.unwrap();
    }
}

/// With a wrong client secret GitHub answers with an error; with the right one, codes and tokens go over the wire.
#[actix::test]
async fn a_sign_in_leaves_no_secret_in_the_log() {
    let bot = TestBot::new().await;
    for (secret, is_right) in [(GITHUB, false), (CLIENT_SECRET, true)] {
        let mut run = command(&bot, &["run"]);
        run.env_remove("REDIS_URL").env("ADMIN_EMAIL", "ada@example.org").envs([
            ("GITHUB_CLIENT_ID", CLIENT_ID),
            ("GITHUB_CLIENT_SECRET", secret),
            ("GITHUB_BASE_URL", &bot.exchange.github_base()),
        ]);
        let mut process = BotProcess::start(run);
        let base = eventually("the address", async || {
            let printed = process.printed("stdout");
            printed.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_owned)
        })
        .await;
        let visitor = CurrentUser::through_github(&base, "ada").await;
        assert_eq!(visitor.came_in, is_right);
        assert_eq!(process.terminate(), Some(0));
        let printed = process.printed("stdout") + &process.printed("stderr");
        for held in visitor.held.iter().map(String::as_str).chain([secret, "gho_"]) {
            assert!(!printed.contains(held), "the log repeats `{held}`");
        }
    }
}

/// The errors of commands about unusable settings and unreachable services.
#[actix::test]
async fn commands_report_an_error_without_the_secret_in_it() {
    let bot = TestBot::new().await;
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, format!("bind = \"127.0.0.1:0\"\nsession_secret = {SESSION}\n")).unwrap();
    let odd = folder.path().join("odd.toml");
    std::fs::write(&odd, format!("session_secret = [\"{SESSION}\"]\n")).unwrap();
    let (broken, odd) = (broken.display().to_string(), odd.display().to_string());
    let unreachable = format!("postgres://me:{DATABASE}@host.invalid/db");
    let unreadable = format!("postgres://me:{DATABASE}@host:port/db");
    let other = format!("mysql://me:{DATABASE}@host/db");
    let redis = format!("redis://:{REDIS}@host:port");
    let no_redis = format!("{REDIS}@127.0.0.1");
    let node = format!("https://node/v2/{NODE}");
    let odd_node = format!("ws://no de/v2/{NODE}");
    let refused = 2;
    let asked: [(i32, &[&str]); 15] = [
        (0, &["--help"]),
        (0, &["run", "--help"]),
        (1, &["doctor"]),
        (1, &["doctor", "--json"]),
        (1, &["doctor", "--database-url", &unreachable, "--redis-url", &redis, "--alchemy-ws-url", &odd_node]),
        (refused, &["users", "--database-url", &unreachable]),
        (refused, &["run", "--database-url", &unreachable]),
        (refused, &["run", "--database-url", &unreadable]),
        (refused, &["users", "--database-url", &unreadable]),
        (refused, &["run", "--database-url", &other]),
        (refused, &["doctor", "--redis-url", &no_redis]),
        (refused, &["run", "--alchemy-ws-url", &node]),
        (refused, &["run", "--config", &broken]),
        (refused, &["doctor", "--config", &odd]),
        (refused, &["run", "--health-bind", "nowhere"]),
    ];
    let said = asked.map(|(code, arguments)| (code, arguments, BotProcess::start(with_addresses(&bot, arguments))));
    for (code, arguments, mut process) in said {
        let ended = eventually(&format!("{arguments:?}"), async || process.child.try_wait().unwrap()).await;
        let (out, err) = (process.printed("stdout"), process.printed("stderr"));
        assert_eq!(ended.code(), Some(code), "{arguments:?}: {out} {err}");
        assert_clean(&format!("{arguments:?}"), &format!("{out}{err}"));
        if code == refused {
            assert!(!err.is_empty(), "{arguments:?} says nothing");
        }
        // The last output of a bot that cannot run is a line of its log.
        if code == refused && arguments[0] == "run" {
            let line = process.log().pop().unwrap();
            assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"the bot cannot run".into()), "{line}");
        }
    }
    for (flag, address) in [("--database-url", &unreachable), ("--redis-url", &no_redis), ("--alchemy-ws-url", &node)] {
        let output: Output = command(&bot, &["users", flag, address]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(refused), "{said}");
        assert!(said.contains(flag) && said.contains("other users of the machine can read"), "{said}");
        assert_clean(flag, &said);
    }
    let mut short = command(&bot, &["doctor"]);
    let output: Output = short.env("SESSION_SECRET", MARK).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_clean("a short secret", &String::from_utf8_lossy(&output.stderr));
}

/// Creates a database on the test server; returns its URL, which has a password, and the connection that drops it.
async fn postgres() -> (String, sqlx::PgPool, String) {
    let server = postgres_server();
    let admin = sqlx::PgPool::connect(&server).await.unwrap();
    let name = format!("secrets_{}", std::process::id());
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&admin).await.unwrap();
    let (server, _) = server.rsplit_once('/').unwrap();
    let (scheme, place) = server.split_once("://").unwrap();
    let (user, host) = place.rsplit_once('@').unwrap_or(("postgres", place));
    // The server trusts every connection from this machine; it checks no password.
    let user = user.split(':').next().unwrap();
    (format!("{scheme}://{user}:{DATABASE}@{host}/{name}"), admin, name)
}

/// A Redis that refuses every password and repeats the one it received in its answer.
fn rude_redis() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut asked = [0; 4096];
            while connection.read(&mut asked).is_ok_and(|n| n > 0) {
                let answer = format!("-WRONGPASS `{REDIS}` is no password\r\n");
                if connection.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    address
}

/// A node that refuses every request and repeats the key of its address in the answer.
fn rude_node() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let served = actix_web::rt::System::new().block_on(async move {
            let open = async |request: HttpRequest, body: web::Payload| -> actix_web::Result<HttpResponse> {
                ws::start(RudeNode(request.match_info()["key"].to_owned()), &request, body)
            };
            let app = move || App::new().route("/v2/{key}", web::get().to(open));
            HttpServer::new(app).workers(1).disable_signals().listen(listener).unwrap().run().await
        });
        served.unwrap();
    });
    address
}

struct RudeNode(String);

impl Actor for RudeNode {
    type Context = ws::WebsocketContext<Self>;
}

impl StreamHandler<Result<ws::Message, ws::ProtocolError>> for RudeNode {
    fn handle(&mut self, message: Result<ws::Message, ws::ProtocolError>, ctx: &mut Self::Context) {
        let Ok(ws::Message::Text(text)) = message else { return ctx.stop() };
        let asked: serde_json::Value = serde_json::from_str(&text).unwrap();
        let error = serde_json::json!({"code": -32_005, "message": format!("app {} is over its limit", self.0)});
        ctx.text(serde_json::json!({"jsonrpc": "2.0", "id": asked["id"], "error": error}).to_string());
    }
}
