//! One asset under two token ids: a market that was moved to the new ledger has a second token for each outcome, and the
//! CLOB trades the older one (venue 1.6). Rows and positions may name either; here both get the name that is traded,
//! because books, prices and payouts are found under it alone.
//!
//! A market that was made on the new ledger trades the tokens of that ledger: they keep their name.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::money::ids::{AssetId, MarketId};
use crate::polymarket::http::client::Polymarket;
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::draft::Window;
use crate::polymarket::wire::positions::Position;

/// Names to remember; when there are more, they are forgotten and asked for again.
const KNOWN_MAX: usize = 50_000;

impl Polymarket {
    /// Replaces the token id of each position by the one that the CLOB trades.
    ///
    /// # Errors
    /// [`PolymarketError`] when a token of the new ledger is not known yet and the Data API does not answer.
    pub(in crate::polymarket) async fn name_positions(
        &self,
        positions: &mut [Position],
    ) -> Result<(), PolymarketError> {
        let names = self.traded_names(positions.iter().map(|position| &position.asset)).await?;
        for position in positions {
            if let Some(name) = names.get(&position.asset) {
                position.asset = name.clone();
            }
        }
        Ok(())
    }

    /// Replaces the token ids of the rows by those that the CLOB trades; the ids of the events are those of the tokens that the rows
    /// name. When the Data API does not answer, they stay as they are: reading must not depend on a second route, and a
    /// position check finds what differs.
    pub(in crate::polymarket) async fn name_rows(&self, window: &mut Window) {
        let trades = window.trades.iter().map(|trade| &trade.asset);
        let tokens = trades.chain(window.activities.iter().filter_map(|row| row.payload.token_id.as_ref()));
        let names = match self.traded_names(tokens).await {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(%error, "rows keep token ids of the new ledger: it is not known under which ids they trade");
                return;
            }
        };
        for trade in &mut window.trades {
            if let Some(name) = names.get(&trade.asset) {
                trade.asset = name.clone();
            }
        }
        for row in &mut window.activities {
            if let Some(name) = row.payload.token_id.as_ref().and_then(|token| names.get(token)) {
                row.payload.token_id = Some(name.clone());
            }
        }
    }

    /// Returns the traded name of each of the tokens that has another one. Only tokens of the new ledger that were not
    /// asked for before cost requests: one for 50 of them, and one for 10 of their markets.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    async fn traded_names<'a>(
        &self,
        tokens: impl Iterator<Item = &'a AssetId>,
    ) -> Result<BTreeMap<AssetId, AssetId>, PolymarketError> {
        let wanted: BTreeSet<&AssetId> = tokens.filter(|token| token.is_on_new_ledger()).collect();
        let new = wanted.iter().filter(|token| !self.token_names().borrow().contains_key(**token));
        let new: Vec<AssetId> = new.map(|token| (*token).clone()).collect();
        if !new.is_empty() {
            let found = self.ask_names(&new).await?;
            let mut known = self.token_names().borrow_mut();
            if known.len() >= KNOWN_MAX {
                known.retain(|token, _| wanted.contains(token));
            }
            known.extend(found);
        }
        let known = self.token_names().borrow();
        let names = wanted.into_iter().filter_map(|token| Some((token.clone(), known.get(token)?.clone())));
        Ok(names.filter(|(token, name)| token != name).collect())
    }

    /// Returns the traded name of each token; tokens that the Data API does not know are left out.
    async fn ask_names(&self, tokens: &[AssetId]) -> Result<BTreeMap<AssetId, AssetId>, PolymarketError> {
        let rows = self.tokens(tokens).await?;
        let second: BTreeSet<MarketId> =
            rows.iter().filter(|row| row.clob_index.is_none()).map(|row| row.market.clone()).collect();
        let pairs = match second.is_empty() {
            true => Vec::new(),
            false => self.tokens_of(&second.into_iter().collect::<Vec<_>>()).await?,
        };
        let name = |row: super::tokens::TokenReference| {
            let same = pairs.iter().find(|pair| {
                pair.clob_index.is_some() && pair.market == row.market && pair.outcome_index == row.outcome_index
            });
            let traded = same.filter(|_| row.clob_index.is_none() && row.outcome_index.is_some());
            let name = traded.map_or_else(|| row.asset.clone(), |pair| pair.asset.clone());
            (row.asset, name)
        };
        Ok(rows.into_iter().map(name).collect())
    }
}
