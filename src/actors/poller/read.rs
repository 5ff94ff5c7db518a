//! One read of a span: its pages, the check of whose rows they are, and the transaction that stores them.

use super::answer::new_wallets;
use super::window::{Checkpoints, Newest};
use super::{PollError, Polled, PollerDeps, Report};
use crate::db::{Db, DbError, DeadRow, Directory, FollowedUser, PollWrite};
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::money::ids::{MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp};
use crate::polymarket::{ActivityDraft, TradeDraft, Window};
use crate::queue::Queue;

/// What to read: `end` is `None` for a span that reaches the present.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    pub moves: Option<Checkpoints>,
}

/// Reads every page of the span, then stores the new rows, their jobs and the checkpoints in one transaction.
///
/// # Errors
/// When a page cannot be read, when the rows are of other wallets, or when they cannot be stored. Nothing is stored then.
pub(super) async fn poll(
    deps: &PollerDeps,
    user: &FollowedUser,
    directory: &Directory,
    span: Span,
) -> Result<Report, PollError> {
    let polymarket = &deps.polymarket;
    let asked_at = polymarket.venue().now();
    let mut window = match span.end {
        Some(end) => polymarket.activity_window(&user.profile_wallet, span.start, end).await?,
        None => polymarket.activity_since(&user.profile_wallet, span.start).await?,
    };
    let new_wallets = checked_wallets(deps, user, directory, &window).await?;
    settle_large_fees(&deps.db, &mut window).await?;
    let repeated = window.repeated();
    if !repeated.is_empty() {
        let stored = (deps.db.trades_by_id(&repeated).await?, deps.db.activities_by_id(&repeated).await?);
        window.keep_ordinals(&stored.0, &stored.1);
    }
    let now = deps.clock.now();
    let trade = |draft: TradeDraft| draft.into_event(user.id, user.profile_wallet.clone(), now);
    let row = |draft: ActivityDraft| draft.into_event(user.id, user.profile_wallet.clone(), now);
    let trades: Vec<TradeEvent> = window.trades.into_iter().map(trade).collect();
    let activities: Vec<ActivityEvent> = window.activities.into_iter().map(row).collect();
    let newest = Newest {
        trade: trades.iter().map(|trade| trade.event_time).max(),
        activity: activities.iter().map(|row| row.event_time).max(),
    };
    let checkpoints = span.moves.map(|before| before.after(newest, polymarket.venue().of(now)));
    let n_rows = trades.len() + activities.len() + window.bad.len();
    let write = PollWrite {
        user: user.id,
        fence: deps.fence,
        trades: trades.clone(),
        activities: activities.clone(),
        dead: window.bad.into_iter().map(|bad| DeadRow { text: bad.text, reason: bad.reason }).collect(),
        new_wallets,
        checkpoints: checkpoints.map(|checkpoints| checkpoints.rows(user.id)).unwrap_or_default(),
        now,
    };
    let outcome = deps.db.record_poll(write).await?;
    let n_new = outcome.new_trades.len() + outcome.new_activities.len();
    if n_new > 0 {
        deps.wakeups.notify(Queue::IngestEvents);
        deps.wakeups.notify(Queue::GroupEvents);
    }
    Ok(Report {
        polled: Polled { n_rows, n_new, n_dead: outcome.dead },
        asked_at,
        start: span.start,
        reaches_present: span.end.is_none(),
        newest: newest.trade.max(newest.activity),
        new_trades: trades.into_iter().filter(|trade| outcome.new_trades.contains(&trade.id)).collect(),
        new_activities: activities.into_iter().filter(|row| outcome.new_activities.contains(&row.id)).collect(),
        checkpoints,
    })
}

/// Returns the new wallet of the leader that the rows name, if there is one.
///
/// # Errors
/// When the rows are of other wallets, or the database fails.
async fn checked_wallets(
    deps: &PollerDeps,
    user: &FollowedUser,
    directory: &Directory,
    window: &Window,
) -> Result<Vec<Wallet>, PollError> {
    let is_known = |wallet: &Wallet| *wallet == user.profile_wallet || user.wallets.contains(wallet);
    let is_of_another = |wallet: &Wallet| {
        let others = directory.users.iter().filter(|other| other.id != user.id);
        others.into_iter().any(|other| other.profile_wallet == *wallet || other.wallets.contains(wallet))
    };
    let all_known = window.wallets.iter().all(is_known);
    let is_first = !all_known && user.wallets.is_empty() && !deps.db.has_rows(user.id).await?;
    Ok(new_wallets(&user.profile_wallet, &window.wallets, is_known, is_of_another, is_first)?)
}

/// Above this many shares, the price of a row has too few digits for the fifth decimal of the fee. Then the fee comes
/// from the market's own schedule, where that is known and agrees with the row.
const LARGE: ShareMicros = ShareMicros(100_000_000_000);

/// Replaces the fees of rows with more than [`LARGE`] shares by those of the market's fee schedule.
///
/// # Errors
/// When the database fails.
async fn settle_large_fees(db: &Db, window: &mut Window) -> Result<(), DbError> {
    let large = |draft: &TradeDraft| draft.shares > LARGE;
    let mut markets: Vec<MarketId> =
        window.trades.iter().filter(|draft| large(draft)).map(|draft| draft.market.clone()).collect();
    markets.sort();
    markets.dedup();
    if markets.is_empty() {
        return Ok(());
    }
    let known = db.markets(&markets).await?;
    let settled = std::mem::take(&mut window.trades).into_iter().map(|draft| {
        let market = known.iter().find(|market| large(&draft) && market.id == draft.market);
        match market {
            Some(market) => draft.with_schedule(market.fee),
            None => draft,
        }
    });
    window.trades = settled.collect();
    Ok(())
}
