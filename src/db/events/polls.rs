//! What leaders did, as it is written down: polls of the Data API, and logs of the chain.

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::event_rows::{ActivityRow, TradeRow};
use crate::db::people::users;
use crate::db::system::checkpoints;
use crate::db::system::leases;
use crate::domain::accounting::position_resync::StoredRows;
use crate::domain::events::event::{ActivityEvent, ActivityKind, Side, Source, TradeEvent};
use crate::domain::events::group::Member;
use crate::domain::events::lease::Fence;
use crate::domain::money::ids::{AssetId, EventId, FollowedUserId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::queue::{self, NewJob, Queue};
use crate::sql::connection::{Batch, Db, Tx, batches, on, statements};
use crate::sql::decode::{json_text, storable};
use crate::sql::error::DbError;
use crate::sql::inserted::Inserted;

/// What one poll of one user found. Rows may be known already, or come twice.
#[derive(Debug, Clone)]
pub struct PollWrite {
    pub user: FollowedUserId,
    pub trades: Vec<TradeEvent>,
    pub activities: Vec<ActivityEvent>,
    pub dead: Vec<DeadRow>,
    /// Wallets seen in the rows.
    pub new_wallets: Vec<Wallet>,
    /// The lease it is read under, where others could read it too.
    pub fence: Option<Fence>,
    /// Key and JSON; they move with the rows or not at all.
    pub checkpoints: Vec<(String, String)>,
    pub now: Timestamp,
}

/// A row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRow {
    pub text: String,
    pub reason: String,
}

/// What of a poll was new. Each new event has its two jobs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PollOutcome {
    pub new_trades: Vec<EventId>,
    pub new_activities: Vec<EventId>,
    /// Unreadable rows seen for the first time.
    pub dead: usize,
}

/// A fill seen as a log on the chain. It moves no portfolio.
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
    /// By time of detection too, which has an index; a block may be dated a little ahead of our clock.
    TRADES_SINCE = "select id, source_id, tx_hash, profile_wallet, proxy_wallet, followed_user_id, market_id, asset_id,
        side, price_micros, share_micros, notional_micros, fee_micros, event_time, detect_time from trade_event
        where is_canonical and followed_user_id = $1 and event_time >= $2 and detect_time >= $2 - 60000";
    ACTIVITIES_SINCE = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json,
        event_time, detect_time from activity_event
        where followed_user_id = $1 and event_time >= $2 and detect_time >= $2 - 60000";
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
    INSERT_DEAD_ROWS = "insert into dead_letter (queue, key, followed_user_id, payload, error, fingerprint, created_at)
        values ", 7, " on conflict do nothing";
    TRADES_BY_ID = "select id, source_id, tx_hash, profile_wallet, proxy_wallet, followed_user_id, market_id, asset_id,
        side, price_micros, share_micros, notional_micros, fee_micros, event_time, detect_time from trade_event
        where is_canonical and id in (", 1, ")";
    ACTIVITIES_BY_ID = "select id, source_id, profile_wallet, proxy_wallet, followed_user_id, type, payload_json,
        event_time, detect_time from activity_event where id in (", 1, ")";
}

