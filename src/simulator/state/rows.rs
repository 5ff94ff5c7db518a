//! Rows of the feed: pushing recorded ones, reading them, and the labels they are printed with.

use serde_json::Value;

use super::chain::block_of;
use super::exchange::{Exchange, Profile};
use super::feed::{RecordedRow, Row, RowKey};
use super::row_json::Labels;
use crate::domain::events::event::Side;
use crate::domain::money::ids::{AssetId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

impl Exchange {
    /// Pushes a row of the activity route as it is, visible at once. It keeps its own second; rows of one second stay
    /// in the order in which they are pushed.
    ///
    /// # Errors
    /// A text that names the field which is missing or invalid.
    pub fn push_row(&mut self, row: &Value) -> Result<RowKey, String> {
        let visible_at = self.now();
        self.push_row_at(row, visible_at)
    }

    /// Like [`push_row`](Self::push_row), but visible from `visible_at` on: a late row stands behind newer ones.
    ///
    /// # Errors
    /// A text that names the field which is missing or invalid.
    pub fn push_row_at(&mut self, row: &Value, visible_at: Timestamp) -> Result<RowKey, String> {
        let text = |field: &str| row[field].as_str().unwrap_or_default();
        let wallet = Wallet::parse(text("proxy_wallet")).map_err(|error| error.to_string())?;
        let second = row["timestamp"].as_i64().ok_or("`timestamp` is missing or not a whole number of seconds")?;
        let time = Timestamp::from_seconds(second).map_err(|error| error.to_string())?;
        let side: Option<Side> = text("side").parse().ok();
        let asset = AssetId::parse(text("token_id")).ok();
        let micros = |field: &str| (row[field].as_f64().unwrap_or_default() * 1e6).round() as i64;
        let shares = micros("size");
        let share_changes = match (&asset, side) {
            (Some(asset), Some(Side::Buy)) => vec![(asset.clone(), ShareMicros(shares))],
            (Some(asset), Some(Side::Sell)) => vec![(asset.clone(), ShareMicros(shares.saturating_neg()))],
            _ => Vec::new(),
        };
        if !self.profiles.contains_key(&wallet) {
            let profile = Profile { name: text("name").to_owned(), pseudonym: text("pseudonym").to_owned() };
            self.profiles.insert(wallet.clone(), profile);
        }
        let (tx_index, log_index) = self.chain.reserve(block_of(time), 1);
        self.insert_row(Row {
            key: row_key(time, tx_index, log_index),
            wallet,
            kind: row["type"].as_str().unwrap_or("TRADE").to_owned(),
            market: MarketId::parse(text("condition_id")).ok(),
            asset,
            side,
            shares: ShareMicros(shares),
            cash: UsdcMicros(micros("usdc_size")),
            fee: UsdcMicros::ZERO,
            received: None,
            is_combo: row["is_combo"].as_bool().unwrap_or(false),
            tx_hash: text("transaction_hash").to_owned(),
            role: None,
            visible_at,
            complete_at: visible_at,
            share_changes,
            recorded: Some(RecordedRow::new(row).map_err(|error| error.to_string())?),
        })
    }

    /// Returns how many rows this wallet has, visible or not.
    pub fn n_rows(&self, wallet: &Wallet) -> usize {
        self.feed.of_wallet(wallet).count()
    }

    /// Returns the rows of this wallet, visible or not, oldest first.
    pub fn rows_of(&self, wallet: &Wallet) -> impl Iterator<Item = &Row> {
        self.feed.of_wallet(wallet)
    }

    /// Returns the rows of a wallet whose seconds lie in `from..to`, visible or not.
    pub(in crate::simulator) fn rows_between(&self, wallet: &Wallet, from: i64, to: i64) -> impl Iterator<Item = &Row> {
        self.feed.between(wallet, from, to)
    }

    pub(super) fn insert_row(&mut self, row: Row) -> Result<RowKey, String> {
        let key = row.key;
        self.feed.insert(row).map(|()| key).map_err(|row| format!("the row key `{:?}` is in use", row.key))
    }

    /// Returns the labels of a row at this time; a new row lacks some of them.
    pub(in crate::simulator) fn labels(&self, row: &Row, now: Timestamp) -> Labels {
        let profile = self.profiles.get(&row.wallet);
        let mut labels = Labels {
            outcome_index: 999,
            name: profile.map(|profile| profile.name.clone()).unwrap_or_default(),
            pseudonym: profile.map(|profile| profile.pseudonym.clone()).unwrap_or_default(),
            ..Labels::default()
        };
        let Some(market) = row.market.as_ref().and_then(|id| self.markets.get(id)) else { return labels };
        labels.title.clone_from(&market.facts.question);
        labels.slug.clone_from(&market.facts.slug);
        if let Some(index) = row.asset.as_ref().and_then(|asset| market.index_of(asset)) {
            market.outcome(index).clone_into(&mut labels.outcome);
            if now >= row.complete_at {
                labels.outcome_index = i64::try_from(index).unwrap_or(999);
            }
        }
        if now >= row.complete_at {
            labels.event_slug.clone_from(&market.event.slug);
        }
        labels
    }

    /// Returns a row as the activity route prints it at this time.
    pub(in crate::simulator) fn row_text(&self, row: &Row, now: Timestamp) -> String {
        match &row.recorded {
            Some(recorded) => recorded.activity.get().to_owned(),
            None => serde_json::to_string(&row.activity(&self.labels(row, now))).unwrap_or_default(),
        }
    }
}

/// Returns the key of a row: block time in seconds, then the digits that real cursors show for block, transaction and
/// log.
pub(super) fn row_key(time: Timestamp, tx_index: u64, log_index: u64) -> RowKey {
    let block = block_of(time);
    (time.seconds(), block * 10_000_000_000 + tx_index % 100_000 * 100_000 + log_index % 10_000 * 10)
}
