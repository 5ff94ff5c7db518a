//! What wallets hold: what they held before their first row, and their rows folded onto it.

use std::collections::{BTreeMap, BTreeSet};

use super::exchange::Exchange;
use super::feed::Row;
use crate::domain::money::ids::{AssetId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};

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
    /// 0 when not known.
    pub first_change: i64,
    /// 0 when not known: `last_event_at` is missing then.
    pub last_change: i64,
}

impl Exchange {
    /// Lets a wallet hold shares that it got before any row: the feed shows no row of it, the positions route lists it.
    /// `last_event_at` is `None` for a position that the API states no time of.
    ///
    /// It may be a token of either ledger, or one of a combo.
    pub fn hold(
        &mut self,
        wallet: &Wallet,
        asset: &AssetId,
        shares: ShareMicros,
        average: PriceMicros,
        last_event_at: Option<Timestamp>,
    ) {
        self.feed.add_held(wallet, asset, shares);
        let holding = self.old_holdings.entry(wallet.clone()).or_default().entry(asset.clone()).or_default();
        holding.shares.0 = holding.shares.0.saturating_add(shares.0);
        holding.bought = holding.bought.saturating_add(shares.0);
        holding.cost = holding.cost.saturating_add(average.cost_of(shares).unwrap_or_default().0);
        holding.last_change = last_event_at.map_or(0, Timestamp::seconds);
    }

    /// Returns what a wallet holds, by token. With `seen_at`, only rows that the Data API shows by then count.
    pub fn holdings(&self, wallet: &Wallet, seen_at: Option<Timestamp>) -> BTreeMap<AssetId, Holding> {
        let mut holdings = self.old_holdings.get(wallet).cloned().unwrap_or_default();
        let seen = |row: &&Row| seen_at.is_none_or(|now| row.visible_at <= now);
        for row in self.feed.of_wallet(wallet).filter(seen) {
            apply(&mut holdings, row);
        }
        holdings
    }

    /// Returns the wallets that have rows or old holdings.
    pub(in crate::simulator) fn holders(&self) -> BTreeSet<&Wallet> {
        self.feed.wallets().chain(self.old_holdings.keys()).collect()
    }
}

/// Adds a row to the holdings. A row that changes several tokens spreads its cash evenly over them. Where tokens become
/// other tokens, the cost goes with them, less the cash received.
fn apply(holdings: &mut BTreeMap<AssetId, Holding>, row: &Row) {
    let count = |n: usize| i64::try_from(n).unwrap_or(1).max(1);
    let n_changes = count(row.share_changes.len());
    let n_gained = count(row.share_changes.iter().filter(|(_, change)| change.0 > 0).count());
    // What is left of the cost of the tokens that leave, where the row says what was received for them.
    let mut carried = row.received.map(|received| received.0.saturating_neg());
    let leaving = row.share_changes.iter().filter(|(_, change)| change.0 < 0);
    for (asset, change) in leaving {
        let holding = changed(holdings, asset, row);
        let sold = -change.0;
        let share_of = |whole: i64| match holding.shares.0 {
            0 => 0,
            held => i64::try_from(i128::from(whole) * i128::from(sold.min(held)) / i128::from(held)).unwrap_or(0),
        };
        let (cost, fees) = (share_of(holding.cost), share_of(holding.fees));
        holding.cost -= cost;
        holding.fees -= fees;
        holding.shares.0 -= sold;
        match &mut carried {
            Some(carried) => *carried += cost + fees,
            None => holding.realized += row.gross().0 / n_changes - cost - fees - row.fee.0,
        }
    }
    if let (Some(left), Some((asset, _))) = (carried.filter(|left| *left < 0), row.share_changes.first()) {
        changed(holdings, asset, row).realized -= left;
    }
    for (asset, change) in row.share_changes.iter().filter(|(_, change)| change.0 >= 0) {
        let holding = changed(holdings, asset, row);
        holding.shares.0 += change.0;
        holding.cost += carried.map_or(row.gross().0 / n_changes, |left| left.max(0) / n_gained);
        holding.fees += row.fee.0;
        holding.bought += change.0;
    }
}

/// Returns the holding of a token that a row changes.
fn changed<'a>(holdings: &'a mut BTreeMap<AssetId, Holding>, asset: &AssetId, row: &Row) -> &'a mut Holding {
    let holding = holdings.entry(asset.clone()).or_default();
    if holding.first_change == 0 {
        holding.first_change = row.key.0;
    }
    holding.last_change = row.key.0;
    holding
}
