//! The part of the configuration form that describes a test: its portfolio and its window.

use serde::Serialize;

use crate::db::FollowedUser;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::web::config::editor::TypedForm;
use crate::web::server::error::WebError;

const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 86_400_000;

/// The options of the test in the form, with the chosen ones marked.
#[derive(Debug, Serialize)]
pub struct TestOptions {
    pub windows: Vec<TestOption>,
    pub portfolios: Vec<TestOption>,
    pub from: String,
    pub to: String,
}

/// One option of a choice.
#[derive(Debug, Serialize)]
pub struct TestOption {
    pub value: &'static str,
    pub name: &'static str,
    pub is_chosen: bool,
}

impl TestOptions {
    /// Returns the options for the form of `user`; `None` for the global form.
    pub fn of(typed: &TypedForm, user: Option<&FollowedUser>) -> Self {
        let window = typed.get("window").unwrap_or("24h");
        let portfolio = typed.get("portfolio").unwrap_or(if user.is_some() { "user" } else { "global" });
        let choose = |chosen: &str, all: &[(&'static str, &'static str)]| -> Vec<TestOption> {
            all.iter().map(|(value, name)| TestOption { value, name, is_chosen: *value == chosen }).collect()
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

impl TypedForm {
    /// Returns the leader whose form it is; `None` for the global form.
    ///
    /// # Errors
    /// [`WebError::Mistake`] for a text that is not an id.
    pub fn user(&self) -> Result<Option<FollowedUserId>, WebError> {
        let text = self.get("user").filter(|text| !text.is_empty());
        let id = text.map(str::parse).transpose();
        id.map(|id| id.map(FollowedUserId))
            .map_err(|_| WebError::Mistake("`user` is not the id of a followed user".to_owned()))
    }

    /// Returns the window of a test. Times are typed in UTC.
    ///
    /// # Errors
    /// The problem in words for the visitor.
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

    /// Reads a time as browsers send it: `2026-11-26T07:09`.
    fn time(&self, name: &str) -> Result<Timestamp, String> {
        let text = self.get(name).unwrap_or_default().trim();
        let seconds = if text.len() == 16 { ":00Z" } else { "Z" };
        Timestamp::parse_iso(&format!("{text}{seconds}"))
            .map_err(|_| format!("`{name}` must be a time such as 2026-01-15T12:00"))
    }
}
