//! Turns rows into drafts of events: the permanent id of each row, and what it moved (spec 3.1).
//!
//! Ordinals are assigned over a whole window at once, after its last page, because the rows of one transaction may be on two
//! pages. Before storing the rows, the caller reads the events of [`Window::repeated`] from the database and passes them to
//! [`Window::keep_ordinals`].

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::activity::{BadRow, RowError, WireRow};
use super::fee::{CashParts, RowAmounts};
use super::ordinal::{Figures, keep, key_of};
use crate::domain::events::event::{ActivityEvent, ActivityKind, ActivityPayload, Side, TradeEvent};
use crate::domain::market::facts::FeeSchedule;
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

/// Everything a wallet did in a window of time, oldest first. The same rows in any order make the same window.
#[derive(Debug, Clone, Default)]
pub struct Window {
    pub trades: Vec<TradeDraft>,
    pub activities: Vec<ActivityDraft>,
    pub bad: Vec<BadRow>,
    /// The wallets that the rows name.
    pub wallets: BTreeSet<Wallet>,
    /// The second from which the rest is to be read, when there were too many rows for one window. The window has the rows
    /// before it, and all of them: the rows of one transaction have one time.
    pub cut_at: Option<Timestamp>,
}

/// A fill, without the followed user and the detection time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TradeDraft {
    pub source_id: String,
    pub tx_hash: String,
    pub wallet: Wallet,
    pub market: MarketId,
    pub asset: AssetId,
    pub side: Side,
    pub price: PriceMicros,
    pub shares: ShareMicros,
    pub notional: UsdcMicros,
    pub fee: Option<UsdcMicros>,
    pub event_time: Timestamp,
    amounts: Option<RowAmounts>,
}

/// Any other row, without the followed user and the detection time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivityDraft {
    pub source_id: String,
    pub wallet: Wallet,
    pub kind: ActivityKind,
    pub payload: ActivityPayload,
    pub event_time: Timestamp,
}

impl Window {
    /// Reads all rows of a window; `asked` is the wallet of the request, for rows that name none.
    pub fn of(rows: impl IntoIterator<Item = Result<WireRow, BadRow>>, asked: &Wallet) -> Self {
        let mut window = Self::default();
        let mut read = Vec::new();
        for row in rows {
            match row.and_then(|row| Identified::new(row, asked)) {
                Ok(identified) => read.push(identified),
                Err(bad) => window.bad.push(bad),
            }
        }
        // Rows with the same key are ordered by their other values, so that their ordinals depend neither on the order of pages
        // nor on the sort direction.
        read.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut next: BTreeMap<String, usize> = BTreeMap::new();
        for identified in read {
            let ordinal = next.entry(identified.key.clone()).or_default();
            // A row that cannot be read gets no ordinal: its next version may be the same as another row.
            if window.add(identified, *ordinal) {
                *ordinal = ordinal.saturating_add(1);
            }
        }
        window
    }

    /// Returns false for a row that cannot be read.
    fn add(&mut self, identified: Identified, ordinal: usize) -> bool {
        let Identified { key, wallet, row } = identified;
        let source_id = format!("{key}:{ordinal}");
        self.wallets.insert(wallet.clone());
        let drafted = if row.kind == "TRADE" && !row.is_combo {
            TradeDraft::new(source_id, wallet, &row).map(|trade| self.trades.push(trade))
        } else {
            ActivityDraft::new(source_id, wallet, &row).map(|activity| self.activities.push(activity))
        };
        match drafted {
            Ok(()) => true,
            Err(error) => {
                self.bad.push(BadRow { text: row.text.to_string(), reason: error.to_string() });
                false
            }
        }
    }

