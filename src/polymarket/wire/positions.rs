//! Parses pages of `/v2/positions` (venue 1.6). A row that cannot be parsed is an error: a position that was left out would
//! look like a closed one.

use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::activity::Pagination;
use super::decimal_text;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};

/// What the API prints for an outcome index that it does not know.
const UNKNOWN_INDEX: i64 = 999;

/// A current holding; the API rounds it to 4 decimals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub market: MarketId,
    /// A token of either ledger, or one of a combo.
    pub asset: AssetId,
    /// The token of the other outcome, on the same ledger.
    pub opposite: Option<AssetId>,
    pub outcome_index: Option<i64>,
    pub shares: ShareMicros,
    /// The venue's price of one share; its payout once the market is resolved.
    pub current_price: Option<PriceMicros>,
    /// What the wallet paid for a share on average, without fees.
    pub average_price: Option<PriceMicros>,
    pub neg_risk: bool,
    /// The market is resolved, whether this outcome won or lost.
    pub redeemable: bool,
    /// The second of the newest event of this position, if the API states it.
    pub last_event_at: Option<Timestamp>,
}

/// One page of positions.
#[derive(Debug, Clone)]
pub struct PositionsPage {
    pub positions: Vec<Position>,
    pub next_cursor: Option<String>,
}

/// Parses one page.
///
/// # Errors
/// The first row that cannot be parsed, or a text that is not a page.
pub fn parse_positions(text: &str) -> Result<PositionsPage, String> {
    let page: Envelope = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let next_cursor = page.pagination.next()?;
    let positions = page.data.into_iter().map(RawPosition::read).collect::<Result<_, _>>()?;
    Ok(PositionsPage { positions, next_cursor })
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    data: Vec<RawPosition<'a>>,
    #[serde(default)]
    pagination: Pagination,
}

#[derive(Deserialize)]
pub(in crate::polymarket) struct RawPosition<'a> {
    token_id: String,
    condition_id: String,
    #[serde(default)]
    opposite_token_id: Option<String>,
    #[serde(default)]
    outcome_index: Option<i64>,
    /// Not `total_size`, which is the number of shares ever bought.
    #[serde(borrow)]
    current_size: &'a RawValue,
    #[serde(borrow, default)]
    current_price: Option<&'a RawValue>,
    #[serde(borrow, default)]
    avg_price: Option<&'a RawValue>,
    #[serde(default)]
    negative_risk: Option<bool>,
    #[serde(default)]
    redeemable: Option<bool>,
    #[serde(borrow, default)]
    last_event_at: Option<&'a RawValue>,
}

/// A price that cannot be parsed counts as missing: the shares beside it matter more, and prices have other sources.
fn price(text: Option<&RawValue>) -> Option<PriceMicros> {
    PriceMicros::from_decimal(decimal_text::decimal_of(text?).ok()??).ok()
}

/// A time that cannot be parsed counts as missing too.
fn seconds(text: &RawValue) -> Option<Timestamp> {
    let seconds = decimal_text::decimal_of(text).ok()??.to_i64().filter(|seconds| *seconds > 0)?;
    Timestamp::from_seconds(seconds).ok()
}

impl RawPosition<'_> {
    fn read(self) -> Result<Position, String> {
        let shares = decimal_text::decimal_of(self.current_size)
            .and_then(|size| Ok(ShareMicros::from_decimal(size.unwrap_or_default())?))
            .map_err(|error| format!("current_size: {error}"))?;
        if shares < ShareMicros::ZERO {
            return Err(format!("current_size: `{}` is negative", self.current_size.get()));
        }
        Ok(Position {
            market: MarketId::parse(&self.condition_id).map_err(|error| error.to_string())?,
            asset: AssetId::parse(&self.token_id).map_err(|error| error.to_string())?,
            opposite: self.opposite_token_id.and_then(|id| AssetId::parse(&id).ok()),
            outcome_index: self.outcome_index.filter(|index| *index != UNKNOWN_INDEX),
            shares,
            current_price: price(self.current_price),
            average_price: price(self.avg_price),
            neg_risk: self.negative_risk.unwrap_or(false),
            redeemable: self.redeemable.unwrap_or(false),
            last_event_at: self.last_event_at.and_then(seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(fields: &str) -> Position {
        let text = format!(
            r#"{{"data":[{{"token_id":"7","condition_id":"0x{}","current_size":1.5{fields}}}],
                 "pagination":{{"has_more":false}}}}"#,
            "a".repeat(64)
        );
        parse_positions(&text).unwrap().positions.remove(0)
    }

    #[test]
    fn a_price_or_time_that_is_missing_null_or_no_number_is_unknown() {
        let known = position(r#","current_price":0.7545,"avg_price":0.37481234,"last_event_at":1787499970"#);
        let micros = |price: Option<PriceMicros>| price.map(PriceMicros::micros);
        assert_eq!((micros(known.current_price), micros(known.average_price)), (Some(754_500), Some(374_812)));
        assert_eq!(known.last_event_at.map(Timestamp::seconds), Some(1_787_499_970));
        for fields in ["", r#","current_price":null,"last_event_at":null"#, r#","current_price":"n/a","avg_price":7"#] {
            let unknown = position(fields);
            assert_eq!((unknown.current_price, unknown.average_price, unknown.last_event_at), (None, None, None));
        }
        assert_eq!(position(r#","outcome_index":999"#).outcome_index, None);
    }
}
