//! `/attempts/{id}`: one decision with everything it was based on: the leader's group, every check, the book, the levels
//! that a copy took from it, and a timeline.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use serde::Serialize;
use uuid::Uuid;

use crate::db::{AttemptDetail as StoredAttempt, BookOutcome, Db, DbError};
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::config::effective::{Field, FieldUnit, FieldValue, StoredConfig, effective};
use crate::domain::decision::check::Verdict;
use crate::domain::decision::exit::ExitBasis;
use crate::domain::decision::explanation::{DecisionKind, Explanation};
use crate::domain::events::event::{ActivityEvent, Side, TradeEvent};
use crate::domain::events::group::{EventGroup, GroupKind, Member};
use crate::domain::market::book::{Level, OrderBook};
use crate::domain::market::book_walk::LevelFill;
use crate::domain::money::ids::{AttemptId, EventId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::web::charts::ladder::{Ladder, Marked};
use crate::web::config::change::ChangedValue;
use crate::web::config::display_units;
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::shell::page::{Page, PageContext};
use crate::web::shell::pagination::given;
use crate::web::views::attempts::AttemptView;
use crate::web::views::check_words::CheckView;

/// The page, and `/api/copy-attempts/{id}`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ExplanationView {
    #[serde(flatten)]
    pub attempt: AttemptView,
    /// The recorded explanation, as it was stored with the decision.
    pub explain_json: Explanation,
    /// The levels that a copy took from the book.
    pub executable_fills: Vec<FillView>,
    /// The leader's group of fills.
    pub group: GroupView,
    /// The checks, in the order in which they were made.
    pub checks: Vec<CheckView>,
    /// Number of failed checks.
    pub n_failed: usize,
    /// Null when nothing was filled.
    pub slippage: Option<AttemptSlippage>,
    /// Null when no book was fetched.
    pub book: Option<BookView>,
    /// The steps from the leader's fill to the decision.
    pub timeline: Vec<TimelineStep>,
    /// The settings of the decision; null when the leader's settings have changed since.
    pub settings: Option<Vec<SettingView>>,
    /// The decision on the same group in the other portfolio.
    pub other: Option<OtherAttemptView>,
    /// Who asked for a close by hand: an e-mail or `command line`; null for a copy.
    pub asked_by: Option<String>,
}

/// A row of `executable_fill`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FillView {
    /// The filled shares, in millionths of a share.
    pub filled_share_micros: ShareMicros,
    /// The price of one share, in millionths of a USDC.
    pub fill_price_micros: PriceMicros,
    /// The cost or the proceeds of the level, in millionths of a USDC.
    pub fill_notional_micros: UsdcMicros,
}

/// The leader's group of fills.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct GroupView {
    /// The number of shares, in millionths of a share.
    pub share_micros: ShareMicros,
    /// Price times shares, in millionths of a USDC.
    pub notional_micros: UsdcMicros,
    /// The leader's average price of one share, in millionths of a USDC; null where the group is no trade.
    pub reference_price_micros: Option<PriceMicros>,
    /// When it happened.
    pub event_time: Timestamp,
    /// When we saw it first.
    pub detect_time: Timestamp,
    /// When the group was opened.
    pub window_start: Timestamp,
    /// The rows of the group.
    pub members: Vec<MemberView>,
}

/// One member of the group: a fill or another row of the leader.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MemberView {
    /// The event.
    pub id: EventId,
    /// The hash of the transaction on the chain.
    pub tx_hash: String,
    /// When it happened.
    pub event_time: Timestamp,
    /// When we saw it first.
    pub detect_time: Timestamp,
    /// The price of one share, in millionths of a USDC; null where the row is no trade.
    pub price_micros: Option<PriceMicros>,
    /// The number of shares, in millionths of a share.
    pub share_micros: ShareMicros,
    /// Price times shares, in millionths of a USDC.
    pub notional_micros: UsdcMicros,
}

/// Our price less the leader's; positive is worse for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct AttemptSlippage {
    /// For one share, in millionths of a USDC.
    pub price_micros: i64,
    /// For all filled shares, in millionths of a USDC.
    pub cost_micros: i64,
}

