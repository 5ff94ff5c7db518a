//! Markets that ended without payouts, and how far each is on its way to them (spec 3.1).

use crate::domain::market::payout::ResolutionStage;
use crate::domain::money::ids::MarketId;
use crate::domain::money::units::Timestamp;
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::RowDecoder;
use crate::sql::error::DbError;

/// Most markets settle within minutes; one that takes longer than this is shown as late.
const LATE_MS: i64 = 4 * 3_600_000;

/// A market that has ended and has no payouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsettledMarket {
    pub id: MarketId,
    pub stage: ResolutionStage,
    /// When it was first seen ended.
    pub since: Timestamp,
}

statements! {
    NOTE = "insert into market_resolution (market_id, stage, since, checked_at) values ($1, $2, $3, $3)
        on conflict (market_id) do update set stage = excluded.stage, checked_at = excluded.checked_at";
    FORGET = "delete from market_resolution where market_id = $1";
    UNSETTLED = "select r.market_id, r.stage, r.since from market_resolution r
        join market m on m.id = r.market_id where m.resolved_at is null order by r.since, r.market_id";
}

impl UnsettledMarket {
    /// Returns whether it has been unsettled for hours at `now`.
    pub fn is_late(&self, now: Timestamp) -> bool {
        now.millis_since(self.since) >= LATE_MS
    }
}

impl Db {
    /// Notes that a market has ended and is at `stage`. The time of the first note stays.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn note_unsettled(
        &self,
        market: &MarketId,
        stage: ResolutionStage,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        on!(tx &mut tx, c => {
            let note = sqlx::query(NOTE).bind(market.as_str()).bind(stage.as_str()).bind(now.millis());
            note.execute(c).await.map(drop)
        })?;
        tx.commit().await
    }

    /// Notes that a market goes on: what was taken for its end was none.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn forget_unsettled(&self, market: &MarketId) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        on!(tx &mut tx, c => sqlx::query(FORGET).bind(market.as_str()).execute(c).await.map(drop))?;
        tx.commit().await
    }

    /// Returns the markets that ended without payouts, the oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn unsettled_markets(&self) -> Result<Vec<UnsettledMarket>, DbError> {
        let rows: Vec<(String, String, i64)> = on!(db self, c => sqlx::query_as(UNSETTLED).fetch_all(c).await)?;
        let read = |(id, stage, since): (String, String, i64)| {
            let decoder = RowDecoder { table: "market_resolution", id: &id };
            Ok(UnsettledMarket {
                stage: decoder.text("stage", &stage)?,
                since: Timestamp::from_millis(since),
                id: decoder.market("market_id", &id)?,
            })
        };
        rows.into_iter().map(read).collect()
    }
}
