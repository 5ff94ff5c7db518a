//! Closes by hand: groups of kind CLOSE, written on request together with their copy jobs (spec 6).

use std::collections::BTreeMap;

use uuid::Uuid;

use super::groups::{ClosedGroupWrite, insert_groups};
use crate::db::accounts::running_portfolio::LoadError;
use crate::db::system::audit::{self, Audit};
use crate::db::system::checkpoints;
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::decision::dust::LEAST_SHARES;
use crate::domain::events::group::EventGroup;
use crate::domain::money::ids::{AssetId, FollowedUserId, GroupId, MarketId};
use crate::domain::money::units::{ShareMicros, Timestamp};
use crate::queue::{self, NewJob, Queue};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::json_text;
use crate::sql::error::DbError;

/// The lots that are to be closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseWanted {
    pub leader: FollowedUserId,
    /// One asset; all that are held of this leader for `None`.
    pub asset: Option<AssetId>,
    /// One account; both for `None`.
    pub scope: Option<PortfolioScope>,
}

/// One asset whose lots are being closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedClose {
    pub group: GroupId,
    pub market: MarketId,
    pub asset: AssetId,
    /// The accounts whose lots it sells.
    pub portfolios: Vec<PortfolioId>,
    /// False when an earlier request is still open; nothing was written then.
    pub is_new: bool,
}

statements! {
    NEWEST_CLOSE = "select id from event_group where market_id = $1 and kind = 'CLOSE' and asset_id = $2
        and followed_user_id = $3 order by detect_time desc limit 1";
    OPEN_QUEUES = "select queue from job where key = $1
        and queue in ('q_copy_attempt_user', 'q_copy_attempt_global')";
    ASKED_BY = "select who from audit_log where action = 'close_by_hand' and subject = $1 and created_at = $2
        order by id limit 1";
}

impl Db {
    /// Writes one CLOSE group for each asset that is held as `wanted` says, with a copy job for each account that holds
    /// it, audited. Without a named asset, lots under 0.01 share are left out. An empty answer means that nothing is
    /// held.
    ///
    /// The request time is the group's place in the global order. An account whose earlier close of the same lot is not
    /// decided yet gets no second one.
    ///
    /// # Errors
    /// [`LoadError`] when the database cannot be reached, refuses a statement, or its rows do not fit together.
    pub async fn ask_closes(
        &self,
        wanted: &CloseWanted,
        who: &str,
        now: Timestamp,
    ) -> Result<Vec<AskedClose>, LoadError> {
        let held = held(self, wanted).await?;
        let mut tx = self.begin().await?;
        let mut asked = Vec::with_capacity(held.len());
        for ((asset, market), portfolios) in held {
            asked.push(ask(&mut tx, wanted.leader, (asset, market), portfolios, who, now).await?);
        }
        if asked.iter().any(|close| close.is_new) {
            // A bot in another process sees the new revision within a second and looks for the jobs.
            checkpoints::bump_revision(&mut tx, now).await?;
        }
        tx.commit().await?;
        Ok(asked)
    }

    /// Returns who asked for a close by hand.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn close_asked_by(&self, group: &EventGroup) -> Result<Option<String>, DbError> {
        let (subject, at) = (subject(group.followed_user), group.detect_time.millis());
        Ok(on!(db self, c => sqlx::query_scalar(ASKED_BY).bind(&subject).bind(at).fetch_optional(c).await)?)
    }
}

fn subject(leader: FollowedUserId) -> String {
    format!("user:{leader}")
}

/// Returns the assets to close, each with the accounts that hold it.
async fn held(db: &Db, wanted: &CloseWanted) -> Result<BTreeMap<(AssetId, MarketId), Vec<PortfolioId>>, LoadError> {
    let mut held: BTreeMap<_, Vec<PortfolioId>> = BTreeMap::new();
    let least = if wanted.asset.is_some() { ShareMicros(1) } else { LEAST_SHARES };
    let accounts = [PortfolioId::ExecUser(wanted.leader), PortfolioId::ExecGlobal];
    for portfolio in accounts.into_iter().filter(|id| wanted.scope.is_none_or(|scope| scope == id.scope())) {
        let running = db.unmarked_portfolio(portfolio).await?.portfolio;
        let lots = running.lots().filter(|lot| lot.leader == wanted.leader && lot.shares >= least);
        for lot in lots.filter(|lot| wanted.asset.as_ref().is_none_or(|asset| *asset == lot.asset)) {
            // Each copy names its market.
            let Some(market) = lot.market else { continue };
            held.entry((lot.asset, market)).or_default().push(portfolio);
        }
    }
    Ok(held)
}