    /// Returns the ids under which rows with a repeated key may be stored already.
    pub fn repeated(&self) -> Vec<EventId> {
        let ids = self.trades.iter().map(|draft| (draft.key(), draft.event_id()));
        let ids = ids.chain(self.activities.iter().map(|draft| (draft.key(), draft.event_id())));
        let mut by_key: BTreeMap<&str, Vec<EventId>> = BTreeMap::new();
        for (key, id) in ids {
            by_key.entry(key).or_default().push(id);
        }
        by_key.into_values().filter(|ids| ids.len() > 1).flatten().collect()
    }

    /// Gives stored rows the ordinals under which they are stored, and new rows the free ones. Of two equal fills, the one
    /// that the API lists later must not get the ordinal of the one that was stored first.
    ///
    /// `trades` and `activities` are the stored events with the ids of [`Self::repeated`].
    pub fn keep_ordinals(&mut self, trades: &[TradeEvent], activities: &[ActivityEvent]) {
        let stored = trades.iter().map(|trade| (trade.source_id.as_str(), Figures::of_trade(trade)));
        keep(&stored.collect::<Vec<_>>(), self.trades.iter_mut().map(|draft| (draft.figures(), &mut draft.source_id)));
        let stored = activities.iter().map(|row| (row.source_id.as_str(), Figures::of_activity(&row.payload)));
        let drafts = self.activities.iter_mut();
        let drafts = drafts.map(|draft| (Figures::of_activity(&draft.payload), &mut draft.source_id));
        keep(&stored.collect::<Vec<_>>(), drafts);
    }
}

/// A row with the permanent part of its id.
struct Identified {
    /// `wallet:tx:type:token or condition:side:size[:cash]`, without the ordinal.
    key: String,
    wallet: Wallet,
    row: WireRow,
}

impl Identified {
    fn new(row: WireRow, asked: &Wallet) -> Result<Self, BadRow> {
        match row_key(&row, asked) {
            Ok((key, wallet)) => Ok(Self { key, wallet, row }),
            Err(error) => Err(BadRow { reason: error.to_string(), text: row.text.to_string() }),
        }
    }

    fn order(&self) -> (Timestamp, &str, Option<Decimal>, Option<Decimal>, &str) {
        (self.row.time, &self.key, self.row.price, self.row.usdc_size, &self.row.text)
    }
}

fn row_key(row: &WireRow, asked: &Wallet) -> Result<(String, Wallet), RowError> {
    let wallet = row.wallet.clone().unwrap_or_else(|| asked.clone());
    let token = row.token.as_ref().map(AssetId::as_str);
    let what = token.or(row.condition.as_ref().map(MarketId::as_str)).unwrap_or_default();
    let size = micros("size", row.size.unwrap_or_default())?;
    let mut key = format!("{wallet}:{}:{}:{what}:{}:{size}", row.tx_hash, row.kind, row.side_text);
    if row.kind == "REDEEM" {
        key.push_str(&format!(":{}", micros("usdc_size", row.usdc_size.unwrap_or_default())?));
    }
    Ok((key, wallet))
}

impl TradeDraft {
    fn new(source_id: String, wallet: Wallet, row: &WireRow) -> Result<Self, RowError> {
        let missing = |what| RowError::Missing(row.kind.clone(), what);
        let size = row.size.filter(|size| *size > Decimal::ZERO).ok_or_else(|| missing("shares"))?;
        let side = row.side.ok_or_else(|| missing("a side"))?;
        if row.tx_hash.is_empty() {
            return Err(missing("a transaction"));
        }
        let cash = Cash::of(row, side, size)?;
        Ok(Self {
            source_id,
            tx_hash: row.tx_hash.clone(),
            wallet,
            market: row.condition.clone().ok_or_else(|| missing("a condition"))?,
            asset: row.token.clone().ok_or_else(|| missing("a token"))?,
            side,
            price: cash.price,
            shares: ShareMicros(micros("size", size)?),
            notional: cash.parts.notional,
            fee: cash.parts.fee,
            event_time: row.time,
            amounts: cash.amounts,
        })
    }

