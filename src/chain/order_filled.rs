//! One `OrderFilled` log of the live exchanges, read as a fill of the order's owner.
//!
//! The exchange emits the event once per order, and its `maker` is the owner of that order, also when the order took
//! liquidity. The log of the taker's own order has the exchange itself as `taker`. So a filter on the owner's topic
//! returns each fill of a wallet exactly once.

use alloy_primitives::{B256, U256};
use alloy_sol_types::{SolEvent, sol};
use serde::Deserialize;

use super::ChainError;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

sol! {
    event OrderFilled(
        bytes32 indexed orderHash,
        address indexed maker,
        address indexed taker,
        uint8 side,
        uint256 tokenId,
        uint256 makerAmountFilled,
        uint256 takerAmountFilled,
        uint256 fee,
        bytes32 builder,
        bytes32 metadata
    );
}

/// Returns the first topic of every `OrderFilled` log.
pub fn topic() -> String {
    OrderFilled::SIGNATURE_HASH.to_string()
}

/// The place of a log on the chain. After a reorganisation the same fill may have another place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPlace {
    pub tx_hash: String,
    pub log_index: i64,
    pub block_hash: String,
}

/// A fill seen on chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainFill {
    pub place: LogPlace,
    pub block_number: u64,
    /// `None` when the node does not send it with the log, as some do not.
    pub block_time: Option<Timestamp>,
    /// The owner of the order.
    pub wallet: Wallet,
    pub is_taker: bool,
    pub asset: AssetId,
    pub side: Side,
    pub price: PriceMicros,
    pub shares: ShareMicros,
    /// The price times the shares, without the fee.
    pub notional: UsdcMicros,
    pub fee: UsdcMicros,
    /// The block of this log is no longer part of the chain.
    pub removed: bool,
}

/// A log as a node sends it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireLog {
    address: String,
    topics: Vec<String>,
    data: String,
    #[serde(default)]
    block_hash: Option<String>,
    #[serde(default)]
    block_number: Option<String>,
    #[serde(default)]
    block_timestamp: Option<String>,
    #[serde(default)]
    transaction_hash: Option<String>,
    #[serde(default)]
    log_index: Option<String>,
    #[serde(default)]
    removed: bool,
}

impl WireLog {
    /// Reads the log as a fill.
    ///
    /// # Errors
    /// [`ChainError::BadLog`] when it is another event, is cut off, or its amounts are not those of a fill.
    pub fn into_fill(self) -> Result<ChainFill, ChainError> {
        let place =
            format!("{}:{}", self.transaction_hash.as_deref().unwrap_or("?"), self.log_index.as_deref().unwrap_or("?"));
        self.read().map_err(|reason| ChainError::BadLog { place, reason })
    }

    /// Reads the log; [`WireLog::into_fill`] adds its place to the error.
    ///
    /// # Errors
    /// The reason, as a text.
    fn read(self) -> Result<ChainFill, String> {
        let data = hex::decode(self.data.trim_start_matches("0x")).map_err(|err| format!("data: {err}"))?;
        let topics: Result<Vec<B256>, _> = self.topics.iter().map(|topic| topic.parse()).collect();
        let topics = topics.map_err(|err| format!("topic: {err}"))?;
        let event = OrderFilled::decode_raw_log_validate(topics, &data).map_err(|err| err.to_string())?;
        let side = match event.side {
            0 => Side::Buy,
            1 => Side::Sell,
            other => return Err(format!("side `{other}` is neither 0 nor 1")),
        };
        let (cash, shares) = match side {
            Side::Buy => (event.makerAmountFilled, event.takerAmountFilled),
            Side::Sell => (event.takerAmountFilled, event.makerAmountFilled),
        };
        let (notional, shares) = (UsdcMicros(micros(cash)?), ShareMicros(micros(shares)?));
        let exchange = Wallet::parse(&self.address).map_err(|err| err.to_string())?;
        let wallet =
            |address: alloy_primitives::Address| Wallet::parse(&address.to_string()).map_err(|err| err.to_string());
        Ok(ChainFill {
            place: LogPlace {
                tx_hash: self.transaction_hash.ok_or("no transaction hash")?.to_ascii_lowercase(),
                log_index: i64::try_from(quantity(&self.log_index.ok_or("no log index")?)?)
                    .map_err(|err| err.to_string())?,
                block_hash: self.block_hash.ok_or("no block hash")?.to_ascii_lowercase(),
            },
            block_number: quantity(&self.block_number.ok_or("no block number")?)?,
            block_time: self.block_timestamp.as_deref().map(seconds).transpose()?,
            wallet: wallet(event.maker)?,
            is_taker: wallet(event.taker)? == exchange,
            asset: AssetId::parse(&event.tokenId.to_string()).map_err(|err| err.to_string())?,
            side,
            price: PriceMicros::average(notional, shares).map_err(|err| err.to_string())?,
            shares,
            notional,
            fee: UsdcMicros(micros(event.fee)?),
            removed: self.removed,
        })
    }
}

