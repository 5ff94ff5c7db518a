//! The rows of the activity feed in the order of the chain, and how they are printed.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

use super::market::float;

/// Where a row stands in every walk: block time in seconds, then block, transaction and log.
pub type Place = (i64, u64);

/// Who an order was in its match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Maker,
    Taker,
}

/// One row as the exchange keeps it, with what it never tells.
#[derive(Debug, Clone)]
pub struct Row {
    pub place: Place,
    pub wallet: Wallet,
    pub kind: String,
    pub market: Option<MarketId>,
    pub asset: Option<AssetId>,
    pub side: Option<Side>,
    pub shares: ShareMicros,
    /// Net: with a BUY's fee, less a SELL's.
    pub cash: UsdcMicros,
    pub fee: UsdcMicros,
    pub tx_hash: String,
    /// `None` for what is no fill.
    pub role: Option<Role>,
    /// The API has no row before this.
    pub visible_at: Timestamp,
    /// The row lacks its outcome index and event until this.
    pub complete_at: Timestamp,
    /// What the wallet held more or less of afterwards; never told.
    pub moves: Vec<(AssetId, ShareMicros)>,
    /// A recorded row, served as it was.
    pub raw: Option<Raw>,
}

/// A row's own text, as the activity route and as the trades route print it.
#[derive(Debug, Clone)]
pub struct Raw {
    pub activity: Box<RawValue>,
    pub trade: Option<Box<RawValue>>,
}

/// All rows, by place; wallets keep their own index.
#[derive(Debug, Default)]
pub struct Feed {
    rows: BTreeMap<Place, Row>,
    of_wallet: BTreeMap<Wallet, BTreeMap<Place, ()>>,
    /// What each wallet's rows have moved in all, in micros.
    moved: BTreeMap<Wallet, HashMap<AssetId, i64>>,
}

/// Which rows a walk passes.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    pub wallet: Option<&'a Wallet>,
    /// Inclusive seconds.
    pub start: i64,
    pub end: i64,
    pub ascending: bool,
    /// The last place already served.
    pub after: Option<Place>,
    pub now: Timestamp,
}

impl Feed {
    /// # Errors
    /// The row back, when its place is taken.
    pub fn insert(&mut self, row: Row) -> Result<(), Box<Row>> {
        if self.rows.contains_key(&row.place) {
            return Err(Box::new(row));
        }
        self.of_wallet.entry(row.wallet.clone()).or_default().insert(row.place, ());
        let moved = self.moved.entry(row.wallet.clone()).or_default();
        for (asset, shares) in &row.moves {
            let held = moved.entry(asset.clone()).or_default();
            *held = held.saturating_add(shares.0);
        }
        self.rows.insert(row.place, row);
        Ok(())
    }

    pub fn wallets(&self) -> impl Iterator<Item = &Wallet> {
        self.of_wallet.keys()
    }

    pub fn of_wallet<'a>(&'a self, wallet: &Wallet) -> impl Iterator<Item = &'a Row> {
        self.of_wallet.get(wallet).into_iter().flat_map(|places| places.keys()).filter_map(|place| self.rows.get(place))
    }

    /// The rows of one wallet whose seconds lie in `from..to`.
    pub fn between<'a>(&'a self, wallet: &Wallet, from: i64, to: i64) -> impl Iterator<Item = &'a Row> {
        let places = self.of_wallet.get(wallet).into_iter();
        places.flat_map(move |places| places.range((from, 0)..(to, 0))).filter_map(|(place, ())| self.rows.get(place))
    }

    pub fn row(&self, place: Place) -> Option<&Row> {
        self.rows.get(&place)
    }

    /// What a wallet holds of a token by all its rows, visible or not.
    pub fn held(&self, wallet: &Wallet, asset: &AssetId) -> ShareMicros {
        let held = self.moved.get(wallet).and_then(|moved| moved.get(asset)).copied();
        ShareMicros(held.unwrap_or_default())
    }

    /// The visible rows from the walk's position on. A row that becomes visible behind the position is on a later
    /// page, one ahead of it is not: nothing shifts and nothing doubles.
    pub fn walk<'a>(&'a self, walk: &Walk<'_>) -> Box<dyn Iterator<Item = &'a Row> + 'a> {
        let low = match walk.after {
            Some(place) if walk.ascending => Bound::Excluded(place),
            _ => Bound::Included((walk.start, 0)),
        };
        let high = match walk.after {
            Some(place) if !walk.ascending => Bound::Excluded(place),
            _ => Bound::Included((walk.end, u64::MAX)),
        };
        if is_empty(low, high) {
            return Box::new(std::iter::empty());
        }
        let now = walk.now;
        let seen = move |row: &&Row| row.visible_at <= now;
        match (walk.wallet, walk.ascending) {
            (Some(wallet), ascending) => {
                let Some(places) = self.of_wallet.get(wallet) else { return Box::new(std::iter::empty()) };
                let range = places.range((low, high)).filter_map(|(place, ())| self.rows.get(place));
                if ascending { Box::new(range.filter(seen)) } else { Box::new(range.rev().filter(seen)) }
            }
            (None, true) => Box::new(self.rows.range((low, high)).map(|(_, row)| row).filter(seen)),
            (None, false) => Box::new(self.rows.range((low, high)).rev().map(|(_, row)| row).filter(seen)),
        }
    }
}

