//! One read of a span: its pages, the check of whose rows they are, and the transaction that stores them.

use std::collections::{BTreeSet, HashSet};

use super::answer::new_wallets;
use super::window::{Checkpoints, Newest, PollRequest};
use super::{PollError, Polled, PollerDeps, Report};
use crate::db::{Db, DbError, DeadRow, Directory, FollowedUser, PollOutcome, PollWrite};
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::money::ids::{EventId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp};
use crate::polymarket::{ActivityDraft, TradeDraft, Window};
use crate::queue::Queue;

/// What to read: `end` is `None` for a span that reaches the present.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub start: Timestamp,
    pub end: Option<Timestamp>,
    pub moves: Option<Checkpoints>,
    /// Where the regular poll begins. For a leader who was not read yet, following begins there (spec 3.1).
    pub first_window: Timestamp,
}

impl Span {
    /// Returns the span of a request.
    pub fn of(asked: &PollRequest, first_window: Timestamp) -> Self {
        Self { start: asked.start, end: asked.end, moves: asked.moves, first_window }
    }
}

/// Windows of one read of 20,000 rows each. A regular poll goes on from its checkpoint the next time.
const PARTS_MAX: usize = 25;

/// What the parts of one read have found out about the leader's wallets.
#[derive(Default)]
struct WalletsSeen {
    named: BTreeSet<Wallet>,
    taken: Vec<Wallet>,
}

/// Reads the span window by window, and stores the new rows of each with their jobs and the checkpoints in one
/// transaction. Most spans are one window; an answer without an end is stored up to where it was read.
///
/// # Errors
/// When a page of the first window cannot be read, when its rows are of other wallets, or when they cannot be stored:
/// nothing is stored then. The same for a later window of a span that was asked for: the windows before it are stored.
pub(super) async fn poll(
    deps: &PollerDeps,
    user: &FollowedUser,
    directory: &Directory,
    span: Span,
) -> Result<Report, PollError> {
    let asked_at = deps.polymarket.venue().now();
    let mut report = Report { asked_at, start: span.start, ..Report::default() };
    let (mut part, mut seen) = (span, WalletsSeen::default());
    for n in 0..PARTS_MAX {
        let cut_at = match read_part(deps, user, directory, part, &mut seen, &mut report).await {
            Ok(cut_at) => cut_at,
            // What was stored is not read again: the next poll goes on from the checkpoints.
            Err(error) if n > 0 && span.moves.is_some() => {
                tracing::warn!(user_id = %user.id, %error, windows = n, "a long span was read in part; the next poll goes on");
                return Ok(report);
            }
            Err(error) => return Err(error),
        };
        let Some(cut_at) = cut_at else {
            report.reaches_present = span.end.is_none();
            return Ok(report);
        };
        part = Span { start: cut_at, moves: report.checkpoints, ..part };
    }
    match span.moves {
        Some(_) => Ok(report),
        None => Err(PollError::TooMany(part.start)),
    }
}

/// Reads one window and stores it. Returns where the next one begins, if the span goes on.
///
/// # Errors
/// When a page cannot be read, when the rows are of other wallets, or when they cannot be stored. Nothing is stored then.
async fn read_part(
    deps: &PollerDeps,
    user: &FollowedUser,
    directory: &Directory,
    part: Span,
    seen: &mut WalletsSeen,
    report: &mut Report,
) -> Result<Option<Timestamp>, PollError> {
    let polymarket = &deps.polymarket;
    let mut window = match part.end {
        Some(end) => polymarket.activity_window(&user.profile_wallet, part.start, end).await?,
        None => polymarket.activity_since(&user.profile_wallet, part.start).await?,
    };
    let new_wallets = checked_wallets(deps, user, directory, &window, seen).await?;
    settle_large_fees(&deps.db, &mut window).await?;
    let repeated = window.repeated();
    if !repeated.is_empty() {
        let stored = (deps.db.trades_by_id(&repeated).await?, deps.db.activities_by_id(&repeated).await?);
        window.keep_ordinals(&stored.0, &stored.1);
    }
    let now = deps.clock.now();
    if user.follows_from.is_none() {
        deps.db.begin_following(user.id, part.first_window, now).await?;
    }
    let cut_at = window.cut_at;
    let trade = |draft: TradeDraft| draft.into_event(user.id, user.profile_wallet.clone(), now);
    let row = |draft: ActivityDraft| draft.into_event(user.id, user.profile_wallet.clone(), now);
    let trades: Vec<TradeEvent> = window.trades.into_iter().map(trade).collect();
    let activities: Vec<ActivityEvent> = window.activities.into_iter().map(row).collect();
    let newest = Newest {
        trade: trades.iter().map(|trade| trade.event_time).max(),
        activity: activities.iter().map(|row| row.event_time).max(),
    };
    let checkpoints = part.moves.map(|before| before.after(newest, polymarket.venue().of(now)));
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
    if !outcome.new_trades.is_empty() || !outcome.new_activities.is_empty() {
        deps.wakeups.notify(Queue::IngestEvents);
        deps.wakeups.notify(Queue::GroupEvents);
    }
    report.add(deps, n_rows, newest, &outcome, trades, activities);
    report.checkpoints = checkpoints.or(report.checkpoints);
    Ok(cut_at)
}

impl Report {
    /// Adds what one window brought.
    fn add(
        &mut self,
        deps: &PollerDeps,
        n_rows: usize,
        newest: Newest,
        outcome: &PollOutcome,
        trades: Vec<TradeEvent>,
        activities: Vec<ActivityEvent>,
    ) {
        let new: HashSet<EventId> = outcome.new_trades.iter().chain(&outcome.new_activities).copied().collect();
        self.new_trades = trades.into_iter().filter(|trade| new.contains(&trade.id)).collect();
        self.new_activities = activities.into_iter().filter(|row| new.contains(&row.id)).collect();
        let venue = deps.polymarket.venue();
        for trade in &self.new_trades {
            deps.metrics.detection.observe_millis(venue.of(trade.detect_time).millis_since(trade.event_time));
        }
        self.new_times.extend(self.new_trades.iter().map(|trade| trade.event_time));
        self.new_times.extend(self.new_activities.iter().map(|row| row.event_time));
        self.newest = self.newest.max(newest.trade).max(newest.activity);
        let Polled { n_rows: all_rows, n_new, n_dead, n_left_out } = &mut self.polled;
        *all_rows = all_rows.saturating_add(n_rows);
        *n_new = n_new.saturating_add(new.len());
        *n_dead = n_dead.saturating_add(outcome.dead);
        *n_left_out = n_left_out.saturating_add(outcome.dead_left_out);
    }
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
    seen: &mut WalletsSeen,
) -> Result<Vec<Wallet>, PollError> {
    seen.named.extend(window.wallets.iter().cloned());
    let taken = &seen.taken;
    let is_known =
        |wallet: &Wallet| *wallet == user.profile_wallet || user.wallets.contains(wallet) || taken.contains(wallet);
    let is_of_another = |wallet: &Wallet| {
        let others = directory.users.iter().filter(|other| other.id != user.id);
        others.into_iter().any(|other| other.profile_wallet == *wallet || other.wallets.contains(wallet))
    };
    let all_known = seen.named.iter().all(is_known);
    let is_first = !all_known && user.wallets.is_empty() && !deps.db.has_rows(user.id).await?;
    let new = new_wallets(&user.profile_wallet, &seen.named, is_known, is_of_another, is_first)?;
    seen.taken.extend(new.iter().cloned());
    Ok(new)
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