/// Parses a number as JSON-RPC writes it: `0x` and hex digits.
///
/// # Errors
/// The reason when `text` is not such a number, or does not fit.
pub fn quantity(text: &str) -> Result<u64, String> {
    text.strip_prefix("0x")
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| format!("`{text}` is not a quantity; it should be `0x` and up to 16 hex digits"))
}

/// Parses a block's time: a quantity in seconds.
///
/// # Errors
/// The reason when `text` is not a quantity, or the time is out of range.
pub fn seconds(text: &str) -> Result<Timestamp, String> {
    let seconds = i64::try_from(quantity(text)?).map_err(|err| err.to_string())?;
    Timestamp::from_seconds(seconds).map_err(|err| err.to_string())
}

/// Converts an amount; both USDC and outcome tokens have six decimals.
///
/// # Errors
/// The reason when the amount does not fit into 64 bits.
fn micros(amount: U256) -> Result<i64, String> {
    i64::try_from(amount).map_err(|_| format!("amount `{amount}` does not fit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded() -> Vec<serde_json::Value> {
        serde_json::from_str(include_str!("../../tests/fixtures/chain/order_filled.json")).unwrap()
    }

    fn read(log: &serde_json::Value) -> Result<ChainFill, ChainError> {
        serde_json::from_value::<WireLog>(log.clone()).unwrap().into_fill()
    }

    #[test]
    fn the_topic_is_the_one_seen_in_live_logs() {
        assert_eq!(topic(), "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee");
    }

    #[test]
    fn recorded_logs_become_the_rows_that_the_data_api_showed() {
        let check = |n: usize, is_taker, price, shares, notional, fee| {
            let fill = read(&recorded()[n]["log"]).unwrap();
            assert_eq!((fill.side, fill.is_taker), (Side::Buy, is_taker));
            assert_eq!(fill.price.micros(), price);
            assert_eq!((fill.shares, fill.notional), (ShareMicros(shares), UsdcMicros(notional)));
            assert_eq!(fill.fee, UsdcMicros(fee));
            assert_eq!(fill.wallet.as_str(), "0x6793071793f0981c37f97ca5b1545fb8bec9f66d");
            fill
        };
        let taker = check(0, true, 360_000, 108_000_000, 38_880_000, 1_741_820);
        assert_eq!((taker.place.log_index, taker.block_number, taker.removed), (786, 94_609_767, false));
        assert_eq!(taker.block_time, Some(Timestamp::from_seconds(1_790_619_791).unwrap()));
        check(1, false, 740_000, 84_115_385, 62_245_385, 0);
        check(2, false, 970_000, 249_000_000, 241_530_000, 0);
    }

    #[test]
    fn a_sell_receives_what_the_taker_amount_says() {
        let mut log = recorded()[0]["log"].clone();
        let data = log["data"].as_str().unwrap().to_owned();
        let (side, rest) = data[2..].split_at(64);
        let sell = format!("0x{}1{rest}", &side[..63]);
        log["data"] = sell.into();
        // The amounts now say 38.88 shares for 108 USDC, a price above one.
        assert!(read(&log).unwrap_err().to_string().contains("price"));
        let words: Vec<&str> = (0..5).map(|n| &rest[n * 64..n * 64 + 64]).collect();
        let swapped = [&format!("{}1", &side[..63]), words[0], words[2], words[1], words[3], &rest[4 * 64..]].concat();
        log["data"] = format!("0x{swapped}").into();
        let fill = read(&log).unwrap();
        assert_eq!(
            (fill.side, fill.shares, fill.notional),
            (Side::Sell, ShareMicros(108_000_000), UsdcMicros(38_880_000))
        );
    }

    #[test]
    fn a_log_that_is_not_a_fill_is_an_error_with_its_place() {
        let broken = |change: fn(&mut serde_json::Value)| {
            let mut log = recorded()[0]["log"].clone();
            change(&mut log);
            read(&log).unwrap_err().to_string()
        };
        assert!(broken(|log| log["data"] = "0x12".into()).contains(":0x312"));
        assert!(broken(|log| log["data"] = "0xzz".into()).contains("data"));
        assert!(broken(|log| log["topics"] = serde_json::json!([])).contains("0x312"));
        assert!(broken(|log| log["topics"][0] = log["topics"][1].clone()).contains("0x312"));
        assert!(broken(|log| log["blockNumber"] = serde_json::Value::Null).contains("no block number"));
        assert!(broken(|log| log["logIndex"] = "0xffffffffffffffff".into()).contains("0xffff"));
        assert!(
            broken(|log| {
                let data = log["data"].as_str().unwrap().to_owned();
                log["data"] = format!("0x{}{}", "f".repeat(64), &data[66..]).into();
            })
            .contains("0x312")
        );
        assert!(
            broken(|log| {
                let data = log["data"].as_str().unwrap().to_owned();
                log["data"] = format!("{}{}{}", &data[..2 + 128], "f".repeat(64), &data[2 + 192..]).into();
            })
            .contains("does not fit")
        );
    }
}
