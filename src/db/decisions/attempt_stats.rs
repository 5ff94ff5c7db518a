//! Statistics of attempts: whole hours from `attempt_tally`, later attempts from their own rows.
//!
//! The roll-up only makes reads faster: the numbers are the same however many hours are rolled up.

use std::collections::BTreeMap;

use crate::db::system::checkpoints;
use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::analysis::attempt_stats::{AttemptFacts, AttemptStats};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UsdcMicros};
use crate::sql::batch::{batches, execute_batch};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::{RowDecoder, json_text, optional};
use crate::sql::error::DbError;

const HOUR_MS: i64 = 3_600_000;
/// An attempt is committed within seconds of its time, so an hour is final this long after its end.
const LATE_MS: i64 = 300_000;
const KEY: &str = "tally:upto";

statements! {
    HOURS = "select followed_user_id, tally_json from attempt_tally
        where portfolio_scope = $1 and hour >= $2 and hour < $3 and (cast($4 as bigint) is null or followed_user_id = $4)";
    /// Without closes by hand, which copy nothing.
    FACTS = "select a.portfolio_scope, a.followed_user_id, a.decision, a.reason_codes, a.filled_ratio_bps,
            a.filled_notional_micros, a.filled_share_micros, a.vwap_price_micros, a.their_reference_price_micros, g.side,
            g.detect_time, g.event_time
        from copy_attempt a join event_group g on g.id = a.group_id
        where a.created_at >= $1 and a.created_at < $2 and g.kind <> 'CLOSE'";
    NEXT = "select created_at from copy_attempt where created_at >= $1 order by created_at, id limit 1";
}