/// The book of the group, or the reason why there is none.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BookView {
    /// When the book was fetched.
    pub fetched_at: Timestamp,
    /// The reason why there is no book.
    pub unavailable: Option<String>,
    /// The book; null when there is none.
    pub ladder: Option<Ladder>,
    /// Best ask less best bid, in millionths of a USDC.
    pub spread_micros: Option<PriceMicros>,
}

/// One step from the leader's fill to the decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TimelineStep {
    /// The step in words.
    pub what: &'static str,
    /// When it happened.
    pub at: Timestamp,
    /// The time since the previous step; negative where clocks disagree.
    pub after_ms: Option<i64>,
}

/// A setting of the decision.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SettingView {
    /// The name of the setting.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// The unit of the values.
    pub unit: FieldUnit,
    /// The value, in its unit: a number, where 1 or 0 is a flag; the word of a choice; a list of tags.
    #[schema(value_type = serde_json::Value)]
    pub value: ChangedValue,
    /// The value, as pages show it.
    pub text: String,
}

/// The decision in the other portfolio.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct OtherAttemptView {
    /// The attempt.
    pub id: AttemptId,
    /// The kind of portfolio.
    pub portfolio_scope: PortfolioScope,
    /// Whether we copied.
    pub decision: DecisionKind,
}

impl ExplanationView {
    /// Reads the attempt `id` with its group, book and settings.
    ///
    /// # Errors
    /// [`WebError::NotFound`] when there is no such attempt.
    pub async fn load(db: &Db, id: AttemptId) -> Result<Self, WebError> {
        let stored = db.attempt(id).await?.ok_or(WebError::NotFound)?;
        let group = db.group(stored.listed.attempt.group_id).await?;
        let group = group.ok_or(WebError::NotFound)?;
        Ok(Self::of(db, stored, group).await?)
    }

    async fn of(db: &Db, stored: StoredAttempt, group: EventGroup) -> Result<Self, DbError> {
        let attempt = &stored.listed.attempt;
        let side = stored.listed.side;
        let view = AttemptView::of_one(db, &stored.listed).await?;
        let explanation = attempt.explanation.clone();
        let book_side = group.action.book_side();
        let checks: Vec<CheckView> = explanation.checks.iter().map(|check| CheckView::new(check, book_side)).collect();
        let is_close = group.action.kind() == GroupKind::Close;
        let asked_by = if is_close { db.close_asked_by(&group).await? } else { None };
        let settings = settings_of(db, &stored).await?;
        let window_ms = settings.as_ref().and_then(|settings| {
            let window = settings.iter().find(|setting| setting.name == "aggregationWindowMs")?;
            window.value.number()
        });
        Ok(Self {
            n_failed: checks.iter().filter(|check| check.verdict == Verdict::Fail).count(),
            checks,
            slippage: side.and_then(|side| {
                let filled = (attempt.filled_notional, attempt.filled_shares);
                slippage_of(side, filled, attempt.vwap?, attempt.their_reference_price?)
            }),
            book: stored.book.as_ref().map(|outcome| BookView::new(outcome, &stored, book_side)),
            timeline: timeline(&group, stored.book.as_ref(), &explanation, window_ms),
            settings,
            other: other(db, &stored).await?,
            asked_by,
            executable_fills: stored.fills.iter().map(FillView::from).collect(),
            group: GroupView::load(db, group).await?,
            explain_json: explanation,
            attempt: view,
        })
    }
}

impl From<&LevelFill> for FillView {
    fn from(fill: &LevelFill) -> Self {
        Self { filled_share_micros: fill.shares, fill_price_micros: fill.price, fill_notional_micros: fill.notional }
    }
}

