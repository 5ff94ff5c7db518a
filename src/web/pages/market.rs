//! `/markets/{id}`: the facts of a market, its last books, the slippage of our copies in it, and all holdings.

use std::collections::BTreeSet;

use actix_web::{
    HttpResponse,
    web::{Data, Path, Query},
};
use serde::{Deserialize, Serialize};

use super::explanation::slippage_of;
use super::markets::MarketState;
use crate::clock::Clock;
use crate::db::{Db, MadeCopy};
use crate::domain::accounting::ledger::PortfolioId;
use crate::domain::market::facts::{Market, MarketEvent};
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::web::charts::series::{Chart, Line, Pane, Range, Role, Span, Unit};
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::display_names::Names;
use crate::web::shell::page::{Page, PageContext};
use crate::web::views::attempts::{AttemptQuery, AttemptView};
use crate::web::views::market_quotes::{MarketPositionView, QuoteView};
use crate::web::views::trades::{TradeQuery, TradeView};

/// Number of copies that the slippage figures cover.
const COPIES_MOST: i64 = 500;
const ROWS: &str = "15";

/// The view behind the page.
#[derive(Debug, Serialize)]
pub struct MarketView {
    pub id: MarketId,
    pub question: String,
    pub slug: String,
    /// Null while the close is not known: there is no end date, or it is `passed_end_date`.
    pub close_time: Option<Timestamp>,
    /// The end date of a market that is open after it.
    pub passed_end_date: Option<Timestamp>,
    pub closes_in_ms: Option<i64>,
    pub resolved_at: Option<Timestamp>,
    pub active: bool,
    pub blacklisted: bool,
    pub neg_risk: bool,
    /// Gamma's id of the event that the market belongs to; null while it is not known.
    pub event_id: Option<String>,
    pub event_slug: Option<String>,
    /// Hostile text.
    pub event_title: Option<String>,
    pub state: MarketState,
    pub tick_micros: Option<PriceMicros>,
    pub min_share_micros: Option<ShareMicros>,
    pub fee_rate_micros: i64,
    pub fee_exponent: u32,
    /// False while the fee is the highest of the venue, because nothing has told the market's own.
    pub fee_known: bool,
    pub outcomes: Vec<OutcomeView>,
    /// The outcome whose price is charted.
    pub charted: Option<AssetId>,
    pub positions: Vec<MarketPositionView>,
    pub copies: CopiesView,
    pub attempts: Vec<AttemptView>,
    pub trades: Vec<TradeView>,
}

#[derive(Debug, Serialize)]
pub struct OutcomeView {
    pub asset_id: AssetId,
    pub outcome: String,
    pub outcome_index: i64,
    pub payout_micros: Option<PriceMicros>,
    /// The newest midpoint of the price refresher, which reads held assets only.
    pub midpoint_micros: Option<PriceMicros>,
    pub midpoint_time: Option<Timestamp>,
    pub quote: Option<QuoteView>,
    pub href: String,
}

/// Our prices in this market less the leaders' prices; positive is worse for us.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct CopiesView {
    pub n: usize,
    /// The average over all shares.
    pub average_price_micros: Option<i64>,
    pub worst_price_micros: Option<i64>,
    pub cost_micros: i64,
}

/// `?asset=…`: the outcome to chart.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketQuery {
    asset: Option<String>,
}

/// `?asset=…&range=24h`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesQuery {
    asset: Option<String>,
    #[serde(default)]
    range: Range,
}

impl MarketView {
    /// Reads the market with its books, copies and holdings.
    ///
    /// # Errors
    /// [`WebError::NotFound`] for a market without facts, trades and attempts; [`WebError::Mistake`] for an unknown
    /// `asset`.
    async fn load(db: &Db, id: MarketId, query: &MarketQuery, now: Timestamp) -> Result<Self, WebError> {
        let attempts = AttemptQuery { limit: Some(ROWS.to_owned()), ..AttemptQuery::default() };
        let attempts = AttemptView::listed(db, &attempts, Some(id.clone())).await?.data;
        let trades = TradeQuery { limit: Some(ROWS.to_owned()), ..TradeQuery::default() };
        let trades = TradeView::listed(db, &trades, Some(id.clone())).await?.data;
        let market = db.market(&id).await?;
        // A leader's trade may come before the facts of its market.
        let known = market.is_some() || !trades.is_empty() || !attempts.is_empty();
        let market = market.or_else(|| known.then(|| Market::unknown(id.clone()))).ok_or(WebError::NotFound)?;
        let outcomes = OutcomeView::all(db, &market, now).await?;
        let copies = db.copies_in(&id, Timestamp::EPOCH, COPIES_MOST).await?;
        let close_time = market.closes_after(now);
        let (event_id, event_slug, event_title) = match market.event {
            Some(MarketEvent { id, slug, title }) => (Some(id), Some(slug), Some(title)),
            None => (None, None, None),
        };
        let market = Market { event: None, ..market };
        Ok(Self {
            state: MarketState::of(&market),
            closes_in_ms: close_time.map(|close| close.millis_since(now)),
            charted: charted(&outcomes, query.asset.as_deref())?,
            outcomes,
            positions: positions(db, &id, now).await?,
            copies: CopiesView::of(&copies),
            attempts,
            trades,
            id,
            question: market.question,
            slug: market.slug,
            passed_end_date: market.close_time.filter(|_| close_time.is_none()),
            close_time,
            resolved_at: market.resolved_at,
            active: market.active,
            blacklisted: market.blacklisted,
            neg_risk: market.neg_risk,
            event_id,
            event_slug,
            event_title,
            tick_micros: market.tick,
            min_share_micros: market.min_shares,
            fee_rate_micros: market.fee.rate_micros,
            fee_exponent: market.fee.exponent,
            fee_known: market.fee_known,
        })
    }
}

