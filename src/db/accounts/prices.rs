//! Stored prices: midpoints every 30 s with both sides of the book, and the last trade of an asset (spec 9).

use std::collections::BTreeMap;

use crate::domain::accounting::mark::{Mark, Quote};
use crate::domain::money::ids::{AssetId, MarketId};
use crate::domain::money::units::{PriceMicros, Timestamp};
use crate::queue::{self, JobFence};
use crate::sql::batch::{batches, execute_batch, fetch_batch};
use crate::sql::connection::{Db, on, statements};
use crate::sql::decode::{RowDecoder, optional};
use crate::sql::error::DbError;

statements! {
    /// By market, because the index of trades starts with it; a market has few assets.
    LAST_TRADE = "select price_micros, event_time from trade_event
        where market_id = $1 and asset_id = $2 and is_canonical order by detect_time desc, id desc limit 1";
    LAST_TRADE_OF_BOOK = "select last_trade_price_micros, fetched_at from book_snapshot
        where asset_id = $1 and last_trade_price_micros is not null order by fetched_at desc limit 1";
    RANGE = "select bucket_time, midpoint_price_micros from asset_price
        where priced_asset_id = (select id from priced_asset where asset_id = $1) and bucket_time >= $2 and bucket_time <= $3 order by bucket_time limit $4";
    /// The last midpoint of each stretch of `$4` from `$2` to `$3`.
    CURVE = "select s.last_time, p.midpoint_price_micros from (
            select max(bucket_time) as last_time from asset_price
            where priced_asset_id = (select id from priced_asset where asset_id = $1)
                and bucket_time >= $2 and bucket_time <= $3
            group by (bucket_time - $2) / $4) s
        join asset_price p on p.priced_asset_id = (select id from priced_asset where asset_id = $1)
            and p.bucket_time = s.last_time";
    FIRST = "select bucket_time from asset_price
        where priced_asset_id = (select id from priced_asset where asset_id = $1) order by bucket_time limit 1";
}

batches! {
    /// Only of those that are new, because PostgreSQL takes a number for each row that it tries.
    NAME_ASSETS = "with wanted (asset_id) as (values ", 1, ")
        insert into priced_asset (asset_id) select asset_id from wanted
        where not exists (select 1 from priced_asset k where k.asset_id = wanted.asset_id) on conflict do nothing";
    /// The casts are for PostgreSQL, which types bare values as text.
    INSERT = "with wanted (asset_id, bucket_time, price, bid, ask) as (values ", 5, ")
        insert into asset_price (priced_asset_id, bucket_time, midpoint_price_micros, bid_price_micros, ask_price_micros)
        select k.id, cast(wanted.bucket_time as bigint), cast(wanted.price as bigint), cast(wanted.bid as bigint),
            cast(wanted.ask as bigint)
        from wanted join priced_asset k on k.asset_id = wanted.asset_id
        where true on conflict (priced_asset_id, bucket_time) do nothing";
    NEWEST_SIDES = "with wanted (asset_id) as (values ", 1, "), newest as (select k.id as id, k.asset_id as asset_id,
            (select max(p.bucket_time) from asset_price p where p.priced_asset_id = k.id) as bucket_time
            from wanted join priced_asset k on k.asset_id = wanted.asset_id)
        select newest.asset_id, p.bucket_time, p.midpoint_price_micros, p.bid_price_micros, p.ask_price_micros from newest
        join asset_price p on p.priced_asset_id = newest.id and p.bucket_time = newest.bucket_time";
    /// The newest row whose price is a midpoint.
    NEWEST_MIDPOINT = "with wanted (asset_id) as (values ", 1, "), newest as (select k.id as id, k.asset_id as asset_id,
            (select max(p.bucket_time) from asset_price p where p.priced_asset_id = k.id
                and (p.bid_price_micros is null) = (p.ask_price_micros is null)) as bucket_time
            from wanted join priced_asset k on k.asset_id = wanted.asset_id)
        select newest.asset_id, p.bucket_time, p.midpoint_price_micros, p.bid_price_micros, p.ask_price_micros from newest
        join asset_price p on p.priced_asset_id = newest.id and p.bucket_time = newest.bucket_time";
    NEWEST = "with wanted (asset_id) as (values ", 1, "), newest as (select k.id as id, k.asset_id as asset_id,
            (select max(p.bucket_time) from asset_price p where p.priced_asset_id = k.id) as bucket_time
            from wanted join priced_asset k on k.asset_id = wanted.asset_id)
        select newest.asset_id, p.bucket_time, p.midpoint_price_micros from newest
        join asset_price p on p.priced_asset_id = newest.id and p.bucket_time = newest.bucket_time";
    /// The newest midpoint of each asset at or before a time.
    AS_OF = "with wanted (asset_id, until) as (values ", 2, "), newest as (select k.id as id, k.asset_id as asset_id,
            (select max(p.bucket_time) from asset_price p where p.priced_asset_id = k.id
                and p.bucket_time <= cast(wanted.until as bigint)) as bucket_time
            from wanted join priced_asset k on k.asset_id = wanted.asset_id)
        select newest.asset_id, p.bucket_time, p.midpoint_price_micros from newest
        join asset_price p on p.priced_asset_id = newest.id and p.bucket_time = newest.bucket_time";
    BETWEEN = "with wanted (asset_id, since, until, every) as (values ", 4, ")
        select k.asset_id, p.bucket_time, p.midpoint_price_micros from wanted
        join priced_asset k on k.asset_id = wanted.asset_id
        join asset_price p on p.priced_asset_id = k.id and p.bucket_time > cast(wanted.since as bigint)
            and p.bucket_time <= cast(wanted.until as bigint) and p.bucket_time % cast(wanted.every as bigint) = 0";
}

