//! Closed lots by result, for the win rate.
//!
//! A lot is closed when it has no shares left, by sale, merge or settlement. The end of a holding below zero, and of a
//! lot by OPENING or ADJUSTMENT, is not a result: such entries say what we did not know. It is won if it realized a gain until
//! then, fees included. The fee of the closing sale is a separate entry right after the sale, so the lot that was
//! closed last takes fees until another lot is closed.

use serde::{Deserialize, Serialize};

use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::domain::money::units::UsdcMicros;

/// The number of closed lots by result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClosedLotCounts {
    pub won: u64,
    pub lost: u64,
    /// Realized exactly zero.
    pub even: u64,
}

/// The closed lots of one portfolio. Part of its checkpoint, so the field names are a contract.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ClosedLots {
    counted: ClosedLotCounts,
    /// The lot that was closed last. It is not counted yet, because its fee may follow.
    last: Option<ClosedLot>,
    /// The entry that opened the newest lot of shares which we did not know. When another entry of the same cause
    /// closes the lot at once, the leader has closed nothing that we followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correction: Option<OpenedByCorrection>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OpenedByCorrection {
    asset: AssetId,
    leader: FollowedUserId,
    ref_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ClosedLot {
    asset: AssetId,
    leader: FollowedUserId,
    ref_id: String,
    realized_micros: UsdcMicros,
}

impl ClosedLotCounts {
    /// Returns the number of all closed lots.
    pub fn total(&self) -> u64 {
        self.won.saturating_add(self.lost).saturating_add(self.even)
    }

    fn count(&mut self, realized: UsdcMicros) {
        let counted = match realized.0 {
            1.. => &mut self.won,
            0 => &mut self.even,
            _ => &mut self.lost,
        };
        *counted = counted.saturating_add(1);
    }
}

impl ClosedLots {
    /// Adds a lot that the entry `ref_id` closed. `realized` counts since the lot was opened.
    pub(in crate::domain) fn close(
        &mut self,
        asset: &AssetId,
        leader: FollowedUserId,
        ref_id: &str,
        realized: UsdcMicros,
    ) {
        let opened = self.correction.take_if(|opened| opened.asset == *asset && opened.leader == leader);
        if opened.is_some_and(|opened| opened.ref_id == ref_id) {
            return;
        }
        self.count_last();
        self.last =
            Some(ClosedLot { asset: asset.clone(), leader, ref_id: ref_id.to_owned(), realized_micros: realized });
    }

    /// Notes that the OPENING or ADJUSTMENT `ref_id` opened a lot.
    pub(in crate::domain) fn note_correction(&mut self, asset: &AssetId, leader: FollowedUserId, ref_id: &str) {
        self.correction = Some(OpenedByCorrection { asset: asset.clone(), leader, ref_id: ref_id.to_owned() });
    }

    /// Adds a fee of `ref_id` to the lot that was closed last. Returns false when it does not belong to that lot.
    pub(in crate::domain) fn take_fee(
        &mut self,
        asset: &AssetId,
        leader: FollowedUserId,
        ref_id: &str,
        cash: UsdcMicros,
    ) -> bool {
        match &mut self.last {
            Some(last) if last.asset == *asset && last.leader == leader && last.ref_id == ref_id => {
                last.realized_micros.0 = last.realized_micros.0.saturating_add(cash.0);
                true
            }
            _ => false,
        }
    }

    /// Returns the counts, including the lot that was closed last.
    pub fn counts(&self) -> ClosedLotCounts {
        let mut all = self.counted;
        if let Some(last) = &self.last {
            all.count(last.realized_micros);
        }
        all
    }

    fn count_last(&mut self) {
        if let Some(last) = self.last.take() {
            self.counted.count(last.realized_micros);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
    use crate::domain::accounting::portfolio::Portfolio;
    use crate::testkit::samples::{ALICE, BOB, entry};

    const GLOBAL: PortfolioId = PortfolioId::ExecGlobal;

    fn of(leader: FollowedUserId, ref_id: &str, kind: EntryType, asset: usize, shares: i64, cash: i64) -> LedgerEntry {
        let entry = entry(GLOBAL, kind, asset, shares, cash);
        LedgerEntry { attributed_user: Some(leader), ref_id: ref_id.to_owned(), ..entry }
    }

    #[test]
    fn a_lot_is_won_if_it_realized_a_gain_after_fees() {
        use EntryType::{Fee, Settlement, TradeFill};
        let check = |entries: &[LedgerEntry], expected: (u64, u64, u64)| {
            let mut portfolio = Portfolio::new(GLOBAL);
            for entry in entries {
                portfolio.apply(entry).unwrap();
                // A restart between any two entries changes nothing.
                portfolio = Portfolio::restore(GLOBAL, &portfolio.checkpoint(1)).unwrap();
            }
            let ClosedLotCounts { won, lost, even } = portfolio.closed_lots();
            assert_eq!((won, lost, even), expected, "{entries:?}");
        };
        let bought = of(ALICE, "copy:1", TradeFill, 10, 100, -50);
        check(&[], (0, 0, 0));
        check(std::slice::from_ref(&bought), (0, 0, 0));
        check(&[bought.clone(), of(ALICE, "copy:2", TradeFill, 10, -40, 30)], (0, 0, 0));
        check(&[bought.clone(), of(ALICE, "copy:2", TradeFill, 10, -100, 51)], (1, 0, 0));
        check(&[bought.clone(), of(ALICE, "copy:2", TradeFill, 10, -100, 50)], (0, 0, 1));
        check(&[bought.clone(), of(ALICE, "settle", Settlement, 10, -100, 0)], (0, 1, 0));
        // Fees of the purchase and of the sale both count.
        let sold = of(ALICE, "copy:2", TradeFill, 10, -100, 52);
        check(&[bought.clone(), of(ALICE, "copy:1", Fee, 10, 0, -2), sold.clone()], (0, 0, 1));
        check(&[bought.clone(), sold.clone(), of(ALICE, "copy:2", Fee, 10, 0, -3)], (0, 1, 0));
        // A fee of another leader's lot, or of another cause, does not.
        check(&[bought.clone(), sold.clone(), of(BOB, "copy:2", Fee, 10, 0, -3)], (1, 0, 0));
        check(&[bought.clone(), sold.clone(), of(ALICE, "copy:3", Fee, 10, 0, -3)], (1, 0, 0));
        // A part sold at a loss and the rest at a gain are one lot; the next purchase opens another.
        let again = of(ALICE, "copy:4", TradeFill, 10, 10, -5);
        let gone = of(ALICE, "copy:5", TradeFill, 10, -10, 4);
        check(
            &[
                bought.clone(),
                of(ALICE, "copy:2", TradeFill, 10, -50, 20),
                of(ALICE, "copy:3", TradeFill, 10, -50, 31),
                again,
                gone,
            ],
            (1, 1, 0),
        );
        // A movement across zero closes the lot.
        check(&[bought, of(ALICE, "copy:2", TradeFill, 10, -150, 90)], (1, 0, 0));
    }
}
