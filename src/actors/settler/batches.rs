//! Closed markets asked for together: the opening of a leader may bring hundreds of positions that resolved long ago.
//!
//! What a batch does not answer is asked for market by market, as always.

use super::{LastAsked, SettlerDeps, SettlerError, facts_are_due, is_known, payouts_are_due};
use crate::db::Resolution;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::MarketId;

/// Stores the facts of the unknown markets that Gamma lists as closed, and the payouts of the closed markets whose
/// tokens have their final prices.
///
/// # Errors
/// [`SettlerError`] when the database or Polymarket fails.
pub(super) async fn learn(deps: &SettlerDeps, asked: &mut LastAsked, held: &[MarketId]) -> Result<(), SettlerError> {
    let stored = deps.db.markets(held).await?;
    let known = |id: &MarketId| stored.iter().any(|market| market.id == *id && is_known(market));
    let now = deps.clock.now();
    let unknown = held.iter().filter(|id| !known(id) && facts_are_due(asked, id, false, now));
    let unknown: Vec<MarketId> = unknown.cloned().collect();
    if unknown.len() > 1 {
        let closed = deps.polymarket.closed_markets(&unknown).await?;
        deps.db.save_markets(&closed).await?;
        asked.facts.extend(closed.into_iter().map(|market| (market.id, now)));
    }
    let unpaid = |market: &Market| {
        market.resolved_at.is_none() && !market.outcomes.is_empty() && payouts_are_due(market, asked, now)
    };
    let unpaid: Vec<Market> = deps.db.markets(held).await?.into_iter().filter(unpaid).collect();
    if unpaid.len() > 1 {
        let paid = deps.polymarket.final_payouts(&unpaid).await?;
        let resolutions = paid.into_iter().map(|(market, known)| Resolution {
            market,
            payouts: known.payouts,
            resolved_at: known.resolved_at.unwrap_or(now),
        });
        let resolutions: Vec<Resolution> = resolutions.collect();
        let n_new = deps.db.set_all_payouts(&resolutions).await?;
        tracing::info!(asked = unpaid.len(), resolved = n_new, "the payouts of closed markets were asked for together");
    }
    Ok(())
}