    /// Returns the same fill, with its fee computed again with its market's schedule.
    pub fn with_schedule(mut self, schedule: FeeSchedule) -> Self {
        if let Some(Ok(parts)) = self.amounts.map(|amounts| amounts.split_cash(Some(schedule))) {
            self.notional = parts.notional;
            self.fee = parts.fee;
        }
        self
    }

    /// Returns the id of this event.
    pub fn event_id(&self) -> EventId {
        EventId::of_canonical(&self.source_id)
    }

    fn key(&self) -> &str {
        key_of(&self.source_id)
    }

    fn figures(&self) -> Figures {
        Figures::new(self.price, self.side, self.notional, self.fee)
    }

    /// Returns the event of a fill of this user, detected at `detect_time`.
    pub fn into_event(self, user: FollowedUserId, profile_wallet: Wallet, detect_time: Timestamp) -> TradeEvent {
        TradeEvent {
            id: self.event_id(),
            source_id: self.source_id,
            tx_hash: self.tx_hash,
            profile_wallet,
            proxy_wallet: Some(self.wallet),
            followed_user: user,
            market: self.market,
            asset: self.asset,
            side: self.side,
            price: self.price,
            shares: self.shares,
            notional: self.notional,
            fee: self.fee,
            event_time: self.event_time,
            detect_time,
        }
    }
}

/// The price and cash of a trade row.
struct Cash {
    price: PriceMicros,
    parts: CashParts,
    amounts: Option<RowAmounts>,
}

impl Cash {
    /// Reads price and cash. One of the two may be missing while the API is behind: then it is computed from the other, and
    /// the fee is unknown.
    fn of(row: &WireRow, side: Side, size: Decimal) -> Result<Self, RowError> {
        let price = row.price.filter(|price| !price.is_zero());
        match (price, row.usdc_size) {
            (Some(price), Some(usdc_size)) => {
                let usdc_size = not_negative("usdc_size", usdc_size)?;
                let amounts = RowAmounts { side, size, price, usdc_size, time: row.time };
                let parts = amounts.split_cash(None).map_err(|problem| number("usdc_size", problem))?;
                Ok(Self { price: price_micros(price)?, parts, amounts: Some(amounts) })
            }
            (Some(price), None) => {
                // To the nearest micro: size times the printed price is a whole number of micros, but for rounding.
                let notional = size.checked_mul(price).ok_or(UnitError::DecimalOutOfRange(size));
                let notional =
                    notional.and_then(UsdcMicros::from_decimal).map_err(|problem| number("size", problem))?;
                let price = price_micros(price)?;
                Ok(Self { price, parts: CashParts { notional, fee: None }, amounts: None })
            }
            (None, Some(usdc_size)) => {
                let notional = UsdcMicros(micros("usdc_size", not_negative("usdc_size", usdc_size)?)?);
                let shares = ShareMicros(micros("size", size)?);
                let price = PriceMicros::average(notional, shares).map_err(|problem| number("price", problem))?;
                Ok(Self { price, parts: CashParts { notional, fee: None }, amounts: None })
            }
            (None, None) => Err(RowError::Missing(row.kind.clone(), "a price")),
        }
    }
}

