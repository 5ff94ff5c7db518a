//! Facts of markets. They are fetched repeatedly from outside; our own decisions on a market stay.

use std::collections::HashMap;

use super::checkpoints;
use crate::db::system::audit::{self, Audit};
use crate::domain::market::facts::{FeeSchedule, Market, MarketEvent, OutcomeAsset};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::sql::batch::{Batch, batches, execute_batch, fetch_batch};
use crate::sql::connection::{Db, Tx, on, statements};
use crate::sql::decode::{RowDecoder, json_text, optional, storable};
use crate::sql::error::DbError;

statements! {
    /// Our own facts stay: the blacklist and the time of resolution. Facts without a question come from the second
    /// source, which does not have name, close time or state: those stay as the first source had them.
    SAVE = "insert into market (id, condition_id, question, slug, close_time, resolved_at, active, blacklisted, neg_risk,
            fee_rate_micros, fee_exponent, tick_micros, min_share_micros, accepts_orders, fee_known, taker_delay_ms,
            event_id, event_slug, tags, event_title)
        values ($1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
        on conflict (id) do update set
            question = case when excluded.question = '' then market.question else excluded.question end,
            slug = case when excluded.question = '' then market.slug else excluded.slug end,
            close_time = case when excluded.question = '' then market.close_time else excluded.close_time end,
            active = case when excluded.question = '' then market.active else excluded.active end,
            neg_risk = case when excluded.question = '' then market.neg_risk else excluded.neg_risk end,
            resolved_at = coalesce(market.resolved_at, excluded.resolved_at),
            accepts_orders = case when excluded.question = '' then market.accepts_orders else excluded.accepts_orders end,
            fee_rate_micros = case when excluded.fee_known then excluded.fee_rate_micros else market.fee_rate_micros end,
            fee_exponent = case when excluded.fee_known then excluded.fee_exponent else market.fee_exponent end,
            fee_known = market.fee_known or excluded.fee_known,
            taker_delay_ms = coalesce(excluded.taker_delay_ms, market.taker_delay_ms),
            event_id = coalesce(excluded.event_id, market.event_id),
            event_slug = coalesce(nullif(excluded.event_slug, ''), market.event_slug),
            event_title = coalesce(nullif(excluded.event_title, ''), market.event_title),
            tags = case when excluded.tags = '[]' then market.tags else excluded.tags end,
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
        fee_exponent, tick_micros, min_share_micros, accepts_orders, fee_known, taker_delay_ms, event_id, event_slug, tags,
        event_title from market where id in (", 1, ")";
    OUTCOMES = "select id, market_id, outcome, outcome_index, payout_micros from outcome_asset where market_id in (", 1,
        ") order by market_id, outcome_index, id";
    SAVE_OUTCOMES = "insert into outcome_asset (id, market_id, outcome, outcome_index, payout_micros) values ", 5,
        " on conflict (id) do update set outcome = excluded.outcome, outcome_index = excluded.outcome_index,
            payout_micros = coalesce(outcome_asset.payout_micros, excluded.payout_micros)";
}

