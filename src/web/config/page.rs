//! The configuration page and its JSON (spec 4, spec 11).
//!
//! `editor` is the form, `form_page` renders the page around it, `save` stores the changes of a form or of a JSON body,
//! `what_if` tests a candidate before it is saved, `history` shows the audited changes. `display_units` turns typed text
//! into the integers of the contract and back.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};

use super::form_page::{FormPage, render};
use crate::db::{Db, Directory};
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::config::effective::{ConfigPatch, EffectiveConfig, Field, StoredConfig, UserOverrides, effective};
use crate::domain::money::ids::FollowedUserId;
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::page::PageContext;

/// `?user=7&before=120`: the leader whose form is shown, and the page of the history.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigQuery {
    user: Option<FollowedUserId>,
    before: Option<i64>,
}

/// The answer of `GET /api/config`.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ConfigView {
    /// The default values.
    default: StoredConfig,
    /// The stored values.
    stored: StoredValues,
    /// The values that decisions use.
    effective: EffectiveValues,
    /// The name, unit, range and default of each field.
    fields: Vec<FieldView>,
}

/// The stored values: the global ones that differ from the defaults, and each leader's overrides.
#[derive(Serialize, utoipa::ToSchema)]
struct StoredValues {
    /// By section.
    #[schema(value_type = ConfigPatch)]
    global: BTreeMap<&'static str, serde_json::Map<String, serde_json::Value>>,
    /// By the id of the followed user.
    #[schema(value_type = BTreeMap<String, UserOverrides>)]
    users: BTreeMap<FollowedUserId, UserOverrides>,
}

/// The values that decisions use. A leader has two sets, one for each portfolio, because the limits of the shared
/// portfolio are always the global ones.
#[derive(Serialize, utoipa::ToSchema)]
struct EffectiveValues {
    /// The global values.
    global: StoredConfig,
    /// By the id of the followed user, then by the kind of portfolio.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, EffectiveConfig>>)]
    users: BTreeMap<FollowedUserId, BTreeMap<&'static str, EffectiveConfig>>,
}

/// A field of the configuration.
#[derive(Serialize, utoipa::ToSchema)]
struct FieldView {
    /// `guardrails`, `sizing` or `system`.
    section: &'static str,
    /// The name of the field.
    name: &'static str,
    /// The unit: `FLAG`, `CHOICE`, `TAGS`, `PRICE_MICROS`, `USDC_MICROS`, `BPS`, `MINUTES`, `SECONDS` or `MS`.
    unit: &'static str,
    /// The smallest allowed value; for tags, the smallest number of them.
    min: i64,
    /// The largest allowed value; for tags, the largest number of them.
    max: i64,
    /// The default value. A flag is 1 or 0 here, a choice the place of its word in `choices`; tags are none.
    default: i64,
    /// The words of a choice; empty for other fields.
    choices: &'static [&'static str],
    /// One line of help.
    about: &'static str,
}

/// Answers `GET /config`.
///
/// # Errors
/// [`WebError::NotFound`] for a user who is not followed.
pub async fn page(context: PageContext, query: Query<ConfigQuery>) -> Result<HttpResponse, WebError> {
    let shown = FormPage { user: query.user, before: query.before, ..FormPage::default() };
    render(&context, shown).await
}

/// Answers `GET /api/config`.
///
/// # Errors
/// [`WebError::Ours`] when the database fails.
pub async fn json(db: Data<Db>) -> Result<Json<ConfigView>, WebError> {
    Ok(Json(ConfigView::new(&db.directory().await?)))
}

impl ConfigView {
    fn new(directory: &Directory) -> Self {
        let mut global: BTreeMap<&'static str, serde_json::Map<String, serde_json::Value>> = BTreeMap::new();
        for (field, value) in directory.config.values().into_iter().filter(|(field, v)| *v != field.default_value()) {
            global
                .entry(field.section)
                .or_default()
                .insert(field.name.to_owned(), crate::web::config::display_units::json(field, &value));
        }
        let users = directory.users.iter().map(|user| {
            let of = |scope: PortfolioScope| {
                let config = effective(&directory.config, directory.overrides.get(&user.id), scope);
                (scope.as_str(), config)
            };
            (user.id, [PortfolioScope::ExecUser, PortfolioScope::ExecGlobal].map(of).into_iter().collect())
        });
        Self {
            default: StoredConfig::default(),
            effective: EffectiveValues { global: directory.config.clone(), users: users.collect() },
            stored: StoredValues { global, users: directory.overrides.clone() },
            fields: StoredConfig::fields().map(FieldView::new).collect(),
        }
    }
}

impl FieldView {
    fn new(field: &'static Field) -> Self {
        let Field { section, name, about, unit, min, max, default, choices, before: _ } = *field;
        Self { section, name, unit: unit.as_str(), min, max, default, choices, about }
    }
}
