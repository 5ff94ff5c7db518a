//! Renders the configuration page: for its own address, after a refused form, and beside a what-if test.

use actix_web::{HttpResponse, http::StatusCode};
use serde::Serialize;

use super::editor::{Editor, Typed};
use super::history::History;
use super::what_if::form::Choices;
use super::what_if::runner::WhatIfView;
use crate::db::{Directory, FollowedUser};
use crate::domain::config::effective::ConfigError;
use crate::domain::money::ids::FollowedUserId;
use crate::web::server::error::WebError;
use crate::web::shell::page::{Page, PageContext};

/// The view of the page.
#[derive(Serialize)]
struct PageView {
    editor: Editor,
    history: History,
    choices: Choices,
    trial: Option<WhatIfView>,
    is_test_wrong: Option<String>,
}

/// The state of the form: whose values it shows, what was typed, and what is wrong with it.
#[derive(Default)]
pub(super) struct Shown<'a> {
    pub(super) user: Option<FollowedUserId>,
    pub(super) typed: Typed,
    pub(super) wrong: &'a [ConfigError],
    /// The problem with the time window of a test.
    pub(super) is_test_wrong: Option<String>,
    pub(super) trial: Option<WhatIfView>,
    pub(super) before: Option<i64>,
}

/// Answers with the page. Its status is 400 if the form or the window of a test is wrong.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown user, [`WebError::Busy`], [`WebError::Ours`].
pub(super) async fn render(context: &PageContext, shown: Shown<'_>) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let directory = context.db.directory().await?;
    let user = shown.user.map(|id| user_of(&directory, id)).transpose()?;
    let refused = !shown.wrong.is_empty() || shown.is_test_wrong.is_some();
    let view = PageView {
        editor: Editor::new(&directory, user, &shown.typed, shown.wrong),
        history: History::of_changes(&context.db, &directory, shown.before).await?,
        choices: Choices::of(&shown.typed, user),
        trial: shown.trial,
        is_test_wrong: shown.is_test_wrong,
    };
    let mut page = context.page(Page::Config, &position, &view).await?;
    if refused {
        *page.status_mut() = StatusCode::BAD_REQUEST;
    }
    Ok(page)
}

/// Returns a followed user by id.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown id.
pub(super) fn user_of(directory: &Directory, id: FollowedUserId) -> Result<&FollowedUser, WebError> {
    directory.users.iter().find(|user| user.id == id).ok_or(WebError::NotFound)
}
