//! Stores leaders' events: rows from polls of the Data API, and logs of the chain (spec 3).

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::event_rows::{ActivityRow, TradeRow};
use crate::db::people::users;
use crate::db::system::checkpoints;
use crate::db::system::leases;
use crate::domain::accounting::shadow::conversion::StoredRows;
use crate::domain::events::event::{ActivityEvent, ActivityKind, ActivityPayload, Side, Source, TradeEvent};
use crate::domain::events::group::Member;
use crate::domain::events::lease::Fence;
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::queue::{self, NewJob, Queue};
use crate::sql::batch::{batches, execute_batch, fetch_batch, fetch_batch_values};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{json_text, storable};
use crate::sql::error::DbError;
use crate::sql::inserted::Inserted;

/// Kept of the text of an unparsable row: a row of Polymarket has about 900 bytes.
pub const DEAD_TEXT_BYTES: usize = 4_096;
/// Kept of the reason, which may repeat a part of the row.
const DEAD_REASON_BYTES: usize = 512;
/// Unparsable rows of one poll that are kept: more would show no more about what is wrong with them.
pub const DEAD_A_POLL: usize = 100;
/// The same of one leader in an hour: with 4 kB each, an upstream that only sends nonsense costs 100 MB a day and leader.
pub const DEAD_AN_HOUR: usize = 1_000;
const HOUR_MS: i64 = 3_600_000;

/// The rows that one poll of one user returned. Rows may be stored already, or occur twice.
#[derive(Debug, Clone)]
pub struct PollWrite {
    pub user: FollowedUserId,
    pub trades: Vec<TradeEvent>,
    pub activities: Vec<ActivityEvent>,
    pub dead: Vec<DeadRow>,
    /// Wallets seen in the rows.
    pub new_wallets: Vec<Wallet>,
    /// The lease that the poll was done under, if several workers share the database.
    pub fence: Option<Fence>,
    /// Key and JSON; written with the rows or not at all.
    pub checkpoints: Vec<(String, String)>,
    pub now: Timestamp,
}

/// A row that could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    pub text: String,
    pub reason: String,
}

/// The part of a poll that was new. Each new event has its two jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PollOutcome {
    pub new_trades: Vec<EventId>,
    pub new_activities: Vec<EventId>,
    /// Unparsable rows seen for the first time.
    pub dead: usize,
    /// Unparsable rows, known or not, that were not kept because there are too many.
    pub dead_left_out: usize,
}

/// A fill seen as a log on the chain. It changes no portfolio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainTrade {
    pub tx_hash: String,
    pub log_index: i64,
    pub block_hash: Option<String>,
    pub profile_wallet: Wallet,
    pub proxy_wallet: Option<Wallet>,
    pub followed_user: FollowedUserId,
    pub asset: Option<AssetId>,
    pub side: Side,
    pub price: PriceMicros,
    pub shares: ShareMicros,
    pub notional: UsdcMicros,
    pub fee: Option<UsdcMicros>,
    pub event_time: Timestamp,
    pub detect_time: Timestamp,
}

statements! {
    INSERT_CHAIN_TRADE = "insert into trade_event (id, source, source_id, tx_hash, log_index, block_hash, is_canonical,
            profile_wallet, proxy_wallet, followed_user_id, asset_id, side, price_micros, share_micros,
            notional_micros, fee_micros, event_time, detect_time, created_at)
        values ($1, 'ALCHEMY', $2, $3, $4, $5, false, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        on conflict do nothing returning id";
    /// Also by time of detection, which has an index; a block's time may be a little ahead of our clock.
    TRADES_SINCE = "select id, source_id, tx_hash, profile_wallet, proxy_wallet, followed_user_id, market_id, asset_id,
        side, price_micros, share_micros, notional_micros, fee_micros, event_time, detect_time from trade_event
        where is_canonical and followed_user_id = $1 and event_time >= $2 and detect_time >= $2 - 60000";
    ACTIVITIES_SINCE = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json,
        event_time, detect_time from activity_event
        where followed_user_id = $1 and event_time >= $2 and detect_time >= $2 - 60000";
    /// The redemptions of one second; the detection bounds the search, as above.
    REDEEMED = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json, event_time,
        detect_time from activity_event where followed_user_id = $1 and type = 'REDEEM' and event_time = $2
        and detect_time >= $2 - 60000";
    HAS_ROWS = "select 1 as one from trade_event where is_canonical and followed_user_id = $1
        union all select 1 from activity_event where followed_user_id = $1 limit 1";
    /// Counted up to the limit only.
    DEAD_SINCE = "select count(*) from (select 1 as one from dead_letter
        where fingerprint is not null and followed_user_id = $1 and created_at > $2 limit $3) as kept";
    MARK_REMOVED = "update trade_event set removed = true
        where tx_hash = $1 and log_index = $2 and coalesce(block_hash, '') = $3 and not is_canonical and not removed";
}

