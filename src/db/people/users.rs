//! Followed users and their wallets. Every change is audited and raises the config revision.

use std::collections::BTreeMap;

use crate::db::system::audit::{self, Audit};
use crate::db::system::checkpoints;
use crate::domain::config::follow_state::FollowState;
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::sql::batch::{batches, execute_batch};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{RowDecoder, json_text};
use crate::sql::error::DbError;
use crate::sql::inserted::Inserted;

/// A trader we follow, or followed: stopping keeps everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowedUser {
    pub id: FollowedUserId,
    /// The name that pages show. Hostile text.
    pub label: String,
    pub profile_wallet: Wallet,
    pub state: FollowState,
    pub created_at: Timestamp,
    /// Proxy wallets seen in their rows, in the order they were first seen.
    pub wallets: Vec<Wallet>,
}

statements! {
    LIST = "select id, label, profile_wallet, state, created_at from followed_user order by id";
    LIST_WALLETS = "select followed_user_id, wallet from followed_user_proxy_wallet order by id";
    FIND_BY_WALLET = "select id, label, profile_wallet, state, created_at from followed_user
        where profile_wallet = $1
            or id in (select followed_user_id from followed_user_proxy_wallet where wallet = $1)
        order by id limit 1";
    FIND = "select id, label, profile_wallet, state, created_at from followed_user where id = $1";
    INSERT = "insert into followed_user (label, profile_wallet, state, created_at) values ($1, $2, 'ACTIVE', $3)
        on conflict (profile_wallet) do nothing returning id";
    SET_STATE = "update followed_user set state = $2 where id = $1 and state <> $2";
    MOVE_STATE = "update followed_user set state = $3 where id = $1 and state = $2";
    SET_LABEL = "update followed_user set label = $2 where id = $1 and label <> $2";
}

batches! {
    INSERT_WALLETS = "insert into followed_user_proxy_wallet (followed_user_id, wallet) values ", 2,
        " on conflict (wallet) do nothing";
}

impl FollowedUser {
    /// Returns whether the leader's fills are read.
    pub const fn enabled(&self) -> bool {
        self.state.is_enabled()
    }
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: i64,
    label: String,
    profile_wallet: String,
    state: String,
    created_at: i64,
}

impl Db {
    /// Returns all users, the stopped ones too, in the order they were added.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn followed_users(&self) -> Result<Vec<FollowedUser>, DbError> {
        let rows: Vec<Row> = on!(db self, c => sqlx::query_as(LIST).fetch_all(c).await)?;
        let wallets: Vec<(i64, String)> = on!(db self, c => sqlx::query_as(LIST_WALLETS).fetch_all(c).await)?;
        let mut of_user: BTreeMap<i64, Vec<Wallet>> = BTreeMap::new();
        for (user, wallet) in wallets {
            let wallet = RowDecoder { table: "followed_user_proxy_wallet", id: user }.wallet("wallet", &wallet)?;
            of_user.entry(user).or_default().push(wallet);
        }
        rows.into_iter()
            .map(|row| {
                let wallets = of_user.remove(&row.id).unwrap_or_default();
                row.into_user(wallets)
            })
            .collect()
    }

    /// Returns the user with this profile or proxy wallet.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn followed_user_by_wallet(&self, wallet: &Wallet) -> Result<Option<FollowedUser>, DbError> {
        let row: Option<Row> =
            on!(db self, c => sqlx::query_as(FIND_BY_WALLET).bind(wallet.as_str()).fetch_optional(c).await)?;
        let Some(Row { id, .. }) = row else { return Ok(None) };
        Ok(self.followed_users().await?.into_iter().find(|user| user.id.0 == id))
    }

    /// Starts to follow `wallet`; audited. A user that was followed before and is not active any more is active again, and the
    /// answer is [`Inserted::Known`].
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn follow(
        &self,
        label: &str,
        wallet: &Wallet,
        who: &str,
        now: Timestamp,
    ) -> Result<Inserted<FollowedUserId>, DbError> {
        let mut tx = self.begin().await?;
        let inserted = insert(&mut tx, label, wallet, who, now).await?;
        if inserted == Inserted::Known
            && let Some(row) = find_by_wallet(&mut tx, wallet).await?
        {
            let user = FollowedUserId(row.id);
            change(&mut tx, Change { user, who, now, sql: SET_STATE, value: Value::State(FollowState::Active) })
                .await?;
        }
        tx.commit().await?;
        Ok(inserted)
    }

    /// Starts to follow `wallet`, unless a stored user has it: a user that was unfollowed or renamed stays unchanged.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn follow_if_unknown(
        &self,
        label: &str,
        wallet: &Wallet,
        who: &str,
        now: Timestamp,
    ) -> Result<Inserted<FollowedUserId>, DbError> {
        let mut tx = self.begin().await?;
        if find_by_wallet(&mut tx, wallet).await?.is_some() {
            return Ok(Inserted::Known);
        }
        // Another process may have been faster; its row stays unchanged too.
        let inserted = insert(&mut tx, label, wallet, who, now).await?;
        tx.commit().await?;
        Ok(inserted)
    }

    /// Makes a user active, or stops them; audited. Returns false when no user has that id.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn set_enabled(
        &self,
        user: FollowedUserId,
        enabled: bool,
        who: &str,
        now: Timestamp,
    ) -> Result<bool, DbError> {
        let state = if enabled { FollowState::Active } else { FollowState::Stopped };
        self.set_state(user, state, who, now).await
    }

    /// Sets how a user is followed; audited. Returns false when no user has that id.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn set_state(
        &self,
        user: FollowedUserId,
        state: FollowState,
        who: &str,
        now: Timestamp,
    ) -> Result<bool, DbError> {
        self.change_user(Change { user, who, now, sql: SET_STATE, value: Value::State(state) }).await
    }

    /// Stops a user who is still winding down, because nothing of theirs is left to sell; audited with `why`. Returns
    /// false, and writes nothing, when the user was made active or stopped in the meantime.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn wound_down(
        &self,
        user: FollowedUserId,
        why: &serde_json::Value,
        who: &str,
        now: Timestamp,
    ) -> Result<bool, DbError> {
        let (before, after) = (FollowState::WindingDown, FollowState::Stopped);
        let mut tx = self.begin().await?;
        let moved = on!(tx &mut tx, c => {
            let query = sqlx::query(MOVE_STATE).bind(user.0).bind(before.as_str()).bind(after.as_str());
            query.execute(c).await.map(|done| done.rows_affected())
        })?;
        if moved == 0 {
            return Ok(false);
        }
        let audit = Audit {
            who: who.to_owned(),
            action: "wound_down".to_owned(),
            subject: format!("user:{user}"),
            before_json: Some(json_text(&before)),
            after_json: Some(json_text(&serde_json::json!({ "state": after, "left": why }))),
        };
        audit::insert(&mut tx, &[audit], now).await?;
        checkpoints::bump_revision(&mut tx, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Changes a user's label; audited. Returns false when no user has that id.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn rename(&self, user: FollowedUserId, label: &str, who: &str, now: Timestamp) -> Result<bool, DbError> {
        self.change_user(Change { user, who, now, sql: SET_LABEL, value: Value::Label(label) }).await
    }

    async fn change_user(&self, wanted: Change<'_>) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let found = change(&mut tx, wanted).await?;
        tx.commit().await?;
        Ok(found)
    }
}

