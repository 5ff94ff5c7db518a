//! The page Access: the visitor's session, the admins, the tokens of scripts, and the audit log (spec 12).

use actix_web::{
    HttpResponse,
    web::{Data, Query},
};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::db::{Admin, ApiToken, Db};
use crate::domain::money::units::Timestamp;
use crate::web::auth::csrf::CsrfForm;
use crate::web::auth::user::{Credential, CurrentUser, HasProvider};
use crate::web::config::history::History;
use crate::web::labels::action as action_name;
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::flash::Flash;
use crate::web::shell::page::{Page, PageContext};

/// The actions that the log can be filtered by. The log also holds rows that actors write, with other actions.
const KINDS: &[&str] = &[
    "sign_in",
    "sign_in_refused",
    "sign_out",
    "sign_out_everywhere",
    "admin_add",
    "admin_remove",
    "token_new",
    "token_revoke",
    "token_refused",
    "save_config",
    "follow",
    "rename",
    "set_state",
    "wound_down",
    "close_by_hand",
    "deposit",
    "withdraw",
    "withdraw_refused",
    "set_blacklisted",
    "reset_peak",
    "replay_dead_letter",
    "drop_dead_letter",
    "backup",
    "backup_failed",
    "restore",
];

/// `?action=sign_in_refused&before=120`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    action: Option<String>,
    /// Only rows with a smaller id are listed.
    before: Option<i64>,
}

#[derive(Serialize)]
struct AccessView {
    you: VisitorView,
    with_github: bool,
    may_change: bool,
    admins: Vec<Admin>,
    tokens: Vec<ApiToken>,
    log: History,
    action: String,
    kinds: Vec<ActionOption>,
}

#[derive(Serialize)]
struct VisitorView {
    who: String,
    /// The start and end of the session; `None` for a token.
    began_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct ActionOption {
    action: &'static str,
    name: &'static str,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeForm {
    name: String,
}

/// Answers `GET /access`.
///
/// # Errors
/// [`WebError::Ours`] when the database fails.
pub async fn page(
    context: PageContext,
    query: Query<AuditQuery>,
    provider: Data<HasProvider>,
) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = AccessView {
        you: VisitorView::of(&context.visitor),
        with_github: provider.0,
        may_change: matches!(context.visitor.credential, Credential::Session(_)),
        admins: context.db.admins().await?,
        tokens: context.db.tokens().await?,
        log: log(&context.db, &query).await?,
        action: query.action().unwrap_or_default().to_owned(),
        kinds: KINDS.iter().map(|action| ActionOption { action, name: action_name(action) }).collect(),
    };
    context.page(Page::Access, &position, &view).await
}

/// Answers `GET /api/audit`.
///
/// # Errors
/// [`WebError::Ours`] when the database fails.
pub async fn json(query: Query<AuditQuery>, db: Data<Db>) -> Result<Json<History>, WebError> {
    Ok(Json(log(&db, &query).await?))
}

/// Answers `POST /access/tokens/revoke`.
///
/// # Errors
/// [`WebError::Ours`] when the database fails.
pub async fn revoke(
    submitted: CsrfForm<RevokeForm>,
    db: Data<Db>,
    clock: Data<Clock>,
) -> Result<HttpResponse, WebError> {
    let name = &submitted.form.name;
    let revoked = db.revoke_token(name, &submitted.visitor.who, clock.now()).await?;
    let text = match revoked {
        true => format!("The token {name} lets nobody in any more."),
        false => format!("There is no working token {name}."),
    };
    Flash::new(text).then(&submitted.session, "/access")
}

async fn log(db: &Db, query: &AuditQuery) -> Result<History, WebError> {
    let directory = db.directory().await?;
    Ok(History::of_everything(db, &directory, query.action(), query.before).await?)
}

impl AuditQuery {
    /// Returns the action to filter by. A form without a filter sends an empty text.
    fn action(&self) -> Option<&str> {
        self.action.as_deref().filter(|action| !action.is_empty())
    }
}

impl VisitorView {
    fn of(visitor: &CurrentUser) -> Self {
        let session = match &visitor.credential {
            Credential::Session(signed_in) => Some(signed_in),
            Credential::Token { .. } => None,
        };
        Self {
            who: visitor.who.clone(),
            began_at: session.map(|session| session.began_at),
            ends_at: session.map(|session| session.ends_at()),
        }
    }
}
