//! Finds the trader that a user means by a wallet or a name, and what the trader did lately.
//!
//! In    text as typed.
//! Out   [`TraderMatch`]: one trader, or why there is not one; [`RecentActivity`] of a wallet.
//! Fails [`PolymarketError`] when Polymarket does not answer.

use super::profiles::{Profile, ProfileMatch};
use crate::domain::money::ids::{IdError, Wallet};
use crate::domain::money::units::Timestamp;
use crate::polymarket::http::client::{Call, Polymarket};
use crate::polymarket::http::endpoint::{Endpoint, Priority};
use crate::polymarket::http::error::PolymarketError;
use crate::polymarket::wire::activity::parse_page;
use crate::polymarket::wire::positions::parse_positions;

const DAY_MS: i64 = 24 * 3_600_000;
/// The feed's type of a fill.
const TRADE: &str = "TRADE";

/// A wallet that trades. The name is hostile text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trader {
    pub wallet: Wallet,
    /// `None` if the wallet has no profile.
    pub name: Option<String>,
}

/// The result of a search for a trader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraderMatch {
    One(Trader),
    /// No profile has exactly this name; the names that the search found similar.
    NoMatch {
        similar: Vec<Profile>,
    },
    Several(Vec<Profile>),
    /// The wallet has neither a profile nor any activity.
    Unknown(Wallet),
    /// The text begins like a wallet but is not one.
    NotAWallet(IdError),
}

/// What a wallet did in the last day and holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentActivity {
    pub fills_last_day: usize,
    /// The time of the newest row of any type. `None` when there is no row.
    pub last_activity: Option<Timestamp>,
    pub open_positions: usize,
    /// There are more fills in the last day than one answer holds.
    pub more_fills: bool,
    /// There are more positions than one answer holds.
    pub more_positions: bool,
}

impl Polymarket {
    /// Finds a trader. A wallet must have a profile or some activity; a name must match exactly one profile.
    ///
    /// # Errors
    /// [`PolymarketError`] when Polymarket does not answer.
    pub async fn find_trader(&self, text: &str) -> Result<TraderMatch, PolymarketError> {
        let text = text.trim();
        if !text.starts_with("0x") {
            return Ok(match self.search_profile(text).await? {
                ProfileMatch::One(Profile { wallet, name }) => TraderMatch::One(Trader { wallet, name: some(name) }),
                ProfileMatch::NoMatch { similar } => TraderMatch::NoMatch { similar },
                ProfileMatch::Several(profiles) => TraderMatch::Several(profiles),
            });
        }
        let wallet = match Wallet::parse(text) {
            Ok(wallet) => wallet,
            Err(error) => return Ok(TraderMatch::NotAWallet(error)),
        };
        if let Some(Profile { wallet, name }) = self.profile(&wallet).await? {
            return Ok(TraderMatch::One(Trader { wallet, name: some(name) }));
        }
        let did_anything = !self.newest_activity(&wallet, self.venue().now()).await?.1.is_empty();
        Ok(match did_anything {
            true => TraderMatch::One(Trader { wallet, name: None }),
            false => TraderMatch::Unknown(wallet),
        })
    }

    /// Requests the newest rows and the positions of a wallet, one page of each.
    ///
    /// # Errors
    /// [`PolymarketError`] when the Data API does not answer.
    pub async fn recent_activity(&self, wallet: &Wallet) -> Result<RecentActivity, PolymarketError> {
        let now = self.venue().now();
        let day_ago = now.plus_millis(-DAY_MS);
        let (goes_on, rows) = self.newest_activity(wallet, now).await?;
        let in_day = |(time, _): &&(Timestamp, bool)| *time >= day_ago;
        let fills_last_day = rows.iter().filter(in_day).filter(|(_, is_fill)| *is_fill).count();
        let reaches_back = rows.last().is_some_and(|(time, _)| *time < day_ago);
        let limit = self.fresh_page_rows();
        let path = format!("/v2/positions?user={wallet}&status=OPEN&limit={limit}");
        let call = Call::get(Endpoint::Positions, Priority::Interactive, path);
        let held = self.ask(call, parse_positions).await?;
        Ok(RecentActivity {
            fills_last_day,
            last_activity: rows.first().map(|(time, _)| *time),
            open_positions: held.positions.len(),
            more_fills: goes_on && !reaches_back,
            more_positions: held.next_cursor.is_some(),
        })
    }

    /// Returns whether there are older rows, and the newest rows, newest first: the time, and whether it is a fill.
    async fn newest_activity(
        &self,
        wallet: &Wallet,
        now: Timestamp,
    ) -> Result<(bool, Vec<(Timestamp, bool)>), PolymarketError> {
        let (limit, end) = (self.page_rows(), self.gate().fresh_end(now));
        let path = format!(
            "/v2/activity?user={wallet}&limit={limit}&start=1&end={end}&sort_by=TIMESTAMP&sort_direction=DESC\
             &exclude_deposits_withdrawals=false"
        );
        let call = Call::get(Endpoint::Activity, Priority::Interactive, path);
        let page = self.ask_text(call, |text| parse_page(text.clone())).await?;
        let rows = page.rows.iter().filter_map(|row| row.as_ref().ok());
        Ok((page.next_cursor.is_some(), rows.map(|row| (row.time, row.kind == TRADE && !row.is_combo)).collect()))
    }
}

fn some(name: String) -> Option<String> {
    Some(name).filter(|name| !name.trim().is_empty())
}
