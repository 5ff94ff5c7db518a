//! `GET /export/{trades|attempts|ledger|snapshots|checks|corrections}.{csv|json}`: a list as a file, with the same
//! filters.
//!
//! Rows are streamed from the database to the browser in parts. A part is read when the one before it is sent, so a
//! million rows need no more memory than one part. A failure after the first part breaks the connection, so that no
//! browser takes an incomplete file for a complete one.

use std::collections::VecDeque;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    web::{Data, Path, Query},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, de::DeserializeOwned};

use super::text::{Format, Sheet};
use crate::clock::Clock;
use crate::db::{
    ATTEMPT_COLUMNS, AttemptFilter, CHECK_COLUMNS, CORRECTION_COLUMNS, Cell, Column, CorrectionKey, Cursor, Db,
    DbError, LEDGER_COLUMNS, LedgerFilter, PositionFilter, SNAPSHOT_COLUMNS, TRADE_COLUMNS, TradeFilter,
};
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::web::server::error::WebError;
use crate::web::shell::pagination::MarketSearch;
use crate::web::views::attempts::AttemptQuery;
use crate::web::views::trades::TradeQuery;

/// Rows of one part.
const ROWS: usize = 1_000;
/// Rows of one part of attempts, which are long because each has its explanation.
const LONG_ROWS: usize = 200;

/// The filters of ledger entries and snapshots: `?scope=EXEC_GLOBAL&user=7&from=2026-01-15T00:00:00Z&to=…`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortfolioQuery {
    scope: Option<PortfolioScope>,
    user: Option<FollowedUserId>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// The filters of position checks, and of the openings and adjustments: `?user=7&from=2026-01-15T00:00:00Z&to=…`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PositionQuery {
    user: Option<FollowedUserId>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// The rows that are still to be read: their filter, and where to continue.
enum Source {
    Trades(TradeFilter, Option<Cursor>),
    Attempts(AttemptFilter, Option<Cursor>),
    Ledger(LedgerFilter, i64),
    Checks(PositionFilter, Option<Cursor>),
    Corrections(PositionFilter, CorrectionKey),
    /// The remaining portfolios. The first one was read up to the time `after`.
    Snapshots {
        portfolios: VecDeque<PortfolioId>,
        from: Timestamp,
        to: Timestamp,
        after: Timestamp,
    },
    Finished,
}

/// `GET /export/{what}.{format}`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown list or format, [`WebError::Mistake`] for a wrong filter, [`WebError::Ours`].
pub async fn download(
    path: Path<(String, String)>,
    request: HttpRequest,
    (db, clock): (Data<Db>, Data<Clock>),
) -> Result<HttpResponse, WebError> {
    let (what, format) = path.into_inner();
    let format: Format = Format::of(&format).ok_or(WebError::NotFound)?;
    let (columns, mut source) = Source::of(&what, request.query_string(), &db).await?;
    // A failure before the first row is still answered with an error status.
    let first = source.read(&db).await?;
    let mut sheet = Sheet::new(format, columns);
    let beginning = sheet.begin(&first)?;

    let rest = stream::try_unfold((sheet, source, db), |(mut sheet, mut source, db)| async move {
        if source.is_finished() {
            return Ok(sheet.end().map(|text| (text, (sheet, source, db))));
        }
        let rows = source.read(&db).await.map_err(abort)?;
        Ok(Some((sheet.rows(&rows).map_err(abort)?, (sheet, source, db))))
    });
    let body = stream::once(std::future::ready(Ok::<Bytes, actix_web::Error>(beginning))).chain(rest);
    let time: String = clock.now().iso().chars().take(16).map(|c| if c == ':' { '-' } else { c }).collect();
    let name = format!("polymarketspy-{what}-{time}.{}", format.as_str());
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, format.content_type()))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .streaming(body))
}

/// Aborts the download. Its status is sent already, so only the log and the broken connection can report the failure.
fn abort(error: impl std::error::Error + Send + Sync + 'static) -> actix_web::Error {
    tracing::error!(cause = &error as &dyn std::error::Error, "a download was aborted");
    WebError::ours(error).into()
}

async fn one_market(db: &Db, text: Option<&str>) -> Result<Option<MarketId>, WebError> {
    MarketSearch::read(db, text).await?.one(text)
}

impl PositionQuery {
    fn filter(&self) -> PositionFilter {
        PositionFilter { user: self.user, from: self.from, to: self.to }
    }
}

