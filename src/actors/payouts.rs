//! The one answer to "what do these assets pay": stored payouts, else the three sources of spec 3.1, stored at once.
//! The settler asks it for held markets, the ingestor for redemptions.

use crate::clock::Clock;
use crate::db::{Db, DbError};
use crate::domain::market::facts::Market;
use crate::domain::market::payout::ResolutionStage;
use crate::polymarket::{Polymarket, PolymarketError};

/// The payouts could not be asked for, or not be stored.
#[derive(Debug, thiserror::Error)]
pub enum PayoutError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Polymarket(#[from] PolymarketError),
}

/// Adds the payouts to `market` and returns how far it is on its way to them. With
/// [`ResolutionStage::Resolved`] each outcome has its payout, unless the outcomes of the market are not known or no
/// source has the payouts yet: ask [`Market::payout_of`]. A market that has its payouts costs no request, another one to
/// four.
///
/// # Errors
/// [`PayoutError`] when the database or Polymarket fails; `market` has not changed then.
pub async fn add_payouts(
    db: &Db,
    polymarket: &Polymarket,
    clock: Clock,
    market: &mut Market,
) -> Result<ResolutionStage, PayoutError> {
    let is_known = |market: &Market| market.outcomes.iter().all(|outcome| outcome.payout.is_some());
    if market.outcomes.is_empty() {
        return Ok(ResolutionStage::Open);
    }
    if market.resolved_at.is_some() && is_known(market) {
        return Ok(ResolutionStage::Resolved);
    }
    let answer = polymarket.payouts(market).await?;
    let Some(known) = answer.known else { return Ok(answer.stage) };
    let resolved_at = known.resolved_at.unwrap_or_else(|| clock.now());
    db.set_payouts(&market.id, &known.payouts, resolved_at).await?;
    tracing::info!(market = %market.id, source = ?known.source, "market resolved");
    for outcome in &mut market.outcomes {
        outcome.payout = known.payouts.iter().find(|(asset, _)| *asset == outcome.asset).map(|(_, payout)| *payout);
    }
    market.resolved_at = market.resolved_at.or(Some(resolved_at));
    Ok(ResolutionStage::Resolved)
}