impl GroupView {
    async fn load(db: &Db, group: EventGroup) -> Result<Self, DbError> {
        let (mut trades, mut activities) = (Vec::new(), Vec::new());
        for member in db.members(group.id).await? {
            match member {
                Member::Trade(id) => trades.push(id),
                Member::Activity(id) => activities.push(id),
            }
        }
        let mut members: Vec<MemberView> = db.trades_by_id(&trades).await?.into_iter().map(MemberView::from).collect();
        members.extend(db.activities_by_id(&activities).await?.into_iter().map(MemberView::from));
        members.sort_by_key(|member| (member.event_time, member.detect_time, member.id));
        Ok(Self {
            share_micros: group.shares,
            notional_micros: group.notional,
            reference_price_micros: group.reference_price,
            event_time: group.event_time,
            detect_time: group.detect_time,
            window_start: group.window_start,
            members,
        })
    }
}

impl From<TradeEvent> for MemberView {
    fn from(trade: TradeEvent) -> Self {
        Self {
            id: trade.id,
            tx_hash: trade.tx_hash,
            event_time: trade.event_time,
            detect_time: trade.detect_time,
            price_micros: Some(trade.price),
            share_micros: trade.shares,
            notional_micros: trade.notional,
        }
    }
}

impl From<ActivityEvent> for MemberView {
    fn from(activity: ActivityEvent) -> Self {
        Self {
            id: activity.id,
            tx_hash: activity.payload.tx_hash,
            event_time: activity.event_time,
            detect_time: activity.detect_time,
            price_micros: None,
            share_micros: activity.payload.share_micros,
            notional_micros: activity.payload.cash_micros,
        }
    }
}

impl BookView {
    fn new(outcome: &BookOutcome, stored: &StoredAttempt, side: Option<Side>) -> Self {
        let attempt = &stored.listed.attempt;
        let blank = Self { fetched_at: outcome.fetched_at, unavailable: None, ladder: None, spread_micros: None };
        let book = match &outcome.book {
            Ok(book) => book,
            Err(reason) => return Self { unavailable: Some(reason.clone()), ..blank },
        };
        let pairs = |levels: &[Level]| -> Vec<(PriceMicros, ShareMicros)> {
            levels.iter().map(|level| (level.price, level.shares)).collect()
        };
        let book = match OrderBook::from_levels(pairs(&book.bids), pairs(&book.asks)) {
            Ok(book) => book,
            Err(error) => return Self { unavailable: Some(error.to_string()), ..blank },
        };
        let marked = Marked {
            limit: attempt.explanation.limit_price_micros,
            theirs: attempt.their_reference_price,
            mid: attempt.mid_at_decision,
            fills: &stored.fills,
        };
        let ladder = Ladder::new(&book, marked, side != Some(Side::Sell));
        Self { ladder: Some(ladder), spread_micros: Some(book.spread()), ..blank }
    }
}

/// Compares `notional` for `shares` with the cash for the same shares at the leader's price. `None` when a sum does not
/// fit.
pub fn slippage_of(
    side: Side,
    (notional, shares): (UsdcMicros, ShareMicros),
    vwap: PriceMicros,
    theirs: PriceMicros,
) -> Option<AttemptSlippage> {
    let at_theirs = theirs.proceeds_of(shares).ok()?;
    let (price_micros, cost_micros) = match side {
        Side::Buy => (vwap.micros().checked_sub(theirs.micros())?, notional.0.checked_sub(at_theirs.0)?),
        Side::Sell => (theirs.micros().checked_sub(vwap.micros())?, at_theirs.0.checked_sub(notional.0)?),
    };
    Some(AttemptSlippage { price_micros, cost_micros })
}

fn timeline(
    group: &EventGroup,
    book: Option<&BookOutcome>,
    explanation: &Explanation,
    window_ms: Option<i64>,
) -> Vec<TimelineStep> {
    let is_close = group.action.kind() == GroupKind::Close;
    let of_leader = |at: Option<Timestamp>| at.filter(|_| !is_close);
    let closed = window_ms.map(|length| group.window_start.plus_millis(length));
    let steps = [
        ("Asked for", is_close.then_some(group.event_time)),
        ("Leader's first fill", of_leader(Some(group.event_time))),
        ("Seen by us", of_leader(Some(group.detect_time))),
        ("Burst closed", of_leader(closed)),
        ("Book fetched", book.filter(|book| book.book.is_ok()).map(|book| book.fetched_at)),
        ("Book given up", book.filter(|book| book.book.is_err()).map(|book| book.fetched_at)),
        ("Decided", Some(explanation.decided_at)),
    ];
    let mut moments: Vec<TimelineStep> = Vec::new();
    for (what, at) in steps.into_iter().filter_map(|(what, at)| Some((what, at?))) {
        let after_ms = moments.last().map(|before| at.millis_since(before.at));
        moments.push(TimelineStep { what, at, after_ms });
    }
    moments
}

