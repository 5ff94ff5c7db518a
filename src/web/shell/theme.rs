//! Light or dark: the setting of the visitor's system, unless the visitor switched.
//!
//! A cookie decides, not a script, because a page would flash in the wrong colours until a script has run.

use actix_web::{
    HttpRequest, HttpResponse,
    cookie::{Cookie, SameSite, time::Duration},
    http::header::LOCATION,
    web::Data,
};
use serde::{Deserialize, Serialize};

use crate::web::auth::csrf::CsrfForm;
use crate::web::server::middleware::Hosts;

/// The script of the switch reads this cookie too.
const COOKIE: &str = "theme";

/// The colours of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

/// The form of the switch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThemeForm {
    theme: Theme,
}

impl Theme {
    /// Reads the theme from the cookie of a request.
    pub fn of(request: &HttpRequest) -> Self {
        match request.cookie(COOKIE).as_ref().map(Cookie::value) {
            Some("light") => Self::Light,
            Some("dark") => Self::Dark,
            _ => Self::System,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// `POST /theme`, for browsers without scripts. Redirects to the page that the request came from.
pub async fn switch(submitted: CsrfForm<ThemeForm>, request: HttpRequest, hosts: Data<Hosts>) -> HttpResponse {
    let cookie = Cookie::build(COOKIE, submitted.form.theme.as_str())
        .path("/")
        .same_site(SameSite::Lax)
        .max_age(Duration::days(365))
        .finish();
    let back = hosts.path_of_referer(request.headers());
    HttpResponse::SeeOther().cookie(cookie).insert_header((LOCATION, back)).finish()
}