impl ActivityDraft {
    fn new(source_id: String, wallet: Wallet, row: &WireRow) -> Result<Self, RowError> {
        let kind = ActivityKind::from_text(&row.kind);
        let missing = |what| RowError::Missing(row.kind.clone(), what);
        // Rows that move a ledger must state how much; other rows are only stored.
        let (needs_size, needs_cash, needs_condition) = match kind {
            ActivityKind::Merge | ActivityKind::Split => (true, true, true),
            ActivityKind::Redeem => (false, true, true),
            ActivityKind::Conversion => (false, false, true),
            // A migration may be a credit of the account, and a row of a range event names no condition.
            _ => (false, false, false),
        };
        if needs_size && row.size.is_none() {
            return Err(missing("a size"));
        }
        if needs_cash && row.usdc_size.is_none() {
            return Err(missing("its cash"));
        }
        if needs_condition && row.condition.is_none() {
            return Err(missing("a condition"));
        }
        let strict = needs_size || needs_cash;
        let figure = |field, value: Option<Decimal>| {
            let value = value.unwrap_or_default();
            let value = if strict { not_negative(field, value)? } else { value.abs() };
            micros(field, value)
        };
        let payload = ActivityPayload {
            tx_hash: row.tx_hash.clone(),
            condition_id: row.condition.clone(),
            token_id: row.token.clone(),
            share_micros: ShareMicros(figure("size", row.size)?),
            cash_micros: UsdcMicros(figure("usdc_size", row.usdc_size)?),
            row: row.text.to_string(),
        };
        Ok(Self { source_id, wallet, kind, payload, event_time: row.time })
    }

    /// Returns the id of this event.
    pub fn event_id(&self) -> EventId {
        EventId::of_canonical(&self.source_id)
    }

    fn key(&self) -> &str {
        key_of(&self.source_id)
    }

    /// Returns the event of a row of this user, detected at `detect_time`.
    pub fn into_event(self, user: FollowedUserId, profile_wallet: Wallet, detect_time: Timestamp) -> ActivityEvent {
        ActivityEvent {
            id: self.event_id(),
            source_id: self.source_id,
            profile_wallet,
            proxy_wallet: Some(self.wallet),
            followed_user: user,
            kind: self.kind,
            payload: self.payload,
            event_time: self.event_time,
            detect_time,
        }
    }
}

fn micros(field: &'static str, value: Decimal) -> Result<i64, RowError> {
    crate::domain::money::units::micros_half_up(value).map_err(|problem| number(field, problem))
}

fn price_micros(price: Decimal) -> Result<PriceMicros, RowError> {
    PriceMicros::from_decimal(price).map_err(|problem| number("price", problem))
}

fn not_negative(field: &'static str, value: Decimal) -> Result<Decimal, RowError> {
    if value.is_sign_negative() && !value.is_zero() { Err(RowError::OutOfRange { field, value }) } else { Ok(value) }
}

