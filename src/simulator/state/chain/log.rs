//! A log of the chain, the `OrderFilled` event in it, and the filters of subscriptions.

use serde_json::Value;

use crate::domain::events::event::Side;

/// Topic 0 of the `OrderFilled` event.
pub const ORDER_FILLED: &str = "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee";
/// The contract that settles orders of ordinary markets.
pub const CTF_EXCHANGE: &str = "0xe111180000d2663c0091e4f400237545b87b996b";
/// The contract that settles orders of neg-risk markets.
pub const NEG_RISK_EXCHANGE: &str = "0xe2222d279d744050d28e00520010520000310f59";

/// One log of the chain.
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

/// The `OrderFilled` event: an order was filled, whole or in part.
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

/// Addresses and topics as `eth_subscribe` and `eth_getLogs` take them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// A log matches when its address is one of these; empty matches all.
    addresses: Vec<String>,
    /// The accepted topics of each position; `None` accepts any topic.
    topics: Vec<Option<Vec<String>>>,
}

impl Filter {
    /// Reads the filter parameter of a call.
    ///
    /// # Errors
    /// The message of the JSON-RPC error, in the words of a real node.
    pub fn parse(filter: &Value) -> Result<Self, String> {
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

    /// Returns whether a subscription with this filter receives `log`.
    pub fn matches(&self, log: &Log) -> bool {
        let address = self.addresses.is_empty() || self.addresses.contains(&log.address);
        let topic =
            |(wanted, topic): (&Option<Vec<String>>, &String)| wanted.as_ref().is_none_or(|any| any.contains(topic));
        address && self.topics.len() <= log.topics.len() && self.topics.iter().zip(&log.topics).all(topic)
    }
}

impl OrderFilled<'_> {
    /// Returns the topics: event, order hash, owner, taker.
    pub fn topics(&self) -> Vec<String> {
        vec![ORDER_FILLED.to_owned(), self.order_hash.clone(), padded(self.owner), padded(self.taker)]
    }

    /// Returns the seven words of the data: side, token, amount that the owner paid, amount that the owner received,
    /// fee, builder, metadata.
    pub fn data(&self) -> String {
        let token = alloy_primitives::U256::from_str_radix(self.token, 10).unwrap_or_default();
        let (side, paid, received) = match self.side {
            Side::Buy => (0, self.usdc_micros, self.share_micros),
            Side::Sell => (1, self.share_micros, self.usdc_micros),
        };
        format!("0x{side:064x}{token:064x}{paid:064x}{received:064x}{:064x}{:064x}{:064x}", self.fee_micros, 0, 0)
    }
}

fn padded(wallet: &str) -> String {
    format!("0x{:0>64}", wallet.trim_start_matches("0x"))
}
