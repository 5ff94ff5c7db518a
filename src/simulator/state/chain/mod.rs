//! The simulated Polygon: blocks, logs, and the sockets that are notified of them.
//!
//! The chain makes one block each second, so that a block's time is exactly the second that its rows carry. (The real
//! chain makes a block about every second and a half.) A socket that was disconnected is not sent the logs that it
//! missed; the real node does not send them either. A reorg on command sends the old logs again with `removed: true`
//! and puts the same transaction into a later block.

mod log;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use self::log::{CTF_EXCHANGE, Filter, Log, NEG_RISK_EXCHANGE, ORDER_FILLED, OrderFilled};
use crate::domain::money::units::Timestamp;
use crate::simulator::rng::hex_of;
use crate::simulator::settings::NodeSettings;

/// A block and its time as recorded on 2026-09-28; all other block numbers are counted from it.
const ORIGIN_BLOCK: i64 = 94_609_767;
const ORIGIN_SECOND: i64 = 1_790_619_791;

/// Logs kept for `eth_getLogs`. A load run makes thousands of logs a second, and no test reads old ones.
const LOGS_MAX: usize = 50_000;

/// A message to a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Text(String),
    Close,
}

type Sink = Box<dyn Fn(Frame) + Send>;

/// Blocks, logs and subscriptions. The JSON-RPC methods over it are in `routes::node`.
pub struct Chain {
    seed: u64,
    pub settings: NodeSettings,
    /// Sockets stay open, but the node sends nothing on them.
    pub stalled: bool,
    /// New sockets are closed at once.
    pub refusing: bool,
    logs: BTreeMap<(u64, u64), Log>,
    /// The next free transaction index and log index of each block.
    next_free: BTreeMap<u64, (u64, u64)>,
    /// How often a reorg replaced each block.
    forks: BTreeMap<u64, u32>,
    sockets: BTreeMap<u64, Socket>,
    /// Number of the newest socket.
    n_sockets_ever: u64,
    n_subscriptions_ever: u64,
    /// The newest block that was announced.
    head: u64,
}

struct Socket {
    sink: Sink,
    subscriptions: Vec<(String, Subject)>,
}

/// What a subscription is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    Heads,
    Logs(Filter),
}

impl Chain {
    pub fn new(seed: u64, settings: NodeSettings) -> Self {
        Self {
            seed,
            settings,
            stalled: false,
            refusing: false,
            logs: BTreeMap::new(),
            next_free: BTreeMap::new(),
            forks: BTreeMap::new(),
            sockets: BTreeMap::new(),
            n_sockets_ever: 0,
            n_subscriptions_ever: 0,
            head: 0,
        }
    }

    // Blocks and logs.

    /// Reserves room in a block for one transaction with `n_logs` logs. Returns the index of the transaction and the
    /// index of its first log.
    pub fn reserve(&mut self, block: u64, n_logs: u64) -> (u64, u64) {
        let next_free = self.next_free.entry(block).or_insert((3, 40));
        let reserved = *next_free;
        *next_free = (reserved.0.saturating_add(1), reserved.1.saturating_add(n_logs).saturating_add(2));
        reserved
    }

    /// Adds a log and sends it to each subscription that it matches.
    pub fn append(&mut self, log: Log) {
        let message = self.log_json(&log, false);
        self.notify_log(&log, &message);
        self.logs.insert((log.block, log.log_index), log);
        if self.logs.len() > LOGS_MAX {
            self.logs.pop_first();
        }
    }