fn number(field: &'static str, problem: UnitError) -> RowError {
    RowError::Number { field, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALLET: &str = "0xc2ad03f79ca3f3c17d8c7de2612ce0c89b7d40ed";
    const CONDITION: &str = "0x70cd1632e0469a457fa385f00f241911493a293faeb22ec0a0fe023d661b3d8b";

    fn row(fields: &str) -> Result<WireRow, BadRow> {
        WireRow::parse(&format!(
            r#"{{"proxy_wallet":"{WALLET}","timestamp":1790620238,"condition_id":"{CONDITION}","transaction_hash":"0xaa",{fields}}}"#
        ))
    }

    fn trade(size: &str, price: &str, cash: &str) -> Result<WireRow, BadRow> {
        row(&format!(r#""type":"TRADE","token_id":"84","side":"BUY","size":{size},"price":{price},"usdc_size":{cash}"#))
    }

    fn window(rows: Vec<Result<WireRow, BadRow>>) -> Window {
        let window = Window::of(rows, &Wallet::parse(WALLET).unwrap());
        assert_eq!(window.bad, [], "rows that should have been read");
        window
    }

    #[test]
    fn a_source_id_is_built_from_what_never_changes() {
        let merge = r#""type":"MERGE","token_id":"","side":"","size":3,"price":0,"usdc_size":3"#;
        let redeem = r#""type":"REDEEM","token_id":"","side":"","size":3,"price":0,"usdc_size":2.5"#;
        let seen = window(vec![trade("5.0", "0.32", "1.6"), row(merge), row(redeem)]);
        assert_eq!(seen.trades[0].source_id, format!("{WALLET}:0xaa:TRADE:84:BUY:5000000:0"));
        let ids: Vec<&str> = seen.activities.iter().map(|draft| draft.source_id.as_str()).collect();
        assert_eq!(
            ids,
            [
                format!("{WALLET}:0xaa:MERGE:{CONDITION}::3000000:0"),
                format!("{WALLET}:0xaa:REDEEM:{CONDITION}::3000000:2500000:0"),
            ]
        );
    }

    #[test]
    fn equal_fills_in_one_transaction_stay_apart_in_any_order() {
        let rows =
            || vec![trade("5", "0.4", "2"), trade("5", "0.3", "1.5"), trade("5", "0.4", "2"), trade("6", "0.4", "2.4")];
        let forward = window(rows());
        let backward = window(rows().into_iter().rev().collect());
        assert_eq!(forward.trades, backward.trades);
        let ends: Vec<(&str, i64)> = forward
            .trades
            .iter()
            .map(|draft| (draft.source_id.split_once("BUY:").unwrap().1, draft.price.micros()))
            .collect();
        assert_eq!(
            ends,
            [("5000000:0", 300_000), ("5000000:1", 400_000), ("5000000:2", 400_000), ("6000000:0", 400_000)]
        );
    }

    #[test]
    fn rows_with_the_same_key_and_other_values_stay_apart_in_any_order() {
        let row =
            |wide: &str| row(&format!(r#""type":"TRADE","token_id":"84","side":"BUY","size":5,"price":0.4,{wide}"#));
        let rows = || vec![row(r#""usdc_size":2,"slug":"b""#), row(r#""usdc_size":2.00001,"slug":"a""#)];
        let (forward, backward) = (window(rows()), window(rows().into_iter().rev().collect()));
        assert_eq!((&forward.trades, &forward.activities), (&backward.trades, &backward.activities));
        assert_eq!(forward.trades.len(), 2);
        assert_ne!(forward.trades[0].source_id, forward.trades[1].source_id);
    }

    #[test]
    fn a_row_without_what_money_needs_is_a_bad_row() {
        let check = |fields: &str, reason: &str| {
            let window = Window::of([row(fields)], &Wallet::parse(WALLET).unwrap());
            let [bad] = window.bad.as_slice() else { panic!("{fields} was read: {window:?}") };
            assert_eq!(bad.reason, reason, "{fields}");
        };
        check(
            r#""type":"TRADE","token_id":"","side":"BUY","size":1,"price":0.5,"usdc_size":0.5"#,
            "TRADE row without a token",
        );
        check(
            r#""type":"TRADE","token_id":"1","side":"","size":1,"price":0.5,"usdc_size":0.5"#,
            "TRADE row without a side",
        );
        check(
            r#""type":"TRADE","token_id":"1","side":"BUY","size":0,"price":0.5,"usdc_size":0"#,
            "TRADE row without shares",
        );
        check(r#""type":"TRADE","token_id":"1","side":"BUY","size":1,"price":null"#, "TRADE row without a price");
        check(
            r#""type":"TRADE","token_id":"1","side":"BUY","size":1,"price":1.5,"usdc_size":1.5"#,
            "price: price of `1500000` micros is not within 0 and 1000000",
        );
        check(r#""type":"SPLIT","size":1,"usdc_size":null"#, "SPLIT row without its cash");
        check(r#""type":"MERGE","size":1,"usdc_size":-1"#, "usdc_size of `-1` is out of range");
        check(r#""type":"","size":1"#, "`` is not a kind of row");
    }

    #[test]
    fn a_trade_whose_cash_is_not_known_yet_is_valued_at_its_price() {
        let seen = window(vec![trade("3", "0.333333", "null"), trade("2", "0", "1")]);
        let figures: Vec<_> = seen.trades.iter().map(|t| (t.price.micros(), t.notional.0, t.fee)).collect();
        assert_eq!(figures, [(500_000, 1_000_000, None), (333_333, 999_999, None)]);
    }
}
