//! What ids are called: labels of leaders, questions and outcomes of markets. Read once for many rows.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::{Db, DbError};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};

/// The names that one page or one batch of live rows needs. All of it is hostile text.
#[derive(Debug, Default)]
pub struct Names {
    labels: BTreeMap<FollowedUserId, String>,
    markets: BTreeMap<MarketId, Market>,
}

impl Names {
    pub async fn load(db: &Db, markets: impl IntoIterator<Item = &MarketId>) -> Result<Self, DbError> {
        let wanted: BTreeSet<&MarketId> = markets.into_iter().collect();
        let wanted: Vec<MarketId> = wanted.into_iter().cloned().collect();
        let labels = db.followed_users().await?.into_iter().map(|user| (user.id, user.label)).collect();
        let markets = match wanted.is_empty() {
            true => BTreeMap::new(),
            false => db.markets(&wanted).await?.into_iter().map(|market| (market.id.clone(), market)).collect(),
        };
        Ok(Self { labels, markets })
    }

    pub fn label(&self, user: FollowedUserId) -> String {
        self.labels.get(&user).cloned().unwrap_or_else(|| format!("user {user}"))
    }

    /// Question and slug; both are empty until the market's facts have been fetched.
    pub fn market(&self, id: &MarketId) -> (String, String) {
        self.markets.get(id).map(|market| (market.question.clone(), market.slug.clone())).unwrap_or_default()
    }

    /// All that is known of a market.
    pub fn facts(&self, id: &MarketId) -> Option<&Market> {
        self.markets.get(id)
    }

    pub fn outcome(&self, market: &MarketId, asset: &AssetId) -> Option<String> {
        let outcomes = &self.markets.get(market)?.outcomes;
        outcomes.iter().find(|outcome| outcome.asset == *asset).map(|outcome| outcome.outcome.clone())
    }
}
