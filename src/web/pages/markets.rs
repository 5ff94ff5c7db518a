//! `/markets`: the markets that we hold or leaders trade, with the last book of each, and the blacklist switch.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::db::{Db, DbError, TradedMarket};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::config::effective::Guardrails;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::MarketId;
use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{Timestamp, UsdcMicros};
use crate::web::auth::csrf::CsrfForm;
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::server::middleware::Hosts;
use crate::web::shell::display_names::Names;
use crate::web::shell::flash::Flash;
use crate::web::shell::page::{Page, PageContext};
use crate::web::shell::pagination::{address, given, word};
use crate::web::views::market_quotes::{MarketPositionView, QuoteView};

const ROWS: usize = 50;
/// Maximum number of markets found by text, and of blacklisted markets.
const FOUND_MOST: i64 = 500;
const HOUR_MS: i64 = 3_600_000;

/// Which markets to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MarketFilter {
    /// Held or traded in the period.
    #[default]
    All,
    Held,
    Traded,
    Blacklisted,
}
text_enum!(MarketFilter { All => "all", Held => "held", Traded => "traded", Blacklisted => "blacklisted" });

/// The time over which trades and attempts are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Period {
    #[default]
    Day,
    Week,
}
text_enum!(Period { Day => "24h", Week => "7d" });

impl MarketFilter {
    const fn title(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Held => "Held",
            Self::Traded => "Traded",
            Self::Blacklisted => "Blacklisted",
        }
    }
}

impl Period {
    const fn title(self) -> &'static str {
        match self {
            Self::Day => "24 h",
            Self::Week => "7 d",
        }
    }
}

/// `?q=rain&show=held&period=7d&cursor=…`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MarketsQuery {
    q: Option<String>,
    show: Option<String>,
    period: Option<String>,
    cursor: Option<String>,
}

/// The page; its list is `/api/markets`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MarketsView {
    /// The rows.
    pub data: Vec<MarketRow>,
    /// The `cursor` of the next, older page; null at the end.
    pub next_cursor: Option<String>,
}

/// A row of `market` with its figures.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct MarketRow {
    /// The market, by its condition id.
    pub id: MarketId,
    /// The same as `id`.
    pub condition_id: MarketId,
    /// The question of the market; hostile text, empty when unknown.
    pub question: String,
    /// The part of the market in the address of its page at Polymarket; hostile text.
    pub slug: String,
    /// The end date of the venue. It may have passed while the market is open.
    pub close_time: Option<Timestamp>,
    /// When the market was resolved; null while it is not.
    pub resolved_at: Option<Timestamp>,
    /// Whether the market trades.
    pub active: bool,
    /// Whether copies in this market are refused.
    pub blacklisted: bool,
    /// Whether the market is one of several of which exactly one pays.
    pub neg_risk: bool,
    /// Whether the market is open, closed or resolved.
    pub state: MarketState,
    /// The time until the close; negative after it. Null while the close is not known: there is no end date, or it has
    /// passed while the market is open.
    pub closes_in_ms: Option<i64>,
    /// When a leader's last trade happened.
    pub last_trade: Option<Timestamp>,
    /// The leaders' trades in the period; then our attempts and our copies.
    pub n_trades: i64,
    /// Number of our attempts in the period.
    pub n_attempts: i64,
    /// Number of our copies in the period.
    pub n_executed: i64,
    /// The quote of the outcome with the newest book.
    pub quote: Option<QuoteView>,
    /// The lots of EXEC_GLOBAL in the market.
    pub positions: Vec<MarketPositionView>,
    /// The value of `positions`, in millionths of a USDC.
    pub position_value_micros: Option<UsdcMicros>,
}

/// The state of a market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MarketState {
    Open,
    Closed,
    Resolved,
}

impl MarketState {
    /// Returns the state of `market` as the venue tells it. An end date in the past does not close a market that takes
    /// orders (spec 7.3).
    pub fn of(market: &Market) -> Self {
        match market.resolved_at {
            Some(_) => Self::Resolved,
            None if market.is_open() => Self::Open,
            None => Self::Closed,
        }
    }
}

/// The position of a market in the list, which has the newest trade first and untraded markets last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct MarketCursor {
    /// The time of the last trade in ms, negated; the largest value for a market without trades.
    before: i64,
    id: MarketId,
}

