//! The protocol with a node on one connection: which requests to send, and how to read the answers. Owns no socket and
//! no clock.
//!
//! In    the wallets to watch, and each text that the node sends.
//! Out   texts to send, and [`ChainNews`].
//! Fails [`ChainError::Refused`] when the node refuses a subscription; the connection is useless then.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    ChainError,
    blocks::{Block, Blocks},
    order_filled::{self, ChainFill, WireLog, quantity, seconds},
};
use crate::domain::money::ids::Wallet;

/// A piece of news from the node.
#[derive(Debug)]
pub enum ChainNews {
    /// The node confirmed: it now reports the fills of exactly these wallets.
    Watching(BTreeSet<Wallet>),
    Head(Block),
    Fill(Box<ChainFill>),
    /// A log or a head that cannot be read; the stream goes on.
    Unreadable(ChainError),
}

/// The state of one connection. A new connection starts with a new value.
#[derive(Debug)]
pub struct Feed {
    exchanges: Vec<Wallet>,
    next_request: u64,
    pending: BTreeMap<u64, Request>,
    heads: Option<String>,
    /// By subscription id; more than one only while a wider filter replaces a narrower one.
    logs: BTreeMap<String, BTreeSet<Wallet>>,
    wanted: BTreeSet<Wallet>,
    blocks: Blocks,
}

/// A request that the node has not answered yet.
#[derive(Debug)]
enum Request {
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

/// The news in a text, and the texts to send back.
type Taken = (Vec<ChainNews>, Vec<String>);

impl Feed {
    pub fn new(exchanges: Vec<Wallet>) -> Self {
        Self {
            exchanges,
            next_request: 1,
            pending: BTreeMap::new(),
            heads: None,
            logs: BTreeMap::new(),
            wanted: BTreeSet::new(),
            blocks: Blocks::default(),
        }
    }

    /// Returns the first texts to send on a connection.
    pub fn open(&mut self, wallets: BTreeSet<Wallet>) -> Vec<String> {
        let heads = self.request("eth_subscribe", json!(["newHeads"]), Request::Heads);
        [heads].into_iter().chain(self.watch(wallets)).collect()
    }

    /// Changes the wallets; returns the texts to send. A second subscription starts, and the old one ends when the node
    /// has confirmed the second, so that no log is lost in between. A log that comes through both has the same place
    /// and counts once.
    pub fn watch(&mut self, wallets: BTreeSet<Wallet>) -> Vec<String> {
        if wallets == self.wanted {
            return Vec::new();
        }
        self.wanted.clone_from(&wallets);
        // To the node, an empty list would mean every wallet.
        if wallets.is_empty() {
            return self.end_logs();
        }
        let owners: Vec<String> = wallets.iter().map(topic_of).collect();
        let filter = json!({"address": self.exchanges, "topics": [[order_filled::topic()], null, owners]});
        vec![self.request("eth_subscribe", json!(["logs", filter]), Request::Logs(wallets))]
    }

    /// Returns true while fills wait for the time of their block.
    pub fn waits_for_times(&self) -> bool {
        self.blocks.is_waiting()
    }

    /// Returns the waiting fills without a time.
    pub fn wait_no_longer(&mut self) -> Vec<ChainNews> {
        fills(self.blocks.wait_no_longer())
    }

    /// Returns true when the node reports heads and the fills of every wanted wallet.
    pub fn is_complete(&self) -> bool {
        self.heads.is_some() && (self.wanted.is_empty() || self.logs.values().any(|wallets| *wallets == self.wanted))
    }

    /// Takes one text from the node; returns its news and the texts to send back.
    ///
    /// # Errors
    /// [`ChainError::Unreadable`] for a text that is not JSON-RPC, [`ChainError::Refused`] when the node refused a
    /// subscription.
    pub fn take(&mut self, text: &[u8]) -> Result<Taken, ChainError> {
        let incoming: Incoming<'_> =
            serde_json::from_slice(text).map_err(|err| ChainError::Unreadable(err.to_string()))?;
        match (incoming.id, incoming.params) {
            (_, Some(notification)) => Ok(self.notified(&notification)),
            (Some(id), None) => self.answered(id, incoming.result, incoming.error),
            (None, None) => Ok(Taken::default()),
        }
    }

