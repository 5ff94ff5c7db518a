//! Saving: a form or a JSON body becomes one audited change. After a form, a flash message shows the change and can undo
//! it.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::change::{ChangedValue, FieldChange, changes};
use super::display_units;
use super::editor::TypedForm;
use super::form_page::{FormPage, render, user_of};
use crate::clock::Clock;
use crate::db::{Db, Directory};
use crate::domain::config::effective::{
    ConfigChange, ConfigPatch, Field, FieldUnit, FieldValue, StoredConfig, UserOverrides,
};
use crate::domain::money::ids::FollowedUserId;
use crate::web::auth::csrf::CsrfForm;
use crate::web::labels;
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::flash::Flash;
use crate::web::shell::page::PageContext;

/// Number of changes that a flash message lists; the history shows all.
const CHANGES_LISTED: usize = 3;

/// The answer to a JSON body: the values after it, and the changed fields.
#[derive(Debug, Serialize)]
pub struct Saved<T> {
    config: T,
    changes: Vec<FieldChange>,
}

/// Answers `POST /config`: the whole form, of which only the typed fields are a change.
///
/// # Errors
/// [`WebError::Mistake`] and [`WebError::NotFound`] for a `user` who is not followed. Invalid fields are no error: the
/// form is shown again.
pub async fn save(submitted: CsrfForm<Vec<(String, String)>>, context: PageContext) -> Result<HttpResponse, WebError> {
    let typed = TypedForm::new(submitted.form);
    let user = typed.user()?;
    let change = match typed.change(user.is_some()) {
        Ok(change) => change,
        Err(wrong) => return render(&context, FormPage { user, typed, wrong: &wrong, ..FormPage::default() }).await,
    };
    let saved = match store(&context.db, &context.clock, user, change, &submitted.visitor.who).await {
        Err(WebError::Field(error)) => {
            return render(&context, FormPage { user, typed, wrong: &[error], ..FormPage::default() }).await;
        }
        saved => saved?,
    };
    saved.flash("Saved").then(&submitted.session, &page_of(user))
}

/// Answers `POST /config/restore`: the fields with their former values, as the undo of a flash message sends them. An
/// empty text removes the value.
///
/// # Errors
/// [`WebError::Mistake`] for a value that is not allowed.
pub async fn restore(
    submitted: CsrfForm<Vec<(String, String)>>,
    context: PageContext,
) -> Result<HttpResponse, WebError> {
    let typed = TypedForm::new(submitted.form);
    let user = typed.user()?;
    let (mut sections, mut unset) = (serde_json::Map::new(), Vec::new());
    for field in StoredConfig::fields() {
        match typed.get(field.name) {
            None => {}
            Some("") => unset.push(field),
            Some(text) => {
                let section = sections.entry(field.section).or_insert_with(|| serde_json::json!({}));
                section[field.name] = display_units::json(field, &former(field, text)?);
            }
        }
    }
    let set = ConfigPatch::parse(&serde_json::Value::Object(sections).to_string())?;
    let saved = store(&context.db, &context.clock, user, ConfigChange { set, unset }, &submitted.visitor.who).await?;
    saved.flash("Undone").then(&submitted.session, &page_of(user))
}

/// Returns the value that the form of an undo sends for a field: a plain integer for every field with a unit.
fn former(field: &'static Field, text: &str) -> Result<FieldValue, WebError> {
    if matches!(field.unit, FieldUnit::Choice | FieldUnit::Tags) {
        return Ok(display_units::parse(field, text)?);
    }
    let number = text.parse().map_err(|_| WebError::Mistake(format!("`{}` is not a number", field.name)))?;
    Ok(FieldValue::Number(number))
}