batches! {
    INSERT = "insert into attempt_tally (portfolio_scope, followed_user_id, hour, tally_json) values ", 4,
        " on conflict do nothing";
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    portfolio_scope: String,
    followed_user_id: i64,
    decision: String,
    reason_codes: String,
    filled_ratio_bps: i64,
    filled_notional_micros: i64,
    filled_share_micros: i64,
    vwap_price_micros: Option<i64>,
    their_reference_price_micros: Option<i64>,
    side: Option<String>,
    detect_time: i64,
    event_time: i64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct TalliedUpto {
    time: Timestamp,
}

type Tallies = BTreeMap<(PortfolioScope, FollowedUserId), AttemptStats>;

impl Db {
    /// Returns the statistics of each leader's attempts in one scope since the hour of `since`; of one leader if `user`
    /// is given.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn attempt_tallies(
        &self,
        scope: PortfolioScope,
        user: Option<FollowedUserId>,
        since: Timestamp,
    ) -> Result<BTreeMap<FollowedUserId, AttemptStats>, DbError> {
        let since = since.bucket(HOUR_MS);
        let upto = self.tallied_upto().await?.unwrap_or(Timestamp::EPOCH);
        let rows: Vec<(i64, String)> = on!(db self, c => {
            sqlx::query_as(HOURS)
                .bind(scope.as_str())
                .bind(since.millis())
                .bind(upto.millis())
                .bind(user.map(|user| user.0))
                .fetch_all(c)
                .await
        })?;
        let mut tallies: BTreeMap<FollowedUserId, AttemptStats> = BTreeMap::new();
        for (of, text) in rows {
            let hour: AttemptStats = RowDecoder { table: "attempt_tally", id: of }.json("tally_json", &text)?;
            tallies.entry(FollowedUserId(of)).or_default().merge(&hour);
        }
        let open = self.tally_between(since.max(upto), Timestamp::from_millis(i64::MAX)).await?;
        for ((_, of), tally) in open.iter().filter(|((in_scope, _), _)| *in_scope == scope) {
            if user.is_none_or(|user| user == *of) {
                tallies.entry(*of).or_default().merge(tally);
            }
        }
        Ok(tallies)
    }

    /// Returns the statistics of one leader's attempts in one scope since the hour of `since`.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn attempt_tally(
        &self,
        scope: PortfolioScope,
        user: FollowedUserId,
        since: Timestamp,
    ) -> Result<AttemptStats, DbError> {
        Ok(self.attempt_tallies(scope, Some(user), since).await?.remove(&user).unwrap_or_default())
    }

    /// Stores the statistics of all final hours that are not stored yet. Each hour is one transaction. Repeating it, or
    /// running it in two processes, has no further effect.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn roll_up_attempts(&self, now: Timestamp) -> Result<(), DbError> {
        let end = now.plus_millis(-LATE_MS).bucket(HOUR_MS);
        let mut from = self.tallied_upto().await?.unwrap_or(Timestamp::EPOCH);
        while from < end {
            let next: Option<i64> =
                on!(db self, c => sqlx::query_scalar(NEXT).bind(from.millis()).fetch_optional(c).await)?;
            // There are no attempts in the hours between.
            let hour = next.map_or(end, |at| Timestamp::from_millis(at).bucket(HOUR_MS)).min(end);
            let upto = if hour == end { end } else { hour.plus_millis(HOUR_MS) };
            let tallies = self.tally_between(hour, upto).await?;
            self.store_hour(hour, upto, &tallies, now).await?;
            from = upto;
        }
        Ok(())
    }

    async fn store_hour(
        &self,
        hour: Timestamp,
        upto: Timestamp,
        tallies: &Tallies,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let rows: Vec<_> = tallies.iter().collect();
        let mut tx = self.begin_lazily().await?;
        execute_batch!(&mut tx, INSERT, &rows, |query, ((scope, user), tally)| query
            .bind(scope.as_str())
            .bind(user.0)
            .bind(hour.millis())
            .bind(json_text(tally)))?;
        checkpoints::put(&mut tx, &[(KEY, json_text(&TalliedUpto { time: upto }).as_str())], now).await?;
        tx.commit().await
    }

    async fn tallied_upto(&self) -> Result<Option<Timestamp>, DbError> {
        let Some(text) = self.checkpoint(KEY).await? else { return Ok(None) };
        let upto: TalliedUpto = RowDecoder { table: "system_checkpoint", id: KEY }.json("value_json", &text)?;
        Ok(Some(upto.time))
    }

    async fn tally_between(&self, from: Timestamp, until: Timestamp) -> Result<Tallies, DbError> {
        let rows: Vec<Row> = on!(db self, c => {
            sqlx::query_as(FACTS).bind(from.millis()).bind(until.millis()).fetch_all(c).await
        })?;
        let mut tallies = Tallies::new();
        for row in rows {
            let decoder = RowDecoder { table: "copy_attempt", id: row.followed_user_id };
            let scope = decoder.text("portfolio_scope", &row.portfolio_scope)?;
            let user = FollowedUserId(row.followed_user_id);
            tallies.entry((scope, user)).or_default().add(&row.into_facts(&decoder)?);
        }
        Ok(tallies)
    }
}

impl Row {
    fn into_facts(self, decoder: &RowDecoder<i64>) -> Result<AttemptFacts, DbError> {
        let codes = self.reason_codes.split(',').filter(|code| !code.is_empty());
        Ok(AttemptFacts {
            decision: decoder.text("decision", &self.decision)?,
            reasons: codes.map(|code| decoder.text("reason_codes", code)).collect::<Result<_, _>>()?,
            filled_ratio: Bps(self.filled_ratio_bps),
            filled_notional: UsdcMicros(self.filled_notional_micros),
            filled_shares: ShareMicros(self.filled_share_micros),
            vwap: optional(self.vwap_price_micros, |micros| decoder.price("vwap_price_micros", micros))?,
            reference: optional(self.their_reference_price_micros, |micros| {
                decoder.price("their_reference_price_micros", micros)
            })?,
            side: optional(self.side, |side| decoder.text("side", &side))?,
            lag_ms: self.detect_time.saturating_sub(self.event_time),
        })
    }
}