/// An asset, the time of its midpoint, and the midpoint.
pub type PriceAt = (AssetId, Timestamp, PriceMicros);

/// Asset, start of the bucket, midpoint in micros.
type PriceRow = (String, i64, i64);

/// Asset, start of the bucket, price, bid and ask in micros.
type SidesRow = (String, i64, i64, Option<i64>, Option<i64>);

/// What an answer said about the book of one asset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookPrice {
    /// The midpoint of a book with two sides; the only side of one without.
    pub price: PriceMicros,
    pub bid: Option<PriceMicros>,
    pub ask: Option<PriceMicros>,
}

impl BookPrice {
    /// Returns the price to store for these sides; `None` when both are empty.
    pub fn of(quote: &Quote) -> Option<Self> {
        let only = quote.bid.xor(quote.ask);
        // Of a book that crosses, the ask: the lower of the two.
        let price = quote.midpoint().or(only).or(quote.ask)?;
        Some(Self { price, bid: quote.bid, ask: quote.ask })
    }

    /// Returns the mark that this price is, as of `at`.
    pub fn mark(self, at: Timestamp) -> Mark {
        match (self.bid, self.ask) {
            (None, None) => Mark::Midpoint(self.price, at),
            (bid, ask) => Mark::Quote(Quote::new(bid, ask, at)),
        }
    }
}