/// Writes the group of one asset, unless earlier ones for the same accounts are open.
async fn ask(
    tx: &mut Tx,
    leader: FollowedUserId,
    (asset, market): (AssetId, MarketId),
    portfolios: Vec<PortfolioId>,
    who: &str,
    now: Timestamp,
) -> Result<AskedClose, DbError> {
    let (open_group, open) = open_close(tx, leader, &asset, &market).await?;
    let (waiting, new): (Vec<_>, Vec<_>) = portfolios.into_iter().partition(|id| open.contains(&queue_of(*id)));
    if let (Some(group), true) = (open_group, new.is_empty()) {
        return Ok(AskedClose { group, market, asset, portfolios: waiting, is_new: false });
    }
    let group = insert_group(tx, leader, (&asset, &market), now).await?;
    let job = |portfolio: &PortfolioId| NewJob::for_close(queue_of(*portfolio), group.id, leader, group.detect_time);
    queue::insert_in(tx, &new.iter().map(job).collect::<Vec<_>>(), now).await?;
    let accounts: Vec<String> = new.iter().map(PortfolioId::to_string).collect();
    let after = serde_json::json!({
        "group_id": group.id, "asset_id": asset, "market_id": market, "accounts": accounts.join(", "),
    });
    let audit = Audit {
        who: who.to_owned(),
        action: "close_by_hand".to_owned(),
        subject: subject(leader),
        before_json: None,
        after_json: Some(json_text(&after)),
    };
    audit::insert(tx, &[audit], group.detect_time).await?;
    Ok(AskedClose { group: group.id, market, asset, portfolios: new, is_new: true })
}

/// Returns the newest close of a lot, and the queues in which it waits for its decision.
async fn open_close(
    tx: &mut Tx,
    leader: FollowedUserId,
    asset: &AssetId,
    market: &MarketId,
) -> Result<(Option<GroupId>, Vec<Queue>), DbError> {
    let newest: Option<Uuid> = on!(tx &mut *tx, c => {
        let query = sqlx::query_scalar(NEWEST_CLOSE).bind(market.as_str()).bind(asset.as_str()).bind(leader.0);
        query.fetch_optional(c).await
    })?;
    let Some(group) = newest.map(GroupId) else { return Ok((None, Vec::new())) };
    let key = format!("close:{group}");
    let open: Vec<String> = on!(tx &mut *tx, c => sqlx::query_scalar(OPEN_QUEUES).bind(&key).fetch_all(c).await)?;
    Ok((Some(group), open.iter().filter_map(|queue| queue.parse().ok()).collect()))
}

/// Writes the group; the next free millisecond makes its key when another close of the lot has the key.
async fn insert_group(
    tx: &mut Tx,
    leader: FollowedUserId,
    (asset, market): (&AssetId, &MarketId),
    now: Timestamp,
) -> Result<EventGroup, DbError> {
    let mut at = now;
    loop {
        let group = EventGroup::close_by_hand(leader, market.clone(), asset.clone(), at);
        let write = ClosedGroupWrite { group, members: Vec::new(), finishes: Vec::new(), copy_due: at };
        if !insert_groups(tx, &[&write]).await?.is_empty() {
            return Ok(write.group);
        }
        at = at.plus_millis(1);
    }
}

/// Returns the queue of the account's executor.
fn queue_of(portfolio: PortfolioId) -> Queue {
    match portfolio.scope() {
        PortfolioScope::ExecGlobal => Queue::CopyAttemptGlobal,
        PortfolioScope::ExecUser | PortfolioScope::ShadowUser => Queue::CopyAttemptUser,
    }
}