batches! {
    INSERT_TRADES = "insert into trade_event (id, source, source_id, tx_hash, is_canonical, profile_wallet,
        proxy_wallet, followed_user_id, market_id, asset_id, side, price_micros, share_micros, notional_micros,
        fee_micros, event_time, detect_time, created_at) values ", 18, " on conflict do nothing returning id";
    INSERT_ACTIVITIES = "insert into activity_event (id, source, source_id, is_canonical, profile_wallet, proxy_wallet,
        followed_user_id, type, payload_json, event_time, detect_time, created_at) values ", 12,
        " on conflict do nothing returning id";
    INSERT_DEAD_ROWS = "insert into dead_letter (queue, key, followed_user_id, payload, error, fingerprint, created_at,
        payload_bytes) values ", 8, " on conflict do nothing";
    TRADES_BY_ID = "select id, source_id, tx_hash, profile_wallet, proxy_wallet, followed_user_id, market_id, asset_id,
        side, price_micros, share_micros, notional_micros, fee_micros, event_time, detect_time from trade_event
        where is_canonical and id in (", 1, ")";
    ACTIVITIES_BY_ID = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json,
        event_time, detect_time from activity_event where id in (", 1, ")";
}

impl Db {
    /// Writes the rows of a poll in one transaction: new events, each with a job for the ledger and one for grouping,
    /// except those from before following began; wallets seen for the first time, unparsable rows once per distinct text, and the checkpoints.
    ///
    /// # Errors
    /// `LeaseLost` when another worker holds the lease of `poll.fence` now; otherwise [`DbError`] when the database
    /// cannot be reached or refuses a statement. Nothing is written then.
    pub async fn record_poll(&self, poll: PollWrite) -> Result<PollOutcome, DbError> {
        let mut tx = self.begin().await?;
        let fence: Vec<Fence> = poll.fence.into_iter().collect();
        if let Some(lost) = leases::lost_in(&mut tx, &fence).await?.pop() {
            return Err(DbError::LeaseLost(lost));
        }
        let (dead, dead_left_out) = insert_dead_rows(&mut tx, &poll).await?;
        let outcome = PollOutcome {
            new_trades: insert_trades(&mut tx, &poll.trades, poll.now).await?,
            new_activities: insert_activities(&mut tx, &poll.activities, poll.now).await?,
            dead,
            dead_left_out,
        };
        let begun = users::follows_from(&mut tx, poll.user).await?;
        let jobs: Vec<NewJob> = in_order_of_time(&poll, &outcome, begun)
            .into_iter()
            .flat_map(|event| {
                [Queue::IngestEvents, Queue::GroupEvents]
                    .map(|queue| NewJob::for_event(queue, event, poll.user, poll.now))
            })
            .collect();
        queue::insert_in(&mut tx, &jobs, poll.now).await?;
        users::insert_wallets(&mut tx, poll.user, &poll.new_wallets, poll.now).await?;
        checkpoints::put(&mut tx, &poll.checkpoints, poll.now).await?;
        tx.commit().await?;
        Ok(outcome)
    }