fn is_empty(low: Bound<Place>, high: Bound<Place>) -> bool {
    match (low, high) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a >= b,
        _ => false,
    }
}

/// Names and labels beside a row; they change any time and identify nothing.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    pub title: String,
    pub slug: String,
    pub event_slug: String,
    pub outcome: String,
    pub outcome_index: i64,
    pub name: String,
    pub pseudonym: String,
}

/// A row of `/v2/activity`, keys in the recorded order.
#[derive(Debug, Serialize)]
pub struct ActivityRow<'a> {
    proxy_wallet: &'a str,
    timestamp: i64,
    condition_id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    size: f64,
    usdc_size: f64,
    transaction_hash: &'a str,
    price: f64,
    token_id: &'a str,
    side: &'a str,
    outcome_index: i64,
    title: &'a str,
    slug: &'a str,
    icon: &'a str,
    event_slug: &'a str,
    outcome: &'a str,
    name: &'a str,
    pseudonym: &'a str,
    bio: &'a str,
    profile_image: &'a str,
    profile_image_optimized: &'a str,
}

/// A row of `/v2/trades`.
#[derive(Debug, Serialize)]
pub struct TradeRow<'a> {
    proxy_wallet: &'a str,
    side: &'a str,
    token_id: &'a str,
    condition_id: &'a str,
    size: f64,
    price: f64,
    timestamp: i64,
    title: &'a str,
    slug: &'a str,
    icon: &'a str,
    event_slug: &'a str,
    outcome: &'a str,
    outcome_index: i64,
    name: &'a str,
    pseudonym: &'a str,
    bio: &'a str,
    profile_image: &'a str,
    profile_image_optimized: &'a str,
    transaction_hash: &'a str,
}

impl Row {
    /// Cash without the fee.
    pub fn gross(&self) -> UsdcMicros {
        match self.side {
            Some(Side::Buy) => UsdcMicros(self.cash.0.saturating_sub(self.fee.0)),
            Some(Side::Sell) => UsdcMicros(self.cash.0.saturating_add(self.fee.0)),
            None => self.cash,
        }
    }

    /// The average price with its 10 decimals; 0 when there is none.
    pub fn price(&self) -> f64 {
        if self.side.is_none() || self.shares.0 <= 0 {
            return 0.0;
        }
        let tenths = i128::from(self.gross().0) * 20_000_000_000 / i128::from(self.shares.0);
        ((tenths + 1) / 2) as f64 / 1e10
    }

    pub fn activity<'a>(&'a self, labels: &'a Labels) -> ActivityRow<'a> {
        ActivityRow {
            proxy_wallet: self.wallet.as_str(),
            timestamp: self.place.0,
            condition_id: self.market.as_ref().map_or("", MarketId::as_str),
            kind: &self.kind,
            size: float(self.shares.0),
            usdc_size: float(self.cash.0),
            transaction_hash: &self.tx_hash,
            price: self.price(),
            token_id: self.asset.as_ref().map_or("", AssetId::as_str),
            side: self.side.map_or("", Side::as_str),
            outcome_index: labels.outcome_index,
            title: &labels.title,
            slug: &labels.slug,
            icon: "",
            event_slug: &labels.event_slug,
            outcome: &labels.outcome,
            name: &labels.name,
            pseudonym: &labels.pseudonym,
            bio: "",
            profile_image: "",
            profile_image_optimized: "",
        }
    }

    pub fn trade<'a>(&'a self, labels: &'a Labels) -> TradeRow<'a> {
        TradeRow {
            proxy_wallet: self.wallet.as_str(),
            side: self.side.map_or("", Side::as_str),
            token_id: self.asset.as_ref().map_or("", AssetId::as_str),
            condition_id: self.market.as_ref().map_or("", MarketId::as_str),
            size: float(self.shares.0),
            price: self.price(),
            timestamp: self.place.0,
            title: &labels.title,
            slug: &labels.slug,
            icon: "",
            event_slug: &labels.event_slug,
            outcome: &labels.outcome,
            outcome_index: labels.outcome_index,
            name: &labels.name,
            pseudonym: &labels.pseudonym,
            bio: "",
            profile_image: "",
            profile_image_optimized: "",
            transaction_hash: &self.tx_hash,
        }
    }
}

impl Raw {
    /// # Errors
    /// When the value is no object.
    pub fn of(row: &Value) -> serde_json::Result<Self> {
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
