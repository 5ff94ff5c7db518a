//! A past for a fresh database: days of generated life, decided by the bot's own pure functions and written through the
//! bot's own database methods, as if it had been running all along.
//!
//! In    an empty database, a simulator, how much past.
//! Out   followed leaders, events, groups, books, attempts, ledgers, prices, snapshots, checkpoints up to now. The
//!       simulator's feed holds the same rows, so the bot that starts next finds nothing new and goes on.
//! Fails `HistoryError`; a database that follows somebody already is not touched.
//!
//! Assumes that nobody was down: every fill is detected within a second of its first appearance, every book is had, and
//! marks are the midpoints of each whole minute.

use self::generator::Story;
pub use self::rate::Totals;
use self::rate::{Pace, Piece};
use self::writer::write_pages;
use super::SimulatorHandle;
use super::life::traders::LifeSettings;
use super::state::activity_rows::Role;
use super::state::exchange::World;
use super::state::trading::Part;
use crate::db::Inserted;
use crate::db::{Db, DbError};
use crate::domain::accounting::portfolio::PortfolioError;
use crate::domain::accounting::settlement::SettlementError;
use crate::domain::config::effective::ConfigError;
use crate::domain::events::event::Side;
use crate::domain::events::group::EventGroup;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp, UnitError};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;
/// Life pauses this long before now, so that everything in the past is also finished in the past.
const QUIET_MS: i64 = 90_000;
/// What is gathered before it is written, unless a window is open.
const WRITE_AT: usize = 20_000;

