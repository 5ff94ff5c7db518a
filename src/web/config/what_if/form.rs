//! The part of the configuration form that is about a test: its portfolio and its window.

use serde::Serialize;

use crate::db::FollowedUser;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::web::config::editor::Typed;
use crate::web::server::error::WebError;

const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 86_400_000;

/// The choices of the form, as typed before or as defaults.
#[derive(Debug, Serialize)]
pub struct Choices {
    pub windows: Vec<Choice>,
    pub portfolios: Vec<Choice>,
    pub from: String,
    pub to: String,
}

/// One option of a choice.
#[derive(Debug, Serialize)]
pub struct Choice {
    pub value: &'static str,
    pub name: &'static str,
    pub is_chosen: bool,
}

impl Choices {
    /// Returns the choices for the form of `user`, or for the global values.
    pub fn of(typed: &Typed, user: Option<&FollowedUser>) -> Self {
        let window = typed.get("window").unwrap_or("24h");
        let portfolio = typed.get("portfolio").unwrap_or(if user.is_some() { "user" } else { "global" });
        let choose = |chosen: &str, all: &[(&'static str, &'static str)]| -> Vec<Choice> {
            all.iter().map(|(value, name)| Choice { value, name, is_chosen: *value == chosen }).collect()
        };
        let portfolios: &[_] = match user {
            Some(_) => &[("user", "Their own portfolio"), ("global", "Global portfolio")],
            None => &[("global", "Global portfolio")],
        };
        Self {
            windows: choose(window, &WINDOWS),
            portfolios: choose(portfolio, portfolios),
            from: typed.get("from").unwrap_or_default().to_owned(),
            to: typed.get("to").unwrap_or_default().to_owned(),
        }
    }
}

const WINDOWS: [(&str, &str); 5] = [
    ("1h", "Last hour"),
    ("24h", "Last 24 h"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("custom", "From – to"),
];

impl Typed {
    /// Returns the user whose values the form changes; `None` for the global values.
    ///
    /// # Errors
    /// [`WebError::Mistake`] for a text that is not an id.
    pub fn user(&self) -> Result<Option<FollowedUserId>, WebError> {
        let text = self.get("user").filter(|text| !text.is_empty());
        let id = text.map(str::parse).transpose();
        id.map(|id| id.map(FollowedUserId))
            .map_err(|_| WebError::Mistake("`user` is no id of a followed user".to_owned()))
    }

    /// Returns the time window of a test. Times are typed in UTC.
    ///
    /// # Errors
    /// A text for the page that describes the problem.
    pub(crate) fn window(&self, now: Timestamp) -> Result<(Timestamp, Timestamp), String> {
        let back = match self.get("window").unwrap_or("24h") {
            "1h" => HOUR_MS,
            "24h" => DAY_MS,
            "7d" => 7 * DAY_MS,
            "30d" => 30 * DAY_MS,
            "custom" => {
                let (from, to) = (self.time("from")?, self.time("to")?.min(now));
                return if from < to {
                    Ok((from, to))
                } else {
                    Err("From must be before to, and before now".to_owned())
                };
            }
            _ => return Err("Choose a window".to_owned()),
        };
        Ok((now.plus_millis(-back), now))
    }

    /// Parses a time as browsers send it, for example `2026-11-26T07:09`.
    fn time(&self, name: &str) -> Result<Timestamp, String> {
        let text = self.get(name).unwrap_or_default().trim();
        let seconds = if text.len() == 16 { ":00Z" } else { "Z" };
        Timestamp::parse_iso(&format!("{text}{seconds}"))
            .map_err(|_| format!("`{name}` must be a time such as 2026-01-15T12:00"))
    }
}
