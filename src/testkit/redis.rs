//! A Redis server for one test.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long `redis-server` may take until it accepts a connection.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A Redis server on a free port. It ends with the test.
pub struct TestRedis {
    port: u16,
    child: Option<Child>,
}

impl TestRedis {
    pub fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { port, child: None };
        server.start_again();
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Starts the server on the same port, empty.
    pub fn start_again(&mut self) {
        let options = ["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let child = Command::new("redis-server").args(options).stdout(Stdio::null()).spawn();
        self.child = Some(child.expect(
            "`redis-server` is not installed: run `scripts/test`, which installs it. \
             In `scripts/test-fast` the path of such a test must contain `on_redis` or `on_postgres`",
        ));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < STARTS_WITHIN, "`redis-server` did not start within {STARTS_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the server; its data is lost.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends one command and returns its answer.
    pub async fn command<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        ::redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.stop();
    }
}
