//! Proportional exits: we sell the share of our lot that the leader sold of their holding (spec 7.2c).

use serde::{Deserialize, Serialize};

use crate::domain::config::effective::ExitSizing;
use crate::domain::events::event::Side;
use crate::domain::events::group::{EventGroup, GroupAction};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::AssetId;
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{ShareMicros, UnitError, div_floor, product};

/// A leader who keeps less than this has left the position.
const KEPT_LEAST: ShareMicros = ShareMicros(10_000);
/// A leader who keeps less than one part in so many has left the position.
const KEPT_PARTS: i64 = 1_000;

/// What the leader held just before the earliest fill of the group; of a MERGE, their smallest holding of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TheirHolding {
    /// The copies of this leader are not sized by it.
    #[default]
    NotAsked,
    Known(ShareMicros),
    /// What the shadow says while the leader's books are not exact: it may differ from what the leader held.
    Inexact(ShareMicros),
    /// The shadow did not have the group's rows in time.
    Late,
}

/// Why an exit is sized like a purchase although the configuration says PROPORTIONAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NotionalBecause {
    /// The shadow did not have the group's rows within the time that a decision waits.
    ShadowLate,
    /// The leader's holding before the group is not known, or is not above zero.
    HoldingUnknown,
    /// The leader's books were not exact.
    BooksNotExact,
}
text_enum!(NotionalBecause {
    ShadowLate => "SHADOW_LATE",
    HoldingUnknown => "HOLDING_UNKNOWN",
    BooksNotExact => "BOOKS_NOT_EXACT",
});

/// How an exit was sized, for its explanation. Only where the configuration says PROPORTIONAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitBasis {
    pub sizing: ExitSizing,
    /// What the leader held just before the group, by our books.
    pub their_holding_micros: Option<ShareMicros>,
    /// The reason for NOTIONAL.
    pub because: Option<NotionalBecause>,
}

/// Returns the assets whose holding an exit is measured against: the asset of a SELL, all outcomes of a MERGE, none for
/// every other group.
pub fn exit_assets(group: &EventGroup, market: &Market) -> Vec<AssetId> {
    match &group.action {
        GroupAction::Trade { asset, side: Side::Sell } => vec![asset.clone()],
        GroupAction::Merge => market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect(),
        _ => Vec::new(),
    }
}

impl ExitBasis {
    /// Returns how an exit is sized; `None` where the configuration says NOTIONAL.
    pub(super) fn of(sizing: ExitSizing, before: TheirHolding) -> Option<Self> {
        if sizing == ExitSizing::Notional {
            return None;
        }
        let notional =
            |held, because| Self { sizing: ExitSizing::Notional, their_holding_micros: held, because: Some(because) };
        Some(match before {
            TheirHolding::Known(held) if held > ShareMicros::ZERO => {
                Self { sizing: ExitSizing::Proportional, their_holding_micros: Some(held), because: None }
            }
            TheirHolding::Known(held) => notional(Some(held), NotionalBecause::HoldingUnknown),
            TheirHolding::Inexact(held) => notional(Some(held), NotionalBecause::BooksNotExact),
            TheirHolding::NotAsked => notional(None, NotionalBecause::HoldingUnknown),
            TheirHolding::Late => notional(None, NotionalBecause::ShadowLate),
        })
    }

    /// Returns the holding that a proportional exit is measured against.
    pub(super) fn before(self) -> Option<ShareMicros> {
        self.their_holding_micros.filter(|_| self.sizing == ExitSizing::Proportional)
    }
}

