//! Flash messages: the next page that a visitor sees tells what a changing request did, with an undo form if there is
//! one.

use actix_session::Session;
use actix_web::{HttpResponse, http::header::LOCATION};
use serde::{Deserialize, Serialize};

use crate::web::server::error::WebError;

const KEY: &str = "notice";

/// A flash message. It is kept in the session cookie until it is shown, so its text must be short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flash {
    /// One sentence. May contain hostile text.
    pub text: String,
    pub undo: Option<Undo>,
}

/// A form that undoes the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    pub action: String,
    pub fields: Vec<(String, String)>,
}

impl Flash {
    /// Creates a message without an undo form.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), undo: None }
    }

    /// Adds an undo form that posts `fields` to `action`.
    pub fn undo(self, action: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { undo: Some(Undo { action: action.into(), fields }), ..self }
    }

    /// Answers a form: redirects to `page`, which shows the message.
    ///
    /// # Errors
    /// [`WebError::Ours`] when the session cannot store it.
    pub fn then(self, session: &Session, page: &str) -> Result<HttpResponse, WebError> {
        session.insert(KEY, self)?;
        Ok(HttpResponse::SeeOther().insert_header((LOCATION, page)).finish())
    }

    /// Takes the waiting message out of the session.
    pub fn take(session: &Session) -> Option<Self> {
        let flash = session.get(KEY).ok().flatten();
        if flash.is_some() {
            session.remove(KEY);
        }
        flash
    }
}