    /// Takes the answer to request `id`.
    ///
    /// # Errors
    /// [`ChainError::Refused`] when it was a subscription and the node refused it.
    fn answered(&mut self, id: u64, result: Option<&RawValue>, error: Option<RpcError>) -> Result<Taken, ChainError> {
        let wallets = match self.pending.remove(&id) {
            None | Some(Request::Unsubscribed) => return Ok(Taken::default()),
            Some(Request::Block) => return Ok((self.block(result), Vec::new())),
            Some(Request::Heads) => None,
            Some(Request::Logs(wallets)) => Some(wallets),
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
        // The last wallet was removed while the answer was on its way.
        if self.wanted.is_empty() {
            ends.extend(self.end_logs());
            return Ok((Vec::new(), ends));
        }
        Ok((vec![ChainNews::Watching(wallets)], ends))
    }

    /// Takes the answer with a block. `null` means that the node does not have the block yet: its head will follow.
    fn block(&mut self, result: Option<&RawValue>) -> Vec<ChainNews> {
        match result.map(|result| read_block(result.get())) {
            Some(Ok(block)) => fills(self.blocks.answer(block)),
            _ => Vec::new(),
        }
    }

    fn notified(&mut self, notification: &Notification<'_>) -> Taken {
        if self.heads.as_ref() == Some(&notification.subscription) {
            return match read_block(notification.result.get()) {
                Ok(block) => {
                    let released = self.blocks.head(block.clone());
                    ([ChainNews::Head(block)].into_iter().chain(fills(released)).collect(), Vec::new())
                }
                Err(reason) => (vec![ChainNews::Unreadable(ChainError::Unreadable(reason))], Vec::new()),
            };
        }
        // Everything else is a log. Logs of a subscription that was just replaced, or is not confirmed yet, count too.
        let log: Result<WireLog, _> = serde_json::from_str(notification.result.get());
        match log.map_err(|err| ChainError::Unreadable(err.to_string())).and_then(WireLog::into_fill) {
            Ok(fill) => {
                let (fill, ask) = self.blocks.fill(fill);
                let ask = ask.map(|number| {
                    self.request("eth_getBlockByNumber", json!([format!("{number:#x}"), false]), Request::Block)
                });
                (fills(fill), ask.into_iter().collect())
            }
            Err(error) => (vec![ChainNews::Unreadable(error)], Vec::new()),
        }
    }

    fn end_logs(&mut self) -> Vec<String> {
        let ended: Vec<String> = std::mem::take(&mut self.logs).into_keys().collect();
        ended.into_iter().map(|old| self.request("eth_unsubscribe", json!([old]), Request::Unsubscribed)).collect()
    }

    fn request(&mut self, method: &str, params: serde_json::Value, kind: Request) -> String {
        let id = self.next_request;
        self.next_request += 1;
        self.pending.insert(id, kind);
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    }
}

/// Parses a block.
///
/// # Errors
/// The reason when the text is not a block.
fn read_block(text: &str) -> Result<Block, String> {
    let block: WireBlock = serde_json::from_str(text).map_err(|err| err.to_string())?;
    Ok(Block {
        number: quantity(&block.number)?,
        hash: block.hash.map(|hash| hash.to_ascii_lowercase()),
        time: seconds(&block.timestamp)?,
    })
}

fn fills(fills: impl IntoIterator<Item = ChainFill>) -> Vec<ChainNews> {
    fills.into_iter().map(|fill| ChainNews::Fill(Box::new(fill))).collect()
}

/// Returns an address as a log topic: padded on the left to 32 bytes.
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
    fn a_recorded_conversation_becomes_heads_and_fills() {
        let mut feed = Feed::new(exchanges());
        feed.open(wallets(&[OWNER]));
        let mut news = Vec::new();
        for text in recorded() {
            let (pieces, send) = feed.take(text.as_bytes()).unwrap();
            assert!(send.is_empty());
            news.extend(pieces);
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
    fn the_block_of_a_log_without_a_head_is_asked_for_once_on_the_same_socket() {
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
    fn the_answer_gives_the_log_its_time_and_a_refusal_ends_nothing() {
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
    fn without_wallets_the_subscription_ends_even_one_not_confirmed_yet() {
        let mut feed = Feed::new(exchanges());
        feed.open(wallets(&[OWNER]));
        feed.take(br#"{"id":1,"result":"0xa"}"#).unwrap();
        assert!(feed.watch(BTreeSet::new()).is_empty(), "nothing is confirmed yet");
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
