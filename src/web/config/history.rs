//! The audit log, field by field: all of it, or only the changes (spec 2, spec 11, spec 12).

use std::collections::BTreeMap;

use serde::Serialize;

use super::change::{ChangedValue, FieldChange, changes};
use super::display_units;
use crate::db::{AuditRow, Db, DbError, Directory};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::config::effective::{ConfigPatch, Field, FieldUnit, FieldValue, StoredConfig};
use crate::domain::config::follow_state::FollowState;
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::web::labels;
use crate::web::shell::display_names::Names;

/// Rows of one page.
const ROWS: i64 = 20;

/// A page of the audit log, newest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct History {
    /// The rows.
    pub rows: Vec<HistoryRow>,
    /// The `before` of the next page, which has rows with smaller ids.
    pub older: Option<i64>,
    /// True when this is not the first page.
    pub is_older: bool,
}

/// One row of the audit log.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct HistoryRow {
    /// The number of the row.
    pub id: i64,
    /// When the row was written.
    pub created_at: Timestamp,
    /// The visitor: an e-mail, `login link`, or `token:` and the name of a token.
    pub who: String,
    /// The action, for example `save_config`.
    pub action: String,
    /// The action in words.
    pub what: String,
    /// The name of the changed thing, for example a leader's label; hostile text.
    pub subject: String,
    /// The page about it.
    pub href: Option<String>,
    /// The changed fields of the configuration.
    pub fields: Vec<FieldChange>,
    /// A value that is not a field of the configuration, such as a label or a switch.
    pub before: Option<String>,
    /// The same after the change.
    pub after: Option<String>,
}

impl History {
    /// Reads the changes of configuration, leaders and markets before row `before`.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn of_changes(db: &Db, directory: &Directory, before: Option<i64>) -> Result<Self, DbError> {
        Self::of(db, directory, db.audited_changes(before, ROWS + 1).await?, before.is_some()).await
    }

    /// Reads all rows, or all rows of one action, before row `before`.
    ///
    /// # Errors
    /// [`DbError`] when the database fails.
    pub async fn of_everything(
        db: &Db,
        directory: &Directory,
        action: Option<&str>,
        before: Option<i64>,
    ) -> Result<Self, DbError> {
        Self::of(db, directory, db.audits(action, before, ROWS + 1).await?, before.is_some()).await
    }

    async fn of(db: &Db, directory: &Directory, mut audits: Vec<AuditRow>, is_older: bool) -> Result<Self, DbError> {
        let has_more = audits.len() > usize::try_from(ROWS).unwrap_or(usize::MAX);
        audits.truncate(usize::try_from(ROWS).unwrap_or(usize::MAX));
        let markets: Vec<MarketId> = audits.iter().filter_map(|row| market_of(&row.audit.subject)).collect();
        let names = Names::load(db, &markets).await?;
        let labels: BTreeMap<FollowedUserId, &str> =
            directory.users.iter().map(|user| (user.id, user.label.as_str())).collect();
        let older = audits.last().filter(|_| has_more).map(|row| row.id);
        let rows = audits.into_iter().map(|row| HistoryRow::new(row, &labels, &names)).collect();
        Ok(Self { rows, older, is_older })
    }
}

impl HistoryRow {
    fn new(row: AuditRow, labels: &BTreeMap<FollowedUserId, &str>, names: &Names) -> Self {
        let AuditRow { id, audit, created_at } = row;
        let label =
            |user: FollowedUserId| labels.get(&user).map_or_else(|| format!("user {user}"), ToString::to_string);
        let user = user_of(&audit.subject);
        let (subject, href) = match (user, market_of(&audit.subject)) {
            (Some(user), _) => (label(user), Some(format!("/users/{user}"))),
            (None, Some(market)) => {
                let href = format!("/markets/{market}");
                let question = Some(names.market(&market).0).filter(|question| !question.is_empty());
                (question.unwrap_or_else(|| market.to_string()), Some(href))
            }
            _ => match audit.subject.strip_prefix("portfolio:").and_then(|text| text.parse().ok()) {
                Some(PortfolioId::ExecGlobal) => ("Global portfolio".to_owned(), None),
                Some(PortfolioId::ExecUser(user) | PortfolioId::ShadowUser(user)) => (label(user), None),
                None if audit.subject == "config:global" => ("Everybody".to_owned(), None),
                None => (audit.subject.clone(), None),
            },
        };
        let is_config = audit.action == "save_config";
        let (before, after) = (audit.before_json.as_deref(), audit.after_json.as_deref());
        let fields = if is_config { fields_changed(before, after) } else { Vec::new() };
        let plain = |json: Option<&str>| json.filter(|_| !is_config).map(|json| in_words(&audit.action, json));
        let mut what = labels::action(&audit.action).to_owned();
        if let [only] = fields.as_slice()
            && only.field == "copyEngineEnabled"
        {
            what = if only.after == Some(ChangedValue::Number(0)) { "Copying paused" } else { "Copying resumed" }
                .to_owned();
        }
        Self {
            id,
            created_at,
            before: plain(before),
            after: plain(after),
            who: audit.who,
            action: audit.action,
            what,
            subject,
            href,
            fields,
        }
    }
}

/// Returns the user of the subjects `user:7` and `config:user:7`.
fn user_of(subject: &str) -> Option<FollowedUserId> {
    let id = subject.strip_prefix("config:").unwrap_or(subject).strip_prefix("user:")?;
    id.parse().ok().map(FollowedUserId)
}

fn market_of(subject: &str) -> Option<MarketId> {
    MarketId::parse(subject.strip_prefix("market:")?).ok()
}

fn fields_changed(before: Option<&str>, after: Option<&str>) -> Vec<FieldChange> {
    let values = |json: Option<&str>| -> Vec<(&'static Field, FieldValue)> {
        // An older version may have written fields that do not exist any more; then there is nothing to compare.
        let patch = json.and_then(|json| ConfigPatch::parse(json).ok()).unwrap_or_default();
        let ConfigPatch { guardrails, sizing, system } = patch;
        [guardrails.values(), sizing.values(), system.values()].concat()
    };
    changes(&values(before), &values(after), StoredConfig::fields())
}

/// Puts a value of the log that is not a configuration into words: `"a label"`, `true`, an amount.
fn in_words(action: &str, json: &str) -> String {
    let Ok(value) = serde_json::from_str::<serde_json::Value>(json) else { return json.to_owned() };
    match (action, value) {
        ("set_enabled", serde_json::Value::Bool(on)) => if on { "enabled" } else { "disabled" }.to_owned(),
        ("set_state" | "wound_down", serde_json::Value::String(state)) => {
            state.parse().map(labels::follow_state).unwrap_or(&state).to_owned()
        }
        ("set_blacklisted", serde_json::Value::Bool(on)) => if on { "blacklisted" } else { "allowed" }.to_owned(),
        ("reset_peak" | "deposit" | "withdraw" | "withdraw_refused", serde_json::Value::Number(micros)) => {
            display_units::shown(FieldUnit::Usdc, micros.as_i64().unwrap_or_default())
        }
        ("wound_down", serde_json::Value::Object(_)) => labels::follow_state(FollowState::Stopped).to_owned(),
        ("close_by_hand", serde_json::Value::Object(fields)) => {
            fields.get("accounts").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        }
        (_, serde_json::Value::String(text)) => text,
        (_, serde_json::Value::Object(fields)) => {
            let texts = fields.into_iter().filter_map(|(_, value)| value.as_str().map(str::to_owned));
            texts.collect::<Vec<_>>().join(", ")
        }
        (_, other) => other.to_string(),
    }
}
