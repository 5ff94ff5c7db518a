//! What is known of markets. Facts come again and again from outside; what we decided about a market stays.

use std::collections::HashMap;

use super::checkpoints;
use crate::db::people::audit;
use crate::db::people::audit::Audit;
use crate::domain::market::facts::{FeeSchedule, Market, OutcomeAsset};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::sql::connection::{Batch, Db, Tx, batches, on, statements};
use crate::sql::decode::{RowDecoder, optional, storable};
use crate::sql::error::DbError;

statements! {
    /// What only we know stays: the blacklist, and when it resolved. Facts without a question come from the second
    /// source, which knows nothing of name, close or state: those stay as the first told them.
    SAVE = "insert into market (id, condition_id, question, slug, close_time, resolved_at, active, blacklisted, neg_risk,
            fee_rate_micros, fee_exponent, tick_micros, min_share_micros)
        values ($1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        on conflict (id) do update set
            question = case when excluded.question = '' then market.question else excluded.question end,
            slug = case when excluded.question = '' then market.slug else excluded.slug end,
            close_time = case when excluded.question = '' then market.close_time else excluded.close_time end,
            active = case when excluded.question = '' then market.active else excluded.active end,
            neg_risk = case when excluded.question = '' then market.neg_risk else excluded.neg_risk end,
            resolved_at = coalesce(market.resolved_at, excluded.resolved_at),
            fee_rate_micros = excluded.fee_rate_micros, fee_exponent = excluded.fee_exponent,
            tick_micros = coalesce(excluded.tick_micros, market.tick_micros),
            min_share_micros = coalesce(excluded.min_share_micros, market.min_share_micros)";
    SET_RESOLVED = "update market set resolved_at = $2, active = false where id = $1 and resolved_at is null";
    SET_PAYOUT = "update outcome_asset set payout_micros = $3 where id = $2 and market_id = $1";
    SET_BLACKLISTED = "update market set blacklisted = $2 where id = $1 and blacklisted <> $2";
    OF_ASSET = "select market_id from outcome_asset where id = $1";
    UNRESOLVED = "select id from market where resolved_at is null and (close_time <= $1 or not active) order by id";
}

batches! {
    MARKETS = "select id, question, slug, close_time, resolved_at, active, blacklisted, neg_risk, fee_rate_micros,
        fee_exponent, tick_micros, min_share_micros from market where id in (", 1, ")";
    OUTCOMES = "select id, market_id, outcome, outcome_index, payout_micros from outcome_asset where market_id in (", 1,
        ") order by market_id, outcome_index, id";
    SAVE_OUTCOMES = "insert into outcome_asset (id, market_id, outcome, outcome_index, payout_micros) values ", 5,
        " on conflict (id) do update set outcome = excluded.outcome, outcome_index = excluded.outcome_index,
            payout_micros = coalesce(outcome_asset.payout_micros, excluded.payout_micros)";
}

/// What became of a market: what each outcome pays, and since when that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    pub market: MarketId,
    pub payouts: Vec<(AssetId, PriceMicros)>,
    pub resolved_at: Timestamp,
}

#[derive(sqlx_macros::FromRow)]
struct MarketRow {
    id: String,
    question: String,
    slug: String,
    close_time: Option<i64>,
    resolved_at: Option<i64>,
    active: bool,
    blacklisted: bool,
    neg_risk: bool,
    fee_rate_micros: i64,
    fee_exponent: i64,
    tick_micros: Option<i64>,
    min_share_micros: Option<i64>,
}

#[derive(sqlx_macros::FromRow)]
struct OutcomeRow {
    id: String,
    market_id: String,
    outcome: String,
    outcome_index: i64,
    payout_micros: Option<i64>,
}

impl Db {
    pub async fn market(&self, id: &MarketId) -> Result<Option<Market>, DbError> {
        Ok(self.markets(std::slice::from_ref(id)).await?.pop())
    }