impl MarketCursor {
    fn text(&self) -> String {
        format!("{}.{}", self.before, self.id)
    }

    fn read(text: Option<&str>) -> Result<Option<Self>, WebError> {
        let Some(text) = given(text) else { return Ok(None) };
        let read = text
            .split_once('.')
            .and_then(|(before, id)| Some(Self { before: before.parse().ok()?, id: MarketId::parse(id).ok()? }));
        read.map(Some).ok_or_else(|| WebError::Mistake("`cursor` is invalid".to_owned()))
    }
}

impl MarketsView {
    /// Reads one page of the list.
    ///
    /// # Errors
    /// [`WebError::Mistake`] that names the invalid parameter.
    pub async fn load(db: &Db, query: &MarketsQuery, now: Timestamp) -> Result<Self, WebError> {
        let show: MarketFilter = word("show", query.show.as_deref())?.unwrap_or_default();
        let since = query.since(now)?;
        let start = MarketCursor::read(query.cursor.as_deref())?;
        let traded = db.traded_markets(since).await?;
        let traded: BTreeMap<MarketId, TradedMarket> =
            traded.into_iter().map(|one| (one.market.clone(), one)).collect();
        let portfolio = db.running_portfolio(PortfolioId::ExecGlobal, now).await?.portfolio;
        let held: BTreeSet<MarketId> = portfolio.lots().filter_map(|lot| lot.market).collect();
        let ids = matching_markets(db, query, show, &traded, &held).await?;

        let position = |id: MarketId| {
            let last = traded.get(&id).map_or(i64::MIN, |one| one.last_trade.millis());
            MarketCursor { before: last.saturating_neg(), id }
        };
        let mut cursors: Vec<MarketCursor> = ids.into_iter().map(position).collect();
        cursors.sort_unstable();
        cursors.retain(|cursor| start.as_ref().is_none_or(|start| cursor > start));
        let next_cursor = (cursors.len() > ROWS).then(|| cursors[ROWS - 1].text());
        cursors.truncate(ROWS);

        let ids: Vec<MarketId> = cursors.into_iter().map(|cursor| cursor.id).collect();
        let names = Names::load(db, ids.iter()).await?;
        let mut positions = MarketPositionView::by_market(&portfolio, &names);
        let guardrails = db.global_config().await?.guardrails;
        let reader = RowReader { db, names: &names, guardrails, since, now };
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            let (one, held) = (traded.get(&id), positions.remove(&id).unwrap_or_default());
            rows.push(reader.row(id, one, held).await?);
        }
        Ok(Self { data: rows, next_cursor })
    }
}

/// Returns the markets that match `show` and the text. A text finds every known market, traded or not.
async fn matching_markets(
    db: &Db,
    query: &MarketsQuery,
    show: MarketFilter,
    traded: &BTreeMap<MarketId, TradedMarket>,
    held: &BTreeSet<MarketId>,
) -> Result<BTreeSet<MarketId>, WebError> {
    let of_kind: BTreeSet<MarketId> = match show {
        MarketFilter::All => traded.keys().chain(held).cloned().collect(),
        MarketFilter::Held => held.clone(),
        MarketFilter::Traded => traded.keys().cloned().collect(),
        MarketFilter::Blacklisted => db.blacklisted_markets(FOUND_MOST).await?.into_iter().collect(),
    };
    let Some(text) = given(query.q.as_deref()) else { return Ok(of_kind) };
    let found: BTreeSet<MarketId> = match MarketId::parse(text) {
        Ok(id) => BTreeSet::from([id]),
        Err(_) => db.search_markets(text, FOUND_MOST).await?.into_iter().collect(),
    };
    Ok(if show == MarketFilter::All { found } else { found.intersection(&of_kind).cloned().collect() })
}

/// Reads the rows of the list; it holds the values that all rows share.
struct RowReader<'a> {
    db: &'a Db,
    names: &'a Names,
    guardrails: Guardrails,
    since: Timestamp,
    now: Timestamp,
}