impl OutcomeView {
    async fn all(db: &Db, market: &Market, now: Timestamp) -> Result<Vec<Self>, WebError> {
        let guardrails = db.global_config().await?.guardrails;
        let assets: Vec<AssetId> = market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect();
        let midpoints = db.newest_prices(&assets).await?;
        let mut views = Vec::with_capacity(market.outcomes.len());
        for outcome in &market.outcomes {
            let midpoint = midpoints.get(&outcome.asset);
            views.push(Self {
                asset_id: outcome.asset.clone(),
                outcome: outcome.outcome.clone(),
                outcome_index: outcome.index,
                payout_micros: outcome.payout,
                midpoint_micros: midpoint.map(|(_, price)| *price),
                midpoint_time: midpoint.map(|(at, _)| *at),
                quote: QuoteView::load(db, outcome, &guardrails, now).await?,
                href: format!("/markets/{}?asset={}", market.id, outcome.asset),
            });
        }
        Ok(views)
    }
}

/// Returns the outcome to chart: the requested one, else the one with the newest price, else the first.
fn charted(outcomes: &[OutcomeView], asked: Option<&str>) -> Result<Option<AssetId>, WebError> {
    if let Some(asked) = asked {
        let found = outcomes.iter().find(|outcome| outcome.asset_id.as_str() == asked);
        let text: String = asked.chars().take(100).collect();
        let mistake = || WebError::Mistake(format!("`asset`: `{text}` is not an outcome of this market"));
        return found.map(|outcome| Some(outcome.asset_id.clone())).ok_or_else(mistake);
    }
    let freshest = outcomes.iter().rev().max_by_key(|outcome| outcome.midpoint_time);
    Ok(freshest.map(|outcome| outcome.asset_id.clone()))
}

/// Returns the holdings of every portfolio in `market`. Only leaders who were ever active in it can hold something.
async fn positions(db: &Db, market: &MarketId, now: Timestamp) -> Result<Vec<MarketPositionView>, WebError> {
    let names = Names::load(db, [market]).await?;
    let leaders: BTreeSet<FollowedUserId> = db.leaders_in(market).await?.into_iter().collect();
    let mut portfolios = vec![PortfolioId::ExecGlobal];
    portfolios
        .extend(leaders.into_iter().flat_map(|user| [PortfolioId::ExecUser(user), PortfolioId::ShadowUser(user)]));
    let mut positions = Vec::new();
    for id in portfolios {
        let portfolio = db.running_portfolio(id, now).await?.portfolio;
        positions.extend(MarketPositionView::in_market(&portfolio, market, &names));
    }
    Ok(positions)
}

impl CopiesView {
    fn of(copies: &[MadeCopy]) -> Self {
        let (mut shares, mut weighted, mut cost, mut worst) = (0_i128, 0_i128, 0_i64, None);
        for copy in copies {
            let Some(slippage) = slippage_of(copy.side, (copy.notional, copy.shares), copy.vwap, copy.theirs) else {
                continue;
            };
            shares += i128::from(copy.shares.0);
            weighted += i128::from(copy.shares.0) * i128::from(slippage.price_micros);
            cost = cost.saturating_add(slippage.cost_micros);
            worst = worst.max(Some(slippage.price_micros));
        }
        let average = weighted.checked_div_euclid(shares).and_then(|micros| i64::try_from(micros).ok());
        Self { n: copies.len(), average_price_micros: average, worst_price_micros: worst, cost_micros: cost }
    }
}

/// The variables of the template: the view and the sources of its charts.
#[derive(Serialize)]
struct MarketPage<'a> {
    #[serde(flatten)]
    view: &'a MarketView,
    chart_title: Option<String>,
    chart_src: Option<String>,
    slippage_src: String,
}

fn market_id(text: &str) -> Result<MarketId, WebError> {
    MarketId::parse(text).map_err(|_| WebError::NotFound)
}