    /// Moves a transaction into the block of `now`: its logs are sent with `removed: true`, then again with their new
    /// indexes. Returns how many logs moved.
    pub fn reorg(&mut self, tx_hash: &str, now: Timestamp) -> usize {
        let moved: Vec<Log> = self.logs.values().filter(|log| log.tx_hash == tx_hash).cloned().collect();
        for log in &moved {
            let message = self.log_json(log, true);
            self.notify_log(log, &message);
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

    /// Announces the blocks since the last call, at most the newest three.
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
                    self.notify(socket, id, &header);
                }
            }
        }
        self.head = head;
        // No new transaction goes into blocks this old. Drop their counters, so that memory stays bounded in a long run.
        let floor = head.saturating_sub(200_000);
        self.next_free = self.next_free.split_off(&floor);
    }

    /// Returns the logs of the blocks `from..=to` that match, as `eth_getLogs` prints them.
    pub fn logs_between(&self, from: u64, to: u64, filter: &Filter) -> Value {
        let found = self.logs.range((from, 0)..=(to, u64::MAX)).map(|(_, log)| log);
        found.filter(|log| filter.matches(log)).map(|log| self.log_json(log, false)).collect()
    }

    /// Returns a block as `newHeads` and `eth_getBlockByNumber` print it.
    pub fn header(&self, block: u64) -> Value {
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

    fn block_hash(&self, block: u64) -> String {
        match self.forks.get(&block) {
            None => hex_of(self.seed, "block", block, 32),
            Some(fork) => hex_of(self.seed, &format!("block fork {fork}"), block, 32),
        }
    }

    fn log_json(&self, log: &Log, removed: bool) -> Value {
        let mut json = json!({
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
            json["blockTimestamp"] = json!(hex_number(second_of(log.block)));
        }
        json
    }

    // Sockets and subscriptions.

    /// Adds a socket and returns its number; `None` while the node refuses connections.
    pub fn add_socket(&mut self, sink: Sink) -> Option<u64> {
        if self.refusing {
            return None;
        }
        self.n_sockets_ever += 1;
        self.sockets.insert(self.n_sockets_ever, Socket { sink, subscriptions: Vec::new() });
        Some(self.n_sockets_ever)
    }

    /// Forgets a socket that was closed.
    pub fn remove_socket(&mut self, socket: u64) {
        self.sockets.remove(&socket);
    }

    /// Closes all sockets.
    pub fn close_all(&mut self) {
        for (_, socket) in std::mem::take(&mut self.sockets) {
            (socket.sink)(Frame::Close);
        }
    }

    /// Returns the number of open sockets.
    pub fn n_sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Returns how many sockets were opened since the start.
    pub fn n_sockets_ever(&self) -> u64 {
        self.n_sockets_ever
    }

    /// Returns the number of subscriptions to logs on all open sockets.
    pub fn n_log_subscriptions(&self) -> usize {
        let subjects = self.sockets.values().flat_map(|socket| &socket.subscriptions);
        subjects.filter(|(_, subject)| matches!(subject, Subject::Logs(_))).count()
    }

    /// Adds a subscription to a socket and returns its id.
    pub fn subscribe(&mut self, socket: u64, subject: Subject) -> String {
        self.n_subscriptions_ever += 1;
        let id = hex_of(self.seed, "subscription", self.n_subscriptions_ever, 16);
        if let Some(socket) = self.sockets.get_mut(&socket) {
            socket.subscriptions.push((id.clone(), subject));
        }
        id
    }

    /// Removes a subscription; false when the socket has no such subscription.
    pub fn unsubscribe(&mut self, socket: u64, id: &str) -> bool {
        let Some(socket) = self.sockets.get_mut(&socket) else { return false };
        let before = socket.subscriptions.len();
        socket.subscriptions.retain(|(known, _)| known != id);
        socket.subscriptions.len() < before
    }

    /// Sends a text to one socket.
    pub fn send(&self, socket: u64, text: String) {
        if let Some(socket) = self.sockets.get(&socket) {
            (socket.sink)(Frame::Text(text));
        }
    }

    /// Sends the newest logs that a new subscription matches once more, as a node may do after a reconnect. How many is
    /// in the settings.
    pub fn resend_newest(&self, socket: u64, id: &str) {
        if self.settings.replayed_logs == 0 {
            return;
        }
        let Some(socket) = self.sockets.get(&socket) else { return };
        let subscription = socket.subscriptions.iter().find(|(known, _)| known == id);
        let Some((id, Subject::Logs(filter))) = subscription else { return };
        let newest = self.logs.values().rev().filter(|log| filter.matches(log)).take(self.settings.replayed_logs);
        for log in newest.collect::<Vec<_>>().into_iter().rev() {
            self.notify(socket, id, &self.log_json(log, false));
        }
    }

    fn notify_log(&self, log: &Log, message: &Value) {
        for socket in self.sockets.values() {
            for (id, subject) in &socket.subscriptions {
                if matches!(subject, Subject::Logs(filter) if filter.matches(log)) {
                    self.notify(socket, id, message);
                }
            }
        }
    }

    fn notify(&self, socket: &Socket, subscription: &str, result: &Value) {
        if self.stalled {
            return;
        }
        let params = json!({"result": result, "subscription": subscription});
        let message = json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params});
        (socket.sink)(Frame::Text(message.to_string()));
    }
}

/// Returns the block whose second contains `now`.
pub fn block_of(now: Timestamp) -> u64 {
    u64::try_from(ORIGIN_BLOCK + now.seconds() - ORIGIN_SECOND).unwrap_or(1).max(1)
}

fn second_of(block: u64) -> u64 {
    u64::try_from(i64::try_from(block).unwrap_or(i64::MAX / 2) - ORIGIN_BLOCK + ORIGIN_SECOND).unwrap_or(0)
}

/// Returns a number as JSON-RPC writes it: `0x1f`.
pub fn hex_number(number: u64) -> String {
    format!("0x{number:x}")
}