    /// Returns these trades in no order; unknown ids are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn trades_by_id(&self, ids: &[EventId]) -> Result<Vec<TradeEvent>, DbError> {
        let rows: Vec<TradeRow> = fetch_batch!(self, TRADES_BY_ID, ids, |query, id| query.bind(id.0))?;
        rows.into_iter().map(TradeEvent::try_from).collect()
    }

    /// Returns these activities in no order; unknown ids are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn activities_by_id(&self, ids: &[EventId]) -> Result<Vec<ActivityEvent>, DbError> {
        let rows: Vec<ActivityRow> = fetch_batch!(self, ACTIVITIES_BY_ID, ids, |query, id| query.bind(id.0))?;
        rows.into_iter().map(ActivityEvent::try_from).collect()
    }

    /// Returns the stored events of a user that took place at or after `since`, in no order.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn rows_since(&self, user: FollowedUserId, since: Timestamp) -> Result<StoredRows, DbError> {
        let trades: Vec<TradeRow> = on!(db self, c => {
            sqlx::query_as(TRADES_SINCE).bind(user.0).bind(since.millis()).fetch_all(c).await
        })?;
        let activities: Vec<ActivityRow> = on!(db self, c => {
            sqlx::query_as(ACTIVITIES_SINCE).bind(user.0).bind(since.millis()).fetch_all(c).await
        })?;
        Ok(StoredRows {
            trades: trades.into_iter().map(TradeEvent::try_from).collect::<Result<_, _>>()?,
            activities: activities.into_iter().map(ActivityEvent::try_from).collect::<Result<_, _>>()?,
        })
    }

    /// Returns the other redemptions of the transaction and condition of `row`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn redeemed_beside(&self, row: &ActivityEvent) -> Result<Vec<EventId>, DbError> {
        let rows: Vec<ActivityRow> = on!(db self, c => {
            sqlx::query_as(REDEEMED).bind(row.followed_user.0).bind(row.event_time.millis()).fetch_all(c).await
        })?;
        let rows = rows.into_iter().map(ActivityEvent::try_from).collect::<Result<Vec<_>, _>>()?;
        let of_row = |payload: &ActivityPayload| (payload.tx_hash.clone(), payload.condition_id.clone());
        let beside = |other: &&ActivityEvent| other.id != row.id && of_row(&other.payload) == of_row(&row.payload);
        Ok(rows.iter().filter(beside).map(|other| other.id).collect())
    }

    /// Returns whether any row of the Data API is stored for a user.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn has_rows(&self, user: FollowedUserId) -> Result<bool, DbError> {
        let found: Option<i32> = on!(db self, c => sqlx::query_scalar(HAS_ROWS).bind(user.0).fetch_optional(c).await)?;
        Ok(found.is_some())
    }

    /// Stores a log of the chain together with its checkpoints. A new log also gets `job`, which polls the canonical
    /// source; jobs that change portfolios come from canonical events only.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn insert_chain_trade(
        &self,
        trade: &ChainTrade,
        job: &NewJob,
        checkpoints: &[(String, String)],
        now: Timestamp,
    ) -> Result<Inserted<EventId>, DbError> {
        let block = trade.block_hash.as_deref().unwrap_or_default();
        let source_id = format!("{}:{}:{block}", trade.tx_hash, trade.log_index);
        let id = EventId::of(Source::Alchemy.as_str(), &source_id);
        let mut tx = self.begin().await?;
        let new: Option<Uuid> = on!(tx &mut tx, c => {
            sqlx::query_scalar(INSERT_CHAIN_TRADE)
                .bind(id.0)
                .bind(&source_id)
                .bind(&trade.tx_hash)
                .bind(trade.log_index)
                .bind(&trade.block_hash)
                .bind(trade.profile_wallet.as_str())
                .bind(trade.proxy_wallet.as_ref().map(Wallet::as_str))
                .bind(trade.followed_user.0)
                .bind(trade.asset.as_ref().map(AssetId::as_str))
                .bind(trade.side.as_str())
                .bind(trade.price.micros())
                .bind(trade.shares.0)
                .bind(trade.notional.0)
                .bind(trade.fee.map(|fee| fee.0))
                .bind(trade.event_time.millis())
                .bind(trade.detect_time.millis())
                .bind(now.millis())
                .fetch_optional(c)
                .await
        })?;
        if new.is_some() {
            queue::insert_in(&mut tx, std::slice::from_ref(job), now).await?;
        }
        checkpoints::put(&mut tx, checkpoints, now).await?;
        tx.commit().await?;
        Ok(new.map_or(Inserted::Known, |id| Inserted::New(EventId(id))))
    }

    /// Marks a log as removed by a reorganisation of the chain. Returns false if no such log is stored, or it is marked
    /// already.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn mark_removed(&self, tx_hash: &str, log_index: i64, block_hash: Option<&str>) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let marked = on!(tx &mut tx, c => {
            sqlx::query(MARK_REMOVED)
                .bind(tx_hash)
                .bind(log_index)
                .bind(block_hash.unwrap_or_default())
                .execute(c)
                .await
                .map(|done| done.rows_affected())
        })?;
        tx.commit().await?;
        Ok(marked > 0)
    }
}

/// Returns the new events since `begun`, in the order that the ledger needs: by block time. What the leader did before
/// is part of the opening, whichever reader finds the row (spec 3.1).
///
/// The API's times are whole seconds; within
/// one second splits come first, because a set must exist before it is sold, and merges and redemptions last.
fn in_order_of_time(poll: &PollWrite, outcome: &PollOutcome, begun: Option<Timestamp>) -> Vec<Member> {
    let new: HashSet<EventId> = outcome.new_trades.iter().chain(&outcome.new_activities).copied().collect();
    let trades = poll.trades.iter().map(|trade| (trade.event_time, 1, Member::Trade(trade.id)));
    let activities = poll.activities.iter().map(|row| {
        let place = if row.kind == ActivityKind::Split { 0 } else { 2 };
        (row.event_time, place, Member::Activity(row.id))
    });
    let is_new = |member: &Member| match member {
        Member::Trade(id) | Member::Activity(id) => new.contains(id),
    };
    let counts = |time: Timestamp| begun.is_none_or(|begun| time >= begun);
    let mut events: Vec<_> =
        trades.chain(activities).filter(|(time, _, member)| counts(*time) && is_new(member)).collect();
    // The sort is stable: rows of one kind and second keep their order.
    events.sort_by_key(|(time, place, _)| (*time, *place));
    events.into_iter().map(|(.., member)| member).collect()
}