    /// In no order; unknown ids are left out.
    pub async fn markets(&self, ids: &[MarketId]) -> Result<Vec<Market>, DbError> {
        let mut markets = Vec::with_capacity(ids.len());
        let mut outcomes: HashMap<String, Vec<OutcomeRow>> = HashMap::new();
        for chunk in Batch::chunks(ids) {
            let (of_markets, of_outcomes) =
                (MARKETS.text(self.driver(), chunk.len()), OUTCOMES.text(self.driver(), chunk.len()));
            let rows: Vec<MarketRow> = on!(db self, c => {
                let mut query = sqlx::query_as(of_markets);
                for id in chunk {
                    query = query.bind(id.as_str());
                }
                query.fetch_all(c).await
            })?;
            markets.extend(rows);
            let rows: Vec<OutcomeRow> = on!(db self, c => {
                let mut query = sqlx::query_as(of_outcomes);
                for id in chunk {
                    query = query.bind(id.as_str());
                }
                query.fetch_all(c).await
            })?;
            for row in rows {
                outcomes.entry(row.market_id.clone()).or_default().push(row);
            }
        }
        markets
            .into_iter()
            .map(|row| {
                let outcomes = outcomes.remove(&row.id).unwrap_or_default();
                row.into_market(outcomes)
            })
            .collect()
    }

    /// Keeps facts as fetched. The blacklist, a resolution and payouts that are known stay.
    pub async fn save_market(&self, market: &Market) -> Result<(), DbError> {
        self.save_markets(std::slice::from_ref(market)).await
    }

