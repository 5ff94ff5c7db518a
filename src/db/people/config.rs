//! The stored configuration: the fields that differ from the defaults, globally and for each user (spec 4).
//! Every change is audited with before and after, and raises the revision that the running bot watches.

use std::collections::BTreeMap;

use super::users::FollowedUser;
use crate::db::accounts::drawdown_resets::PeakReset;
use crate::db::system::audit::{self, Audit};
use crate::db::system::checkpoints;
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::config::effective::{
    ConfigChange, ConfigPatch, GuardrailPatch, SizingPatch, StoredConfig, SystemPatch, UserOverrides,
};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{RowDecoder, json_text};
use crate::sql::error::DbError;

/// The users and the configuration that the running bot works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Rises with every change of users, configuration or blacklists.
    pub revision: i64,
    pub users: Vec<FollowedUser>,
    pub config: StoredConfig,
    pub overrides: BTreeMap<FollowedUserId, UserOverrides>,
    pub peak_resets: Vec<(PortfolioId, PeakReset)>,
}

statements! {
    GUARDRAILS = "select coalesce(followed_user_id, 0) as owner, config_json from guardrail_config order by 1";
    SIZING = "select coalesce(followed_user_id, 0) as owner, config_json from copy_sizing_config order by 1";
    SYSTEM = "select config_json from system_config where id = 1";
    PUT_GUARDRAILS = "insert into guardrail_config (scope, followed_user_id, config_json, updated_at)
        values ($1, $2, $3, $4) on conflict (scope, coalesce(followed_user_id, 0))
        do update set config_json = excluded.config_json, updated_at = excluded.updated_at";
    PUT_SIZING = "insert into copy_sizing_config (scope, followed_user_id, config_json, updated_at)
        values ($1, $2, $3, $4) on conflict (scope, coalesce(followed_user_id, 0))
        do update set config_json = excluded.config_json, updated_at = excluded.updated_at";
    PUT_SYSTEM = "update system_config set config_json = $1, updated_at = $2 where id = 1";
}

/// The fields set in the three tables, by owner; the owner of the global row is 0.
#[derive(Default)]
struct Stored {
    guardrails: BTreeMap<i64, GuardrailPatch>,
    sizing: BTreeMap<i64, SizingPatch>,
    system: SystemPatch,
}

impl Db {
    /// Returns all users and the configuration.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn directory(&self) -> Result<Directory, DbError> {
        // The revision is read first: after a change between the reads, the next poll sees a new revision and reads
        // again.
        let revision = self.revision().await?;
        let stored = self.stored_config().await?;
        Ok(Directory {
            revision,
            users: self.followed_users().await?,
            config: stored.global(),
            overrides: stored.users(),
            peak_resets: self.peak_resets().await?,
        })
    }

    /// Returns the global configuration.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn global_config(&self) -> Result<StoredConfig, DbError> {
        Ok(self.stored_config().await?.global())
    }

    /// Returns the number that rises with every change of users, configuration or blacklists.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn revision(&self) -> Result<i64, DbError> {
        #[derive(serde::Deserialize)]
        struct Revision {
            revision: i64,
        }
        let decoder = RowDecoder { table: "system_checkpoint", id: "config:revision" };
        match self.checkpoint("config:revision").await? {
            Some(text) => decoder.json::<Revision>("value_json", &text).map(|value| value.revision),
            None => Ok(0),
        }
    }

    /// Sets the fields of `patch` globally; returns the configuration after it. Pausing the engine is such a change.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn save_global(&self, patch: &ConfigPatch, who: &str, now: Timestamp) -> Result<StoredConfig, DbError> {
        self.change_global(&ConfigChange::setting(patch.clone()), who, now).await.map(|(_, after)| after)
    }

    /// Sets the fields of `patch` for one user, besides the user's other overrides; returns the overrides after it.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn save_user(
        &self,
        user: FollowedUserId,
        patch: &UserOverrides,
        who: &str,
        now: Timestamp,
    ) -> Result<UserOverrides, DbError> {
        let set = ConfigPatch {
            guardrails: patch.guardrails.clone(),
            sizing: patch.sizing.clone(),
            ..ConfigPatch::default()
        };
        self.change_overrides(user, &ConfigChange::setting(set), who, now).await.map(|(_, after)| after)
    }

    /// Sets global fields, or resets them to their defaults. Returns the configuration before and after; when they are
    /// equal, nothing was written.
    ///
    /// # Errors
    /// `Config` when fields of the new configuration, or of a leader under it, contradict each other.
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn change_global(
        &self,
        change: &ConfigChange,
        who: &str,
        now: Timestamp,
    ) -> Result<(StoredConfig, StoredConfig), DbError> {
        let (mut tx, stored) = self.begin_change(now).await?;
        let before = stored.global_patch();
        let after = before.changed(change);
        let (old, new) = (StoredConfig::default().with(&before), StoredConfig::default().with(&after));
        if after == before {
            return Ok((old, new));
        }
        new.check(stored.users().values())?;
        put_owned(&mut tx, PUT_GUARDRAILS, None, &json_text(&after.guardrails), now).await?;
        put_owned(&mut tx, PUT_SIZING, None, &json_text(&after.sizing), now).await?;
        let system = json_text(&after.system);
        on!(tx &mut tx, c => sqlx::query(PUT_SYSTEM).bind(&system).bind(now.millis()).execute(c).await.map(drop))?;
        let audit = saved("config:global".to_owned(), json_text(&old), json_text(&new), who);
        audit::insert(&mut tx, &[audit], now).await?;
        tx.commit().await?;
        Ok((old, new))
    }

    /// Sets overrides of one user, or resets them to the global values. Returns the overrides before and after; when
    /// they are equal, nothing was written.
    ///
    /// # Errors
    /// `Config` when fields of the leader contradict each other.
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn change_overrides(
        &self,
        user: FollowedUserId,
        change: &ConfigChange,
        who: &str,
        now: Timestamp,
    ) -> Result<(UserOverrides, UserOverrides), DbError> {
        let (tx, stored) = self.begin_change(now).await?;
        let before = stored.overrides_of(user);
        let after = before.changed(change);
        if after != before {
            stored.global().check([&after])?;
            put_overrides(tx, user, (&before, &after), who, now).await?;
        }
        Ok((before, after))
    }

    /// Replaces all overrides of one user; empty ones remove them all.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn replace_overrides(
        &self,
        user: FollowedUserId,
        overrides: &UserOverrides,
        who: &str,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let (tx, stored) = self.begin_change(now).await?;
        put_overrides(tx, user, (&stored.overrides_of(user), overrides), who, now).await
    }

    /// Begins a change of the configuration and reads the current one. Raising the revision first makes a second writer
    /// wait here, so that no change is merged into outdated values.
    async fn begin_change(&self, now: Timestamp) -> Result<(Tx, Stored), DbError> {
        let mut tx = self.begin().await?;
        checkpoints::bump_revision(&mut tx, now).await?;
        let guardrails = on!(tx &mut tx, c => sqlx::query_as(GUARDRAILS).fetch_all(c).await)?;
        let sizing = on!(tx &mut tx, c => sqlx::query_as(SIZING).fetch_all(c).await)?;
        let system = on!(tx &mut tx, c => sqlx::query_scalar(SYSTEM).fetch_optional(c).await)?;
        Ok((tx, Stored::read(guardrails, sizing, system)?))
    }

    async fn stored_config(&self) -> Result<Stored, DbError> {
        let guardrails = on!(db self, c => sqlx::query_as(GUARDRAILS).fetch_all(c).await)?;
        let sizing = on!(db self, c => sqlx::query_as(SIZING).fetch_all(c).await)?;
        let system = on!(db self, c => sqlx::query_scalar(SYSTEM).fetch_optional(c).await)?;
        Stored::read(guardrails, sizing, system)
    }
}

