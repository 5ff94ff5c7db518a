//! Settings of the simulated exchange and of its Polygon node.

use crate::clock::Clock;

use super::http::cache::CacheSettings;

/// How the exchange behaves. The default is exact and instant; [`lifelike`](Self::lifelike) has the delays of the real
/// exchange.
#[derive(Debug, Clone)]
pub struct SimulatorSettings {
    pub seed: u64,
    pub now: Clock,
    /// How long after its block the Data API first shows a row, in milliseconds; drawn between the two values.
    pub visible_after: (i64, i64),
    /// The share of rows, in 0..1, that are shown `late_by` milliseconds later still, behind rows already served.
    pub late_chance: f64,
    pub late_by: i64,
    /// How long after its first showing a row lacks its outcome index and event, in milliseconds.
    pub complete_after: i64,
    pub cache: CacheSettings,
    pub node: NodeSettings,
}

/// How the Polygon node behaves.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Whether logs have `blockTimestamp`, as those of bor do; not confirmed for Alchemy.
    pub block_timestamps: bool,
    /// The widest range that `eth_getLogs` accepts, in blocks.
    pub get_logs_blocks_max: Option<u64>,
    /// How many of the newest matching logs a new subscription is sent a second time.
    pub replayed_logs: usize,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            seed: 1,
            now: Clock::System,
            visible_after: (0, 0),
            late_chance: 0.0,
            late_by: 0,
            complete_after: 0,
            cache: CacheSettings::OFF,
            node: NodeSettings::default(),
        }
    }
}

impl SimulatorSettings {
    /// Returns settings with the delays, caches and incomplete rows of the real exchange, except for Gamma's cache of
    /// five minutes.
    pub fn lifelike(seed: u64) -> Self {
        Self {
            seed,
            visible_after: (1_500, 6_000),
            late_chance: 0.02,
            late_by: 9_000,
            complete_after: 45_000,
            cache: CacheSettings { lists: 0, ..CacheSettings::RECORDED },
            ..Self::default()
        }
    }
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self { block_timestamps: true, get_logs_blocks_max: None, replayed_logs: 0 }
    }
}
