//! A real node: `anvil`, with a contract at the address of each exchange that emits the logs it is called with.
//!
//! Its state is not kept: a node that is started again has another chain, and the bot must not rely on the old one.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use polymarketspy::domain::money::ids::Wallet;
use polymarketspy::simulator::ORDER_FILLED;
use polymarketspy::testkit::{eventually, test_client};
use serde_json::{Value, json};

pub const EXCHANGES: [&str; 3] = [
    "0xe111180000d2663c0091e4f400237545b87b996b",
    "0xe2222d279d744050d28e00520010520000310f59",
    "0xe3333700ca9d93003f00f0f71f8515005f6c00aa",
];

/// Emits one log of four topics and seven words of data for each eleven words of call data.
const EMIT_LOGS: &str = concat!(
    "5f",       // 00  push0                   i = 0
    "5b",       // 01  jumpdest                [i]
    "368110",   // 02  calldatasize dup2 lt    i < size
    "15602d57", // 05  iszero push 2d jumpi    else end
    "60e0",     // 09  push 224                seven words
    "81608001", // 0b  dup2 push 128 add       behind the four topics
    "5f37",     // 0f  push0 calldatacopy      to memory 0
    "80606001", // 11  dup1 push 96 add
    "35",       // 15  calldataload            topic 3
    "81604001", // 16  dup2 push 64 add
    "35",       // 1a  calldataload            topic 2
    "82602001", // 1b  dup3 push 32 add
    "35",       // 1f  calldataload            topic 1
    "8335",     // 20  dup4 calldataload       topic 0
    "60e05fa4", // 22  push 224 push0 log4
    "61016001", // 26  push 352 add            i += 352
    "600156",   // 2a  push 01 jump
    "5b00",     // 2d  jumpdest stop
);

pub struct Node {
    child: Child,
    port: u16,
    sender: String,
}

/// An order that a transaction fills, with the values of its log.
#[derive(Clone)]
pub struct Order<'a> {
    pub owner: &'a str,
    /// The taker's wallet; in the log of the taker's order it is the exchange itself.
    pub taker: &'a str,
    pub sells: bool,
    pub shares: u64,
    pub cash: u64,
}

impl<'a> Order<'a> {
    pub fn buy(owner: &'a Wallet, taker: &'a str, shares: u64, cash: u64) -> Self {
        Self { owner: owner.as_str(), taker, sells: false, shares, cash }
    }

    pub fn sell(owner: &'a Wallet, taker: &'a str, shares: u64, cash: u64) -> Self {
        Self { sells: true, ..Self::buy(owner, taker, shares, cash) }
    }

    /// Returns the topics, then side, token, amount paid, amount received, fee, builder and metadata.
    fn words(&self) -> String {
        let padded = |address: &str| format!("{:0>64}", address.trim_start_matches("0x"));
        let (gave, got) = if self.sells { (self.shares, self.cash) } else { (self.cash, self.shares) };
        let topics =
            [ORDER_FILLED.trim_start_matches("0x").to_owned(), "0d".repeat(32), padded(self.owner), padded(self.taker)];
        let numbers = [u64::from(self.sells), 1234, gave, got, 0, 0, 0].map(|number| format!("{number:064x}"));
        topics.iter().chain(&numbers).map(String::as_str).collect()
    }
}

impl Node {
    /// Starts a node on a free port that mines a block each second.
    pub async fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(port).await
    }

    async fn start_at(port: u16) -> Self {
        let program = std::env::var("ANVIL").unwrap_or_else(|_| {
            panic!(
                "`ANVIL` is not set: this test needs a Polygon node, the program `anvil`; run `scripts/test`, which \
                 installs it. In `scripts/test-fast` the path of such a test must contain `on_anvil`"
            )
        });
        let child = Command::new(&program)
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--chain-id",
                "137",
                "--block-time",
                "1",
                "--silent",
            ])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("ANVIL is `{program}`, which does not start: {error}"));
        let mut node = Self { child, port, sender: String::new() };
        let accounts = eventually("the node", async || node.ask("eth_accounts", json!([])).await.ok()).await;
        accounts[0].as_str().unwrap().clone_into(&mut node.sender);
        for exchange in EXCHANGES {
            node.call("anvil_setCode", json!([exchange, format!("0x{EMIT_LOGS}")])).await;
        }
        node
    }

    /// Kills the node, waits for `meanwhile`, and starts another one on the same port.
    pub async fn start_again(self, meanwhile: impl AsyncFnOnce()) -> Self {
        let port = self.port;
        drop(self);
        meanwhile().await;
        Self::start_at(port).await
    }

    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    pub async fn call(&self, method: &str, params: Value) -> Value {
        self.ask(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn ask(&self, method: &str, params: Value) -> Result<Value, String> {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let sent = test_client().post(format!("http://127.0.0.1:{}", self.port)).send_json(&call).await;
        let mut answer: Value =
            sent.map_err(|error| error.to_string())?.json().await.map_err(|error| error.to_string())?;
        match answer["error"].take() {
            Value::Null => Ok(answer["result"].take()),
            error => Err(error.to_string()),
        }
    }

    /// Fills these orders on an exchange in one transaction; returns its hash. The same fills at the same place in the
    /// sender's history are the same transaction.
    pub async fn fill(&self, exchange: &str, orders: &[Order<'_>]) -> String {
        let data: String = orders.iter().map(Order::words).collect();
        let transaction = json!({
            "from": self.sender, "to": exchange, "data": format!("0x{data}"), "gas": "0x7a120",
            "maxFeePerGas": "0x174876e800", "maxPriorityFeePerGas": "0x1",
        });
        self.call("eth_sendTransaction", json!([transaction])).await.as_str().unwrap().to_owned()
    }

    /// Returns the time of the block of this hash in seconds; `None` when the chain does not contain it.
    pub async fn second_of(&self, block_hash: &str) -> Option<i64> {
        let block = self.call("eth_getBlockByHash", json!([block_hash, false])).await;
        i64::from_str_radix(block["timestamp"].as_str()?.trim_start_matches("0x"), 16).ok()
    }

    /// Stops the process with SIGSTOP; its sockets stay open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

/// Ends the node, so that a test that fails leaves none behind.
impl Drop for Node {
    fn drop(&mut self) {
        // The process may have ended already; then both calls fail, which does no harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
