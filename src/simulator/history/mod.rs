//! Writes a history into an empty database: days of generated trading, decided with the bot's own pure functions and
//! written with the bot's own database methods, as if the bot had run all the time.
//!
//! In    an empty database, a simulator, and how much history.
//! Out   followed leaders, events, groups, books, attempts, ledgers, prices, snapshots and checkpoints up to now. The
//!       simulator's feed has the same rows, so the bot that starts next finds no new rows and goes on from there.
//! Fails [`HistoryError`]; a database that follows a leader already is not changed.
//!
//! Assumes that bot and exchange were never down: each fill is detected within a second of its first appearance, each
//! book is fetched, and marks are the midpoints of each full minute.

mod edge_cases;
mod error;
mod generator;
mod rate;
mod settings;
#[cfg(test)]
mod tests;
mod writer;

pub use self::error::HistoryError;
pub use self::settings::{HistorySettings, Totals};
pub use self::writer::HistoryReport;

use self::generator::HistoryGenerator;
use self::rate::{Period, RatePlan};
use self::settings::{DAY_MS, MINUTE_MS};
use self::writer::write_batch;
use super::SimulatorHandle;
use super::simulation::Simulation;
use super::state::feed::Role;
use super::state::trading::{Fill, Part};
use crate::db::{Db, Inserted};
use crate::domain::events::event::Side;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp};

/// The history has no fills this long before now, so that all its work is also finished before now.
const QUIET_MS: i64 = 90_000;
/// A batch of more rows than this is written at the next minute without an open window.
const BATCH_ROWS: usize = 20_000;

/// Writes a history. Afterwards the simulator's traders rest with what they hold;
/// [`start_trading`](SimulatorHandle::start_trading) lets them go on.
///
/// # Errors
/// [`HistoryError`] when the database is not empty or fails, or when a generated row is refused.
pub async fn write_history(
    db: &Db,
    simulator: &SimulatorHandle,
    settings: &HistorySettings,
) -> Result<HistoryReport, HistoryError> {
    write_history_with_progress(db, simulator, settings, |_, _| {}).await
}

/// Like [`write_history`]. Calls `on_batch` after each batch with the report so far and the time up to which the history
/// is written.
///
/// # Errors
/// [`HistoryError`] when the database is not empty or fails, or when a generated row is refused.
pub async fn write_history_with_progress(
    db: &Db,
    simulator: &SimulatorHandle,
    settings: &HistorySettings,
    mut on_batch: impl FnMut(&HistoryReport, Timestamp),
) -> Result<HistoryReport, HistoryError> {
    if let Some(user) = db.followed_users().await?.first() {
        return Err(HistoryError::NotEmpty(user.label.clone()));
    }
    let now = simulator.with(|exchange| exchange.now());
    let start = now.plus_millis(-settings.days * DAY_MS).bucket(MINUTE_MS);
    let end = now.plus_millis(-QUIET_MS);
    simulator
        .simulation(|simulation| {
            simulation.start_trading_at(settings.traders.clone(), start);
            // Else the simulator's timer would let the traders act until now whenever we do not hold the lock.
            simulation.stop_trading();
            buy_long_lived(simulation, settings.held_assets, start, end)
        })
        .map_err(HistoryError::Simulator)?;

    let leaders = follow_leaders(db, simulator, settings, start).await?;
    let directory = db.directory().await?;
    let mut generator = HistoryGenerator::new(leaders, &directory, start, settings.edge_cases)?;
    generator.fresh_prices_from = now.plus_millis(-settings.fresh_price_days * DAY_MS);
    let mut report = HistoryReport::default();
    let mut plan = RatePlan::new(settings, start, end);
    let mut at = start;
    while let Some(period) = plan.next(settings, generator.progress) {
        simulator.simulation(|simulation| trade(simulation, &period, &mut generator))?;
        let until = if period.last { now } else { period.to };
        while at < until {
            at = at.plus_millis(MINUTE_MS).min(until);
            simulator.with(|exchange| generator.minute(exchange, at, settings))?;
            if at == now || (generator.is_quiet() && generator.batch.n_rows() > BATCH_ROWS) {
                let batch = generator.take_batch();
                write_batch(db, batch, at, &mut report).await?;
                on_batch(&report, at);
            }
        }
    }
    let checkpoints = generator.checkpoints(db, now).await?;
    db.insert_snapshots(&[], &checkpoints, now).await?;
    db.roll_up_attempts(now).await?;
    report.held_assets = generator.n_held();
    report.markets = generator.n_markets();
    if settings.edge_cases {
        edge_cases::write_edge_cases(db, &generator.leader_ids(), (start, now)).await?;
    }
    Ok(report)
}