/// Answers `GET /markets/{id}`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown market; [`WebError::Mistake`] for an unknown `asset`.
pub async fn page(context: PageContext, id: Path<String>, query: Query<MarketQuery>) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let view = MarketView::load(&context.db, market_id(&id)?, &query, context.now()).await?;
    let charted = view.outcomes.iter().find(|outcome| Some(&outcome.asset_id) == view.charted.as_ref());
    let series = format!("/api/series/market/{}", view.id);
    let page = MarketPage {
        chart_title: charted.map(|outcome| format!("Price of {}", outcome.outcome)),
        chart_src: charted.map(|outcome| format!("{series}?asset={}", outcome.asset_id)),
        slippage_src: format!("{series}/slippage"),
        view: &view,
    };
    context.page(Page::Market, &position, &page).await
}

/// Answers `GET /api/series/market/{id}`: the midpoints of one outcome, by default the first.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown market; [`WebError::Mistake`] for an invalid `asset`.
pub async fn prices(
    db: Data<Db>,
    clock: Data<Clock>,
    id: Path<String>,
    query: Query<SeriesQuery>,
) -> Result<Json<Chart>, WebError> {
    let market = db.market(&market_id(&id)?).await?.ok_or(WebError::NotFound)?;
    let asset = match query.asset.as_deref() {
        Some(text) => AssetId::parse(text).map_err(|error| WebError::Mistake(format!("`asset`: {error}")))?,
        None => market.outcomes.first().map(|outcome| outcome.asset.clone()).ok_or(WebError::NotFound)?,
    };
    let first = match query.range {
        Range::All => db.price_curve_start(&asset).await?,
        _ => None,
    };
    let now = clock.now();
    let span = query.range.span(now, first);
    // Prices are stored twice a minute, so the newest may belong to the current minute.
    let curve = db.price_curve(&asset, (span.from, now), span.stretch_ms).await?;
    let points: Vec<(Timestamp, i64)> = curve.into_iter().map(|(at, price)| (at, price.micros())).collect();
    Ok(Json(chart(query.range, span, &points, "Midpoint", Role::Main)))
}

/// Answers `GET /api/series/market/{id}/slippage`: each copy's price less the leader's, above zero where ours was worse.
///
/// # Errors
/// [`WebError::NotFound`] for a text that is not a market id.
pub async fn slippage(
    db: Data<Db>,
    clock: Data<Clock>,
    id: Path<String>,
    query: Query<SeriesQuery>,
) -> Result<Json<Chart>, WebError> {
    let id = market_id(&id)?;
    let all = query.range == Range::All;
    let since = if all { Timestamp::EPOCH } else { query.range.span(clock.now(), None).from };
    let copies = db.copies_in(&id, since, COPIES_MOST).await?;
    let span = query.range.span(clock.now(), copies.first().filter(|_| all).map(|copy| copy.at));
    let point = |copy: &MadeCopy| {
        let slippage = slippage_of(copy.side, (copy.notional, copy.shares), copy.vwap, copy.theirs)?;
        Some((copy.at, slippage.price_micros))
    };
    let points: Vec<(Timestamp, i64)> = copies.iter().filter_map(point).collect();
    Ok(Json(chart(query.range, span, &points, "Worse than the leader by", Role::Dots)))
}

fn chart(range: Range, span: Span, points: &[(Timestamp, i64)], label: &'static str, role: Role) -> Chart {
    let values = points.iter().map(|(_, value)| Some(*value)).collect();
    Chart {
        range,
        from: span.from,
        // The chart includes a copy of the current minute.
        to: points.last().map_or(span.to, |(at, _)| span.to.max(*at)),
        stretch_seconds: span.stretch_ms / 1_000,
        times: points.iter().map(|(at, _)| at.seconds()).collect(),
        panes: vec![Pane { unit: Unit::PriceMicros, lines: vec![Line { label, role, values }] }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::accounting::ledger::PortfolioScope;
    use crate::domain::events::event::Side;
    use crate::domain::money::units::UsdcMicros;

    fn copy(side: Side, shares: i64, vwap: i64, theirs: i64) -> MadeCopy {
        let vwap = PriceMicros::new(vwap).unwrap();
        let shares = ShareMicros(shares * 1_000_000);
        MadeCopy {
            at: Timestamp::EPOCH,
            scope: PortfolioScope::ExecGlobal,
            side,
            shares,
            notional: UsdcMicros(vwap.micros() * shares.0 / 1_000_000),
            vwap,
            theirs: PriceMicros::new(theirs).unwrap(),
        }
    }

    #[test]
    fn slippage_is_worse_when_a_buyer_pays_more_or_a_seller_gets_less() {
        assert_eq!(CopiesView::of(&[]), CopiesView::default());
        let copies = [copy(Side::Buy, 30, 520_000, 500_000), copy(Side::Sell, 10, 500_000, 460_000)];
        let expected = CopiesView {
            n: 2,
            average_price_micros: Some(5_000),
            worst_price_micros: Some(20_000),
            cost_micros: 600_000 - 400_000,
        };
        assert_eq!(CopiesView::of(&copies), expected);
    }
}
