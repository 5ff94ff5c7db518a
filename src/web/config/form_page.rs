//! The configuration page as it is rendered: by its own address, after a form that was refused, and beside a test.

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

/// What the page shows.
#[derive(Serialize)]
struct PageView {
    editor: Editor,
    history: History,
    choices: Choices,
    trial: Option<WhatIfView>,
    is_test_wrong: Option<String>,
}

/// A form that is shown again as it was typed.
#[derive(Default)]
pub(super) struct Shown<'a> {
    pub(super) user: Option<FollowedUserId>,
    pub(super) typed: Typed,
    pub(super) wrong: &'a [ConfigError],
    /// What is wrong with the window of a test.
    pub(super) is_test_wrong: Option<String>,
    pub(super) trial: Option<WhatIfView>,
    pub(super) before: Option<i64>,
}

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

pub(super) fn user_of(directory: &Directory, id: FollowedUserId) -> Result<&FollowedUser, WebError> {
    directory.users.iter().find(|user| user.id == id).ok_or(WebError::NotFound)
}
