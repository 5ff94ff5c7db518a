//! The talk with a node over one socket: what to send, what an answer means. Owns no socket and no clock.
//!
//! In    the wallets to watch, and each text the node sends.
//! Out   texts to send, and `ChainNews`.
//! Fails when the node refuses what we cannot do without; the socket is then of no use.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    ChainError,
    blocks::{Block, Blocks},
    order_filled::{self, ChainFill, WireLog, quantity, seconds},
};
use crate::domain::money::ids::Wallet;

/// What the chain said.
#[derive(Debug)]
pub enum ChainNews {
    /// The node now reports the fills of exactly these wallets.
    Watching(BTreeSet<Wallet>),
    Head(Block),
    Fill(Box<ChainFill>),
    /// A log we cannot read; the stream goes on.
    Unreadable(ChainError),
}

/// The state of one connection. A new connection starts with a new value.
#[derive(Debug)]
pub struct Feed {
    exchanges: Vec<Wallet>,
    next_request: u64,
    asked: BTreeMap<u64, Asked>,
    heads: Option<String>,
    /// By subscription id; more than one only while a wider filter replaces a narrower one.
    logs: BTreeMap<String, BTreeSet<Wallet>>,
    wanted: BTreeSet<Wallet>,
    blocks: Blocks,
}

#[derive(Debug)]
enum Asked {
    Heads,
    Logs(BTreeSet<Wallet>),
    Block,
    Unsubscribed,
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default, borrow)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<RpcError>,
    #[serde(default, borrow)]
    params: Option<Notification<'a>>,
}

#[derive(Deserialize)]
struct RpcError {
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Notification<'a> {
    subscription: String,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
struct WireBlock {
    number: String,
    #[serde(default)]
    hash: Option<String>,
    timestamp: String,
}

/// What a text says, and what to send back.
type Taken = (Vec<ChainNews>, Vec<String>);

impl Feed {
    pub fn new(exchanges: Vec<Wallet>) -> Self {
        Self {
            exchanges,
            next_request: 1,
            asked: BTreeMap::new(),
            heads: None,
            logs: BTreeMap::new(),
            wanted: BTreeSet::new(),
            blocks: Blocks::default(),
        }
    }

    /// The first texts of a connection.
    pub fn open(&mut self, wallets: BTreeSet<Wallet>) -> Vec<String> {
        let heads = self.request("eth_subscribe", json!(["newHeads"]), Asked::Heads);
        [heads].into_iter().chain(self.watch(wallets)).collect()
    }

    /// Changes the wallets: a second subscription starts, and the old one ends once it stands, so that no log is lost
    /// between them. Logs that come through both have the same place and count once.
    pub fn watch(&mut self, wallets: BTreeSet<Wallet>) -> Vec<String> {
        if wallets == self.wanted {
            return Vec::new();
        }
        self.wanted.clone_from(&wallets);
        // An empty list would mean any wallet.
        if wallets.is_empty() {
            return self.end_logs();
        }
        let owners: Vec<String> = wallets.iter().map(topic_of).collect();
        let filter = json!({"address": self.exchanges, "topics": [[order_filled::topic()], null, owners]});
        vec![self.request("eth_subscribe", json!(["logs", filter]), Asked::Logs(wallets))]
    }

    /// True while fills wait for the time of their block.
    pub fn waits_for_times(&self) -> bool {
        self.blocks.is_waiting()
    }

    /// Says them without it.
    pub fn wait_no_longer(&mut self) -> Vec<ChainNews> {
        fills(self.blocks.wait_no_longer())
    }

    /// True once the node reports heads and the fills of every wallet we want.
    pub fn is_complete(&self) -> bool {
        self.heads.is_some() && (self.wanted.is_empty() || self.logs.values().any(|wallets| *wallets == self.wanted))
    }

    /// Takes one text of the node; returns what it says and what to send back.
    ///
    /// # Errors
    /// `Unreadable` for a text that is no JSON-RPC, `Refused` when a subscription was refused.
    pub fn take(&mut self, text: &[u8]) -> Result<Taken, ChainError> {
        let incoming: Incoming<'_> =
            serde_json::from_slice(text).map_err(|err| ChainError::Unreadable(err.to_string()))?;
        match (incoming.id, incoming.params) {
            (_, Some(said)) => Ok(self.notified(&said)),
            (Some(id), None) => self.answered(id, incoming.result, incoming.error),
            (None, None) => Ok(Taken::default()),
        }
    }

