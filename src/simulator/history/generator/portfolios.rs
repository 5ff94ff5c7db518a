//! What the portfolios are worth: settlement, marks, snapshots, checkpoints.

use std::collections::{BTreeMap, BTreeSet};

use super::HistoryGenerator;
use crate::db::{BookPrice, Db, PortfolioSnapshot};
use crate::domain::accounting::mark::{Mark, Quote};
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::accounting::settlement::settle;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::simulator::history::error::HistoryError;
use crate::simulator::history::settings::{HistorySettings, MINUTE_MS};
use crate::simulator::history::writer::PlannedWrite;
use crate::simulator::state::exchange::Exchange;

/// The bucket of a price.
const HALF_MINUTE_MS: i64 = 30_000;

impl HistoryGenerator {
    /// Settles the markets whose outcome is known: their lots are closed in all portfolios.
    pub(super) fn settle(&mut self, exchange: &Exchange, at: Timestamp) -> Result<(), HistoryError> {
        let resolved = |(id, due): (&MarketId, &Option<Timestamp>)| due.filter(|due| *due <= at).map(|_| id.clone());
        let markets: Vec<MarketId> = self.markets.iter().filter_map(resolved).collect();
        for id in markets {
            let market = self.facts_at(exchange, &id, at);
            let mut entries = Vec::new();
            for (portfolio, running) in &mut self.portfolios {
                for outcome in &market.outcomes {
                    let held = running.lots_in(&id).iter().any(|lot| lot.asset == outcome.asset);
                    if let (Some(payout), true) = (outcome.payout, held) {
                        running.set_mark(&outcome.asset, Mark::Payout(payout))?;
                    }
                }
                entries.push(settle(*portfolio, &market, &running.lots_in(&id), at)?);
            }
            for entries in entries.into_iter().filter(|entries| !entries.is_empty()) {
                self.plan(PlannedWrite::without_job(entries))?;
            }
            self.batch.add_resolution(&market, at);
            self.markets.insert(id, None);
        }
        Ok(())
    }

    /// At each full minute: marks, prices, and one snapshot of each portfolio whose equity is due.
    pub(super) fn snapshot(
        &mut self,
        exchange: &Exchange,
        at: Timestamp,
        settings: &HistorySettings,
    ) -> Result<(), HistoryError> {
        let bucket = at.bucket(MINUTE_MS);
        if bucket != at {
            return Ok(());
        }
        let due = |every: i64| bucket.millis() % every.max(MINUTE_MS) == 0;
        let fresh = bucket > self.fresh_prices_from;
        if fresh {
            let half = bucket.plus_millis(-HALF_MINUTE_MS);
            self.batch.prices.push((half, self.prices(exchange, half)));
        }
        let marks_are_due = due(settings.marks_every_ms) || due(settings.prices_every_ms);
        if fresh || marks_are_due {
            let prices = self.prices(exchange, at);
            if marks_are_due {
                self.mark(&prices, at)?;
            }
            if fresh || due(settings.prices_every_ms) {
                self.batch.prices.push((bucket, prices));
            }
        }
        for (portfolio, running) in &mut self.portfolios {
            running.age(bucket)?;
            let (figures, stale) = (running.figures(), running.stale_assets());
            if running.note_snapshot(bucket, figures.equity, stale == 0) {
                self.batch.snapshots.push(PortfolioSnapshot {
                    portfolio: *portfolio,
                    bucket_time: bucket,
                    equity: figures.equity,
                    cash: figures.cash,
                    exposure: figures.exposure,
                    unrealized_pnl: figures.unrealized,
                    realized_pnl: figures.realized,
                    if_sold_now: None,
                    stale_assets: i64::try_from(stale).unwrap_or(i64::MAX),
                });
            }
        }
        Ok(())
    }

    /// Returns the prices of all held assets, in their order; an asset without a book has none.
    fn prices(&self, exchange: &Exchange, at: Timestamp) -> Vec<(AssetId, BookPrice)> {
        let price_of = |asset: AssetId| {
            let (market, index) = exchange.market_by_asset(&asset)?;
            let (bid, ask) = market.touch(index, at)?;
            Some((asset, BookPrice::of(&Quote::new(bid, ask, at))?))
        };
        self.held().into_iter().filter_map(price_of).collect()
    }

    /// Marks all holdings at these prices. An asset without a price keeps its mark.
    fn mark(&mut self, prices: &[(AssetId, BookPrice)], at: Timestamp) -> Result<(), HistoryError> {
        let prices: BTreeMap<_, _> = prices.iter().map(|(asset, found)| (asset, found.price)).collect();
        for running in self.portfolios.values_mut() {
            let held: Vec<AssetId> = running.held_assets().cloned().collect();
            for asset in held {
                if let Some(price) = prices.get(&asset) {
                    running.set_mark(&asset, Mark::Midpoint(*price, at))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn held(&self) -> BTreeSet<AssetId> {
        self.portfolios.values().flat_map(Portfolio::held_assets).cloned().collect()
    }

    /// Returns the checkpoints from which the running bot goes on: names and texts.
    ///
    /// # Errors
    /// [`HistoryError`] when the database cannot be read or a checkpoint not be written as JSON.
    pub async fn checkpoints(&self, db: &Db, now: Timestamp) -> Result<Vec<(String, String)>, HistoryError> {
        let mut checkpoints = Vec::new();
        for (id, running) in &self.portfolios {
            let checkpoint = running.checkpoint(db.last_position(*id).await?);
            let text = serde_json::to_string(&checkpoint)?;
            checkpoints.push((format!("portfolio:{id}"), text));
        }
        for user in self.directory.users.iter().map(|user| user.id) {
            let time = self.newest_event.get(&user).copied().unwrap_or(now);
            let text = serde_json::json!({"time": time}).to_string();
            checkpoints.push((format!("api:lastTradeTime:{user}"), text.clone()));
            checkpoints.push((format!("api:lastActivityTime:{user}"), text));
        }
        Ok(checkpoints)
    }
}
