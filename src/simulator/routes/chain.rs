//! The simulated Polygon: blocks, logs, and what a node answers over its websocket.
//!
//! One block each second, so that a block's time is exactly the second its rows carry (the real chain makes one about
//! every second and a half). Nothing is replayed to a socket that was away, as in life; a reorg on command re-sends
//! the old logs with `removed: true` and brings the same transaction back in a later block.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::domain::events::event::Side;
use crate::domain::money::units::Timestamp;

use crate::simulator::life::rng::hex_of;

pub const ORDER_FILLED: &str = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee";
pub const CTF_EXCHANGE: &str = "0xe111180000d2663c0091e4f400237545b87b996b";
pub const NEG_RISK_EXCHANGE: &str = "0xe2222d279d744050d28e00520010520000310f59";

/// A block and its time as recorded on 2026-09-28: the origin of our numbers.
const ORIGIN_BLOCK: i64 = 94_609_767;
const ORIGIN_SECOND: i64 = 1_790_619_791;

/// Logs that can still be asked for; a load run makes thousands a second and nobody asks for old ones.
const LOGS_MAX: usize = 50_000;

/// What a socket is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Close,
}

type Sink = Box<dyn Fn(Frame) + Send>;

/// One log as the chain has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub block: u64,
    pub tx_index: u64,
    pub log_index: u64,
    pub tx_hash: String,
    pub address: String,
    pub topics: Vec<String>,
    pub data: String,
}

/// An order that was filled, whole or in part.
#[derive(Debug, Clone)]
pub struct OrderFilled<'a> {
    pub order_hash: String,
    /// The owner of the order, whatever its role.
    pub owner: &'a str,
    /// The taker's wallet, or the exchange itself in the taker's own log.
    pub taker: &'a str,
    pub side: Side,
    pub token: &'a str,
    pub share_micros: i64,
    pub usdc_micros: i64,
    pub fee_micros: i64,
}

/// How the node behaves.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Logs carry `blockTimestamp`, as bor does; unconfirmed for Alchemy.
    pub block_timestamps: bool,
    /// Widest range `eth_getLogs` accepts, in blocks.
    pub get_logs_blocks_max: Option<u64>,
    /// A new subscription is first sent the newest this many logs it matches, a second time.
    pub replayed_logs: usize,
}

pub struct Chain {
    seed: u64,
    pub settings: NodeSettings,
    /// Sockets stay open and nothing is said on them.
    pub stalled: bool,
    /// New sockets are closed at once.
    pub refusing: bool,
    logs: BTreeMap<(u64, u64), Log>,
    /// Transactions and logs used up in a block.
    used: BTreeMap<u64, (u64, u64)>,
    /// How often a block was replaced by another.
    forks: BTreeMap<u64, u32>,
    sockets: BTreeMap<u64, Socket>,
    sockets_ever: u64,
    subscriptions_ever: u64,
    head: u64,
}

struct Socket {
    sink: Sink,
    subscriptions: Vec<(String, Subject)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Subject {
    Heads,
    Logs(Filter),
}

/// Addresses and topics as `eth_subscribe` and `eth_getLogs` take them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Any of these; all when empty.
    addresses: Vec<String>,
    /// By position: `None` is anything.
    topics: Vec<Option<Vec<String>>>,
}

impl Chain {
    pub fn new(seed: u64, settings: NodeSettings) -> Self {
        Self {
            seed,
            settings,
            stalled: false,
            refusing: false,
            logs: BTreeMap::new(),
            used: BTreeMap::new(),
            forks: BTreeMap::new(),
            sockets: BTreeMap::new(),
            sockets_ever: 0,
            subscriptions_ever: 0,
            head: 0,
        }
    }

    /// Takes places for one transaction with `n_logs` logs: its index and the index of its first log.
    pub fn reserve(&mut self, block: u64, n_logs: u64) -> (u64, u64) {
        let used = self.used.entry(block).or_insert((3, 40));
        let taken = *used;
        *used = (used.0.saturating_add(1), used.1.saturating_add(n_logs).saturating_add(2));
        taken
    }

