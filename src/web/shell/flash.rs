//! What a changing request has done, said on the next page that its visitor sees, with the way back where there is one.

use actix_session::Session;
use actix_web::{HttpResponse, http::header::LOCATION};
use serde::{Deserialize, Serialize};

use crate::web::server::error::WebError;

const KEY: &str = "notice";

/// Kept in the session cookie until it is shown: short texts only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flash {
    /// One sentence. May hold foreign text.
    pub text: String,
    pub undo: Option<Undo>,
}

/// A form that takes the change back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    pub action: String,
    pub fields: Vec<(String, String)>,
}

impl Flash {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), undo: None }
    }

    /// With a form that posts `fields` to `action`.
    pub fn undo(self, action: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { undo: Some(Undo { action: action.into(), fields }), ..self }
    }

    /// Answers a form: back to a page, which says it.
    ///
    /// # Errors
    /// `WebError::Ours` when the session cannot hold it.
    pub fn then(self, session: &Session, page: &str) -> Result<HttpResponse, WebError> {
        session.insert(KEY, self)?;
        Ok(HttpResponse::SeeOther().insert_header((LOCATION, page)).finish())
    }

    /// What waits to be said, once.
    pub fn take(session: &Session) -> Option<Self> {
        let said = session.get(KEY).ok().flatten();
        if said.is_some() {
            session.remove(KEY);
        }
        said
    }
}