impl RowReader<'_> {
    /// Reads one row with about five queries, so a full page of [`ROWS`] rows makes some 250.
    async fn row(
        &self,
        id: MarketId,
        traded: Option<&TradedMarket>,
        positions: Vec<MarketPositionView>,
    ) -> Result<MarketRow, DbError> {
        let Self { db, now, .. } = *self;
        let market = self.names.facts(&id).cloned().unwrap_or_else(|| Market::unknown(id.clone()));
        let attempts = db.attempts_in(&id, self.since).await?;
        let last_trade = match traded {
            Some(traded) => Some(traded.last_trade),
            None => db.last_trade_in(&id).await?,
        };
        Ok(MarketRow {
            state: MarketState::of(&market),
            closes_in_ms: market.closes_after(now).map(|close| close.millis_since(now)),
            last_trade,
            n_trades: db.count_trades_in(&id, self.since).await?,
            n_attempts: attempts.attempts,
            n_executed: attempts.executed,
            quote: QuoteView::freshest(db, &market, &self.guardrails, now).await?,
            position_value_micros: value_of(&positions),
            positions,
            condition_id: id.clone(),
            id,
            question: market.question,
            slug: market.slug,
            close_time: market.close_time,
            resolved_at: market.resolved_at,
            active: market.active,
            blacklisted: market.blacklisted,
            neg_risk: market.neg_risk,
        })
    }
}

/// Returns the value of the lots; `None` without lots or when the sum does not fit.
fn value_of(positions: &[MarketPositionView]) -> Option<UsdcMicros> {
    let sum = |sum: UsdcMicros, position: &MarketPositionView| sum.plus(position.value_micros).ok();
    if positions.is_empty() { None } else { positions.iter().try_fold(UsdcMicros::ZERO, sum) }
}

/// The variables of the template: the list and its filters.
#[derive(Serialize)]
struct MarketsPage {
    #[serde(flatten)]
    list: MarketsView,
    q: String,
    show: MarketFilter,
    period: Period,
    shows: Vec<FilterLink>,
    periods: Vec<FilterLink>,
    clear_href: Option<String>,
    older_href: Option<String>,
    newest_href: Option<String>,
}

#[derive(Serialize)]
struct FilterLink {
    text: &'static str,
    href: String,
    current: bool,
}

impl MarketsQuery {
    fn since(&self, now: Timestamp) -> Result<Timestamp, WebError> {
        let hours = match word("period", self.period.as_deref())?.unwrap_or_default() {
            Period::Day => 24,
            Period::Week => 7 * 24,
        };
        Ok(now.plus_millis(-hours * HOUR_MS))
    }

    fn href(&self, show: MarketFilter, period: Period, cursor: Option<&str>) -> String {
        let show = (show != MarketFilter::default()).then_some(show.as_str());
        let period = (period != Period::default()).then_some(period.as_str());
        let parameters = [("q", self.q.as_deref()), ("show", show), ("period", period), ("cursor", cursor)];
        address("/markets", &parameters)
    }

    fn page(&self, list: MarketsView) -> Result<MarketsPage, WebError> {
        let show = word("show", self.show.as_deref())?.unwrap_or_default();
        let period = word("period", self.period.as_deref())?.unwrap_or_default();
        let narrowed = given(self.q.as_deref()).is_some() || show != MarketFilter::default();
        Ok(MarketsPage {
            q: given(self.q.as_deref()).unwrap_or_default().to_owned(),
            shows: MarketFilter::ALL
                .iter()
                .map(|one| FilterLink { text: one.title(), href: self.href(*one, period, None), current: *one == show })
                .collect(),
            periods: Period::ALL
                .iter()
                .map(|one| FilterLink { text: one.title(), href: self.href(show, *one, None), current: *one == period })
                .collect(),
            clear_href: narrowed.then(|| Self::default().href(MarketFilter::default(), period, None)),
            older_href: list.next_cursor.as_deref().map(|cursor| self.href(show, period, Some(cursor))),
            newest_href: given(self.cursor.as_deref()).map(|_| self.href(show, period, None)),
            show,
            period,
            list,
        })
    }
}

/// Answers `GET /markets`.
///
/// # Errors
/// [`WebError::Mistake`] that names the invalid parameter.
pub async fn page(context: PageContext, query: Query<MarketsQuery>) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let page = query.page(MarketsView::load(&context.db, &query, context.now()).await?)?;
    context.page(Page::Markets, &position, &page).await
}