/// Returns the part of `ours` to give up when the leader gives up `theirs` of `before`, rounded down: all of it when what
/// they keep is under 0.01 share or under 0.1 % of `before`. `before` is above zero.
///
/// # Errors
/// [`UnitError::Overflow`].
pub(super) fn share_of(ours: ShareMicros, theirs: ShareMicros, before: ShareMicros) -> Result<ShareMicros, UnitError> {
    let ours = ours.max(ShareMicros::ZERO);
    let kept = before.minus(theirs)?;
    if kept < KEPT_LEAST || product(kept.0, KEPT_PARTS) < i128::from(before.0) {
        return Ok(ours);
    }
    div_floor(product(ours.0, theirs.0), i128::from(before.0)).map(|part| ShareMicros(part).min(ours))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::money::units::MICROS;

    #[test]
    fn an_exit_gives_up_the_share_that_the_leader_gave_up() {
        let check = |ours: i64, theirs: i64, before: i64, expected: i64| {
            let part = share_of(ShareMicros(ours), ShareMicros(theirs), ShareMicros(before)).unwrap();
            assert_eq!(part.0, expected, "{theirs} of {before}, of our {ours}");
        };
        check(50 * MICROS, 250 * MICROS, 1_000 * MICROS, 12_500_000);
        check(7, 1, 3, 7);
        check(70_000_001, 1_000_000, 3_000_000, 23_333_333);
        // What is kept: 0.01 share, and a micro-share less.
        check(9 * MICROS, 990_000, 1_000_000, 8_910_000);
        check(9 * MICROS, 990_001, 1_000_000, 9 * MICROS);
        // A thousandth, and a micro-share less.
        check(9 * MICROS, 999 * MICROS, 1_000 * MICROS, 8_991_000);
        check(9 * MICROS, 999_000_001, 1_000 * MICROS, 9 * MICROS);
        // More than they held: all. Nothing held by us: nothing.
        check(9 * MICROS, 2_000 * MICROS, 1_000 * MICROS, 9 * MICROS);
        check(0, 500 * MICROS, 1_000 * MICROS, 0);
        check(-5, 500 * MICROS, 1_000 * MICROS, 0);
        check(i64::MAX, i64::MAX / 2, i64::MAX, i64::MAX / 2);
    }

    #[test]
    fn an_unknown_holding_is_sized_like_a_purchase_and_says_why() {
        let of = |before| ExitBasis::of(ExitSizing::Proportional, before).unwrap();
        assert_eq!(ExitBasis::of(ExitSizing::Notional, TheirHolding::Known(ShareMicros(7))), None);
        assert_eq!(of(TheirHolding::Known(ShareMicros(7))).before(), Some(ShareMicros(7)));
        for held in [0, -7] {
            let basis = of(TheirHolding::Known(ShareMicros(held)));
            assert_eq!((basis.before(), basis.because), (None, Some(NotionalBecause::HoldingUnknown)));
        }
        for held in [7, 0, -7] {
            let basis = of(TheirHolding::Inexact(ShareMicros(held)));
            assert_eq!((basis.before(), basis.because), (None, Some(NotionalBecause::BooksNotExact)));
            assert_eq!(basis.their_holding_micros, Some(ShareMicros(held)));
        }
        assert_eq!(of(TheirHolding::Late).because, Some(NotionalBecause::ShadowLate));
        assert_eq!(of(TheirHolding::NotAsked).because, Some(NotionalBecause::HoldingUnknown));
    }

    proptest! {
        #[test]
        fn a_leader_who_leaves_takes_us_along_and_one_who_stays_does_not_oversell(
            ours in 0..1_000_000_000_000i64, before in 1..1_000_000_000_000i64, part in 0..=10_000i64,
        ) {
            let theirs = i64::try_from(i128::from(before) * i128::from(part) / 10_000).unwrap();
            let sold = share_of(ShareMicros(ours), ShareMicros(theirs), ShareMicros(before)).unwrap();
            prop_assert!((0..=ours).contains(&sold.0));
            if part == 10_000 {
                prop_assert_eq!(sold.0, ours);
            }
            // Never less than the exact share by a micro-share or more.
            prop_assert!((product(sold.0, before) + i128::from(before)) > product(ours, theirs));
        }
    }
}
