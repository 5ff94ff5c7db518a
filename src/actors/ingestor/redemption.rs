//! Redemptions: the payout is needed, and a row waits for it as an open job for at most 24 h (spec 5).

use super::IngestorDeps;
use super::entering::{Suspicion, corrections, entered, write};
use super::resolve::{Effect, held, known_market};
use crate::domain::accounting::shadow::cause::Cause;
use crate::domain::accounting::shadow::correction::held_without;
use crate::domain::accounting::shadow::{ActivityFacts, ShadowEffect, entries_for_activity};
use crate::domain::events::event::ActivityEvent;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::polymarket::PayoutAnswer;
use crate::queue;
use crate::queue::{Job, JobFence, NewJob, Queue};

/// How often the payout of a waiting row is asked for again.
const AGAIN_MS: i64 = 60 * 1000;
/// After this long without a payout the row is booked at 1.
const OVERDUE_MS: i64 = 24 * 60 * 60 * 1000;
/// The start of the keys of waiting rows.
const KEY: &str = "redeem:";

/// Returns whether a job of `q_portfolio_apply` is a redemption that waits for its payout.
pub fn waits_for_payout(job: &Job) -> bool {
    job.key.starts_with(KEY)
}

/// Books a redemption, or returns the job that asks for its payout again.
///
/// # Errors
/// When the database or the ledger writer fails. A retry may help.
pub(super) async fn redeemed(
    deps: &IngestorDeps,
    fence: JobFence,
    row: &ActivityEvent,
    condition: &MarketId,
) -> Result<Effect, String> {
    let now = deps.clock.now();
    let stored = deps.db.market(condition).await.map_err(|error| error.to_string())?;
    if let Some(effect) = booked(deps, fence, row, stored.as_ref(), false).await? {
        return Ok(effect);
    }
    let paid = paid_market(deps, condition, stored).await;
    let overdue = now.millis_since(row.detect_time) >= OVERDUE_MS;
    match booked(deps, fence, row, paid.as_ref(), overdue).await? {
        Some(effect) => Ok(effect),
        None => Ok(Effect::Waits(waiting(row, now))),
    }
}

fn waiting(row: &ActivityEvent, now: Timestamp) -> NewJob {
    NewJob {
        queue: Queue::PortfolioApply,
        key: format!("{KEY}{}", row.id),
        followed_user: Some(row.followed_user),
        payload: format!("activity:{}", row.id),
        due: now.plus_millis(AGAIN_MS),
    }
}

/// Asks again for the payout of a waiting redemption. Its job is finished with the entries, or put off by a minute.
///
/// # Errors
/// When the database fails.
pub(super) async fn ask_again(deps: &IngestorDeps, job: &Job) -> Result<(), String> {
    let id = job.event_id().ok_or("the job names no event")?;
    let row = deps.db.activities_by_id(&[id]).await.map_err(|error| error.to_string())?.pop();
    let row = row.ok_or("the event is not in the database")?;
    let effect = match &row.payload.condition_id {
        Some(condition) => redeemed(deps, job.fence(), &row, condition).await,
        None => Err("the row names no condition".to_owned()),
    };
    if let Ok(Effect::Recorded) = effect {
        return Ok(());
    }
    let why = match effect {
        Ok(_) => "the payout is not known yet".to_owned(),
        Err(error) => error,
    };
    let due = deps.clock.now().plus_millis(AGAIN_MS);
    queue::postpone(&deps.db, job.fence(), due, &why).await.map_err(|error| error.to_string())
}

/// Books a redemption with what is known; `None` when its payout is not.
async fn booked(
    deps: &IngestorDeps,
    fence: JobFence,
    row: &ActivityEvent,
    market: Option<&Market>,
    payout_overdue: bool,
) -> Result<Option<Effect>, String> {
    let _guard = deps.lock.of(row.followed_user).await;
    let lots = held(deps, row, row.payload.condition_id.clone()).await?;
    let known = corrections(deps, row.followed_user, lots.iter().map(|lot| &lot.asset)).await?;
    let mut holdings: Vec<(AssetId, _)> = Vec::new();
    for lot in lots {
        let shares = held_without(lot.shares, &known, &lot.asset, row.event_time).map_err(|error| error.to_string())?;
        holdings.push((lot.asset, shares));
    }
    let others = deps.db.redeemed_beside(row).await.map_err(|error| error.to_string())?;
    let causes: Vec<String> = others.into_iter().map(|id| format!("event:{id}")).collect();
    let others = deps.db.shadow_entries_of(row.followed_user, &causes).await.map_err(|error| error.to_string())?;
    let facts = ActivityFacts { market, holdings: &holdings, booked: &others, payout_overdue };
    let cause = Cause::of_activity(row);
    match entries_for_activity(row, &facts) {
        Ok(ShadowEffect::Entries(booked)) => {
            let beyond = (!booked.corrections.is_empty()).then_some(Suspicion::BEYOND_HOLDING);
            let entered = entered(deps, &cause, booked).await?;
            write(deps, &cause, entered, fence, beyond.into_iter().collect()).await?;
            Ok(Some(Effect::Recorded))
        }
        Ok(ShadowEffect::NeedsPayout | ShadowEffect::ReadPositions) => Ok(None),
        // The outcomes of the market are not known yet.
        Err(_) if !payout_overdue => Ok(None),
        Err(reason) => Ok(Some(Effect::NotApplicable(reason.to_string(), Suspicion::NOT_APPLIED))),
    }
}

/// Returns the market with its payouts, if one of the three sources has them; a failure counts as not known yet.
async fn paid_market(deps: &IngestorDeps, condition: &MarketId, stored: Option<Market>) -> Option<Market> {
    let mut market = match stored.filter(|market| !market.outcomes.is_empty()) {
        Some(market) => market,
        None => known_market(deps, condition).await.ok()?,
    };
    if market.outcomes.iter().all(|outcome| outcome.payout.is_some()) {
        return Some(market);
    }
    let known = match deps.polymarket.payouts(&market).await {
        Ok(PayoutAnswer { known: Some(known), .. }) => known,
        Ok(_) => return Some(market),
        Err(error) => {
            tracing::warn!(market = %condition, %error, "the payout of a redemption could not be asked for");
            return Some(market);
        }
    };
    let resolved_at = known.resolved_at.unwrap_or_else(|| deps.clock.now());
    if let Err(error) = deps.db.set_payouts(condition, &known.payouts, resolved_at).await {
        tracing::warn!(market = %condition, %error, "the payouts of a market could not be stored");
    }
    for outcome in &mut market.outcomes {
        let paid = known.payouts.iter().find(|(asset, _)| *asset == outcome.asset);
        outcome.payout = paid.map(|(_, payout)| *payout).or(outcome.payout);
    }
    Some(market)
}