/// Answers `GET /api/markets`.
///
/// # Errors
/// [`WebError::Mistake`] that names the invalid parameter.
pub async fn json(db: Data<Db>, clock: Data<Clock>, query: Query<MarketsQuery>) -> Result<Json<MarketsView>, WebError> {
    Ok(Json(MarketsView::load(&db, &query, clock.now()).await?))
}

/// The body of `POST /api/markets/{id}`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BlacklistForm {
    /// True to refuse copies in the market, false to allow them.
    blacklisted: bool,
}

/// The answer of `POST /api/markets/{id}`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BlacklistAnswer {
    /// The market, by its condition id.
    id: MarketId,
    /// Whether copies in this market are refused.
    blacklisted: bool,
}

/// Answers `POST /markets/{id}`: puts the market on the blacklist or takes it off, from any page with the switch.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown market.
pub async fn post(
    submitted: CsrfForm<BlacklistForm>,
    db: Data<Db>,
    clock: Data<Clock>,
    hosts: Data<Hosts>,
    id: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, WebError> {
    let market = set_blacklisted(&db, &clock, &submitted, &id).await?;
    // A flash message is stored in a cookie, which has room for short texts only.
    let name: String = match market.question.is_empty() {
        true => market.id.as_str().chars().take(12).collect(),
        false => market.question.chars().take(80).collect(),
    };
    let (text, back) = match submitted.form.blacklisted {
        true => (format!("Nothing new is opened in \u{201c}{name}\u{201d}. What is held can still be sold."), "false"),
        false => (format!("Copies may be opened in \u{201c}{name}\u{201d} again."), "true"),
    };
    let flash = Flash::new(text).undo(format!("/markets/{}", market.id), &[("blacklisted", back)]);
    flash.then(&submitted.session, &hosts.path_of_referer(request.headers()))
}

/// Answers `POST /api/markets/{id}`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown market.
pub async fn post_json(
    submitted: CsrfForm<BlacklistForm>,
    db: Data<Db>,
    clock: Data<Clock>,
    id: Path<String>,
) -> Result<Json<BlacklistAnswer>, WebError> {
    let market = set_blacklisted(&db, &clock, &submitted, &id).await?;
    Ok(Json(BlacklistAnswer { id: market.id, blacklisted: submitted.form.blacklisted }))
}

async fn set_blacklisted(
    db: &Db,
    clock: &Clock,
    submitted: &CsrfForm<BlacklistForm>,
    id: &str,
) -> Result<Market, WebError> {
    let id = MarketId::parse(id).map_err(|_| WebError::NotFound)?;
    let market = db.market(&id).await?.ok_or(WebError::NotFound)?;
    let who = &submitted.visitor.who;
    db.set_blacklisted(&id, submitted.form.blacklisted, who, clock.now()).await?;
    Ok(market)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_from_its_text_and_the_newest_trade_comes_first() {
        let id = |n: u8| MarketId::parse(&format!("0x{n:064x}")).unwrap();
        let cursor = |at: i64, n: u8| MarketCursor { before: -at, id: id(n) };
        let mut cursors = [MarketCursor { before: i64::MIN.saturating_neg(), id: id(1) }, cursor(5, 2), cursor(9, 3)];
        cursors.sort();
        assert_eq!(cursors.clone().map(|cursor| cursor.id), [id(3), id(2), id(1)]);
        for cursor in cursors {
            assert_eq!(MarketCursor::read(Some(&cursor.text())).unwrap(), Some(cursor));
        }
        assert!(matches!(MarketCursor::read(Some("nonsense")), Err(WebError::Mistake(_))));
        assert!(matches!(MarketCursor::read(None), Ok(None)));
    }

    #[test]
    fn a_market_is_open_while_the_venue_takes_orders_even_after_its_end_date() {
        let now = Timestamp::from_millis(1_000);
        let blank = Market::unknown(MarketId::parse(&format!("0x{:064x}", 1)).unwrap());
        let check = |market: Market, state| assert_eq!(MarketState::of(&market), state);
        check(blank.clone(), MarketState::Open);
        check(Market { close_time: Some(now), ..blank.clone() }, MarketState::Open);
        check(Market { close_time: Some(now), accepts_orders: false, ..blank.clone() }, MarketState::Closed);
        check(Market { active: false, ..blank.clone() }, MarketState::Closed);
        check(Market { resolved_at: Some(now), ..blank }, MarketState::Resolved);
    }
}
