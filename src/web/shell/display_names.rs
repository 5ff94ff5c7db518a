//! The display names of ids: labels of leaders, questions and outcomes of markets. Read once for many rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::{Db, DbError};
use crate::domain::accounting::shadow::opening::is_before_following;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::Timestamp;

/// The names that one page or one batch of live rows needs. All of them are hostile text.
#[derive(Debug, Default)]
pub struct Names {
    labels: BTreeMap<FollowedUserId, String>,
    /// When following began.
    follows_from: BTreeMap<FollowedUserId, Timestamp>,
    markets: BTreeMap<MarketId, Market>,
}

impl Names {
    /// Reads the labels of all leaders, and the facts of `markets`.
    ///
    /// # Errors
    /// [`DbError`] when the database does not answer.
    pub async fn load(db: &Db, markets: impl IntoIterator<Item = &MarketId>) -> Result<Self, DbError> {
        let wanted: BTreeSet<&MarketId> = markets.into_iter().collect();
        let wanted: Vec<MarketId> = wanted.into_iter().cloned().collect();
        let users = db.followed_users().await?;
        let follows_from = users.iter().filter_map(|user| Some((user.id, user.follows_from?))).collect();
        let labels = users.into_iter().map(|user| (user.id, user.label)).collect();
        let markets = match wanted.is_empty() {
            true => BTreeMap::new(),
            false => db.markets(&wanted).await?.into_iter().map(|market| (market.id.clone(), market)).collect(),
        };
        Ok(Self { labels, follows_from, markets })
    }

    /// Returns the label of a leader, or `user 7` for an unknown one.
    pub fn label(&self, user: FollowedUserId) -> String {
        self.labels.get(&user).cloned().unwrap_or_else(|| format!("user {user}"))
    }

    /// Returns whether a leader did something at `event_time` before we began to follow: it is part of the opening, and
    /// neither booked nor copied.
    pub fn is_before_following(&self, user: FollowedUserId, event_time: Timestamp) -> bool {
        self.follows_from.get(&user).is_some_and(|from| is_before_following(event_time, *from))
    }

    /// Returns question and slug. Both are empty until the facts of the market have been fetched.
    pub fn market(&self, id: &MarketId) -> (String, String) {
        self.markets.get(id).map(|market| (market.question.clone(), market.slug.clone())).unwrap_or_default()
    }

    /// Returns the facts of a market, if they have been fetched.
    pub fn facts(&self, id: &MarketId) -> Option<&Market> {
        self.markets.get(id)
    }

    /// Returns the name of the outcome that `asset` stands for.
    pub fn outcome(&self, market: &MarketId, asset: &AssetId) -> Option<String> {
        let outcomes = &self.markets.get(market)?.outcomes;
        outcomes.iter().find(|outcome| outcome.asset == *asset).map(|outcome| outcome.outcome.clone())
    }
}