/// How much past to write.
#[derive(Debug, Clone, PartialEq)]
pub struct HistorySettings {
    pub days: i64,
    /// Who trades, where, and how often.
    pub life: LifeSettings,
    /// At least so many assets are held in the end, if need be by buying that many on purpose.
    pub held_assets: usize,
    /// Midpoints are kept this often, a multiple of a minute. Live they are kept every 30 s.
    pub prices_every_ms: i64,
    /// Holdings are marked this often, a multiple of a minute; curves have a point a minute in any case.
    pub marks_every_ms: i64,
    /// Sets the pace of `life`, so that there is at least so much in the end.
    pub totals: Option<Totals>,
    /// Hostile names, dead letters, blacklisted markets and changes of configuration besides.
    pub oddities: bool,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct HistoryReport {
    pub markets: usize,
    pub events: usize,
    pub groups: usize,
    pub attempts: usize,
    pub executed: usize,
    pub entries: usize,
    pub snapshots: usize,
    pub prices: usize,
    /// Assets with a lot in any portfolio now.
    pub held_assets: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the database follows `{0}` already: history is for a fresh one")]
    NotEmpty(String),
    #[error("`{what}` of the history was in the database already, or somebody else took its job")]
    NotOurs { what: &'static str },
    #[error("a generated row cannot be read: {reason}: {text}")]
    Row { reason: String, text: String },
    #[error("no decision on group `{}`", group.key)]
    Undecided {
        group: Box<EventGroup>,
        #[source]
        source: UnitError,
    },
    #[error("the simulator refused: {0}")]
    Simulator(String),
    #[error("a change of the configuration was refused")]
    Config(#[from] ConfigError),
    #[error("a checkpoint cannot be written as JSON")]
    Checkpoint(#[from] serde_json::Error),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Portfolio(#[from] PortfolioError),
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

impl HistorySettings {
    /// A day of three leaders, about 600 fills: what `demo` shows.
    pub fn day() -> Self {
        Self {
            days: 1,
            life: LifeSettings { fills_per_second: 600.0 / 86_400.0, leaders: 3, markets: 24 },
            held_assets: 0,
            prices_every_ms: 10 * MINUTE_MS,
            marks_every_ms: MINUTE_MS,
            totals: None,
            oddities: false,
        }
    }

    /// Thirty days of three leaders, for measuring on a grown database. Prices are kept every ten minutes: every half
    /// minute would be forty million rows, which say nothing more about what grows with history.
    pub fn month(held_assets: usize) -> Self {
        let life = LifeSettings { markets: 120, ..Self::day().life };
        Self { days: 30, life, held_assets, marks_every_ms: 10 * MINUTE_MS, ..Self::day() }
    }

    /// As much as is asked for, with everything that makes a page's life hard.
    pub fn bulk(days: i64, leaders: usize, held_assets: usize, totals: Totals) -> Self {
        let life = LifeSettings { leaders, ..Self::day().life };
        Self { days, life, totals: Some(totals), oddities: true, ..Self::month(held_assets) }
    }
}

/// Writes the past and leaves the simulator's leaders as they stand now, resting: `start_life` lets them go on.
///
/// # Errors
/// `HistoryError`.
pub async fn write_history(
    db: &Db,
    simulator: &SimulatorHandle,
    settings: &HistorySettings,
) -> Result<HistoryReport, HistoryError> {
    write_history_telling(db, simulator, settings, |_, _| {}).await
}

/// The same; `tell` hears now and then what is written and up to when.
///
/// # Errors
/// `HistoryError`.
pub async fn write_history_telling(
    db: &Db,
    simulator: &SimulatorHandle,
    settings: &HistorySettings,
    mut tell: impl FnMut(&HistoryReport, Timestamp),
) -> Result<HistoryReport, HistoryError> {
    if let Some(user) = db.followed_users().await?.first() {
        return Err(HistoryError::NotEmpty(user.label.clone()));
    }
    let now = simulator.world(|world| world.now());
    let start = now.plus_millis(-settings.days * DAY_MS).bucket(MINUTE_MS);
    let end = now.plus_millis(-QUIET_MS);
    simulator
        .world(|world| {
            world.start_life_at(settings.life.clone(), start);
            // Whenever the world is not ours, its own timer would let them live until now.
            world.stop_life();
            collect(world, settings.held_assets, start, end)
        })
        .map_err(HistoryError::Simulator)?;

    let leaders = follow_leaders(db, simulator, settings, start).await?;
    let directory = db.directory().await?;
    let mut story = Story::new(leaders, &directory, start, settings.oddities)?;
    let mut report = HistoryReport::default();
    let mut pace = Pace::new(settings, start, end);
    let mut at = start;
    while let Some(piece) = pace.next(settings, &story) {
        simulator.world(|world| live(world, &piece, &mut story))?;
        let until = if piece.last { now } else { piece.to };
        while at < until {
            at = at.plus_millis(MINUTE_MS).min(until);
            simulator.world(|world| story.minute(world, at, settings))?;
            if at == now || (story.is_quiet() && story.pages.n_rows() > WRITE_AT) {
                let pages = story.take_pages();
                write_pages(db, pages, at, &mut report).await?;
                tell(&report, at);
            }
        }
    }
    let checkpoints = story.checkpoints(db, now).await?;
    db.insert_snapshots(&[], &checkpoints, now).await?;
    db.roll_up_attempts(now).await?;
    report.held_assets = story.n_held();
    report.markets = story.n_markets();
    if settings.oddities {
        edge_cases::write_oddities(db, &story.leader_ids(), (start, now)).await?;
    }
    Ok(report)
}

/// What the leaders do in a piece of the time, at once: prices and books are functions of time, so they can be looked at
/// afterwards.
fn live(world: &mut World, piece: &Piece, story: &mut Story) -> Result<(), HistoryError> {
    match &piece.life {
        Some(life) => world.start_life_at(life.clone(), piece.from),
        None => world.resume_life(),
    }
    // A row of the second in which the next piece begins is the next piece's.
    world.live_until(if piece.last { piece.to } else { piece.to.plus_millis(-1) });
    world.stop_life();
    story.read(world, piece)
}

/// Buys into markets that outlive the history, one asset each, spread over its time and over the leaders.
fn collect(world: &mut World, n_assets: usize, start: Timestamp, end: Timestamp) -> Result<(), String> {
    let leaders = world.leaders();
    let first_slot = 1_000_000;
    let long_lived = (first_slot..).filter(|slot| [0, 5, 9, 10, 11].contains(&(slot % 12)));
    let step = (end.millis_since(start) / 2) / i64::try_from(n_assets.max(1)).unwrap_or(i64::MAX);
    let mut bought = 0;
    for slot in long_lived {
        let Some(leader) = leaders.get(bought % leaders.len().max(1)) else { break };
        if bought >= n_assets {
            break;
        }
        let id = world.market_of_slot(slot, end);
        let at = end.plus_millis(-step * i64::try_from(n_assets - bought).unwrap_or(0) - MINUTE_MS);
        let Some(market) = world.market(&id) else { continue };
        let stays = market.closes_at.is_none_or(|closes| closes > end.plus_millis(DAY_MS));
        let (Some(asset), Some(quotes)) = (market.asset(0).cloned(), market.quotes(0, at)) else { continue };
        let Some(ask) = quotes.asks.first().filter(|_| stays) else { continue };
        let fill = super::state::trading::Fill {
            wallet: leader.clone(),
            asset,
            side: Side::Buy,
            role: Role::Taker,
            parts: vec![Part::at(ask.price, ShareMicros(ask.shares.0.min(200_000_000)))],
            at,
            visible_at: None,
        };
        world.push_fill(fill)?;
        bought += 1;
    }
    Ok(())
}

async fn follow_leaders(
    db: &Db,
    simulator: &SimulatorHandle,
    settings: &HistorySettings,
    start: Timestamp,
) -> Result<Vec<(FollowedUserId, Wallet)>, HistoryError> {
    let people = simulator.world(|world| {
        let name = |wallet: &Wallet| world.person(wallet).map(|person| person.name.clone()).unwrap_or_default();
        world.leaders().into_iter().map(|wallet| (name(&wallet), wallet)).collect::<Vec<_>>()
    });
    let mut leaders = Vec::with_capacity(people.len());
    for (number, (name, wallet)) in people.into_iter().enumerate() {
        let name = if settings.oddities { edge_cases::label(number, &name) } else { name };
        match db.follow(&name, &wallet, "history", start).await? {
            Inserted::New(user) => leaders.push((user, wallet)),
            Inserted::Known => return Err(HistoryError::NotEmpty(name)),
        }
    }
    Ok(leaders)
}

mod edge_cases;
mod generator;
mod rate;
#[cfg(test)]
mod tests;
mod writer;
