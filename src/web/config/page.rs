//! The configuration: its page, its JSON, and what may be done with it (spec sections 4 and 11).
//!
//! `editor` is the form, `save` what a form or a JSON body changes, `testing` the test of a candidate beside it, `history`
//! who changed what. `human` turns typed text into the integers of the contract and back.

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    web::{Data, Json, Query},
};
use serde::{Deserialize, Serialize};

use super::form_page::{Shown, render};
use crate::db::{Db, Directory};
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::config::effective::{EffectiveConfig, Field, StoredConfig, UserOverrides, effective};
use crate::domain::money::ids::FollowedUserId;
use crate::web::server::error::WebError;
use crate::web::shell::page::PageContext;

/// `?user=7&before=120`: whose form, and which page of the history.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigQuery {
    user: Option<FollowedUserId>,
    before: Option<i64>,
}

/// `GET /api/config`'s answer.
#[derive(Serialize)]
pub struct ConfigView {
    default: StoredConfig,
    stored: Stored,
    effective: Effective,
    fields: Vec<FieldView>,
}

/// Values that somebody gave: everybody's, where they are not the defaults, and each user's own.
#[derive(Serialize)]
struct Stored {
    global: BTreeMap<&'static str, serde_json::Map<String, serde_json::Value>>,
    users: BTreeMap<FollowedUserId, UserOverrides>,
}

/// What decisions are made with: in the two portfolios, because the shared one has the limits of everybody.
#[derive(Serialize)]
struct Effective {
    global: StoredConfig,
    users: BTreeMap<FollowedUserId, BTreeMap<&'static str, EffectiveConfig>>,
}

#[derive(Serialize)]
struct FieldView {
    section: &'static str,
    name: &'static str,
    unit: &'static str,
    min: i64,
    max: i64,
    default: i64,
    about: &'static str,
}

/// `GET /config`.
pub async fn page(context: PageContext, query: Query<ConfigQuery>) -> Result<HttpResponse, WebError> {
    let shown = Shown { user: query.user, before: query.before, ..Shown::default() };
    render(&context, shown).await
}

/// `GET /api/config`.
pub async fn json(db: Data<Db>) -> Result<Json<ConfigView>, WebError> {
    Ok(Json(ConfigView::new(&db.directory().await?)))
}

impl ConfigView {
    fn new(directory: &Directory) -> Self {
        let mut global: BTreeMap<&'static str, serde_json::Map<String, serde_json::Value>> = BTreeMap::new();
        for (field, number) in directory.config.numbers().into_iter().filter(|(field, n)| *n != field.default) {
            global
                .entry(field.section)
                .or_default()
                .insert(field.name.to_owned(), crate::web::config::display_units::json(field, number));
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
            effective: Effective { global: directory.config, users: users.collect() },
            stored: Stored { global, users: directory.overrides.clone() },
            fields: StoredConfig::fields().map(FieldView::new).collect(),
        }
    }
}

impl FieldView {
    fn new(field: &'static Field) -> Self {
        let Field { section, name, about, unit, min, max, default } = *field;
        Self { section, name, unit: unit.as_str(), min, max, default, about }
    }
}
