//! Books what a leader held when following began (spec 5, Opening).

use std::collections::{BTreeMap, BTreeSet};

use super::check::{compared, unreadable};
use super::shadow::{ShadowNow, drained, readings, shadow};
use super::{Done, PositionCheckerDeps};
use crate::actors::ledger_writer::{RecordEntries, Refused};
use crate::db::{Audit, DbError, FollowedUser};
use crate::domain::accounting::ledger::{EntryType, PortfolioId};
use crate::domain::accounting::shadow::exactness::InexactCause;
use crate::domain::accounting::shadow::opening::{Opened, OpeningAsset, OpeningCase, OpeningRule, opening};
use crate::domain::accounting::shadow::reading::Readings;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::PriceMicros;

/// Requests for the midpoints of assets without another price.
const MIDPOINT_REQUESTS_MAX: usize = 20;

/// Prices from beside the positions route.
#[derive(Default)]
struct Prices {
    payouts: BTreeMap<AssetId, PriceMicros>,
    midpoints: BTreeMap<AssetId, PriceMicros>,
}

/// Reads the positions of a leader and books the opening, then compares the books with the same positions. Following
/// does not wait for it: while the positions cannot be read, rows are booked and the books are not exact.
///
/// # Errors
/// When the database fails.
pub(super) async fn open(deps: &PositionCheckerDeps, user: &FollowedUser) -> Result<Done, DbError> {
    let at = deps.clock.now();
    let undone = Done { user: user.id, opened: false, outcome: None, at };
    let readings = match readings(deps, user).await {
        Ok(readings) => readings,
        Err(problem) => return unreadable(deps, user, &problem, at).await,
    };
    // The rows of the first window first, so that what they moved is not counted as held before.
    drained(deps, user.id).await?;
    let _guard = deps.lock.of(user.id).await;
    if deps.db.is_opened(user.id).await? {
        // The list of leaders that this actor has is older than the opening.
        let outcome = compared(deps, user, &readings).await?;
        return Ok(Done { user: user.id, opened: true, outcome, at: readings.checked_at() });
    }
    let now = match shadow((&deps.db, &deps.holdings), user.id, &readings).await {
        Ok(now) => now,
        Err(error) => {
            tracing::warn!(user_id = %user.id, error, "the opening waits: the shadow cannot be read");
            return Ok(undone);
        }
    };
    let prices = prices(deps, &readings, &now).await?;
    let rule = match user.opening_entry {
        EntryType::Adjustment => OpeningRule::FollowedBefore,
        _ => OpeningRule::New,
    };
    let case = OpeningCase { leader: user.id, rule, checked_at: readings.checked_at() };
    let opened = match opening(&case, &assets(&readings, &now, &prices)) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(user_id = %user.id, %error, "the opening cannot be computed");
            return Ok(undone);
        }
    };
    let (n_entries, n_assets) = (opened.entries.len(), opened.corrections.len());
    match deps.record.send(request(deps, user, &case, opened, now.version).await?).await {
        Ok(Ok(_)) => {}
        Ok(Err(refused)) => {
            if refused != Refused::Stale {
                tracing::warn!(user_id = %user.id, %refused, "the opening was refused and is tried again");
            }
            return Ok(undone);
        }
        Err(error) => {
            tracing::warn!(user_id = %user.id, %error, "the ledger writer does not answer");
            return Ok(undone);
        }
    }
    tracing::info!(user_id = %user.id, entries = n_entries, assets = n_assets, kind = %user.opening_entry, "the opening is booked");
    let outcome = compared(deps, user, &readings).await?;
    Ok(Done { user: user.id, opened: true, outcome, at: readings.checked_at() })
}

fn assets<'a>(readings: &'a Readings, now: &'a ShadowNow, prices: &Prices) -> Vec<OpeningAsset<'a>> {
    let of = |(asset, (market, counted)): (&AssetId, &(Option<MarketId>, _))| OpeningAsset {
        asset: asset.clone(),
        market: market.clone(),
        reading: readings.position(asset),
        counted: *counted,
        lot: now.position(asset),
        payout: prices.payouts.get(asset).copied(),
        midpoint: prices.midpoints.get(asset).copied(),
    };
    now.counted.iter().map(of).collect()
}

/// Looks up payouts in the database, and asks for the midpoints of assets that have no other price.
async fn prices(deps: &PositionCheckerDeps, readings: &Readings, now: &ShadowNow) -> Result<Prices, DbError> {
    let mut prices = Prices::default();
    let listed = readings.positions().filter_map(|position| position.market.clone());
    let markets: BTreeSet<MarketId> = listed.chain(now.lots.values().filter_map(|lot| lot.market.clone())).collect();
    let markets: Vec<MarketId> = markets.into_iter().collect();
    for market in deps.db.markets(&markets).await? {
        let paid = market.outcomes.into_iter().filter_map(|outcome| Some((outcome.asset, outcome.payout?)));
        prices.payouts.extend(paid);
    }
    let unpriced = |asset: &&AssetId| {
        let current = readings.position(asset).and_then(|position| position.current_price);
        current.is_none() && !prices.payouts.contains_key(*asset)
    };
    let unpriced: Vec<AssetId> = now.counted.keys().filter(unpriced).cloned().collect();
    if !unpriced.is_empty() {
        match deps.polymarket.midpoints(&unpriced, MIDPOINT_REQUESTS_MAX).await {
            Ok(midpoints) => prices.midpoints = midpoints.found,
            // The average price, or none, is used then.
            Err(error) => tracing::warn!(%error, n = unpriced.len(), "no midpoints for an opening"),
        }
    }
    Ok(prices)
}

/// Returns the request that books the opening, if the shadow has not changed since `version`.
async fn request(
    deps: &PositionCheckerDeps,
    user: &FollowedUser,
    case: &OpeningCase,
    opened: Opened,
    version: u64,
) -> Result<RecordEntries, DbError> {
    let checkpoints = match opened.unpriced.is_empty() {
        true => Vec::new(),
        false => {
            let cause = Some(InexactCause::UnpricedOpening);
            deps.db.suspicion(user.id, "an opening without a price", cause, deps.clock.now()).await?
        }
    };
    let value = opened.entries.iter().fold(0_i64, |sum, entry| sum.saturating_add(entry.cash.0.saturating_abs()));
    let about = serde_json::json!({
        "entries": opened.entries.len(),
        "entry_type": user.opening_entry,
        "value_micros": value,
        "unpriced": opened.unpriced,
    });
    let audit = Audit {
        after_json: Some(about.to_string()),
        ..Audit::bare("position_checker", "OPENING_BOOKED", &format!("user:{}", user.id))
    };
    Ok(RecordEntries {
        entries: opened.entries,
        corrections: opened.corrections,
        checkpoints,
        audits: vec![audit],
        opened: Some((user.id, case.checked_at)),
        made_on: Some((PortfolioId::ShadowUser(user.id), version)),
        ..RecordEntries::default()
    })
}