/// Answers `POST /api/config/global` with `{guardrails?, sizing?, system?}`, each partial. A null resets a field to its
/// default.
///
/// # Errors
/// [`WebError::Mistake`] that names the invalid field.
pub async fn json_global(
    submitted: CsrfForm<Box<RawValue>>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<Json<Saved<StoredConfig>>, WebError> {
    let change = ConfigChange::parse(submitted.form.get(), &[])?;
    let who = &submitted.visitor.who;
    let (before, config) = db.change_global(&change, who, clock.now()).await?;
    let changes = changes(&before.values(), &config.values(), StoredConfig::fields());
    Ok(Json(Saved { config, changes }))
}

/// Answers `POST /api/config/user/{id}`: the same for the overrides of one leader. A null removes an override.
///
/// # Errors
/// [`WebError::Mistake`] that names the invalid field; [`WebError::NotFound`] for a user who is not followed.
pub async fn json_user(
    submitted: CsrfForm<Box<RawValue>>,
    id: Path<i64>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<Json<Saved<UserOverrides>>, WebError> {
    let user = FollowedUserId(*id);
    user_of(&db.directory().await?, user)?;
    let change = ConfigChange::parse(submitted.form.get(), &[]).and_then(ConfigChange::for_user)?;
    let who = &submitted.visitor.who;
    let (before, config) = db.change_overrides(user, &change, who, clock.now()).await?;
    let changes = changes(&before.values(), &config.values(), StoredConfig::fields());
    Ok(Json(Saved { config, changes }))
}

/// A stored change: the leader it belongs to, or none for a global one, and the changed fields.
struct StoredChange {
    user: Option<(FollowedUserId, String)>,
    changes: Vec<FieldChange>,
}

async fn store(
    db: &Db,
    clock: &Clock,
    user: Option<FollowedUserId>,
    change: ConfigChange,
    who: &str,
) -> Result<StoredChange, WebError> {
    let Some(id) = user else {
        let (before, after) = db.change_global(&change, who, clock.now()).await?;
        let changes = changes(&before.values(), &after.values(), StoredConfig::fields());
        return Ok(StoredChange { user: None, changes });
    };
    let directory: Directory = db.directory().await?;
    let label = user_of(&directory, id)?.label.clone();
    let change = change.for_user()?;
    let (before, after) = db.change_overrides(id, &change, who, clock.now()).await?;
    let changes = changes(&before.values(), &after.values(), StoredConfig::fields());
    Ok(StoredChange { user: Some((id, label)), changes })
}

impl StoredChange {
    /// Builds the flash message: `Saved for everybody: Spread, at most 2.00¢ → 1.50¢.`
    fn flash(&self, done: &str) -> Flash {
        if self.changes.is_empty() {
            return Flash::new("Nothing was changed.");
        }
        let whose = self.user.as_ref().map_or("everybody", |(_, label)| label.as_str());
        let whose: String = whose.chars().take(60).collect();
        let listed: Vec<String> =
            self.changes.iter().take(CHANGES_LISTED).map(|change| self.describe(change)).collect();
        let more = match self.changes.len().saturating_sub(CHANGES_LISTED) {
            0 => String::new(),
            n => format!("; and {n} more"),
        };
        let note = match self.changes.iter().any(|change| change.field == "initialBankrollMicros") {
            true => " Accounts that are open keep theirs: `polymarketspy account deposit` moves cash of one.",
            false => "",
        };
        let text = format!("{done} for {whose}: {}{more}.{note}", listed.join("; "));
        let undo: Vec<(&str, String)> =
            self.changes.iter().map(|change| (change.field, self.undo_text(change))).collect();
        let user = self.user.as_ref().map(|(id, _)| id.to_string());
        let user = user.as_deref().map(|id| ("user", id));
        let fields: Vec<(&str, &str)> = user.into_iter().chain(undo.iter().map(|(n, v)| (*n, v.as_str()))).collect();
        Flash::new(text).undo("/config/restore", &fields)
    }

    fn describe(&self, change: &FieldChange) -> String {
        let none = if self.user.is_some() { "inherited" } else { "default" };
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| none.to_owned());
        format!("{} {} → {}", labels::label(change.field), text(&change.before_text), text(&change.after_text))
    }

    /// Returns the text that restores the field; empty when no value was stored.
    fn undo_text(&self, change: &FieldChange) -> String {
        let default = changes(&[], &StoredConfig::default().values(), StoredConfig::fields());
        let default = default.into_iter().find(|other| other.field == change.field).and_then(|other| other.after);
        let is_none = self.user.is_none() && change.before == default;
        change.before.as_ref().filter(|_| !is_none).map(ChangedValue::undo_text).unwrap_or_default()
    }
}

fn page_of(user: Option<FollowedUserId>) -> String {
    user.map_or_else(|| "/config".to_owned(), |user| format!("/config?user={user}"))
}