    fn answered(&mut self, id: u64, result: Option<&RawValue>, error: Option<RpcError>) -> Result<Taken, ChainError> {
        let wallets = match self.asked.remove(&id) {
            None | Some(Asked::Unsubscribed) => return Ok(Taken::default()),
            Some(Asked::Block) => return Ok((self.block(result), Vec::new())),
            Some(Asked::Heads) => None,
            Some(Asked::Logs(wallets)) => Some(wallets),
        };
        let subscription = result.and_then(|result| serde_json::from_str::<String>(result.get()).ok());
        let Some(subscription) = subscription else {
            let message = error.map_or_else(|| "no subscription id".to_owned(), |error| error.message);
            return Err(ChainError::Refused { request: id, message: message.chars().take(200).collect() });
        };
        let Some(wallets) = wallets else {
            self.heads = Some(subscription);
            return Ok(Taken::default());
        };
        let mut ends = self.end_logs();
        self.logs.insert(subscription, wallets.clone());
        // Everybody was let go while the answer was on its way.
        if self.wanted.is_empty() {
            ends.extend(self.end_logs());
            return Ok((Vec::new(), ends));
        }
        Ok((vec![ChainNews::Watching(wallets)], ends))
    }

    /// A block we asked for. `null` is a block that the node has not got yet: its head will follow.
    fn block(&mut self, result: Option<&RawValue>) -> Vec<ChainNews> {
        match result.map(|result| read_block(result.get())) {
            Some(Ok(block)) => fills(self.blocks.answer(block)),
            _ => Vec::new(),
        }
    }

    fn notified(&mut self, said: &Notification<'_>) -> Taken {
        if self.heads.as_ref() == Some(&said.subscription) {
            return match read_block(said.result.get()) {
                Ok(block) => {
                    let says = self.blocks.head(block.clone());
                    ([ChainNews::Head(block)].into_iter().chain(fills(says)).collect(), Vec::new())
                }
                Err(reason) => (vec![ChainNews::Unreadable(ChainError::Unreadable(reason))], Vec::new()),
            };
        }
        // A log of a subscription that was just replaced, or whose confirmation is still on its way, counts as well.
        let log: Result<WireLog, _> = serde_json::from_str(said.result.get());
        match log.map_err(|err| ChainError::Unreadable(err.to_string())).and_then(WireLog::into_fill) {
            Ok(fill) => {
                let (says, ask) = self.blocks.fill(fill);
                let ask = ask.map(|number| {
                    self.request("eth_getBlockByNumber", json!([format!("{number:#x}"), false]), Asked::Block)
                });
                (fills(says), ask.into_iter().collect())
            }
            Err(error) => (vec![ChainNews::Unreadable(error)], Vec::new()),
        }
    }

    fn end_logs(&mut self) -> Vec<String> {
        let ended: Vec<String> = std::mem::take(&mut self.logs).into_keys().collect();
        ended.into_iter().map(|old| self.request("eth_unsubscribe", json!([old]), Asked::Unsubscribed)).collect()
    }