async fn find_by_wallet(tx: &mut Tx, wallet: &Wallet) -> Result<Option<Row>, DbError> {
    Ok(on!(tx tx, c => sqlx::query_as(FIND_BY_WALLET).bind(wallet.as_str()).fetch_optional(c).await)?)
}

/// Adds a trader, with the audit; a stored trader with this profile wallet stays unchanged.
async fn insert(
    tx: &mut Tx,
    label: &str,
    wallet: &Wallet,
    who: &str,
    now: Timestamp,
) -> Result<Inserted<FollowedUserId>, DbError> {
    let new: Option<i64> = on!(tx &mut *tx, c => {
        sqlx::query_scalar(INSERT).bind(label).bind(wallet.as_str()).bind(now.millis()).fetch_optional(c).await
    })?;
    let Some(id) = new else { return Ok(Inserted::Known) };
    let audit = Audit {
        who: who.to_owned(),
        action: "follow".to_owned(),
        subject: format!("user:{id}"),
        before_json: None,
        after_json: Some(json_text(&serde_json::json!({"label": label, "profile_wallet": wallet.as_str()}))),
    };
    audit::insert(tx, &[audit], now).await?;
    checkpoints::bump_revision(tx, now).await?;
    Ok(Inserted::New(FollowedUserId(id)))
}

/// Adds wallets first seen in rows of `user`, and raises the revision, which actors that watch wallets poll. A wallet
/// that another user has stays with that user.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn insert_wallets(
    tx: &mut Tx,
    user: FollowedUserId,
    wallets: &[Wallet],
    now: Timestamp,
) -> Result<(), DbError> {
    let n_new = execute_batch!(tx, INSERT_WALLETS, wallets, |query, wallet| query.bind(user.0).bind(wallet.as_str()))?;
    if n_new > 0 {
        checkpoints::bump_revision(tx, now).await?;
    }
    Ok(())
}

struct Change<'a> {
    user: FollowedUserId,
    who: &'a str,
    now: Timestamp,
    sql: &'static str,
    value: Value<'a>,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    State(FollowState),
    Label(&'a str),
}

/// Writes one field with its audit. Writes nothing if the field has the value already. Returns whether the user exists.
async fn change(tx: &mut Tx, Change { user, who, now, sql, value }: Change<'_>) -> Result<bool, DbError> {
    let row: Option<Row> = on!(tx &mut *tx, c => sqlx::query_as(FIND).bind(user.0).fetch_optional(c).await)?;
    let Some(row) = row else { return Ok(false) };
    let changed = on!(tx &mut *tx, c => {
        let query = sqlx::query(sql).bind(user.0);
        match value {
            Value::State(state) => query.bind(state.as_str()),
            Value::Label(label) => query.bind(label),
        }
        .execute(c)
        .await
        .map(|done| done.rows_affected())
    })?;
    if changed == 0 {
        return Ok(true);
    }
    let (action, before, after) = match value {
        Value::State(state) => ("set_state", json_text(&row.state), json_text(&state)),
        Value::Label(label) => ("rename", json_text(&row.label), json_text(&label)),
    };
    let audit = Audit {
        who: who.to_owned(),
        action: action.to_owned(),
        subject: format!("user:{user}"),
        before_json: Some(before),
        after_json: Some(after),
    };
    audit::insert(tx, &[audit], now).await?;
    checkpoints::bump_revision(tx, now).await?;
    Ok(true)
}

impl Row {
    fn into_user(self, wallets: Vec<Wallet>) -> Result<FollowedUser, DbError> {
        let decoder = RowDecoder { table: "followed_user", id: self.id };
        Ok(FollowedUser {
            id: FollowedUserId(self.id),
            profile_wallet: decoder.wallet("profile_wallet", &self.profile_wallet)?,
            label: self.label,
            state: decoder.text("state", &self.state)?,
            created_at: Timestamp::from_millis(self.created_at),
            wallets,
        })
    }
}