/// The resolution of a market: the payout of each outcome, and the time since which it is known.
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
    accepts_orders: bool,
    fee_known: bool,
    taker_delay_ms: Option<i64>,
    event_id: Option<String>,
    event_slug: Option<String>,
    tags: String,
    event_title: Option<String>,
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
    /// Returns one market.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn market(&self, id: &MarketId) -> Result<Option<Market>, DbError> {
        Ok(self.markets(std::slice::from_ref(id)).await?.pop())
    }

    /// Returns these markets in no order; unknown ids are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn markets(&self, ids: &[MarketId]) -> Result<Vec<Market>, DbError> {
        let mut markets: Vec<MarketRow> = Vec::with_capacity(ids.len());
        let mut outcomes: HashMap<String, Vec<OutcomeRow>> = HashMap::new();
        // Chunk by chunk, so that a market and its outcomes are read close together in time.
        for chunk in Batch::chunks(ids) {
            markets.append(&mut fetch_batch!(self, MARKETS, chunk, |query, id| query.bind(id.as_str()))?);
            let rows: Vec<OutcomeRow> = fetch_batch!(self, OUTCOMES, chunk, |query, id| query.bind(id.as_str()))?;
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

    /// Stores facts of a market. A stored blacklist flag, resolution and payout stay.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn save_market(&self, market: &Market) -> Result<(), DbError> {
        self.save_markets(std::slice::from_ref(market)).await
    }

    /// Stores facts of many markets, as [`Db::save_market`], in one transaction.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn save_markets(&self, markets: &[Market]) -> Result<(), DbError> {
        let mut tx = self.begin().await?;
        for market in markets {
            save(&mut tx, market).await?;
        }
        tx.commit().await
    }

    /// Stores the payouts of a resolved market. Returns true the first time. Later calls update the payouts but not the
    /// time.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn set_payouts(
        &self,
        market: &MarketId,
        payouts: &[(AssetId, PriceMicros)],
        resolved_at: Timestamp,
    ) -> Result<bool, DbError> {
        let resolution = Resolution { market: market.clone(), payouts: payouts.to_vec(), resolved_at };
        self.set_all_payouts(std::slice::from_ref(&resolution)).await.map(|n| n > 0)
    }

    /// Stores the payouts of many markets, as [`Db::set_payouts`], in one transaction. Returns the number of new
    /// resolutions.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn set_all_payouts(&self, resolutions: &[Resolution]) -> Result<usize, DbError> {
        let mut tx = self.begin().await?;
        let mut n_new = 0;
        for resolution in resolutions {
            if resolve(&mut tx, resolution).await? {
                // The executors cache facts; the new revision makes them read again, so that they open no position in a
                // resolved market.
                checkpoints::bump_revision(&mut tx, resolution.resolved_at).await?;
                n_new += 1;
            }
        }
        tx.commit().await?;
        Ok(n_new)
    }

    /// Sets or clears the blacklist flag; audited. Returns false when it has that value already, or the market is
    /// unknown.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
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

    /// Returns the market of an asset.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn market_of_asset(&self, asset: &AssetId) -> Result<Option<MarketId>, DbError> {
        let id: Option<String> =
            on!(db self, c => sqlx::query_scalar(OF_ASSET).bind(asset.as_str()).fetch_optional(c).await)?;
        optional(id, |id| RowDecoder { table: "outcome_asset", id: asset }.market("market_id", &id))
    }

    /// Returns the markets that are past their close time, or inactive, and have not resolved.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn unresolved_markets(&self, now: Timestamp) -> Result<Vec<MarketId>, DbError> {
        let ids: Vec<String> = on!(db self, c => sqlx::query_scalar(UNRESOLVED).bind(now.millis()).fetch_all(c).await)?;
        ids.iter().map(|id| RowDecoder { table: "market", id }.market("id", id)).collect()
    }
}

async fn save(tx: &mut Tx, market: &Market) -> Result<(), DbError> {
    let tags = json_text(&market.tags);
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
            .bind(market.accepts_orders)
            .bind(market.fee_known)
            .bind(market.taker_delay_ms)
            .bind(market.event.as_ref().map(|event| storable(&event.id)))
            .bind(market.event.as_ref().map(|event| storable(&event.slug)))
            .bind(&tags)
            .bind(market.event.as_ref().map(|event| storable(&event.title)))
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
    execute_batch!(tx, SAVE_OUTCOMES, &market.outcomes, |query, outcome| query
        .bind(outcome.asset.as_str())
        .bind(market.id.as_str())
        .bind(storable(&outcome.outcome))
        .bind(outcome.index)
        .bind(outcome.payout.map(PriceMicros::micros)))?;
    Ok(())
}

impl MarketRow {
    fn into_market(self, outcomes: Vec<OutcomeRow>) -> Result<Market, DbError> {
        let decoder = RowDecoder { table: "market", id: &self.id };
        let exponent =
            u32::try_from(self.fee_exponent).map_err(|problem| decoder.impossible("fee_exponent", problem))?;
        Ok(Market {
            id: decoder.market("id", &self.id)?,
            close_time: self.close_time.map(Timestamp::from_millis),
            active: self.active,
            resolved_at: self.resolved_at.map(Timestamp::from_millis),
            blacklisted: self.blacklisted,
            neg_risk: self.neg_risk,
            accepts_orders: self.accepts_orders,
            fee: match self.fee_known {
                true => FeeSchedule { rate_micros: self.fee_rate_micros, exponent },
                false => FeeSchedule::HIGHEST,
            },
            fee_known: self.fee_known,
            taker_delay_ms: self.taker_delay_ms,
            event: self.event_id.map(|id| MarketEvent {
                id,
                slug: self.event_slug.unwrap_or_default(),
                title: self.event_title.unwrap_or_default(),
            }),
            tags: decoder.json("tags", &self.tags)?,
            tick: optional(self.tick_micros, |micros| decoder.price("tick_micros", micros))?,
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
        let decoder = RowDecoder { table: "outcome_asset", id: &row.id };
        Ok(Self {
            asset: decoder.asset("id", &row.id)?,
            index: row.outcome_index,
            payout: optional(row.payout_micros, |micros| decoder.price("payout_micros", micros))?,
            outcome: row.outcome,
        })
    }
}
