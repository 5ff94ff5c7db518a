//! The portfolio at the start of the window, and later entries that no decision in the window caused.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{Progress, WhatIf, WhatIfError};
use crate::db::{Db, PlacedEntry};
use crate::domain::accounting::equity_history::{EquityAt, EquityHistory};
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::analysis::what_if::{ExternalEvent, Start};
use crate::domain::money::ids::{AssetId, AttemptId, MarketId};
use crate::domain::money::units::Timestamp;

/// Entries read at a time: many to rebuild the past, few to look at the beginning of the window.
const PAST: i64 = 5_000;
const PRESENT: i64 = 64;

/// The state in which both runs begin.
pub(super) struct Begin {
    pub start: Start,
    pub happenings: Vec<(Timestamp, ExternalEvent)>,
}

/// Builds the portfolio at the start of the window.
///
/// # Errors
/// [`WhatIfError`].
pub(super) async fn start(db: &Db, what_if: &WhatIf, progress: &Progress) -> Result<Begin, WhatIfError> {
    let from = what_if.from;
    let mut portfolio = Portfolio::new(what_if.portfolio);
    let position = fold_until(db, &mut portfolio, from, progress).await?;
    let given = given(db, what_if, position).await?;
    mark(db, &mut portfolio, from).await?;
    let resolutions = resolutions(db, &portfolio, &given).await?;
    let happenings =
        given.into_iter().map(|entry| (entry.created_at, ExternalEvent::Entry(entry))).chain(resolutions).collect();
    let history = history_until(db, &portfolio, from).await?;
    portfolio.set_history(history);
    let leaders = db.follow_histories().await?;
    Ok(Begin { start: Start { time: from, portfolio, leaders }, happenings })
}

/// Applies the entries written before `from` and returns the position of the last one.
async fn fold_until(
    db: &Db,
    portfolio: &mut Portfolio,
    from: Timestamp,
    progress: &Progress,
) -> Result<i64, WhatIfError> {
    let mut position = 0;
    loop {
        progress.check()?;
        let page = db.entries_after(portfolio.id(), position, PAST).await?;
        if page.is_empty() {
            return Ok(position);
        }
        for placed in &page {
            if placed.entry.created_at >= from {
                return Ok(position);
            }
            portfolio.apply(&placed.entry)?;
            position = placed.position;
        }
        tokio::task::yield_now().await;
    }
}

/// Returns entries of the window that no decision of the window made: copies of groups that were detected before the window
/// and decided in it, and the opening deposit. Decisions are made in the order of detection, so the first copy of a group
/// of the window ends the search. Settlements are left out: each of the two runs settles its own holdings.
async fn given(db: &Db, what_if: &WhatIf, mut position: i64) -> Result<Vec<LedgerEntry>, WhatIfError> {
    let mut given = Vec::new();
    loop {
        let page = db.entries_after(what_if.portfolio, position, PRESENT).await?;
        let Some(last) = page.last() else { return Ok(given) };
        position = last.position;
        let detected = detect_times(db, &page).await?;
        for PlacedEntry { entry, .. } in page {
            let of_window =
                copied(&entry.ref_id).and_then(|id| detected.get(&id)).is_some_and(|at| *at >= what_if.from);
            if of_window || entry.created_at >= what_if.to {
                return Ok(given);
            }
            if entry.kind != EntryType::Settlement {
                given.push(entry);
            }
        }
    }
}

async fn detect_times(db: &Db, page: &[PlacedEntry]) -> Result<HashMap<AttemptId, Timestamp>, WhatIfError> {
    let attempts: Vec<AttemptId> = page.iter().filter_map(|placed| copied(&placed.entry.ref_id)).collect();
    Ok(db.detect_times(&attempts).await?)
}

/// Returns the attempt whose copy made an entry.
fn copied(ref_id: &str) -> Option<AttemptId> {
    ref_id.strip_prefix("copy:")?.parse().ok().map(AttemptId)
}

/// Marks the held assets at the midpoints of that time.
async fn mark(db: &Db, portfolio: &mut Portfolio, from: Timestamp) -> Result<(), WhatIfError> {
    let held: Vec<AssetId> = portfolio.held_assets().cloned().collect();
    for (asset, at, midpoint) in db.prices_as_of(&held, from).await? {
        portfolio.set_mark(&asset, Mark::Midpoint(midpoint, at))?;
    }
    portfolio.age(from)?;
    Ok(())
}

/// Returns when each market resolves in which the portfolio holds shares, or will hold some by the given entries. A market
/// that had resolved earlier counts from the time at which all of these shares are there.
async fn resolutions(
    db: &Db,
    portfolio: &Portfolio,
    given: &[LedgerEntry],
) -> Result<Vec<(Timestamp, ExternalEvent)>, WhatIfError> {
    let held = portfolio.exposure_by_market().map(|(market, _)| (market, Timestamp::EPOCH));
    let mut last: BTreeMap<&MarketId, Timestamp> = held.collect();
    last.extend(given.iter().filter_map(|entry| Some((entry.market.as_ref()?, entry.created_at))));
    let markets: Vec<MarketId> = last.keys().map(|market| (*market).clone()).collect();
    let markets = db.markets(&markets).await?.into_iter().map(Arc::new);
    let resolved = markets.filter_map(|market| {
        let (at, happening) = super::feed::resolution(&market)?;
        Some((last.get(&market.id).map_or(at, |last| at.max(*last)), happening))
    });
    Ok(resolved.collect())
}

/// Returns the baselines as the snapshots up to `from` determine them, and a reset of the peak before `from`.
async fn history_until(db: &Db, portfolio: &Portfolio, from: Timestamp) -> Result<EquityHistory, WhatIfError> {
    let (id, known): (PortfolioId, _) = (portfolio.id(), *portfolio.history());
    let Some(newest) = db.snapshot_at_or_before(id, from).await? else { return Ok(known) };
    let opening = known.opening_micros.unwrap_or_default();
    let mut at = Vec::with_capacity(2);
    for time in [newest.bucket_time.day_start(), newest.bucket_time.week_start()] {
        let before = db.snapshot_at_or_before(id, time).await?;
        let equity = match before {
            None => Some(opening),
            Some(point) if EquityHistory::counts_at(point.bucket_time, time) => Some(point.equity),
            Some(_) => {
                let fresh = db.fresh_snapshot_after(id, time).await?;
                fresh.filter(|point| point.bucket_time <= from).map(|point| point.equity)
            }
        };
        at.push(equity.map(|equity_micros| EquityAt { time, equity_micros }));
    }
    let reset = db.peak_reset(id).await?.filter(|reset| reset.at <= from);
    let peak = db.peak_within(id, reset.map_or(Timestamp::EPOCH, |reset| reset.at), from).await?;
    Ok(EquityHistory {
        peak_micros: reset.map_or(known.peak_micros, |reset| Some(reset.equity_micros)).max(peak),
        reset_at: reset.map(|reset| reset.at),
        opening_micros: known.opening_micros,
        day: at.first().copied().flatten(),
        week: at.last().copied().flatten(),
        last: Some(EquityAt { time: newest.bucket_time, equity_micros: newest.equity }),
    })
}