impl Db {
    /// Writes the midpoints of one bucket. A bucket that is stored already stays unchanged.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn insert_prices(&self, bucket: Timestamp, prices: &[(AssetId, PriceMicros)]) -> Result<(), DbError> {
        let midpoint = |(asset, price): &(AssetId, PriceMicros)| {
            (asset.clone(), BookPrice { price: *price, bid: None, ask: None })
        };
        let prices: Vec<_> = prices.iter().map(midpoint).collect();
        self.record_prices(bucket, &prices, &[]).await
    }

    /// Writes the prices of one bucket and finishes the jobs that asked for them.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn record_prices(
        &self,
        bucket: Timestamp,
        prices: &[(AssetId, BookPrice)],
        finishes: &[JobFence],
    ) -> Result<(), DbError> {
        let mut tx = self.begin_lazily().await?;
        queue::finish_in(&mut tx, finishes).await?;
        execute_batch!(&mut tx, NAME_ASSETS, prices, |query, (asset, _)| query.bind(asset.as_str()))?;
        execute_batch!(&mut tx, INSERT, prices, |query, (asset, found)| query
            .bind(asset.as_str())
            .bind(bucket.millis())
            .bind(found.price.micros())
            .bind(found.bid.map(PriceMicros::micros))
            .bind(found.ask.map(PriceMicros::micros)))?;
        tx.commit().await
    }

    /// Returns what the stored prices say about these assets, each with its time: the newest midpoint and the newest
    /// answer. In no order, because marks need none.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn price_marks(&self, assets: &[AssetId]) -> Result<Vec<(AssetId, Mark)>, DbError> {
        let mut rows: Vec<SidesRow> =
            fetch_batch!(self, NEWEST_SIDES, assets, |query, asset| query.bind(asset.as_str()))?;
        let one_sided = rows.iter().filter(|(.., bid, ask)| bid.is_some() != ask.is_some());
        let one_sided: Vec<String> = one_sided.map(|(asset, ..)| asset.clone()).collect();
        let midpoints: Vec<SidesRow> =
            fetch_batch!(self, NEWEST_MIDPOINT, &one_sided, |query, asset| query.bind(asset.as_str()))?;
        rows.extend(midpoints);
        rows.into_iter().map(mark_of).collect()
    }

    /// Returns the newest midpoint of each asset that has one, and its time.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn newest_prices(
        &self,
        assets: &[AssetId],
    ) -> Result<BTreeMap<AssetId, (Timestamp, PriceMicros)>, DbError> {
        let rows: Vec<PriceRow> = fetch_batch!(self, NEWEST, assets, |query, asset| query.bind(asset.as_str()))?;
        rows.into_iter().map(|row| price_at(row).map(|(asset, at, price)| (asset, (at, price)))).collect()
    }

    /// Returns the newest midpoint of each asset at or before `time`, in no order; assets without one are left out.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn prices_as_of(&self, assets: &[AssetId], time: Timestamp) -> Result<Vec<PriceAt>, DbError> {
        let rows: Vec<PriceRow> =
            fetch_batch!(self, AS_OF, assets, |query, asset| query.bind(asset.as_str()).bind(time.millis()))?;
        rows.into_iter().map(price_at).collect()
    }

    /// Returns the midpoints of the assets within (`since`, `until`] at multiples of `every_ms`, in no order.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn prices_between(
        &self,
        assets: &[AssetId],
        since: Timestamp,
        until: Timestamp,
        every_ms: i64,
    ) -> Result<Vec<PriceAt>, DbError> {
        let rows: Vec<PriceRow> = fetch_batch!(self, BETWEEN, assets, |query, asset| {
            query.bind(asset.as_str()).bind(since.millis()).bind(until.millis()).bind(every_ms.max(1))
        })?;
        rows.into_iter().map(price_at).collect()
    }

    /// Returns the last known trade in each asset: the newest fill of a leader; without one, the last trade that a
    /// fetched book reported. A book does not tell when that was, so its time is the epoch.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn last_trades(
        &self,
        assets: &[(MarketId, AssetId)],
    ) -> Result<BTreeMap<AssetId, (Timestamp, PriceMicros)>, DbError> {
        let mut prices = BTreeMap::new();
        for (market, asset) in assets {
            let trade: Option<(i64, i64)> = on!(db self, c => {
                sqlx::query_as(LAST_TRADE).bind(market.as_str()).bind(asset.as_str()).fetch_optional(c).await
            })?;
            let book: Option<(i64, i64)> = on!(db self, c => {
                sqlx::query_as(LAST_TRADE_OF_BOOK).bind(asset.as_str()).fetch_optional(c).await
            })?;
            let undated = book.map(|(micros, _)| (micros, Timestamp::EPOCH.millis()));
            if let Some((micros, at)) = trade.or(undated) {
                let price = RowDecoder { table: "trade_event", id: asset }.price("price_micros", micros)?;
                prices.insert(asset.clone(), (Timestamp::from_millis(at), price));
            }
        }
        Ok(prices)
    }

    /// Returns up to `limit` midpoints of one asset from `from` to `to`, oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn prices(
        &self,
        asset: &AssetId,
        from: Timestamp,
        to: Timestamp,
        limit: i64,
    ) -> Result<Vec<(Timestamp, PriceMicros)>, DbError> {
        let rows: Vec<(i64, i64)> = on!(db self, c => {
            sqlx::query_as(RANGE)
                .bind(asset.as_str())
                .bind(from.millis())
                .bind(to.millis())
                .bind(limit)
                .fetch_all(c)
                .await
        })?;
        let decoder = RowDecoder { table: "asset_price", id: asset };
        rows.into_iter()
            .map(|(at, micros)| Ok((Timestamp::from_millis(at), decoder.price("midpoint_price_micros", micros)?)))
            .collect()
    }

    /// Returns the last midpoint of each stretch of `stretch_ms` between `from` and `to` that has one, oldest first.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement; `Impossible` when a stored row cannot be
    /// decoded.
    pub async fn price_curve(
        &self,
        asset: &AssetId,
        (from, to): (Timestamp, Timestamp),
        stretch_ms: i64,
    ) -> Result<Vec<(Timestamp, PriceMicros)>, DbError> {
        let mut rows: Vec<(i64, i64)> = on!(db self, c => {
            sqlx::query_as(CURVE)
                .bind(asset.as_str())
                .bind(from.millis())
                .bind(to.millis())
                .bind(stretch_ms.max(1))
                .fetch_all(c)
                .await
        })?;
        rows.sort_unstable();
        let decoder = RowDecoder { table: "asset_price", id: asset };
        rows.into_iter()
            .map(|(at, micros)| Ok((Timestamp::from_millis(at), decoder.price("midpoint_price_micros", micros)?)))
            .collect()
    }

    /// Returns the time of an asset's first midpoint.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn price_curve_start(&self, asset: &AssetId) -> Result<Option<Timestamp>, DbError> {
        let at: Option<i64> =
            on!(db self, c => sqlx::query_scalar(FIRST).bind(asset.as_str()).fetch_optional(c).await)?;
        Ok(at.map(Timestamp::from_millis))
    }
}

fn mark_of((asset, bucket, price, bid, ask): SidesRow) -> Result<(AssetId, Mark), DbError> {
    let decoder = RowDecoder { table: "asset_price", id: &asset };
    let found = BookPrice {
        price: decoder.price("midpoint_price_micros", price)?,
        bid: optional(bid, |micros| decoder.price("bid_price_micros", micros))?,
        ask: optional(ask, |micros| decoder.price("ask_price_micros", micros))?,
    };
    Ok((decoder.asset("asset_id", &asset)?, found.mark(Timestamp::from_millis(bucket))))
}

fn price_at((asset, bucket, micros): PriceRow) -> Result<PriceAt, DbError> {
    let decoder = RowDecoder { table: "asset_price", id: &asset };
    let price = decoder.price("midpoint_price_micros", micros)?;
    Ok((decoder.asset("asset_id", &asset)?, Timestamp::from_millis(bucket), price))
}
