//! The request of a test: the changed values, the leader they belong to, the portfolio and the window.

use std::sync::Arc;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::form::DAY_MS;
use super::runner::{RunRequest, TooManyRuns, WhatIfRuns, WhatIfView};
use crate::clock::Clock;
use crate::db::{Db, Directory};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::analysis::what_if::Policy;
use crate::domain::config::effective::{ConfigChange, StoredConfig};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::web::config::change::{FieldChange, changes};
use crate::web::config::editor::TypedForm;
use crate::web::config::form_page::user_of;
use crate::web::labels;
use crate::web::server::error::WebError;
use crate::what_if::WhatIf;

/// Fields that a JSON body may have beside the configuration.
const BESIDE: &[&str] = &["user", "portfolio", "from", "to"];

/// A candidate configuration, and the portfolio and window to test it in.
pub struct Candidate {
    pub change: ConfigChange,
    /// The leader whose overrides it changes; `None` for the global values.
    pub user: Option<FollowedUserId>,
    pub portfolio: PortfolioId,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// The fields of a body beside the configuration: those of [`BESIDE`].
#[derive(Deserialize)]
struct BodyFields {
    #[serde(default)]
    user: Option<Box<RawValue>>,
    #[serde(default)]
    portfolio: Option<Box<RawValue>>,
    #[serde(default)]
    from: Option<Box<RawValue>>,
    #[serde(default)]
    to: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PortfolioName {
    Leader(FollowedUserId),
    Named(String),
}

impl Candidate {
    /// Reads `{guardrails?, sizing?, system?, user?, portfolio?, from?, to?}`. The default window is the last 24 h. The
    /// default portfolio is the user's own, or the global one when there is no user.
    ///
    /// # Errors
    /// [`WebError::Mistake`] that names the invalid field.
    pub fn parse(json: &str, now: Timestamp) -> Result<Self, WebError> {
        let change = ConfigChange::parse(json, BESIDE)?;
        let fields: BodyFields = serde_json::from_str(json).map_err(|error| WebError::Mistake(error.to_string()))?;
        let user: Option<FollowedUserId> = field("user", "the id of a followed user", fields.user)?;
        let name: Option<PortfolioName> =
            field("portfolio", "`GLOBAL` or the id of a followed user", fields.portfolio)?;
        let portfolio = match (name, user) {
            (Some(PortfolioName::Leader(leader)), _) | (None, Some(leader)) => PortfolioId::ExecUser(leader),
            (Some(PortfolioName::Named(name)), _) if name == "GLOBAL" || name == "EXEC_GLOBAL" => {
                PortfolioId::ExecGlobal
            }
            (Some(PortfolioName::Named(_)), _) => {
                return Err(WebError::Mistake("`portfolio` must be `GLOBAL` or the id of a followed user".to_owned()));
            }
            (None, None) => PortfolioId::ExecGlobal,
        };
        let to: Option<Timestamp> = field("to", "an ISO 8601 time", fields.to)?;
        let from: Option<Timestamp> = field("from", "an ISO 8601 time", fields.from)?;
        let to = to.unwrap_or(now).min(now);
        let from = from.unwrap_or(to.plus_millis(-DAY_MS));
        if from >= to {
            return Err(WebError::Mistake("`from` must be before `to`, and before now".to_owned()));
        }
        Ok(Self { change, user, portfolio, from, to })
    }

    /// Begins the test against the current configuration.
    ///
    /// # Errors
    /// [`WebError::NotFound`] for a user who is not followed; [`WebError::Conflict`] while the maximum number of tests
    /// runs.
    pub async fn begin(
        self,
        db: &Db,
        clock: &Clock,
        runs: &Arc<WhatIfRuns>,
        typed: Option<TypedForm>,
    ) -> Result<WhatIfView, WebError> {
        let directory = db.directory().await?;
        for user in self.user.into_iter().chain(self.portfolio.owner()) {
            user_of(&directory, user)?;
        }
        let current = Policy { global: directory.config.clone(), overrides: directory.overrides.clone() };
        let (candidate, changes) = self.applied(&directory)?;
        let asked = RunRequest {
            user: self.user,
            portfolio_scope: self.portfolio.scope(),
            followed_user_id: self.portfolio.owner(),
            portfolio_label: self.portfolio.owner().and_then(|id| Some(user_of(&directory, id).ok()?.label.clone())),
            from: self.from,
            to: self.to,
            not_seen: changes.iter().map(|change| change.field).filter(|f| labels::is_unseen_by_a_test(f)).collect(),
            changes,
            begun_at: clock.now(),
        };
        let what_if = WhatIf { portfolio: self.portfolio, from: self.from, to: self.to, current, candidate };
        runs.begin(db, what_if, asked, typed).map_err(|TooManyRuns| {
            WebError::Conflict("two tests are running already: wait for one of them, or cancel it".to_owned())
        })
    }

    /// Returns the candidate, and the fields in which it differs from the current configuration.
    fn applied(&self, directory: &Directory) -> Result<(Policy, Vec<FieldChange>), WebError> {
        let mut policy = Policy { global: directory.config.clone(), overrides: directory.overrides.clone() };
        let Some(user) = self.user else {
            policy.global = directory.config.changed(&self.change);
            policy.global.check(directory.overrides.values())?;
            let changes = changes(&directory.config.values(), &policy.global.values(), StoredConfig::fields());
            return Ok((policy, changes));
        };
        let change = self.change.clone().for_user()?;
        let before = directory.overrides.get(&user).cloned().unwrap_or_default();
        let after = before.changed(&change);
        directory.config.check([&after])?;
        policy.overrides.insert(user, after.clone());
        Ok((policy, changes(&before.values(), &after.values(), StoredConfig::fields())))
    }
}

fn field<T: DeserializeOwned>(name: &str, wanted: &str, text: Option<Box<RawValue>>) -> Result<Option<T>, WebError> {
    let read = text.map(|text| serde_json::from_str::<Option<T>>(text.get())).transpose();
    read.map(Option::flatten).map_err(|_| WebError::Mistake(format!("`{name}` must be {wanted}")))
}
