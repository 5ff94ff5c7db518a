//! What wallets hold, folded from their rows.

use std::collections::BTreeMap;

use super::exchange::Exchange;
use super::feed::Row;
use crate::domain::money::ids::{AssetId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp};

/// One token in one wallet. Cash is in micros of USDC, times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Holding {
    pub shares: ShareMicros,
    /// Cost of the shares held now, without fees.
    pub cost: i64,
    /// Fees of the shares held now.
    pub fees: i64,
    /// Shares ever bought, in micros.
    pub bought: i64,
    pub realized: i64,
    pub first_change: i64,
    pub last_change: i64,
}

impl Exchange {
    /// Returns what a wallet holds, by token. With `seen_at`, only rows that the Data API shows by then count.
    pub fn holdings(&self, wallet: &Wallet, seen_at: Option<Timestamp>) -> BTreeMap<AssetId, Holding> {
        let mut holdings = BTreeMap::new();
        let seen = |row: &&Row| seen_at.is_none_or(|now| row.visible_at <= now);
        for row in self.feed.of_wallet(wallet).filter(seen) {
            apply(&mut holdings, row);
        }
        holdings
    }
}

/// Adds a row to the holdings. A row that changes several tokens spreads its cash evenly over them; a CONVERSION has no
/// cost.
fn apply(holdings: &mut BTreeMap<AssetId, Holding>, row: &Row) {
    let n_changes = i64::try_from(row.share_changes.len()).unwrap_or(1).max(1);
    for (asset, change) in &row.share_changes {
        let holding = holdings.entry(asset.clone()).or_default();
        if holding.first_change == 0 {
            holding.first_change = row.key.0;
        }
        holding.last_change = row.key.0;
        let cash = if row.kind == "CONVERSION" { 0 } else { row.gross().0 / n_changes };
        if change.0 >= 0 {
            holding.shares.0 += change.0;
            holding.cost += cash;
            holding.fees += row.fee.0;
            holding.bought += change.0;
        } else {
            let sold = -change.0;
            let share_of = |whole: i64| match holding.shares.0 {
                0 => 0,
                held => i64::try_from(i128::from(whole) * i128::from(sold.min(held)) / i128::from(held)).unwrap_or(0),
            };
            let (cost, fees) = (share_of(holding.cost), share_of(holding.fees));
            holding.cost -= cost;
            holding.fees -= fees;
            holding.shares.0 -= sold;
            holding.realized += cash - cost - fees - row.fee.0;
        }
    }
}
