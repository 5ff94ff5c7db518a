//! Rendering of the configuration page: at its own address, after a refused form, and beside a test.

use actix_web::{HttpResponse, http::StatusCode};
use serde::Serialize;

use super::editor::{Editor, TypedForm};
use super::history::History;
use super::what_if::form::TestOptions;
use super::what_if::runner::WhatIfView;
use crate::db::{Directory, FollowedUser};
use crate::domain::config::effective::ConfigError;
use crate::domain::money::ids::FollowedUserId;
use crate::web::server::error::WebError;
use crate::web::shell::page::{Page, PageContext};

/// The variables of the template.
#[derive(Serialize)]
struct ConfigPage {
    editor: Editor,
    history: History,
    choices: TestOptions,
    trial: Option<WhatIfView>,
    is_test_wrong: Option<String>,
}

/// The state of the form that a page is rendered with: as stored, or as the visitor typed it.
#[derive(Default)]
pub(super) struct FormPage<'a> {
    pub(super) user: Option<FollowedUserId>,
    pub(super) typed: TypedForm,
    pub(super) wrong: &'a [ConfigError],
    /// The problem with the window of a test.
    pub(super) is_test_wrong: Option<String>,
    pub(super) run: Option<WhatIfView>,
    pub(super) before: Option<i64>,
}

/// Renders the page around `shown`; the status is 400 when the form or its test was refused.
///
/// # Errors
/// [`WebError::NotFound`] for a user who is not followed.
pub(super) async fn render(context: &PageContext, shown: FormPage<'_>) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let directory = context.db.directory().await?;
    let user = shown.user.map(|id| user_of(&directory, id)).transpose()?;
    let refused = !shown.wrong.is_empty() || shown.is_test_wrong.is_some();
    let view = ConfigPage {
        editor: Editor::new(&directory, user, &shown.typed, shown.wrong),
        history: History::of_changes(&context.db, &directory, shown.before).await?,
        choices: TestOptions::of(&shown.typed, user),
        trial: shown.run,
        is_test_wrong: shown.is_test_wrong,
    };
    let mut page = context.page(Page::Config, &position, &view).await?;
    if refused {
        *page.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(page)
}

/// Returns the followed user with `id`.
///
/// # Errors
/// [`WebError::NotFound`] when there is none.
pub(super) fn user_of(directory: &Directory, id: FollowedUserId) -> Result<&FollowedUser, WebError> {
    directory.users.iter().find(|user| user.id == id).ok_or(WebError::NotFound)
}
