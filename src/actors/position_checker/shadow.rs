//! The shadow of a leader beside one answer of the positions route.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix::Recipient;

use super::PositionCheckerDeps;
use crate::actors::ledger_writer::Holdings;
use crate::db::{Db, DbError, FollowedUser};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::accounting::lot;
use crate::domain::accounting::portfolio::Lot;
use crate::domain::accounting::shadow::conversion::StoredRows;
use crate::domain::accounting::shadow::reading::{Movement, PositionReading, Readings};
use crate::domain::events::group::Member;
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, MarketId};
use crate::domain::money::units::{ShareMicros, Timestamp};
use crate::polymarket::Position;
use crate::queue;
use crate::queue::Queue;

/// Rows that are older than this count, although the position says that it is older still: no position lags so long.
const LAG_MS: i64 = 24 * 60 * 60 * 1000;
/// How long a check waits until the rows that are stored are in the ledger.
const DRAIN: Duration = Duration::from_secs(10);
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// The shadow of a leader at one version.
pub(in crate::actors) struct ShadowNow {
    pub version: u64,
    pub lots: BTreeMap<AssetId, Lot>,
    /// What it holds of each asset, counting only rows that the position includes.
    pub counted: BTreeMap<AssetId, (Option<MarketId>, ShareMicros)>,
}

impl ShadowNow {
    /// Returns the lot of an asset; empty when there is none.
    pub fn position(&self, asset: &AssetId) -> lot::Position {
        let lot = self.lots.get(asset);
        lot.map(|lot| lot::Position { shares: lot.shares, cost: lot.cost }).unwrap_or_default()
    }
}

/// Reads all that a leader holds.
///
/// # Errors
/// Why the positions cannot be read, as text.
pub(super) async fn readings(deps: &PositionCheckerDeps, user: &FollowedUser) -> Result<Readings, String> {
    // The time before the request: no answer includes a row that follows it.
    let asked_at = deps.clock.now();
    let positions = deps.polymarket.all_positions(&user.profile_wallet).await.map_err(|error| error.to_string())?;
    Readings::new(asked_at, positions.into_iter().map(reading)).map_err(|error| error.to_string())
}

/// Returns a position as the domain takes it.
pub(in crate::actors) fn reading(position: Position) -> PositionReading {
    PositionReading {
        asset: position.asset,
        market: Some(position.market),
        shares: position.shares,
        last_event_at: position.last_event_at,
        current_price: position.current_price,
        average_price: position.average_price,
    }
}

/// Waits until the stored rows of a leader are in the ledger, but not for long: what is not in it then takes its shares
/// back when it enters.
///
/// # Errors
/// When the database fails.
pub(super) async fn drained(deps: &PositionCheckerDeps, user: FollowedUserId) -> Result<(), DbError> {
    let begun = tokio::time::Instant::now();
    loop {
        let open = queue::opened_after(&deps.db, Queue::IngestEvents, Some(user), 0, 1).await?;
        if open.is_empty() || begun.elapsed() > DRAIN {
            return Ok(());
        }
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

/// Reads the shadow, with what it holds of each asset up to the time that its position counts.
///
/// # Errors
/// Why it cannot be read, as text.
pub(in crate::actors) async fn shadow(
    (db, holdings): (&Db, &Recipient<Holdings>),
    user: FollowedUserId,
    readings: &Readings,
) -> Result<ShadowNow, String> {
    let wanted = Holdings { portfolio: PortfolioId::ShadowUser(user), market: None };
    let held = holdings.send(wanted).await.map_err(|error| error.to_string())?;
    let held = held.map_err(|error| error.to_string())?;
    let later = later_movements(db, user, readings).await.map_err(|error| error.to_string())?;
    let lots: BTreeMap<AssetId, Lot> = held.lots.into_iter().map(|lot| (lot.asset.clone(), lot)).collect();
    let mut counted = BTreeMap::new();
    let assets: BTreeSet<&AssetId> = lots.keys().chain(readings.positions().map(|position| &position.asset)).collect();
    for asset in assets {
        let lot = lots.get(asset);
        let now =
            Movement { asset: asset.clone(), shares: lot.map(|lot| lot.shares).unwrap_or_default(), event_time: None };
        // Later rows are subtracted from the present holding, because that needs no look at the whole history.
        let of_asset = later.iter().filter(|moved| moved.asset == *asset);
        let mut shares = readings.counted(asset, [&now]).map_err(|error| error.to_string())?;
        for moved in of_asset {
            shares = shares.minus(moved.shares).map_err(|error| error.to_string())?;
        }
        counted.insert(asset.clone(), (lot.and_then(|lot| lot.market.clone()), shares));
    }
    Ok(ShadowNow { version: held.version, lots, counted })
}

/// Returns the movements of the ledger that are later than the position of their asset.
async fn later_movements(db: &Db, user: FollowedUserId, readings: &Readings) -> Result<Vec<Movement>, DbError> {
    let since = readings.checked_at().plus_millis(-LAG_MS);
    let StoredRows { trades, activities } = db.rows_since(user, since).await?;
    let mut times: BTreeMap<String, Timestamp> = BTreeMap::new();
    let ref_id = |id: EventId| format!("event:{id}");
    for trade in trades.iter().filter(|trade| trade.event_time > readings.counted_to(&trade.asset)) {
        times.insert(ref_id(trade.id), trade.event_time);
    }
    times.extend(activities.iter().map(|row| (ref_id(row.id), row.event_time)));
    let causes: Vec<String> = times.keys().cloned().collect();
    let entries = db.shadow_entries_of(user, &causes).await?;
    let moved = entries.into_iter().filter_map(|entry| {
        let (asset, at) = (entry.asset?, *times.get(&entry.ref_id)?);
        (at > readings.counted_to(&asset)).then_some(Movement { asset, shares: entry.shares, event_time: Some(at) })
    });
    Ok(moved.collect())
}

/// Returns the markets that a stored row of the leader will move as soon as it can be booked.
///
/// # Errors
/// When the database fails.
pub(super) async fn waiting_markets(
    deps: &PositionCheckerDeps,
    user: FollowedUserId,
) -> Result<BTreeSet<MarketId>, DbError> {
    let mut ids = Vec::new();
    for queue in [Queue::IngestEvents, Queue::PortfolioApply] {
        let open = queue::opened_after(&deps.db, queue, Some(user), 0, i64::MAX).await?;
        ids.extend(open.iter().filter_map(|job| job.event().ok()));
    }
    let (mut trades, mut activities) = (Vec::new(), Vec::new());
    for member in ids {
        match member {
            Member::Trade(id) => trades.push(id),
            Member::Activity(id) => activities.push(id),
        }
    }
    let trades = deps.db.trades_by_id(&trades).await?.into_iter().map(|trade| trade.market);
    let activities = deps.db.activities_by_id(&activities).await?;
    let activities = activities.into_iter().filter_map(|row| row.payload.condition_id);
    Ok(trades.chain(activities).collect())
}
