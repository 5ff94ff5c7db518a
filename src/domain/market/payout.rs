//! Payouts: what one share of each outcome pays once its market is resolved (spec 3.1 and 9).

use crate::domain::money::ids::AssetId;
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{MICROS, PriceMicros};

/// How far a market is on its way to payouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResolutionStage {
    /// No result is proposed.
    Open,
    /// A result is proposed. It settles nothing, because it can be disputed.
    Proposed,
    /// The proposed result is disputed.
    Disputed,
    Resolved,
}
text_enum!(ResolutionStage {
    Open => "OPEN",
    Proposed => "PROPOSED",
    Disputed => "DISPUTED",
    Resolved => "RESOLVED",
});

/// Returns whether these are the payouts of all outcomes of a market: one complete set pays one USDC. Split payouts are
/// fractions, so each may be off by a micro. Prices that were never payouts, such as 0 and 0, are refused.
pub fn pay_one_set(payouts: &[(AssetId, PriceMicros)]) -> bool {
    let Ok(n) = i64::try_from(payouts.len()) else { return false };
    let sum = payouts.iter().fold(0_i64, |sum, (_, payout)| sum.saturating_add(payout.micros()));
    n > 0 && sum.saturating_sub(MICROS).abs() <= n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::samples::{asset, price};

    #[test]
    fn only_the_payouts_of_a_complete_set_are_payouts() {
        let check = |payouts: &[i64], expected| {
            let payouts: Vec<_> = payouts.iter().enumerate().map(|(n, micros)| (asset(n), price(*micros))).collect();
            assert_eq!(pay_one_set(&payouts), expected, "{payouts:?}");
        };
        check(&[1_000_000, 0], true);
        check(&[500_000, 500_000], true);
        check(&[333_333, 666_667], true);
        check(&[333_333, 333_333, 333_333], true);
        check(&[], false);
        check(&[0, 0], false);
        check(&[1_000_000, 1_000_000], false);
        check(&[505_000, 490_000], false);
    }
}
