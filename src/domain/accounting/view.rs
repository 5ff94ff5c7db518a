//! The facts of a portfolio that a decision may use, at one version of it (spec 7 and 9).

use super::ledger::PortfolioId;
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{ShareMicros, UsdcMicros};

/// One portfolio as the decision on one group sees it: its sums at marks, and its lots of the group's leader.
///
/// A decision is made on `version`; the ledger refuses to record it on another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortfolioView {
    pub id: PortfolioId,
    pub version: u64,
    pub cash: UsdcMicros,
    /// Cash and holdings at marks.
    pub equity: UsdcMicros,
    pub exposure_total: UsdcMicros,
    /// Exposure in the market of the group, over all leaders.
    pub exposure_market: UsdcMicros,
    /// Exposure caused by the leader of the group, over all markets.
    pub exposure_leader: UsdcMicros,
    /// The lot of the group's asset and leader; zero for a group without an asset.
    pub held: ShareMicros,
    /// The leader's lot of each outcome of the market, in outcome order. A MERGE takes from these.
    pub held_sets: Vec<(AssetId, ShareMicros)>,
    pub baselines: Baselines,
}

/// The equities from which losses are measured.
///
/// For a portfolio younger than the day or the week this is its opening deposit, which is also its first peak. `None` while
/// there was neither a snapshot at the boundary nor, since then, one whose held assets all had fresh marks: until then the
/// loss cannot be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Baselines {
    /// At 00:00 UTC today.
    pub day_start: Option<UsdcMicros>,
    /// At Monday 00:00 UTC.
    pub week_start: Option<UsdcMicros>,
    /// The highest since the last peak reset.
    pub peak: UsdcMicros,
}
