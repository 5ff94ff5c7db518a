//! Faults of the PostgreSQL server under a running bot: it refuses connections, it does not answer, it is read-only.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use polymarketspy::app::App;
use polymarketspy::audit::audit;
use polymarketspy::clock::Clock;
use polymarketspy::db::TokenScope;
use polymarketspy::http_client::http_client;
use polymarketspy::simulator::SimulatorSettings;
use polymarketspy::testkit::{TestBot, TestDb, eventually};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::kill::Crowd;

/// Two seconds, and the slowness of a busy machine.
const AT_MOST: Duration = Duration::from_millis(2_500);

/// A way to the server that can be cut or frozen.
struct Way {
    address: SocketAddr,
    server: String,
    is_frozen: Arc<AtomicBool>,
    open: Mutex<Option<Open>>,
}

struct Open {
    ends: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    accepts: JoinHandle<()>,
}

impl Way {
    fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let way = Self { address, server: server.to_owned(), is_frozen: Arc::default(), open: Mutex::new(None) };
        way.serve(listener);
        way
    }

    fn serve(&self, listener: TcpListener) {
        let (ends, streams) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<TcpStream>>>::default());
        let (ended, held, frozen, server) =
            (ends.clone(), streams.clone(), self.is_frozen.clone(), self.server.clone());
        let accepts = std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { continue };
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(server) = TcpStream::connect(&server) else { continue };
                held.lock().unwrap().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                for (from, to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))] {
                    let (from, to, frozen) = (from.unwrap(), to.unwrap(), frozen.clone());
                    std::thread::spawn(move || copy(from, to, &frozen));
                }
            }
        });
        *self.open.lock().unwrap() = Some(Open { ends, streams, accepts });
    }

    /// Ends every connection, and refuses new ones.
    fn cut(&self) {
        let Some(open) = self.open.lock().unwrap().take() else { return };
        open.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        open.accepts.join().unwrap();
        for stream in open.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.is_frozen.store(false, Ordering::SeqCst);
        if self.open.lock().unwrap().is_none() {
            self.serve(TcpListener::bind(self.address).unwrap());
        }
    }

    /// Connections are made and stay open, and nothing passes.
    fn freeze(&self) {
        self.is_frozen.store(true, Ordering::SeqCst);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.mend();
        self.cut();
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, frozen: &AtomicBool) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        while frozen.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
        if n == 0 || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Returns a bot that reaches its server by a [`Way`]; its own `db` goes straight to the server.
async fn bot_behind_a_way() -> (TestBot, Way) {
    let mut test_db = TestDb::postgres().await;
    let at = test_db.url.rfind('@').unwrap() + 1;
    let end = at + test_db.url[at..].find('/').unwrap();
    let way = Way::to(&test_db.url[at..end]);
    test_db.url = format!("{}{}{}", &test_db.url[..at], way.address, &test_db.url[end..]);
    (TestBot::at(test_db, None, SimulatorSettings::default()).await, way)
}

/// Returns status and body of a page or a route.
async fn get(app: &App, path: &str, token: &str) -> (u16, String) {
    let client = http_client(Duration::from_secs(60));
    let request = client.get(format!("http://{}{path}", app.address().unwrap())).bearer_auth(token);
    let mut answer = request.send().await.unwrap();
    let body = answer.body().limit(1 << 22).await.unwrap();
    (answer.status().as_u16(), String::from_utf8_lossy(&body).into_owned())
}

async fn health(app: &App) -> serde_json::Value {
    let url = format!("http://{}/health", app.health_address().unwrap());
    let client = http_client(Duration::from_secs(60));
    client.get(url).send().await.unwrap().json().await.unwrap()
}

async fn token(bot: &TestBot) -> String {
    let text = polymarketspy::token::random_text().unwrap();
    let hash = polymarketspy::token::hex(&polymarketspy::token::hash(&text));
    let _ = bot.db.insert_token("reader", &hash, TokenScope::Read, "test", Clock::System.now()).await.unwrap();
    text
}