/// Lets the traders act for a whole period, then reads their rows. Prices and books are functions of time, so the minutes
/// of the period can be worked through afterwards.
fn trade(simulation: &mut Simulation, period: &Period, generator: &mut HistoryGenerator) -> Result<(), HistoryError> {
    match &period.traders {
        Some(traders) => simulation.start_trading_at(traders.clone(), period.from),
        None => simulation.resume_trading(),
    }
    // A row of the second in which the next period begins belongs to that period.
    simulation.trade_until(if period.last { period.to } else { period.to.plus_millis(-1) });
    simulation.stop_trading();
    generator.read(&simulation.exchange, period)
}

/// Buys one asset in each of `n_assets` markets that outlive the history, spread over its time and over the leaders.
fn buy_long_lived(
    simulation: &mut Simulation,
    n_assets: usize,
    start: Timestamp,
    end: Timestamp,
) -> Result<(), String> {
    let leaders = simulation.leaders();
    let exchange = &mut simulation.exchange;
    let first_slot = 1_000_000;
    let long_lived = (first_slot..).filter(|slot| [0, 5, 9, 10, 11].contains(&(slot % 12)));
    let step = (end.millis_since(start) / 2) / i64::try_from(n_assets.max(1)).unwrap_or(i64::MAX);
    let mut bought = 0;
    for slot in long_lived {
        let Some(leader) = leaders.get(bought % leaders.len().max(1)) else { break };
        if bought >= n_assets {
            break;
        }
        let id = exchange.market_of_slot(slot, end);
        let at = end.plus_millis(-step * i64::try_from(n_assets - bought).unwrap_or(0) - MINUTE_MS);
        let Some(market) = exchange.market(&id) else { continue };
        let outlives = market.closes_at.is_none_or(|closes| closes > end.plus_millis(DAY_MS));
        let (Some(asset), Some(quotes)) = (market.asset(0).cloned(), market.quotes(0, at)) else { continue };
        let Some(ask) = quotes.asks.first().filter(|_| outlives) else { continue };
        let fill = Fill {
            wallet: leader.clone(),
            asset,
            side: Side::Buy,
            role: Role::Taker,
            parts: vec![Part::at(ask.price, ShareMicros(ask.shares.0.min(200_000_000)))],
            at,
            visible_at: None,
        };
        exchange.push_fill(fill)?;
        bought += 1;
    }
    Ok(())
}

/// Follows the simulator's traders. Returns the new leaders with their wallets.
async fn follow_leaders(
    db: &Db,
    simulator: &SimulatorHandle,
    settings: &HistorySettings,
    start: Timestamp,
) -> Result<Vec<(FollowedUserId, Wallet)>, HistoryError> {
    let named = simulator.simulation(|simulation| {
        let exchange = &simulation.exchange;
        let name = |wallet: &Wallet| exchange.profile(wallet).map(|profile| profile.name.clone()).unwrap_or_default();
        simulation.leaders().into_iter().map(|wallet| (name(&wallet), wallet)).collect::<Vec<_>>()
    });
    let mut leaders = Vec::with_capacity(named.len());
    for (number, (name, wallet)) in named.into_iter().enumerate() {
        let name = if settings.edge_cases { edge_cases::label(number, &name) } else { name };
        match db.follow(&name, &wallet, "history", start).await? {
            Inserted::New(user) => leaders.push((user, wallet)),
            Inserted::Known => return Err(HistoryError::NotEmpty(name)),
        }
    }
    Ok(leaders)
}
