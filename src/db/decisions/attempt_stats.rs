//! How attempts came out, counted: whole hours from `attempt_tally`, what came after them from the attempts themselves.
//!
//! Whoever asks gets the same numbers however far the hours have been rolled up; they only come sooner.

use std::collections::BTreeMap;

use crate::domain::accounting::ledger::PortfolioScope;
use crate::domain::analysis::attempt_stats::{AttemptFacts, AttemptStats};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{Bps, ShareMicros, Timestamp, UsdcMicros};
use crate::sql::connection::{Batch, Db, batches, on, statements};
use crate::sql::decode::{RowDecoder, json_text, optional};
use crate::sql::error::DbError;

const HOUR_MS: i64 = 3_600_000;
/// An attempt is committed within seconds of its time; an hour is over for good a while after its end.
const LATE_MS: i64 = 300_000;
const KEY: &str = "tally:upto";

statements! {
    HOURS = "select followed_user_id, tally_json from attempt_tally
        where portfolio_scope = $1 and hour >= $2 and hour < $3 and (cast($4 as bigint) is null or followed_user_id = $4)";
    FACTS = "select a.portfolio_scope, a.followed_user_id, a.decision, a.reason_codes, a.filled_ratio_bps,
            a.filled_notional_micros, a.filled_share_micros, a.vwap_price_micros, a.their_reference_price_micros, g.side,
            g.detect_time, g.event_time
        from copy_attempt a join event_group g on g.id = a.group_id
        where a.created_at >= $1 and a.created_at < $2";
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
struct Upto {
    time: Timestamp,
}

type Tallies = BTreeMap<(PortfolioScope, FollowedUserId), AttemptStats>;

impl Db {
    /// The attempts of each leader in one scope since the hour of `since`; those of one leader when `user` is given.
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

    /// The same of one leader.
    pub async fn attempt_tally(
        &self,
        scope: PortfolioScope,
        user: FollowedUserId,
        since: Timestamp,
    ) -> Result<AttemptStats, DbError> {
        Ok(self.attempt_tallies(scope, Some(user), since).await?.remove(&user).unwrap_or_default())
    }

    /// Keeps the tallies of hours that are over, all that are left to do. Each hour is one transaction; to do it twice, or
    /// in two processes, is to do it once.
    pub async fn roll_up_attempts(&self, now: Timestamp) -> Result<(), DbError> {
        let end = now.plus_millis(-LATE_MS).bucket(HOUR_MS);
        let mut from = self.tallied_upto().await?.unwrap_or(Timestamp::EPOCH);
        while from < end {
            let next: Option<i64> =
                on!(db self, c => sqlx::query_scalar(NEXT).bind(from.millis()).fetch_optional(c).await)?;
            // Nothing happened in the hours between.
            let hour = next.map_or(end, |at| Timestamp::from_millis(at).bucket(HOUR_MS)).min(end);
            let upto = if hour == end { end } else { hour.plus_millis(HOUR_MS) };
            let tallies = self.tally_between(hour, upto).await?;
            self.keep_hour(hour, upto, &tallies, now).await?;
            from = upto;
        }
        Ok(())
    }

    async fn keep_hour(
        &self,
        hour: Timestamp,
        upto: Timestamp,
        tallies: &Tallies,
        now: Timestamp,
    ) -> Result<(), DbError> {
        let rows: Vec<_> = tallies.iter().collect();
        let mut tx = self.begin_lazily().await?;
        for chunk in Batch::chunks(&rows) {
            let text = INSERT.text(tx.driver(), chunk.len());
            on!(tx &mut tx, c => {
                let mut query = sqlx::query(text);
                for ((scope, user), tally) in chunk {
                    query = query.bind(scope.as_str()).bind(user.0).bind(hour.millis()).bind(json_text(tally));
                }
                query.execute(c).await.map(drop)
            })?;
        }
        crate::db::system::checkpoints::put(&mut tx, &[(KEY, json_text(&Upto { time: upto }).as_str())], now).await?;
        tx.commit().await
    }

    async fn tallied_upto(&self) -> Result<Option<Timestamp>, DbError> {
        let Some(text) = self.checkpoint(KEY).await? else { return Ok(None) };
        let upto: Upto = RowDecoder { table: "system_checkpoint", id: KEY }.json("value_json", &text)?;
        Ok(Some(upto.time))
    }

    async fn tally_between(&self, from: Timestamp, until: Timestamp) -> Result<Tallies, DbError> {
        let rows: Vec<Row> = on!(db self, c => {
            sqlx::query_as(FACTS).bind(from.millis()).bind(until.millis()).fetch_all(c).await
        })?;
        let mut tallies = Tallies::new();
        for row in rows {
            let reading = RowDecoder { table: "copy_attempt", id: row.followed_user_id };
            let scope = reading.text("portfolio_scope", &row.portfolio_scope)?;
            let user = FollowedUserId(row.followed_user_id);
            tallies.entry((scope, user)).or_default().add(&row.into_facts(&reading)?);
        }
        Ok(tallies)
    }
}

impl Row {
    fn into_facts(self, reading: &RowDecoder<i64>) -> Result<AttemptFacts, DbError> {
        let codes = self.reason_codes.split(',').filter(|code| !code.is_empty());
        Ok(AttemptFacts {
            decision: reading.text("decision", &self.decision)?,
            reasons: codes.map(|code| reading.text("reason_codes", code)).collect::<Result<_, _>>()?,
            filled_ratio: Bps(self.filled_ratio_bps),
            filled_notional: UsdcMicros(self.filled_notional_micros),
            filled_shares: ShareMicros(self.filled_share_micros),
            vwap: optional(self.vwap_price_micros, |micros| reading.price("vwap_price_micros", micros))?,
            reference: optional(self.their_reference_price_micros, |micros| {
                reading.price("their_reference_price_micros", micros)
            })?,
            side: optional(self.side, |side| reading.text("side", &side))?,
            lag_ms: self.detect_time.saturating_sub(self.event_time),
        })
    }
}