    /// Writes a log and tells everyone who asked.
    pub fn append(&mut self, log: Log) {
        let said = self.log_json(&log, false);
        self.tell_logs(&log, &said);
        self.logs.insert((log.block, log.log_index), log);
        if self.logs.len() > LOGS_MAX {
            self.logs.pop_first();
        }
    }

    /// Moves a transaction into the block of `now`: its logs are taken back, then said again with their new places.
    /// Returns how many logs moved.
    pub fn reorg(&mut self, tx_hash: &str, now: Timestamp) -> usize {
        let moved: Vec<Log> = self.logs.values().filter(|log| log.tx_hash == tx_hash).cloned().collect();
        for log in &moved {
            let said = self.log_json(log, true);
            self.tell_logs(log, &said);
            self.logs.remove(&(log.block, log.log_index));
        }
        let Some(old) = moved.first().map(|log| log.block) else { return 0 };
        *self.forks.entry(old).or_insert(0) += 1;
        let block = block_of(now).max(old);
        let (tx_index, first) = self.reserve(block, moved.len() as u64);
        for (n, log) in (0_u64..).zip(&moved) {
            self.append(Log { block, tx_index, log_index: first.saturating_add(n), ..log.clone() });
        }
        moved.len()
    }

    /// Says every block that came since the last call, at most the newest three.
    pub fn advance(&mut self, now: Timestamp) {
        let head = block_of(now);
        if self.head == 0 || head <= self.head {
            self.head = self.head.max(head);
            return;
        }
        for block in self.head.max(head.saturating_sub(3)).saturating_add(1)..=head {
            let header = self.header(block);
            for socket in self.sockets.values() {
                for (id, _) in socket.subscriptions.iter().filter(|(_, subject)| *subject == Subject::Heads) {
                    self.say(socket, id, &header);
                }
            }
        }
        self.head = head;
        // What no socket can ask about any more is let go, so that a long run does not grow here.
        let floor = head.saturating_sub(200_000);
        self.used = self.used.split_off(&floor);
    }

    /// A new socket; its number. `None` when connections are refused.
    pub fn open(&mut self, sink: Sink) -> Option<u64> {
        if self.refusing {
            return None;
        }
        self.sockets_ever += 1;
        self.sockets.insert(self.sockets_ever, Socket { sink, subscriptions: Vec::new() });
        Some(self.sockets_ever)
    }

    pub fn closed(&mut self, socket: u64) {
        self.sockets.remove(&socket);
    }

    pub fn close_all(&mut self) {
        for (_, socket) in std::mem::take(&mut self.sockets) {
            (socket.sink)(Frame::Close);
        }
    }

    pub fn n_sockets(&self) -> usize {
        self.sockets.len()
    }

    pub fn n_sockets_ever(&self) -> u64 {
        self.sockets_ever
    }

    /// Subscriptions to logs on all open sockets.
    pub fn n_log_subscriptions(&self) -> usize {
        let subjects = self.sockets.values().flat_map(|socket| &socket.subscriptions);
        subjects.filter(|(_, subject)| matches!(subject, Subject::Logs(_))).count()
    }

    /// Answers one text from a socket, on that socket.
    pub fn hear(&mut self, socket: u64, text: &str, now: Timestamp) {
        if self.stalled {
            return;
        }
        let answer = match serde_json::from_str::<Value>(text) {
            Ok(Value::Array(calls)) => Value::Array(calls.iter().map(|call| self.call(socket, call, now)).collect()),
            Ok(call) => self.call(socket, &call, now),
            Err(_) => error(&Value::Null, -32_700, "parse error"),
        };
        if let Some(open) = self.sockets.get(&socket) {
            (open.sink)(Frame::Text(answer.to_string()));
        }
        self.replay(socket, &answer);
    }