async fn insert_trades(tx: &mut Tx, trades: &[TradeEvent], now: Timestamp) -> Result<Vec<EventId>, DbError> {
    let ids: Vec<Uuid> = fetch_batch_values!(tx, INSERT_TRADES, trades, |query, trade| query
        .bind(trade.id.0)
        .bind(Source::PolymarketApi.as_str())
        .bind(storable(&trade.source_id))
        .bind(storable(&trade.tx_hash))
        .bind(true)
        .bind(trade.profile_wallet.as_str())
        .bind(trade.proxy_wallet.as_ref().map(Wallet::as_str))
        .bind(trade.followed_user.0)
        .bind(trade.market.as_str())
        .bind(trade.asset.as_str())
        .bind(trade.side.as_str())
        .bind(trade.price.micros())
        .bind(trade.shares.0)
        .bind(trade.notional.0)
        .bind(trade.fee.map(|fee| fee.0))
        .bind(trade.event_time.millis())
        .bind(trade.detect_time.millis())
        .bind(now.millis()))?;
    let mut new: HashSet<Uuid> = ids.into_iter().collect();
    // In the order given: the database returns the ids in any order.
    Ok(trades.iter().map(|trade| trade.id).filter(|id| new.remove(&id.0)).collect())
}

async fn insert_activities(tx: &mut Tx, activities: &[ActivityEvent], now: Timestamp) -> Result<Vec<EventId>, DbError> {
    let ids: Vec<Uuid> = fetch_batch_values!(tx, INSERT_ACTIVITIES, activities, |query, activity| query
        .bind(activity.id.0)
        .bind(Source::PolymarketApi.as_str())
        .bind(storable(&activity.source_id))
        .bind(true)
        .bind(activity.profile_wallet.as_str())
        .bind(activity.proxy_wallet.as_ref().map(Wallet::as_str))
        .bind(activity.followed_user.0)
        .bind(storable(activity.kind.as_str()))
        .bind(json_text(&activity.payload))
        .bind(activity.event_time.millis())
        .bind(activity.detect_time.millis())
        .bind(now.millis()))?;
    let mut new: HashSet<Uuid> = ids.into_iter().collect();
    Ok(activities.iter().map(|activity| activity.id).filter(|id| new.remove(&id.0)).collect())
}

/// Stores unparsable rows until the limits of the poll and of the hour are reached. Returns the numbers of rows that are
/// new, and of rows that were left out.
async fn insert_dead_rows(tx: &mut Tx, poll: &PollWrite) -> Result<(usize, usize), DbError> {
    if poll.dead.is_empty() {
        return Ok((0, 0));
    }
    let (since, most) = (poll.now.plus_millis(-HOUR_MS).millis(), i64::try_from(DEAD_AN_HOUR).unwrap_or(i64::MAX));
    let lately: i64 = on!(tx tx, c => {
        sqlx::query_scalar(DEAD_SINCE).bind(poll.user.0).bind(since).bind(most).fetch_one(c).await
    })?;
    let room = DEAD_A_POLL.min(DEAD_AN_HOUR.saturating_sub(usize::try_from(lately).unwrap_or(usize::MAX)));
    let (mut kept, mut rest) = (0, poll.dead.as_slice());
    // Known rows take no room: the same ones come with every poll.
    while kept < room && !rest.is_empty() {
        let (next, later) = rest.split_at(rest.len().min(room - kept));
        let inserted = execute_batch!(tx, INSERT_DEAD_ROWS, next, |query, row| {
            let whole = storable(&row.text);
            let fingerprint = hex::encode(Sha256::digest(whole.as_bytes()));
            query
                .bind("row")
                .bind(fingerprint.clone())
                .bind(poll.user.0)
                .bind(beginning(&whole, DEAD_TEXT_BYTES).to_owned())
                .bind(beginning(&storable(&row.reason), DEAD_REASON_BYTES).to_owned())
                .bind(fingerprint)
                .bind(poll.now.millis())
                .bind(i64::try_from(whole.len()).unwrap_or(i64::MAX))
        })?;
        kept = kept.saturating_add(usize::try_from(inserted).unwrap_or(usize::MAX));
        rest = later;
    }
    Ok((kept, rest.len()))
}

/// Returns at most `bytes` bytes from the beginning of a text, without half a character.
fn beginning(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}
