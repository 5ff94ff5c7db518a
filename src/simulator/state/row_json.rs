//! Rows of the feed as the Data API prints them.

use serde::Serialize;

use super::feed::Row;
use super::market::float;
use super::token_ids::is_combo;
use crate::domain::events::event::Side;
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::UsdcMicros;

/// Names that are printed with a row. They may change at any time and identify nothing.
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

/// A row of `/v2/activity`; its keys have the recorded order.
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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_combo: bool,
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
    /// Returns the cash without the fee.
    pub fn gross(&self) -> UsdcMicros {
        match self.side {
            Some(Side::Buy) => UsdcMicros(self.cash.0.saturating_sub(self.fee.0)),
            Some(Side::Sell) => UsdcMicros(self.cash.0.saturating_add(self.fee.0)),
            None => self.cash,
        }
    }

    /// Returns the average price with 10 decimals; 0 when the row has no price.
    pub fn price(&self) -> f64 {
        if self.side.is_none() || self.shares.0 <= 0 {
            return 0.0;
        }
        let tenths = i128::from(self.gross().0) * 20_000_000_000 / i128::from(self.shares.0);
        ((tenths + 1) / 2) as f64 / 1e10
    }

    /// Returns the condition as it is printed: that of a combo has 62 digits.
    fn condition(&self) -> &str {
        const SHORT: usize = 64;
        let Some(market) = &self.market else { return "" };
        let whole = market.as_str();
        if is_combo(market) { whole.get(..SHORT).unwrap_or(whole) } else { whole }
    }

    /// Returns the row as `/v2/activity` prints it.
    pub fn activity<'a>(&'a self, labels: &'a Labels) -> ActivityRow<'a> {
        ActivityRow {
            proxy_wallet: self.wallet.as_str(),
            timestamp: self.key.0,
            condition_id: self.condition(),
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
            is_combo: self.is_combo,
        }
    }

    /// Returns the row as `/v2/trades` prints it.
    pub fn trade<'a>(&'a self, labels: &'a Labels) -> TradeRow<'a> {
        TradeRow {
            proxy_wallet: self.wallet.as_str(),
            side: self.side.map_or("", Side::as_str),
            token_id: self.asset.as_ref().map_or("", AssetId::as_str),
            condition_id: self.condition(),
            size: float(self.shares.0),
            price: self.price(),
            timestamp: self.key.0,
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
