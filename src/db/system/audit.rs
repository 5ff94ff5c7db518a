//! The audit log: changes with their authors, and situations that are recorded.

use crate::domain::money::units::Timestamp;
use crate::sql::batch::{batches, execute_batch};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::error::DbError;

/// One row of `audit_log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// An e-mail, `command line`, or the actor that found the situation.
    pub who: String,
    /// `follow`, `save_config`, or a situation such as `MERGE_SPLIT_NOT_APPLICABLE`.
    pub action: String,
    /// `user:7`, `market:0x..`, `event:..`, ...
    pub subject: String,
    pub before_json: Option<String>,
    pub after_json: Option<String>,
}

/// A stored audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    pub id: i64,
    pub audit: Audit,
    pub created_at: Timestamp,
}

statements! {
    NEWEST = "select id, who, action, subject, before_json, after_json, created_at from audit_log
        where id < $1 order by id desc limit $2";
    /// Changes of configuration, leaders and markets by people; situations recorded by actors are left out.
    CHANGES = "select id, who, action, subject, before_json, after_json, created_at from audit_log
        where id < $1 and action in ('save_config', 'follow', 'rename', 'set_enabled', 'set_state', 'wound_down',
            'set_blacklisted', 'reset_peak', 'close_by_hand', 'deposit', 'withdraw')
        order by id desc limit $2";
    NEWEST_OF_ACTION = "select id, who, action, subject, before_json, after_json, created_at from audit_log
        where action = $1 and id < $2 order by id desc limit $3";
}

batches! {
    INSERT = "insert into audit_log (who, action, subject, before_json, after_json, created_at) values ", 6, "";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: i64,
    who: String,
    action: String,
    subject: String,
    before_json: Option<String>,
    after_json: Option<String>,
    created_at: i64,
}

impl Audit {
    /// Creates an audit without a before and an after.
    pub fn bare(who: &str, action: &str, subject: &str) -> Self {
        Self {
            who: who.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            before_json: None,
            after_json: None,
        }
    }
}

impl Db {
    /// Writes an audit of a situation that changed no other row.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn record(&self, audit: Audit, now: Timestamp) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        insert(&mut tx, &[audit], now).await?;
        tx.commit().await
    }

    /// Returns up to `limit` audits of one action or of all, newest first, with an id below `before` if given.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn audits(
        &self,
        action: Option<&str>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, DbError> {
        let before = before.unwrap_or(i64::MAX);
        let rows: Vec<Row> = match action {
            Some(action) => on!(db self, c => {
                sqlx::query_as(NEWEST_OF_ACTION).bind(action).bind(before).bind(limit).fetch_all(c).await
            })?,
            None => on!(db self, c => sqlx::query_as(NEWEST).bind(before).bind(limit).fetch_all(c).await)?,
        };
        Ok(rows.into_iter().map(AuditRow::from).collect())
    }

    /// Returns up to `limit` changes of configuration, leaders, markets and limits, newest first, with an id below
    /// `before` if given.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn audited_changes(&self, before: Option<i64>, limit: i64) -> Result<Vec<AuditRow>, DbError> {
        let rows: Vec<Row> = on!(db self, c => {
            sqlx::query_as(CHANGES).bind(before.unwrap_or(i64::MAX)).bind(limit).fetch_all(c).await
        })?;
        Ok(rows.into_iter().map(AuditRow::from).collect())
    }
}

/// Writes audits in the transaction of the change.
///
/// # Errors
/// [`DbError`] when the database cannot be reached or refuses a statement.
pub(crate) async fn insert(tx: &mut Tx, audits: &[Audit], now: Timestamp) -> Result<(), DbError> {
    execute_batch!(tx, INSERT, audits, |query, audit| query
        .bind(&audit.who)
        .bind(&audit.action)
        .bind(&audit.subject)
        .bind(&audit.before_json)
        .bind(&audit.after_json)
        .bind(now.millis()))?;
    Ok(())
}

impl From<Row> for AuditRow {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            audit: Audit {
                who: row.who,
                action: row.action,
                subject: row.subject,
                before_json: row.before_json,
                after_json: row.after_json,
            },
            created_at: Timestamp::from_millis(row.created_at),
        }
    }
}
