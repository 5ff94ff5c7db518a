//! What a resolved market pays: every lot of our copies is closed at its payout (spec section 9).

use super::ids::AssetId;
use super::ledger::{EntryType, LedgerEntry, PortfolioId, PortfolioScope};
use super::market::Market;
use super::portfolio::Lot;
use super::units::{ShareMicros, Timestamp, UnitError};

/// Why a market cannot be settled yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettlementError {
    #[error("the payout of asset `{0}` is not known")]
    UnknownPayout(AssetId),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// Closes each of `lots` that lies in `market`, lot by lot, at 0, 1 or a split payout rounded down.
///
/// Empty for a shadow: the leader settles by redeeming, and is marked at the payout until then.
/// The key is `settle:<condition>:<leader>` with the asset, so a second settlement of a lot is known as such.
///
/// # Errors
/// `UnknownPayout` when a held asset has none yet, and then nothing is settled; `Unit`.
pub fn settle(
    portfolio: PortfolioId,
    market: &Market,
    lots: &[Lot],
    now: Timestamp,
) -> Result<Vec<LedgerEntry>, SettlementError> {
    if portfolio.scope() == PortfolioScope::ShadowUser {
        return Ok(Vec::new());
    }
    let mut entries = Vec::new();
    for lot in lots.iter().filter(|lot| lot.market.as_ref() == Some(&market.id) && lot.shares != ShareMicros::ZERO) {
        let payout = market.payout_of(&lot.asset).ok_or_else(|| SettlementError::UnknownPayout(lot.asset.clone()))?;
        entries.push(LedgerEntry {
            portfolio,
            attributed_user: Some(lot.leader),
            market: Some(market.id.clone()),
            asset: Some(lot.asset.clone()),
            kind: EntryType::Settlement,
            shares: lot.shares.negated()?,
            cash: payout.proceeds_of(lot.shares)?,
            price: Some(payout),
            ref_id: format!("settle:{}:{}", market.id, lot.leader),
            created_at: now,
        });
    }
    Ok(entries)
}