    /// The same of many, in one transaction.
    pub async fn save_markets(&self, markets: &[Market]) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        for market in markets {
            save(&mut tx, market).await?;
        }
        tx.commit().await
    }

    /// The market resolved. True the first time; payouts that come again later are taken, the time is not.
    pub async fn set_payouts(
        &self,
        market: &MarketId,
        payouts: &[(AssetId, PriceMicros)],
        resolved_at: Timestamp,
    ) -> Result<bool, DbError> {
        let resolution = Resolution { market: market.clone(), payouts: payouts.to_vec(), resolved_at };
        self.set_all_payouts(std::slice::from_ref(&resolution)).await.map(|n| n > 0)
    }

    /// The same of many, in one transaction; how many of them had not resolved before.
    pub async fn set_all_payouts(&self, resolutions: &[Resolution]) -> Result<usize, DbError> {
        let mut tx = self.begin().await?;
        let mut n_new = 0;
        for resolution in resolutions {
            if resolve(&mut tx, resolution).await? {
                // Whoever decides keeps facts in memory, and must not open in a market that is over.
                checkpoints::bump_revision(&mut tx, resolution.resolved_at).await?;
                n_new += 1;
            }
        }
        tx.commit().await?;
        Ok(n_new)
    }

    /// False when it stood so already, or the market is unknown.
    pub async fn set_blacklisted(
        &self,
        market: &MarketId,
        blacklisted: bool,
        who: &str,
        now: Timestamp,
    ) -> Result<bool, DbError> {
        let mut tx = self.begin().await?;
        let changed = on!(tx &mut tx, c => {
            sqlx::query(SET_BLACKLISTED)
                .bind(market.as_str())
                .bind(blacklisted)
                .execute(c)
                .await
                .map(|done| done.rows_affected())
        })?;
        if changed == 0 {
            return Ok(false);
        }
        let audit = Audit {
            who: who.to_owned(),
            action: "set_blacklisted".to_owned(),
            subject: format!("market:{market}"),
            before_json: Some((!blacklisted).to_string()),
            after_json: Some(blacklisted.to_string()),
        };
        audit::insert(&mut tx, &[audit], now).await?;
        checkpoints::bump_revision(&mut tx, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub async fn market_of_asset(&self, asset: &AssetId) -> Result<Option<MarketId>, DbError> {
        let id: Option<String> =
            on!(db self, c => sqlx::query_scalar(OF_ASSET).bind(asset.as_str()).fetch_optional(c).await)?;
        optional(id, |id| RowDecoder { table: "outcome_asset", id: asset }.market("market_id", &id))
    }

    /// Markets that are past their close, or called closed, and have not resolved.
    pub async fn unresolved_markets(&self, now: Timestamp) -> Result<Vec<MarketId>, DbError> {
        let ids: Vec<String> = on!(db self, c => sqlx::query_scalar(UNRESOLVED).bind(now.millis()).fetch_all(c).await)?;
        ids.iter().map(|id| RowDecoder { table: "market", id }.market("id", id)).collect()
    }
}

async fn save(tx: &mut Tx, market: &Market) -> Result<(), DbError> {
    on!(tx &mut *tx, c => {
        sqlx::query(SAVE)
            .bind(market.id.as_str())
            .bind(storable(&market.question))
            .bind(storable(&market.slug))
            .bind(market.close_time.map(Timestamp::millis))
            .bind(market.resolved_at.map(Timestamp::millis))
            .bind(market.active)
            .bind(market.blacklisted)
            .bind(market.neg_risk)
            .bind(market.fee.rate_micros)
            .bind(i64::from(market.fee.exponent))
            .bind(market.tick.map(PriceMicros::micros))
            .bind(market.min_shares.map(|shares| shares.0))
            .execute(c)
            .await
            .map(drop)
    })?;
    save_outcomes(tx, market).await
}

async fn resolve(tx: &mut Tx, resolution: &Resolution) -> Result<bool, DbError> {
    let Resolution { market, payouts, resolved_at } = resolution;
    for (asset, payout) in payouts {
        on!(tx &mut *tx, c => {
            sqlx::query(SET_PAYOUT)
                .bind(market.as_str())
                .bind(asset.as_str())
                .bind(payout.micros())
                .execute(c)
                .await
                .map(drop)
        })?;
    }
    let changed = on!(tx &mut *tx, c => {
        sqlx::query(SET_RESOLVED)
            .bind(market.as_str())
            .bind(resolved_at.millis())
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

async fn save_outcomes(tx: &mut Tx, market: &Market) -> Result<(), DbError> {
    for chunk in Batch::chunks(&market.outcomes) {
        let text = SAVE_OUTCOMES.text(tx.driver(), chunk.len());
        on!(tx &mut *tx, c => {
            let mut query = sqlx::query(text);
            for outcome in chunk {
                query = query
                    .bind(outcome.asset.as_str())
                    .bind(market.id.as_str())
                    .bind(storable(&outcome.outcome))
                    .bind(outcome.index)
                    .bind(outcome.payout.map(PriceMicros::micros));
            }
            query.execute(c).await.map(drop)
        })?;
    }
    Ok(())
}

impl MarketRow {
    fn into_market(self, outcomes: Vec<OutcomeRow>) -> Result<Market, DbError> {
        let reading = RowDecoder { table: "market", id: &self.id };
        let exponent =
            u32::try_from(self.fee_exponent).map_err(|problem| reading.impossible("fee_exponent", problem))?;
        Ok(Market {
            id: reading.market("id", &self.id)?,
            close_time: self.close_time.map(Timestamp::from_millis),
            active: self.active,
            resolved_at: self.resolved_at.map(Timestamp::from_millis),
            blacklisted: self.blacklisted,
            neg_risk: self.neg_risk,
            fee: FeeSchedule { rate_micros: self.fee_rate_micros, exponent },
            tick: optional(self.tick_micros, |micros| reading.price("tick_micros", micros))?,
            min_shares: self.min_share_micros.map(ShareMicros),
            outcomes: outcomes.into_iter().map(OutcomeAsset::try_from).collect::<Result<_, _>>()?,
            question: self.question,
            slug: self.slug,
        })
    }
}

impl TryFrom<OutcomeRow> for OutcomeAsset {
    type Error = DbError;

    fn try_from(row: OutcomeRow) -> Result<Self, DbError> {
        let reading = RowDecoder { table: "outcome_asset", id: &row.id };
        Ok(Self {
            asset: reading.asset("id", &row.id)?,
            index: row.outcome_index,
            payout: optional(row.payout_micros, |micros| reading.price("payout_micros", micros))?,
            outcome: row.outcome,
        })
    }
}