    fn request(&mut self, method: &str, params: serde_json::Value, asked: Asked) -> String {
        let id = self.next_request;
        self.next_request += 1;
        self.asked.insert(id, asked);
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    }
}

fn read_block(text: &str) -> Result<Block, String> {
    let block: WireBlock = serde_json::from_str(text).map_err(|err| err.to_string())?;
    Ok(Block {
        number: quantity(&block.number)?,
        hash: block.hash.map(|hash| hash.to_ascii_lowercase()),
        time: seconds(&block.timestamp)?,
    })
}

fn fills(says: impl IntoIterator<Item = ChainFill>) -> Vec<ChainNews> {
    says.into_iter().map(|fill| ChainNews::Fill(Box::new(fill))).collect()
}

/// An address as a log topic: padded left to 32 bytes.
fn topic_of(wallet: &Wallet) -> String {
    format!("0x{:0>64}", wallet.as_str().trim_start_matches("0x"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "0xd9d1b59c93188b6972c614f81a09c49d27d22df7";

    fn wallet(text: &str) -> Wallet {
        Wallet::parse(text).unwrap()
    }

    fn wallets(texts: &[&str]) -> BTreeSet<Wallet> {
        texts.iter().map(|text| wallet(text)).collect()
    }

    fn exchanges() -> Vec<Wallet> {
        vec![wallet("0xE111180000d2663C0091e4f400237545B87B996B")]
    }

    fn recorded() -> Vec<String> {
        let recorded: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/chain/subscription.json")).unwrap();
        recorded["received"].as_array().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_subscription_is_narrow_by_exchange_event_and_owner() {
        let mut feed = Feed::new(exchanges());
        let sent = feed.open(wallets(&[OWNER]));
        assert_eq!(sent[0], r#"{"id":1,"jsonrpc":"2.0","method":"eth_subscribe","params":["newHeads"]}"#);
        let logs: serde_json::Value = serde_json::from_str(&sent[1]).unwrap();
        assert_eq!(
            logs["params"],
            json!(["logs", {
                "address": ["0xe111180000d2663c0091e4f400237545b87b996b"],
                "topics": [
                    ["0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee"],
                    null,
                    ["0x000000000000000000000000d9d1b59c93188b6972c614f81a09c49d27d22df7"],
                ],
            }])
        );
        assert!(Feed::new(exchanges()).open(BTreeSet::new()).len() == 1, "no wallet must not mean every wallet");
    }

    #[test]
    fn a_recorded_conversation_gives_heads_and_fills() {
        let mut feed = Feed::new(exchanges());
        feed.open(wallets(&[OWNER]));
        let mut news = Vec::new();
        for text in recorded() {
            let (said, send) = feed.take(text.as_bytes()).unwrap();
            assert!(send.is_empty());
            news.extend(said);
        }
        assert!(feed.is_complete());
        assert!(matches!(&news[0], ChainNews::Watching(w) if w.len() == 1));
        let ChainNews::Head(Block { number, time, .. }) = news[1] else { panic!("{news:?}") };
        assert_eq!((number, time.seconds()), (94_782_945, 1_790_879_558));
        let ChainNews::Fill(fill) = &news[2] else { panic!("{news:?}") };
        assert_eq!((fill.place.log_index, fill.block_number), (71, number));
        assert_eq!((fill.notional.0, fill.shares.0), (8_100_000, 27_000_000));
    }

    #[test]
    fn a_log_without_a_time_takes_it_from_the_head_of_its_block() {
        let mut feed = Feed::new(exchanges());
        feed.open(wallets(&[OWNER]));
        let texts: Vec<String> = recorded().iter().map(|text| text.replace("blockTimestamp", "gone")).collect();
        let news: Vec<ChainNews> = texts.iter().flat_map(|text| feed.take(text.as_bytes()).unwrap().0).collect();
        let Some(ChainNews::Fill(fill)) = news.last() else { panic!("{news:?}") };
        assert_eq!(fill.block_time.unwrap().seconds(), 1_790_879_558);
    }

    #[test]
    fn a_log_whose_head_was_not_seen_has_its_block_asked_for_once_on_the_same_socket() {
        let mut feed = Feed::new(exchanges());
        feed.open(wallets(&[OWNER]));
        let texts: Vec<String> = recorded().iter().map(|text| text.replace("blockTimestamp", "gone")).collect();
        let [heads, logs, head, log, ..] = texts.as_slice() else { panic!("{texts:?}") };
        feed.take(heads.as_bytes()).unwrap();
        feed.take(logs.as_bytes()).unwrap();
        let (news, send) = feed.take(log.as_bytes()).unwrap();
        assert!(news.is_empty() && feed.waits_for_times());
        let asked = r#"{"id":3,"jsonrpc":"2.0","method":"eth_getBlockByNumber","params":["0x5a645e1",false]}"#;
        assert_eq!(send, [asked]);
        assert!(feed.take(log.as_bytes()).unwrap().1.is_empty(), "asked once");
        assert!(feed.take(br#"{"id":3,"result":null}"#).unwrap().0.is_empty(), "the head that follows may tell");
        let (news, _) = feed.take(head.as_bytes()).unwrap();
        let [ChainNews::Head(_), ChainNews::Fill(fill), ChainNews::Fill(_)] = news.as_slice() else {
            panic!("{news:?}")
        };
        assert_eq!(fill.block_time.unwrap().seconds(), 1_790_879_558);
        assert!(!feed.waits_for_times());
    }

    #[test]
    fn the_answer_dates_the_log_and_its_refusal_is_no_end() {
        for (answer, n_dated) in [
            (r#"{"id":3,"result":{"number":"0x5a645e1","timestamp":"0x6abea746"}}"#, 1),
            (r#"{"id":3,"error":{"code":-32000,"message":"slow down"}}"#, 0),
            (r#"{"id":3,"result":{"number":7}}"#, 0),
        ] {
            let mut feed = Feed::new(exchanges());
            feed.open(wallets(&[OWNER]));
            let log = recorded()[3].replace("blockTimestamp", "gone");
            feed.take(log.as_bytes()).unwrap();
            let (news, _) = feed.take(answer.as_bytes()).unwrap();
            assert_eq!(news.len(), n_dated, "{answer}");
            let late = feed.wait_no_longer();
            assert_eq!(late.len(), 1 - n_dated, "{answer}");
        }
    }

    #[test]
    fn nobody_to_watch_ends_the_subscription_even_one_that_is_on_its_way() {
        let mut feed = Feed::new(exchanges());
        feed.open(wallets(&[OWNER]));
        feed.take(br#"{"id":1,"result":"0xa"}"#).unwrap();
        assert!(feed.watch(BTreeSet::new()).is_empty(), "nothing stands yet");
        let (news, send) = feed.take(br#"{"id":2,"result":"0xb"}"#).unwrap();
        assert!(news.is_empty());
        assert_eq!(send, [r#"{"id":3,"jsonrpc":"2.0","method":"eth_unsubscribe","params":["0xb"]}"#]);
        assert!(feed.is_complete());
    }

    #[test]
    fn new_wallets_are_subscribed_before_the_old_subscription_ends() {
        let mut feed = Feed::new(exchanges());
        feed.open(wallets(&[OWNER]));
        feed.take(br#"{"id":1,"result":"0xa"}"#).unwrap();
        feed.take(br#"{"id":2,"result":"0xb"}"#).unwrap();
        let both = wallets(&[OWNER, "0x00000000000000000000000000000000000000aa"]);
        assert!(feed.watch(both.clone())[0].contains("eth_subscribe"));
        assert!(feed.watch(both.clone()).is_empty(), "asked once");
        assert!(!feed.is_complete());
        let (news, send) = feed.take(br#"{"id":3,"result":"0xc"}"#).unwrap();
        assert!(matches!(&news[0], ChainNews::Watching(w) if *w == both));
        assert_eq!(send, [r#"{"id":4,"jsonrpc":"2.0","method":"eth_unsubscribe","params":["0xb"]}"#]);
        assert!(feed.take(br#"{"id":4,"result":true}"#).unwrap().0.is_empty());
        assert!(feed.is_complete());
    }

    #[test]
    fn a_refusal_ends_the_connection_and_nonsense_is_an_error() {
        let mut feed = Feed::new(exchanges());
        feed.open(wallets(&[OWNER]));
        let refused = feed.take(br#"{"id":2,"error":{"code":-32000,"message":"too many filters"}}"#).unwrap_err();
        assert_eq!(refused.to_string(), "the node refused request `2`: too many filters");
        assert!(feed.take(b"<html>").is_err());
        assert!(feed.take(b"[1]").is_err());
        assert!(feed.take(br#"{"hello":"world"}"#).unwrap().0.is_empty());
        let (news, _) = feed.take(br#"{"params":{"subscription":"0xd","result":{"topics":[]}}}"#).unwrap();
        assert!(matches!(news[0], ChainNews::Unreadable(_)));
    }
}