impl Source {
    async fn of(what: &str, query: &str, db: &Db) -> Result<(&'static [Column], Self), WebError> {
        Ok(match what {
            "trades" => (&TRADE_COLUMNS, Self::trades(&parsed(query)?, db).await?),
            "attempts" => (&ATTEMPT_COLUMNS, Self::attempts(&parsed(query)?, db).await?),
            "ledger" => {
                let PortfolioQuery { scope, user, from, to } = parsed(query)?;
                (&LEDGER_COLUMNS, Self::Ledger(LedgerFilter { scope, user, from, to }, 0))
            }
            "checks" => (&CHECK_COLUMNS, Self::Checks(parsed::<PositionQuery>(query)?.filter(), None)),
            "corrections" => {
                let filter = parsed::<PositionQuery>(query)?.filter();
                (&CORRECTION_COLUMNS, Self::Corrections(filter, CorrectionKey::default()))
            }
            "snapshots" => (&SNAPSHOT_COLUMNS, Self::snapshots(&parsed(query)?, db).await?),
            _ => return Err(WebError::NotFound),
        })
    }

    async fn trades(query: &TradeQuery, db: &Db) -> Result<Self, WebError> {
        let market = one_market(db, query.market.as_deref()).await?;
        Ok(Self::Trades(query.filter(market)?, None))
    }

    async fn attempts(query: &AttemptQuery, db: &Db) -> Result<Self, WebError> {
        let market = one_market(db, query.market.as_deref()).await?;
        Ok(Self::Attempts(query.filter(market)?, None))
    }

    /// Reads portfolio by portfolio: the two of each leader, then the global one.
    async fn snapshots(query: &PortfolioQuery, db: &Db) -> Result<Self, WebError> {
        let users = db.followed_users().await?;
        let users = users.iter().map(|user| user.id).filter(|user| query.user.is_none_or(|wanted| wanted == *user));
        let all = query.user.is_none().then_some(PortfolioId::ExecGlobal);
        let portfolios = users
            .flat_map(|user| [PortfolioId::ShadowUser(user), PortfolioId::ExecUser(user)])
            .chain(all)
            .filter(|portfolio| query.scope.is_none_or(|scope| scope == portfolio.scope()))
            .collect();
        // A point at `from` is included; the query returns points after the given time.
        let from = query.from.map_or(Timestamp::from_millis(i64::MIN), |from| from.plus_millis(-1));
        let to = query.to.unwrap_or(Timestamp::from_millis(i64::MAX));
        Ok(Self::Snapshots { portfolios, from, to, after: from }.unless_finished())
    }

    const fn is_finished(&self) -> bool {
        matches!(self, Self::Finished)
    }

    fn unless_finished(self) -> Self {
        match self {
            Self::Snapshots { portfolios, .. } if portfolios.is_empty() => Self::Finished,
            other => other,
        }
    }

    /// Reads the next part. Returns no rows at the end.
    async fn read(&mut self, db: &Db) -> Result<Vec<Vec<Cell>>, DbError> {
        let (rows, next) = match std::mem::replace(self, Self::Finished) {
            Self::Trades(filter, after) => {
                let part = db.export_trades(&filter, after, ROWS).await?;
                (part.rows, part.next.map(|next| Self::Trades(filter, Some(next))))
            }
            Self::Attempts(filter, after) => {
                let part = db.export_attempts(&filter, after, LONG_ROWS).await?;
                (part.rows, part.next.map(|next| Self::Attempts(filter, Some(next))))
            }
            Self::Ledger(filter, after) => {
                let part = db.export_ledger(&filter, after, ROWS).await?;
                (part.rows, part.next.map(|next| Self::Ledger(filter, next)))
            }
            Self::Checks(filter, after) => {
                let part = db.export_checks(&filter, after, ROWS).await?;
                (part.rows, part.next.map(|next| Self::Checks(filter, Some(next))))
            }
            Self::Corrections(filter, after) => {
                let part = db.export_corrections(&filter, after, ROWS).await?;
                (part.rows, part.next.map(|next| Self::Corrections(filter, next)))
            }
            Self::Snapshots { mut portfolios, from, to, after } => {
                let Some(portfolio) = portfolios.front().copied() else { return Ok(Vec::new()) };
                let part = db.export_snapshots(portfolio, (after, to), ROWS).await?;
                if part.next.is_none() {
                    portfolios.pop_front();
                }
                let after = part.next.unwrap_or(from);
                (part.rows, Some(Self::Snapshots { portfolios, from, to, after }.unless_finished()))
            }
            Self::Finished => (Vec::new(), None),
        };
        *self = next.unwrap_or(Self::Finished);
        Ok(rows)
    }
}

fn parsed<Q: DeserializeOwned>(query: &str) -> Result<Q, WebError> {
    Query::<Q>::from_query(query).map(Query::into_inner).map_err(|error| WebError::Mistake(error.to_string()))
}
