//! The rows of the activity feed, in the order of the chain.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use serde_json::{Value, value::RawValue};

use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

/// The sort key of a row: block time in seconds, then a number made of block, transaction and log.
pub type RowKey = (i64, u64);

/// The role of an order in its match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Maker,
    Taker,
}

/// One row of the feed, with facts that the exchange does not publish.
#[derive(Debug, Clone)]
pub struct Row {
    pub key: RowKey,
    pub wallet: Wallet,
    pub kind: String,
    pub market: Option<MarketId>,
    pub asset: Option<AssetId>,
    pub side: Option<Side>,
    pub shares: ShareMicros,
    /// Net: with the fee of a BUY, less the fee of a SELL.
    pub cash: UsdcMicros,
    pub fee: UsdcMicros,
    /// The cash that the wallet received (spent when negative) where the printed amount is none, as that of a CONVERSION.
    /// Not published.
    pub received: Option<UsdcMicros>,
    /// The row has the flag `is_combo`.
    pub is_combo: bool,
    pub tx_hash: String,
    /// `None` for a row that is not a fill.
    pub role: Option<Role>,
    /// The Data API does not show the row before this time.
    pub visible_at: Timestamp,
    /// The row lacks its outcome index and event until this time.
    pub complete_at: Timestamp,
    /// By how much the row changed the wallet's shares of each token. Not published.
    pub share_changes: Vec<(AssetId, ShareMicros)>,
    /// The text of a recorded row, served unchanged.
    pub recorded: Option<RecordedRow>,
}

/// The text of a recorded row, as the activity route and as the trades route print it.
#[derive(Debug, Clone)]
pub struct RecordedRow {
    pub activity: Box<RawValue>,
    /// `None` for a row that is not a trade.
    pub trade: Option<Box<RawValue>>,
}

/// All rows by key, with an index by wallet.
#[derive(Debug, Default)]
pub struct Feed {
    rows: BTreeMap<RowKey, Row>,
    of_wallet: BTreeMap<Wallet, BTreeSet<RowKey>>,
    /// Shares that each wallet holds by its rows, in micros.
    held: BTreeMap<Wallet, HashMap<AssetId, i64>>,
}

/// Selects rows of the feed.
#[derive(Debug, Clone)]
pub struct FeedQuery<'a> {
    pub wallet: Option<&'a Wallet>,
    /// In seconds; both ends belong to the range.
    pub start: i64,
    pub end: i64,
    pub ascending: bool,
    /// The key of the last row that was served already.
    pub after: Option<RowKey>,
    pub now: Timestamp,
}

impl Feed {
    /// Adds a row.
    ///
    /// # Errors
    /// Returns the row when its key is in use.
    pub fn insert(&mut self, row: Row) -> Result<(), Box<Row>> {
        if self.rows.contains_key(&row.key) {
            return Err(Box::new(row));
        }
        self.of_wallet.entry(row.wallet.clone()).or_default().insert(row.key);
        let of_wallet = self.held.entry(row.wallet.clone()).or_default();
        for (asset, shares) in &row.share_changes {
            let held = of_wallet.entry(asset.clone()).or_default();
            *held = held.saturating_add(shares.0);
        }
        self.rows.insert(row.key, row);
        Ok(())
    }

    /// Returns the wallets that have rows.
    pub fn wallets(&self) -> impl Iterator<Item = &Wallet> {
        self.of_wallet.keys()
    }

    /// Returns the rows of one wallet, oldest first.
    pub fn of_wallet<'a>(&'a self, wallet: &Wallet) -> impl Iterator<Item = &'a Row> {
        self.of_wallet.get(wallet).into_iter().flatten().filter_map(|key| self.rows.get(key))
    }

    /// Returns the rows of one wallet whose seconds lie in `from..to`, oldest first.
    pub fn between<'a>(&'a self, wallet: &Wallet, from: i64, to: i64) -> impl Iterator<Item = &'a Row> {
        let keys = self.of_wallet.get(wallet).into_iter();
        keys.flat_map(move |keys| keys.range((from, 0)..(to, 0))).filter_map(|key| self.rows.get(key))
    }

    /// Returns the row with this key.
    pub fn row(&self, key: RowKey) -> Option<&Row> {
        self.rows.get(&key)
    }

    /// Adds shares that a wallet held before its first row.
    pub fn add_held(&mut self, wallet: &Wallet, asset: &AssetId, shares: ShareMicros) {
        let held = self.held.entry(wallet.clone()).or_default().entry(asset.clone()).or_default();
        *held = held.saturating_add(shares.0);
    }

    /// Returns how many shares of a token a wallet holds by all its rows, visible or not.
    pub fn held(&self, wallet: &Wallet, asset: &AssetId) -> ShareMicros {
        let held = self.held.get(wallet).and_then(|held| held.get(asset)).copied();
        ShareMicros(held.unwrap_or_default())
    }

    /// Returns the visible rows that follow the query's position. A row that becomes visible later is on a later page if
    /// it follows the position, and on no page if the walk has passed its key. So no row shifts and none comes twice.
    pub fn select<'a>(&'a self, query: &FeedQuery<'_>) -> Box<dyn Iterator<Item = &'a Row> + 'a> {
        let low = match query.after {
            Some(key) if query.ascending => Bound::Excluded(key),
            _ => Bound::Included((query.start, 0)),
        };
        let high = match query.after {
            Some(key) if !query.ascending => Bound::Excluded(key),
            _ => Bound::Included((query.end, u64::MAX)),
        };
        if is_empty(low, high) {
            return Box::new(std::iter::empty());
        }
        let now = query.now;
        let visible = move |row: &&Row| row.visible_at <= now;
        match (query.wallet, query.ascending) {
            (Some(wallet), ascending) => {
                let Some(keys) = self.of_wallet.get(wallet) else { return Box::new(std::iter::empty()) };
                let range = keys.range((low, high)).filter_map(|key| self.rows.get(key));
                if ascending { Box::new(range.filter(visible)) } else { Box::new(range.rev().filter(visible)) }
            }
            (None, true) => Box::new(self.rows.range((low, high)).map(|(_, row)| row).filter(visible)),
            (None, false) => Box::new(self.rows.range((low, high)).rev().map(|(_, row)| row).filter(visible)),
        }
    }
}

/// Returns whether a range has no keys; `BTreeMap::range` panics on such a one.
fn is_empty(low: Bound<RowKey>, high: Bound<RowKey>) -> bool {
    match (low, high) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
        _ => false,
    }
}

impl RecordedRow {
    /// Keeps the text of a row of the activity route.
    ///
    /// # Errors
    /// `serde_json::Error` when the value cannot be written as JSON.
    pub fn new(row: &Value) -> serde_json::Result<Self> {
        let activity = serde_json::value::to_raw_value(row)?;
        let trade = match row.as_object() {
            Some(fields) if fields.get("type").is_none_or(|kind| kind == "TRADE") => {
                let mut fields = fields.clone();
                fields.remove("type");
                fields.remove("usdc_size");
                Some(serde_json::value::to_raw_value(&fields)?)
            }
            _ => None,
        };
        Ok(Self { activity, trade })
    }
}