/// Every page and route answers in time, and each but the bare health names the cause.
async fn is_said_in_time(app: &App, token: &str, cause: &str) {
    for path in ["/", "/trades", "/status", "/api/overview", "/api/copy-attempts", "/export/trades.csv"] {
        let begun = Instant::now();
        let (code, body) = get(app, path, token).await;
        assert!(begun.elapsed() < AT_MOST, "{path} took {:?}", begun.elapsed());
        assert_eq!(code, 503, "{path}: {body}");
        assert!(body.contains(cause), "{path}: {body}");
    }
    let begun = Instant::now();
    let (code, body) = get(app, "/api/health", token).await;
    assert!(begun.elapsed() < AT_MOST, "/api/health took {:?}", begun.elapsed());
    assert_eq!((code, body.as_str()), (503, r#"{"status":"down"}"#));
}

/// Every fill of a while is copied, and the books agree.
async fn goes_on(bot: &TestBot, crowd: &mut Crowd, app: App) {
    crowd.trade(bot);
    crowd.settled(&bot.db).await;
    app.stop().await;
    assert_eq!(audit(&bot.db).await.unwrap().problems, Vec::<String>::new());
    assert_eq!(bot.db.count_dead_letters().await.unwrap(), 0);
}

/// Returns exit code, output and duration of a command.
fn run(bot: &TestBot, arguments: &[&str]) -> (Option<i32>, String, Duration) {
    let begun = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_polymarketspy"));
    let output = command.args(arguments).envs(bot.environment()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned(), begun.elapsed())
}

mod on_postgres {
    use super::*;

    #[actix::test]
    async fn a_server_that_is_away_is_said_within_two_seconds_and_costs_only_its_time() {
        let (bot, way) = bot_behind_a_way().await;
        let mut crowd = Crowd::gather(&bot).await;
        let app = bot.start().await;
        let reader = token(&bot).await;
        crowd.trade(&bot);
        crowd.settled(&bot.db).await;

        way.cut();
        crowd.trade(&bot);
        // A connection that was open says only that it was closed; the next says why there is none.
        eventually("the cause", async || get(&app, "/trades", &reader).await.1.contains("refused").then_some(())).await;
        is_said_in_time(&app, &reader, "Connection refused").await;
        for arguments in [&["users"][..], &["audit"], &["run"], &["jobs", "list"]] {
            let (code, said, took) = run(&bot, arguments);
            assert_eq!(code, Some(2), "{arguments:?}: {said}");
            assert!(said.contains("Connection refused") && said.contains(&way.address.to_string()), "{said}");
            assert!(took < AT_MOST, "{arguments:?} took {took:?}");
        }
        let report = eventually("the cause in the health", async || {
            let report = health(&app).await;
            report["failingWrites"]["cause"].as_str().is_some_and(|cause| cause.contains("refused")).then_some(report)
        })
        .await;
        assert_eq!(report["status"], "down", "{report}");

        way.mend();
        goes_on(&bot, &mut crowd, app).await;
        bot.close().await;
    }

    #[actix::test]
    async fn a_server_that_does_not_answer_is_said_within_two_seconds_and_costs_only_its_time() {
        let (bot, way) = bot_behind_a_way().await;
        let mut crowd = Crowd::gather(&bot).await;
        let app = bot.start().await;
        let reader = token(&bot).await;
        crowd.trade(&bot);
        crowd.settled(&bot.db).await;

        way.freeze();
        crowd.trade(&bot);
        is_said_in_time(&app, &reader, "no answer within").await;
        let (code, said, took) = run(&bot, &["users"]);
        assert!(code == Some(2) && said.contains("no answer within") && took < AT_MOST, "{took:?} {said}");
        assert_eq!(health(&app).await["status"], "down");

        way.mend();
        goes_on(&bot, &mut crowd, app).await;
        bot.close().await;
    }

    #[actix::test]
    async fn a_database_that_is_read_only_for_a_while_costs_only_that_while() {
        let (bot, way) = bot_behind_a_way().await;
        let mut crowd = Crowd::gather(&bot).await;
        let app = bot.start().await;
        let reader = token(&bot).await;
        crowd.trade(&bot);
        crowd.settled(&bot.db).await;

        let url = bot.settings().database.url.reveal().to_owned();
        let name = url.rsplit_once('/').unwrap().1.to_owned();
        let mut admin = PgConnection::connect(&polymarketspy::testkit::db::postgres_server()).await.unwrap();
        let set = AssertSqlSafe(format!("alter database {name} set default_transaction_read_only = on"));
        admin.execute(set).await.unwrap();
        // As after a demotion: open sessions end, and new ones are read-only.
        way.cut();
        way.mend();
        crowd.trade(&bot);
        let report = eventually("the cause in the health", async || {
            let report = health(&app).await;
            report["failingWrites"]["cause"].as_str().is_some_and(|cause| cause.contains("read-only")).then_some(report)
        })
        .await;
        assert!(report["status"] == "degraded" || report["status"] == "down", "{report}");
        // Pages read as ever, with a token too, and say it.
        let (code, body) = get(&app, "/api/status", &reader).await;
        assert!(code == 200 && body.contains("read-only transaction"), "{code} {body}");

        let reset = AssertSqlSafe(format!("alter database {name} reset default_transaction_read_only"));
        admin.execute(reset).await.unwrap();
        goes_on(&bot, &mut crowd, app).await;
        bot.close().await;
    }
}