impl Db {
    /// Writes what a poll found: new rows with a job for the ledger and one for grouping each, wallets seen for the
    /// first time, unreadable rows once per distinct text, and the checkpoints. One transaction.
    pub async fn record_poll(&self, poll: PollWrite) -> Result<PollOutcome, DbError> {
        let mut tx = self.begin().await?;
        let fence: Vec<Fence> = poll.fence.into_iter().collect();
        if let Some(lost) = leases::lost_in(&mut tx, &fence).await?.pop() {
            return Err(DbError::LeaseLost(lost));
        }
        let outcome = PollOutcome {
            new_trades: insert_trades(&mut tx, &poll.trades, poll.now).await?,
            new_activities: insert_activities(&mut tx, &poll.activities, poll.now).await?,
            dead: insert_dead_rows(&mut tx, &poll).await?,
        };
        let jobs: Vec<NewJob> = in_order_of_time(&poll, &outcome)
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

    /// In no order; unknown ids are left out.
    pub async fn trades_by_id(&self, ids: &[EventId]) -> Result<Vec<TradeEvent>, DbError> {
        let mut rows: Vec<TradeRow> = Vec::with_capacity(ids.len());
        for chunk in Batch::chunks(ids) {
            let text = TRADES_BY_ID.text(self.driver(), chunk.len());
            rows.extend(on!(db self, c => {
                let mut query = sqlx::query_as::<_, TradeRow>(text);
                for id in chunk {
                    query = query.bind(id.0);
                }
                query.fetch_all(c).await
            })?);
        }
        rows.into_iter().map(TradeEvent::try_from).collect()
    }

    /// In no order; unknown ids are left out.
    pub async fn activities_by_id(&self, ids: &[EventId]) -> Result<Vec<ActivityEvent>, DbError> {
        let mut rows: Vec<ActivityRow> = Vec::with_capacity(ids.len());
        for chunk in Batch::chunks(ids) {
            let text = ACTIVITIES_BY_ID.text(self.driver(), chunk.len());
            rows.extend(on!(db self, c => {
                let mut query = sqlx::query_as::<_, ActivityRow>(text);
                for id in chunk {
                    query = query.bind(id.0);
                }
                query.fetch_all(c).await
            })?);
        }
        rows.into_iter().map(ActivityEvent::try_from).collect()
    }

    /// Everything stored of a user that took place at `since` or later, in no order.
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

    /// Keeps a log of the chain, with checkpoints that move with it. A new one gets `job`, which asks the canonical
    /// source; jobs that move money come from canonical events only.
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

    /// A log was reorganised away. False when no such log is kept, or it was marked before.
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

/// The new events as the ledger must take them: by block time; within one second, which is all the API tells, sets are
/// made before they are sold and given up after.
fn in_order_of_time(poll: &PollWrite, outcome: &PollOutcome) -> Vec<Member> {
    let new: HashSet<EventId> = outcome.new_trades.iter().chain(&outcome.new_activities).copied().collect();
    let trades = poll.trades.iter().map(|trade| (trade.event_time, 1, Member::Trade(trade.id)));
    let activities = poll.activities.iter().map(|row| {
        let place = if row.kind == ActivityKind::Split { 0 } else { 2 };
        (row.event_time, place, Member::Activity(row.id))
    });
    let is_new = |member: &Member| match member {
        Member::Trade(id) | Member::Activity(id) => new.contains(id),
    };
    let mut events: Vec<_> = trades.chain(activities).filter(|(.., member)| is_new(member)).collect();
    // Stable: rows of one kind and second stay in the order given.
    events.sort_by_key(|(time, place, _)| (*time, *place));
    events.into_iter().map(|(.., member)| member).collect()
}

async fn insert_trades(tx: &mut Tx, trades: &[TradeEvent], now: Timestamp) -> Result<Vec<EventId>, DbError> {
    let mut new = HashSet::with_capacity(trades.len());
    for chunk in Batch::chunks(trades) {
        let text = INSERT_TRADES.text(tx.driver(), chunk.len());
        let ids: Vec<Uuid> = on!(tx &mut *tx, c => {
            let mut query = sqlx::query_scalar(text);
            for trade in chunk {
                query = query
                    .bind(trade.id.0)
                    .bind(Source::DataApi.as_str())
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
                    .bind(now.millis());
            }
            query.fetch_all(c).await
        })?;
        new.extend(ids);
    }
    // In the order given, whatever order the database answered in.
    Ok(trades.iter().map(|trade| trade.id).filter(|id| new.remove(&id.0)).collect())
}

async fn insert_activities(tx: &mut Tx, activities: &[ActivityEvent], now: Timestamp) -> Result<Vec<EventId>, DbError> {
    let mut new = HashSet::with_capacity(activities.len());
    for chunk in Batch::chunks(activities) {
        let text = INSERT_ACTIVITIES.text(tx.driver(), chunk.len());
        let ids: Vec<Uuid> = on!(tx &mut *tx, c => {
            let mut query = sqlx::query_scalar(text);
            for activity in chunk {
                query = query
                    .bind(activity.id.0)
                    .bind(Source::DataApi.as_str())
                    .bind(storable(&activity.source_id))
                    .bind(true)
                    .bind(activity.profile_wallet.as_str())
                    .bind(activity.proxy_wallet.as_ref().map(Wallet::as_str))
                    .bind(activity.followed_user.0)
                    .bind(storable(activity.kind.as_str()))
                    .bind(json_text(&activity.payload))
                    .bind(activity.event_time.millis())
                    .bind(activity.detect_time.millis())
                    .bind(now.millis());
            }
            query.fetch_all(c).await
        })?;
        new.extend(ids);
    }
    Ok(activities.iter().map(|activity| activity.id).filter(|id| new.remove(&id.0)).collect())
}

async fn insert_dead_rows(tx: &mut Tx, poll: &PollWrite) -> Result<usize, DbError> {
    let mut inserted = 0;
    for chunk in Batch::chunks(&poll.dead) {
        let text = INSERT_DEAD_ROWS.text(tx.driver(), chunk.len());
        inserted += on!(tx &mut *tx, c => {
            let mut query = sqlx::query(text);
            for row in chunk {
                let payload = storable(&row.text);
                let fingerprint = hex::encode(Sha256::digest(payload.as_bytes()));
                query = query
                    .bind("row")
                    .bind(fingerprint.clone())
                    .bind(poll.user.0)
                    .bind(payload)
                    .bind(storable(&row.reason))
                    .bind(fingerprint)
                    .bind(poll.now.millis());
            }
            query.execute(c).await.map(|done| done.rows_affected())
        })?;
    }
    Ok(usize::try_from(inserted).unwrap_or(usize::MAX))
}