    fn call(&mut self, socket: u64, call: &Value, now: Timestamp) -> Value {
        let id = &call["id"];
        let params = &call["params"];
        let result = match call["method"].as_str().unwrap_or_default() {
            "eth_chainId" => Ok(json!("0x89")),
            "eth_blockNumber" => Ok(json!(hex_number(block_of(now)))),
            "eth_subscribe" => self.subscribe(socket, params),
            "eth_unsubscribe" => Ok(json!(self.unsubscribe(socket, params[0].as_str().unwrap_or_default()))),
            "eth_getLogs" => self.get_logs(&params[0], now),
            "eth_getBlockByNumber" => Ok(match block_named(&params[0], now) {
                Some(block) if block <= block_of(now) => self.header(block),
                _ => Value::Null,
            }),
            other => Err((-32_601, format!("the method {other} does not exist/is not available"))),
        };
        match result {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err((code, message)) => error(id, code, &message),
        }
    }

    fn subscribe(&mut self, socket: u64, params: &Value) -> Result<Value, (i64, String)> {
        let subject = match params[0].as_str().unwrap_or_default() {
            "newHeads" => Subject::Heads,
            "logs" => Subject::Logs(Filter::parse(&params[1]).map_err(|message| (-32_602, message))?),
            other => return Err((-32_602, format!("unsupported subscription type: {other}"))),
        };
        self.subscriptions_ever += 1;
        let id = hex_of(self.seed, "subscription", self.subscriptions_ever, 16);
        if let Some(socket) = self.sockets.get_mut(&socket) {
            socket.subscriptions.push((id.clone(), subject));
        }
        Ok(json!(id))
    }

    fn unsubscribe(&mut self, socket: u64, id: &str) -> bool {
        let Some(socket) = self.sockets.get_mut(&socket) else { return false };
        let before = socket.subscriptions.len();
        socket.subscriptions.retain(|(known, _)| known != id);
        socket.subscriptions.len() < before
    }

    /// Doubles after a reconnect: the newest logs a fresh subscription matches are said once more.
    fn replay(&self, socket: u64, answer: &Value) {
        if self.settings.replayed_logs == 0 {
            return;
        }
        let Some(socket) = self.sockets.get(&socket) else { return };
        let fresh = socket.subscriptions.iter().find(|(id, _)| answer["result"].as_str() == Some(id));
        let Some((id, Subject::Logs(filter))) = fresh else { return };
        let newest = self.logs.values().rev().filter(|log| filter.matches(log)).take(self.settings.replayed_logs);
        for log in newest.collect::<Vec<_>>().into_iter().rev() {
            self.say(socket, id, &self.log_json(log, false));
        }
    }

    fn get_logs(&self, query: &Value, now: Timestamp) -> Result<Value, (i64, String)> {
        let filter = Filter::parse(query).map_err(|message| (-32_602, message))?;
        let from = block_named(&query["fromBlock"], now).ok_or((-32_602, "invalid fromBlock".to_owned()))?;
        let to = block_named(&query["toBlock"], now).ok_or((-32_602, "invalid toBlock".to_owned()))?;
        if from > to {
            return Err((-32_600, "invalid block range params".to_owned()));
        }
        if let Some(max) = self.settings.get_logs_blocks_max
            && to - from >= max
        {
            return Err((-32_600, format!("you can make eth_getLogs requests with up to a {max} block range")));
        }
        let found = self.logs.range((from, 0)..=(to, u64::MAX)).map(|(_, log)| log);
        Ok(found.filter(|log| filter.matches(log)).map(|log| self.log_json(log, false)).collect())
    }

    fn tell_logs(&self, log: &Log, said: &Value) {
        for socket in self.sockets.values() {
            for (id, subject) in &socket.subscriptions {
                if matches!(subject, Subject::Logs(filter) if filter.matches(log)) {
                    self.say(socket, id, said);
                }
            }
        }
    }

