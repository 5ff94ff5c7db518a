//! Settlement of a resolved market: every lot of our copies is closed at its payout (spec 9).

use super::ledger::{EntryType, LedgerEntry, PortfolioId, PortfolioScope};
use super::portfolio::Lot;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{ShareMicros, Timestamp, UnitError};

/// Why a market cannot be settled yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettlementError {
    #[error("the payout of asset `{0}` is not known")]
    UnknownPayout(AssetId),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// Returns the entries that close each of `lots` in `market`, at 0, 1 or a split payout rounded down.
///
/// Empty for a shadow: the leader settles by redeeming, and the lot is marked at the payout until then. The key of an
/// entry is `settle:<condition>:<leader>` with the asset, so a second settlement of the same lot is recognized.
///
/// # Errors
/// [`SettlementError::UnknownPayout`] when a held asset has no payout yet, and then nothing is settled;
/// [`SettlementError::Unit`].
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::ids::FollowedUserId;
    use crate::domain::money::units::{PriceMicros, UsdcMicros};
    use crate::testkit::samples::{ALICE, BOB, SHADOW, asset, at, market, market_id};

    fn lot(n: usize, leader: FollowedUserId, shares: i64) -> Lot {
        Lot {
            asset: asset(n),
            leader,
            market: Some(market_id(n / 10)),
            shares: ShareMicros(shares),
            cost: UsdcMicros(1),
            value: UsdcMicros(1),
            exposure: UsdcMicros(1),
            mark: None,
            is_stale: true,
            sale_price: PriceMicros::ZERO,
            is_resolved: false,
            quote: None,
        }
    }

    #[test]
    fn every_lot_is_closed_at_its_payout_rounded_down() {
        let check = |payouts: &[Option<i64>], n: usize, shares: i64, cash: i64| {
            let settled =
                settle(PortfolioId::ExecGlobal, &market(1, payouts), &[lot(n, ALICE, shares)], at(0)).unwrap();
            assert_eq!((settled[0].shares.0, settled[0].cash.0), (-shares, cash), "{payouts:?} asset {n}");
        };
        check(&[Some(0), Some(1_000_000)], 10, 5_000_001, 0);
        check(&[Some(0), Some(1_000_000)], 11, 5_000_001, 5_000_001);
        check(&[Some(500_000), Some(500_000)], 11, 5_000_001, 2_500_000);
        check(&[Some(333_333), Some(666_667)], 10, 1, 0);
        check(&[Some(500_000), Some(500_000)], 10, -5_000_001, -2_500_001);
    }

    #[test]
    fn lots_of_several_leaders_settle_under_separate_keys() {
        let market = market(1, &[Some(0), Some(1_000_000)]);
        let lots = [lot(10, ALICE, 4), lot(10, BOB, 5), lot(11, BOB, 6), lot(11, ALICE, 0), lot(20, ALICE, 9)];
        let settled = settle(PortfolioId::ExecGlobal, &market, &lots, at(3)).unwrap();
        let keys: Vec<_> = settled.iter().map(|entry| (entry.ref_id.as_str(), entry.asset.clone().unwrap())).collect();
        let (alice, bob) = (format!("settle:{}:7", market.id), format!("settle:{}:8", market.id));
        assert_eq!(keys, [(alice.as_str(), asset(10)), (bob.as_str(), asset(10)), (bob.as_str(), asset(11))]);
        for entry in &settled {
            assert_eq!(entry.validate(), Ok(()));
            assert_eq!((entry.kind, entry.created_at), (EntryType::Settlement, at(3)));
        }
        assert_eq!(settled[2].price, Some(PriceMicros::ONE));
    }

    #[test]
    fn nothing_settles_until_every_held_payout_is_known() {
        let half_known = market(1, &[Some(0), None]);
        let settled = settle(PortfolioId::ExecGlobal, &half_known, &[lot(10, ALICE, 4), lot(11, ALICE, 4)], at(0));
        assert_eq!(settled, Err(SettlementError::UnknownPayout(asset(11))));
    }

    #[test]
    fn a_shadow_settles_when_its_leader_redeems() {
        let market = market(1, &[Some(0), Some(1_000_000)]);
        assert_eq!(settle(SHADOW, &market, &[lot(11, ALICE, 4)], at(0)), Ok(Vec::new()));
    }
}
