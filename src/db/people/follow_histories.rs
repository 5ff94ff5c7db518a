//! How each leader was followed over time, read from the audits of the changes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::config::follow_state::{FollowHistory, FollowState};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;

statements! {
    /// `set_enabled` is how earlier versions wrote a change: true is ACTIVE, false is STOPPED.
    STATE_CHANGES = "select subject, before_json, after_json, created_at from audit_log
        where action in ('set_enabled', 'set_state', 'wound_down') order by id";
}

#[derive(sqlx_macros::FromRow)]
struct ChangeRow {
    subject: String,
    before_json: Option<String>,
    after_json: Option<String>,
    created_at: i64,
}

impl Db {
    /// Returns the states of every leader since they were first followed.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored user cannot be
    /// decoded.
    pub async fn follow_histories(&self) -> Result<BTreeMap<FollowedUserId, FollowHistory>, DbError> {
        let rows: Vec<ChangeRow> = on!(db self, c => sqlx::query_as(STATE_CHANGES).fetch_all(c).await)?;
        let mut histories: BTreeMap<FollowedUserId, FollowHistory> = BTreeMap::new();
        for row in rows {
            let user = row.subject.strip_prefix("user:").and_then(|id| id.parse().ok()).map(FollowedUserId);
            let (Some(user), Some(after)) = (user, state_of(row.after_json.as_deref())) else { continue };
            let before = state_of(row.before_json.as_deref()).unwrap_or_default();
            let history = histories.entry(user).or_insert_with(|| FollowHistory::always(before));
            history.changes.insert(Timestamp::from_millis(row.created_at), after);
        }
        for user in self.followed_users().await? {
            histories.entry(user.id).or_insert_with(|| FollowHistory::always(user.state));
        }
        Ok(histories)
    }
}

/// Returns the state in the JSON of an audit: `"STOPPED"`, `false`, `{"state":"STOPPED"}`.
fn state_of(json: Option<&str>) -> Option<FollowState> {
    match serde_json::from_str(json?).ok()? {
        Value::Bool(enabled) => Some(if enabled { FollowState::Active } else { FollowState::Stopped }),
        Value::String(state) => state.parse().ok(),
        Value::Object(fields) => fields.get("state")?.as_str()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Audit;
    use crate::testkit::copy_setup::CopySetup;

    #[actix_web::test]
    async fn the_states_of_a_leader_are_those_of_the_audits() {
        let setup = CopySetup::new().await;
        let (db, alice, at) =
            (&setup.db, setup.alice, |second: i64| setup.clock.now().bucket(1_000).plus_millis(second));
        let (first, second, third) = (at(1_000), at(2_000), at(3_000));
        let history = async || db.follow_histories().await.unwrap().remove(&alice).unwrap();
        assert_eq!(history().await, FollowHistory::always(FollowState::Active));

        db.set_state(alice, FollowState::WindingDown, "test", second).await.unwrap();
        db.wound_down(alice, &serde_json::json!([]), "test", third).await.unwrap();
        let expected = BTreeMap::from([(second, FollowState::WindingDown), (third, FollowState::Stopped)]);
        assert_eq!(history().await, FollowHistory { first: FollowState::Active, changes: expected });
        let states = [first, second, third].map(|time| (time, time.plus_millis(-1)));
        let history = history().await;
        use FollowState::{Active, Stopped, WindingDown};
        let known = states.map(|(time, before)| (history.at(before), history.at(time)));
        assert_eq!(known, [(Active, Active), (Active, WindingDown), (WindingDown, Stopped)]);
    }

    #[actix_web::test]
    async fn audits_of_earlier_versions_count_too() {
        let setup = CopySetup::new().await;
        let now = setup.clock.now();
        let off = Audit {
            before_json: Some("true".to_owned()),
            after_json: Some("false".to_owned()),
            ..Audit::bare("test", "set_enabled", &format!("user:{}", setup.alice))
        };
        setup.db.record(off, now).await.unwrap();
        let history = setup.db.follow_histories().await.unwrap().remove(&setup.alice).unwrap();
        let states = [now.plus_millis(-1), now].map(|time| history.at(time));
        assert_eq!(states, [FollowState::Active, FollowState::Stopped]);
    }
}
