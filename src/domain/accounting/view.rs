//! What a decision may know of a portfolio, taken at one version of it (spec sections 7 and 9).

use super::ledger::PortfolioId;
use crate::domain::money::ids::AssetId;
use crate::domain::money::units::{ShareMicros, UsdcMicros};

/// One portfolio seen for one group: its figures at marks, and what it holds of the group's leader.
///
/// A decision is made on `version`; the ledger refuses to record it on any other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortfolioView {
    pub id: PortfolioId,
    pub version: u64,
    pub cash: UsdcMicros,
    /// Cash and holdings at marks.
    pub equity: UsdcMicros,
    pub exposure_total: UsdcMicros,
    /// Exposure in the group's market, all leaders.
    pub exposure_market: UsdcMicros,
    /// Exposure caused by the group's leader, all markets.
    pub exposure_leader: UsdcMicros,
    /// The lot of the group's asset and leader; zero for a group without an asset.
    pub held: ShareMicros,
    /// The leader's lot of each outcome of the market, in outcome order: what a MERGE may take.
    pub held_sets: Vec<(AssetId, ShareMicros)>,
    pub baselines: Baselines,
}

/// The equities that losses are counted from.
///
/// A portfolio younger than the day or the week has its opening deposit here, which is also its first peak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Baselines {
    /// At 00:00 UTC today.
    pub day_start: UsdcMicros,
    /// At Monday 00:00 UTC.
    pub week_start: UsdcMicros,
    /// The highest since the last peak reset.
    pub peak: UsdcMicros,
}