/// Writes one user's overrides after a change, with its audit, and commits.
async fn put_overrides(
    mut tx: Tx,
    user: FollowedUserId,
    (before, after): (&UserOverrides, &UserOverrides),
    who: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    put_owned(&mut tx, PUT_GUARDRAILS, Some(user), &json_text(&after.guardrails), now).await?;
    put_owned(&mut tx, PUT_SIZING, Some(user), &json_text(&after.sizing), now).await?;
    let audit = saved(format!("config:user:{user}"), json_text(before), json_text(after), who);
    audit::insert(&mut tx, &[audit], now).await?;
    tx.commit().await
}

impl Stored {
    fn read(
        guardrails: Vec<(i64, String)>,
        sizing: Vec<(i64, String)>,
        system: Option<String>,
    ) -> Result<Self, DbError> {
        let mut stored = Self::default();
        for (owner, text) in guardrails {
            let patch = RowDecoder { table: "guardrail_config", id: owner }.json("config_json", &text)?;
            stored.guardrails.insert(owner, patch);
        }
        for (owner, text) in sizing {
            let patch = RowDecoder { table: "copy_sizing_config", id: owner }.json("config_json", &text)?;
            stored.sizing.insert(owner, patch);
        }
        if let Some(text) = system {
            stored.system = RowDecoder { table: "system_config", id: 1 }.json("config_json", &text)?;
        }
        Ok(stored)
    }

    fn guardrails_of(&self, owner: i64) -> GuardrailPatch {
        self.guardrails.get(&owner).cloned().unwrap_or_default()
    }

    fn sizing_of(&self, owner: i64) -> SizingPatch {
        self.sizing.get(&owner).cloned().unwrap_or_default()
    }

    fn global_patch(&self) -> ConfigPatch {
        ConfigPatch { guardrails: self.guardrails_of(0), sizing: self.sizing_of(0), system: self.system.clone() }
    }

    fn global(&self) -> StoredConfig {
        StoredConfig::default().with(&self.global_patch())
    }

    fn overrides_of(&self, user: FollowedUserId) -> UserOverrides {
        UserOverrides { guardrails: self.guardrails_of(user.0), sizing: self.sizing_of(user.0) }
    }

    fn users(&self) -> BTreeMap<FollowedUserId, UserOverrides> {
        let owners = self.guardrails.keys().chain(self.sizing.keys()).filter(|owner| **owner != 0);
        owners
            .map(|owner| (FollowedUserId(*owner), self.overrides_of(FollowedUserId(*owner))))
            .filter(|(_, overrides)| !overrides.is_empty())
            .collect()
    }
}

async fn put_owned(
    tx: &mut Tx,
    statement: &'static str,
    owner: Option<FollowedUserId>,
    text: &str,
    now: Timestamp,
) -> Result<(), DbError> {
    let scope = if owner.is_some() { "USER" } else { "GLOBAL" };
    on!(tx tx, c => {
        sqlx::query(statement)
            .bind(scope)
            .bind(owner.map(|user| user.0))
            .bind(text)
            .bind(now.millis())
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(())
}

fn saved(subject: String, before: String, after: String, who: &str) -> Audit {
    Audit {
        who: who.to_owned(),
        action: "save_config".to_owned(),
        subject,
        before_json: Some(before),
        after_json: Some(after),
    }
}