/// Returns the leader's current settings if the attempt was decided with the same ones.
async fn settings_of(db: &Db, stored: &StoredAttempt) -> Result<Option<Vec<SettingView>>, DbError> {
    let attempt = &stored.listed.attempt;
    let directory = db.directory().await?;
    let overrides = directory.overrides.get(&attempt.followed_user);
    let config = effective(&directory.config, overrides, attempt.portfolio.scope());
    if config.version.to_string() != attempt.config_version {
        return Ok(None);
    }
    let all = StoredConfig { guardrails: config.guardrails, sizing: config.sizing, system: config.system };
    let setting = |(field, value): (&'static Field, FieldValue)| SettingView {
        name: field.name,
        about: field.about,
        unit: field.unit,
        text: display_units::sentence(field, &value),
        value: ChangedValue::of(field, &value),
    };
    Ok(Some(all.values().into_iter().map(setting).collect()))
}

async fn other(db: &Db, stored: &StoredAttempt) -> Result<Option<OtherAttemptView>, DbError> {
    let attempt = &stored.listed.attempt;
    let portfolio = match attempt.portfolio {
        PortfolioId::ExecGlobal => PortfolioId::ExecUser(attempt.followed_user),
        _ => PortfolioId::ExecGlobal,
    };
    let id = AttemptId::of(&portfolio.to_string(), &attempt.group_key);
    let found = db.attempt(id).await?;
    Ok(found.map(|found| OtherAttemptView {
        id,
        portfolio_scope: portfolio.scope(),
        decision: found.listed.attempt.decision,
    }))
}

/// The variables of the template: the view and some counts.
#[derive(Serialize)]
struct AttemptPage<'a> {
    #[serde(flatten)]
    detail: &'a ExplanationView,
    row: &'a AttemptView,
    first_failed: Option<&'a CheckView>,
    /// Number of failed checks after the first.
    n_other: usize,
    n_checks: usize,
    /// The facts of the recorded explanation that an older record lacks.
    taker_delay_ms: Option<i64>,
    order_notional_micros: Option<UsdcMicros>,
    order_share_micros: Option<ShareMicros>,
    exit: Option<ExitBasis>,
}

/// Reads the id of an attempt. A text that is not an id is answered like an unknown attempt.
fn attempt_id(text: &str) -> Result<AttemptId, WebError> {
    let id = given(Some(text)).and_then(|text| Uuid::parse_str(text).ok());
    id.map(AttemptId).ok_or(WebError::NotFound)
}

/// Answers `GET /attempts/{id}`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown attempt.
pub async fn page(context: PageContext, id: Path<String>) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let detail = ExplanationView::load(&context.db, attempt_id(&id)?).await?;
    let page = AttemptPage {
        detail: &detail,
        row: &detail.attempt,
        first_failed: detail.checks.iter().find(|check| check.verdict == Verdict::Fail),
        n_other: detail.n_failed.saturating_sub(1),
        n_checks: detail.checks.len(),
        taker_delay_ms: detail.explain_json.taker_delay_ms,
        order_notional_micros: detail.explain_json.order_notional_micros,
        order_share_micros: detail.explain_json.order_share_micros,
        exit: detail.explain_json.exit,
    };
    context.page(Page::Attempt, &position, &page).await
}

/// Answers `GET /api/copy-attempts/{id}`.
///
/// # Errors
/// [`WebError::NotFound`] for an unknown attempt.
pub async fn json(db: Data<Db>, id: Path<String>) -> Result<Json<ExplanationView>, WebError> {
    Ok(Json(ExplanationView::load(&db, attempt_id(&id)?).await?))
}
