//! Whether a leader's books are true to the venue, and what drifts, as pages and JSON show it (spec 5).

use serde::Serialize;

use crate::db::{Db, DbError, PositionCheck};
use crate::domain::accounting::shadow::exactness::{CheckOutcome, Exactness, InexactCause};
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

/// Whether the books of a leader are exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ExactnessView {
    /// `EXACT`; `ADJUSTED` when checks have ended differences; or `NOT_EXACT`.
    pub state: &'static str,
    /// Since when the books are not exact; null while they are.
    pub since: Option<Timestamp>,
    /// Why they are not exact, as a code, for example `DRIFT`; null while they are.
    pub cause: Option<String>,
    /// The same in words; null while they are exact.
    pub because: Option<&'static str>,
    /// How often a check has adjusted the books to the venue's positions.
    pub n_adjustments: u64,
    /// The absolute value of all that was adjusted, in millionths of a USDC.
    pub adjusted_micros: UsdcMicros,
    /// When the books were last adjusted; null when never, or while they are not exact.
    pub last_adjusted_at: Option<Timestamp>,
}

/// The newest comparison of a leader's shadow with the venue's positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PositionCheckView {
    /// When the positions were read.
    pub checked_at: Timestamp,
    /// `EXACT`, `DRIFTING`, `ADJUSTED`, or `UNREADABLE` when the venue did not tell.
    pub state: &'static str,
    /// Number of assets that the venue lists or the shadow holds.
    pub n_assets: i64,
    /// Number of assets that differ by 0.0001 share or more.
    pub n_drifting: usize,
    /// The sum of the absolute differences at their marks, in millionths of a USDC.
    pub drift_value_micros: UsdcMicros,
    /// What differs, or differed until this check.
    pub drifts: Vec<DriftView>,
}

/// One difference between the shadow and the venue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DriftView {
    /// The outcome token.
    pub asset_id: AssetId,
    /// The market, by its condition id; null when unknown.
    pub market_id: Option<MarketId>,
    /// What the venue says that the leader holds, in millionths of a share.
    pub leader_share_micros: ShareMicros,
    /// What the shadow holds of the rows that the position counts, in millionths of a share.
    pub shadow_share_micros: ShareMicros,
    /// The absolute difference at the mark, in millionths of a USDC.
    pub value_micros: UsdcMicros,
}

impl ExactnessView {
    /// Reads the state of a leader's books.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn load(db: &Db, user: FollowedUserId) -> Result<Self, DbError> {
        let record = db.books_record(user).await?;
        let (n_adjustments, adjusted_micros) = record.adjustments();
        let exactness = record.exactness();
        let (since, cause, last_adjusted_at) = match exactness {
            Exactness::NotExact { since, cause } => (Some(since), Some(cause), None),
            Exactness::Adjusted { last, .. } => (None, None, Some(last)),
            Exactness::Exact => (None, None, None),
        };
        Ok(Self {
            state: exactness.state().as_str(),
            since,
            cause: cause.map(|cause| cause.to_string()),
            because: cause.map(words),
            n_adjustments,
            adjusted_micros,
            last_adjusted_at,
        })
    }
}

/// Returns what a page says after "not exact because".
const fn words(cause: InexactCause) -> &'static str {
    match cause {
        InexactCause::NoOpening => "what the leader held before is not read yet",
        InexactCause::Drift => "the venue lists other holdings",
        InexactCause::UnreadablePositions => "the venue's positions cannot be read",
        InexactCause::WaitingRows => "a redemption waits for the payout of its market",
        InexactCause::UnknownKind => "a row of a kind that is not known was seen",
        InexactCause::UnpricedOpening => "no price was known of something the leader held before",
        InexactCause::PayoutAssumed => "a payout was not known after 24 hours and was taken as 1",
        InexactCause::UnresolvedConversion => "the positions do not show what a conversion moved",
        InexactCause::RowNotApplied => "a row could not be booked",
    }
}

impl PositionCheckView {
    /// Reads the newest check of a leader; `None` before the first.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn load(db: &Db, user: FollowedUserId) -> Result<Option<Self>, DbError> {
        Ok(db.position_checks(user, 1).await?.pop().map(Self::of))
    }

    fn of(check: PositionCheck) -> Self {
        let drift_value_micros = check.drift_value();
        let view = |(drift, value_micros): (crate::domain::accounting::shadow::reading::Drift, UsdcMicros)| DriftView {
            asset_id: drift.asset,
            market_id: drift.market,
            leader_share_micros: drift.leader_holds,
            shadow_share_micros: drift.shadow_holds,
            value_micros,
        };
        Self {
            checked_at: check.checked_at,
            state: CheckOutcome::as_str(check.outcome),
            n_assets: check.n_assets,
            n_drifting: check.drifts.len(),
            drift_value_micros,
            drifts: check.drifts.into_iter().map(view).collect(),
        }
    }
}