    fn say(&self, socket: &Socket, subscription: &str, result: &Value) {
        if self.stalled {
            return;
        }
        let params = json!({"result": result, "subscription": subscription});
        let said = json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params});
        (socket.sink)(Frame::Text(said.to_string()));
    }

    fn block_hash(&self, block: u64) -> String {
        match self.forks.get(&block) {
            None => hex_of(self.seed, "block", block, 32),
            Some(fork) => hex_of(self.seed, &format!("block fork {fork}"), block, 32),
        }
    }

    fn header(&self, block: u64) -> Value {
        json!({
            "number": hex_number(block),
            "hash": self.block_hash(block),
            "parentHash": self.block_hash(block.saturating_sub(1)),
            "timestamp": hex_number(second_of(block)),
            "miner": "0x0000000000000000000000000000000000000000",
            "gasUsed": "0x178a176",
            "baseFeePerGas": "0x39b46724ff",
        })
    }

    fn log_json(&self, log: &Log, removed: bool) -> Value {
        let mut said = json!({
            "address": log.address,
            "blockHash": self.block_hash(log.block),
            "blockNumber": hex_number(log.block),
            "data": log.data,
            "logIndex": hex_number(log.log_index),
            "removed": removed,
            "topics": log.topics,
            "transactionHash": log.tx_hash,
            "transactionIndex": hex_number(log.tx_index),
        });
        if self.settings.block_timestamps {
            said["blockTimestamp"] = json!(hex_number(second_of(log.block)));
        }
        said
    }
}

impl Filter {
    fn parse(filter: &Value) -> Result<Self, String> {
        let texts = |value: &Value| -> Result<Vec<String>, String> {
            let lower = |text: &Value| text.as_str().map(str::to_ascii_lowercase).ok_or("invalid argument".to_owned());
            match value {
                Value::Null => Ok(Vec::new()),
                Value::Array(values) => values.iter().map(lower).collect(),
                value => lower(value).map(|text| vec![text]),
            }
        };
        let addresses = texts(&filter["address"])?;
        let topics = match &filter["topics"] {
            Value::Null => Vec::new(),
            Value::Array(positions) if positions.len() > 4 => return Err("exceed max topics".to_owned()),
            Value::Array(positions) => positions
                .iter()
                .map(|position| texts(position).map(|any| (!any.is_empty()).then_some(any)))
                .collect::<Result<_, _>>()?,
            _ => return Err("invalid topics".to_owned()),
        };
        Ok(Self { addresses, topics })
    }

    fn matches(&self, log: &Log) -> bool {
        let address = self.addresses.is_empty() || self.addresses.contains(&log.address);
        let topic =
            |(wanted, topic): (&Option<Vec<String>>, &String)| wanted.as_ref().is_none_or(|any| any.contains(topic));
        address && self.topics.len() <= log.topics.len() && self.topics.iter().zip(&log.topics).all(topic)
    }
}

impl OrderFilled<'_> {
    pub fn topics(&self) -> Vec<String> {
        vec![ORDER_FILLED.to_owned(), self.order_hash.clone(), padded(self.owner), padded(self.taker)]
    }

    /// Seven words: side, token, what the owner gave, what the owner got, fee, builder, metadata.
    pub fn data(&self) -> String {
        let token = alloy_primitives::U256::from_str_radix(self.token, 10).unwrap_or_default();
        let (side, gave, got) = match self.side {
            Side::Buy => (0, self.usdc_micros, self.share_micros),
            Side::Sell => (1, self.share_micros, self.usdc_micros),
        };
        format!("0x{side:064x}{token:064x}{gave:064x}{got:064x}{:064x}{:064x}{:064x}", self.fee_micros, 0, 0)
    }
}

/// The block whose second `now` falls into.
pub fn block_of(now: Timestamp) -> u64 {
    u64::try_from(ORIGIN_BLOCK + now.seconds() - ORIGIN_SECOND).unwrap_or(1).max(1)
}

fn second_of(block: u64) -> u64 {
    u64::try_from(i64::try_from(block).unwrap_or(i64::MAX / 2) - ORIGIN_BLOCK + ORIGIN_SECOND).unwrap_or(0)
}

fn block_named(name: &Value, now: Timestamp) -> Option<u64> {
    match name.as_str() {
        None if name.is_null() => Some(block_of(now)),
        None => None,
        Some("latest" | "pending" | "safe" | "finalized") => Some(block_of(now)),
        Some("earliest") => Some(0),
        Some(text) => u64::from_str_radix(text.strip_prefix("0x")?, 16).ok(),
    }
}

fn padded(wallet: &str) -> String {
    format!("0x{:0>64}", wallet.trim_start_matches("0x"))
}

fn hex_number(number: u64) -> String {
    format!("0x{number:x}")
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
