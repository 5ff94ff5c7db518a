//! `/trades`: copy attempts, leaders' trades and their other activity, with filters in the address. The newest page grows
//! live; a page behind a cursor does not change.

use actix_web::{HttpResponse, web::Query};
use serde::{Deserialize, Serialize};

use crate::db::{AttemptFilter, Db, DbError};
use crate::domain::decision::check::ReasonCode;
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::web::live::messages::ROWS_SHOWN;
use crate::web::server::error::WebError;
use crate::web::server::format::reason;
use crate::web::shell::page::{Page, PageContext};
use crate::web::shell::pagination;
use crate::web::shell::pagination::{MarketSearch, address};
use crate::web::views::activities::{ActivityQuery, ActivityView};
use crate::web::views::attempts::{AttemptQuery, AttemptView};
use crate::web::views::trades::{TradeQuery, TradeView};

const DAY_MS: i64 = 86_400_000;
/// Number of markets that are suggested while a visitor types.
const SUGGESTIONS: usize = 60;
/// Kinds of activity in the filter; the address accepts any other kind too.
const KINDS: [&str; 8] = ["MERGE", "SPLIT", "REDEEM", "CONVERSION", "MIGRATION", "REWARD", "DEPOSIT", "TRADE"];

/// The three lists. Attempts are the default, because most visitors look for the reason of a copy or a skip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tab {
    #[default]
    Attempts,
    Trades,
    Activity,
}

/// The parameters of the page's address: those of all three lists. A list ignores the parameters of the others.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TradesPageQuery {
    tab: Tab,
    cursor: Option<String>,
    user: Option<String>,
    market: Option<String>,
    side: Option<String>,
    decision: Option<String>,
    reason: Option<String>,
    scope: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// The variables of the template.
#[derive(Debug, Serialize)]
struct TradesPage {
    tab: Tab,
    tabs: Vec<Link>,
    form: FilterForm,
    chips: Vec<Link>,
    /// The address without filters, on the same tab.
    clear_href: String,
    /// Links to the markets that the typed text fits, when it fits several.
    candidates: Vec<Link>,
    /// True when the typed text fits no market.
    market_unknown: bool,
    attempts: Vec<AttemptView>,
    trades: Vec<TradeView>,
    activities: Vec<ActivityView>,
    only: LiveRowFilter,
    /// Maximum number of rows of a live list; `None` when the list does not grow.
    cap: Option<usize>,
    newest_href: Option<String>,
    older_href: Option<String>,
    looked_back_to: Option<Timestamp>,
    export_csv: Option<String>,
    export_json: Option<String>,
}

#[derive(Debug, Serialize)]
struct Link {
    text: String,
    /// The text before the link, for example the name of the filter.
    about: String,
    href: String,
    current: bool,
}

/// The values and the options of the filter form.
#[derive(Debug, Serialize)]
struct FilterForm {
    user: Option<FollowedUserId>,
    market: String,
    side: String,
    decision: String,
    reason: String,
    scope: String,
    kind: String,
    /// In the format of `datetime-local`, in UTC.
    from: Option<String>,
    to: Option<String>,
    users: Vec<(FollowedUserId, String)>,
    reasons: &'static [ReasonCode],
    kinds: [&'static str; KINDS.len()],
    suggestions: Vec<String>,
}

/// The values that a live row must have to belong to the list.
#[derive(Debug, Serialize)]
struct LiveRowFilter {
    user: Option<FollowedUserId>,
    market: Option<MarketId>,
    side: String,
    decision: String,
    reason: String,
    scope: String,
}

/// The rows of the open tab; the lists of the other two tabs are empty.
#[derive(Default)]
struct Rows {
    attempts: Vec<AttemptView>,
    trades: Vec<TradeView>,
    activities: Vec<ActivityView>,
    /// The cursor of the next, older page.
    next: Option<String>,
    looked_back_to: Option<Timestamp>,
}

impl TradesPageQuery {
    fn attempts(&self) -> AttemptQuery {
        AttemptQuery {
            limit: None,
            cursor: self.cursor.clone(),
            user: self.user.clone(),
            market: self.market.clone(),
            scope: self.scope.clone(),
            decision: self.decision.clone(),
            reason: self.reason.clone(),
            side: self.side.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
        }
    }

    fn trades(&self) -> TradeQuery {
        TradeQuery {
            limit: None,
            cursor: self.cursor.clone(),
            user: self.user.clone(),
            market: self.market.clone(),
            side: self.side.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
        }
    }

    fn activities(&self) -> ActivityQuery {
        ActivityQuery {
            limit: None,
            cursor: self.cursor.clone(),
            user: self.user.clone(),
            market: self.market.clone(),
            kind: self.kind.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
        }
    }

    /// Returns the parameters that `tab` uses and that are set.
    fn parameters(&self, tab: Tab) -> Vec<(&'static str, Option<&str>)> {
        let mut parameters = vec![("user", self.user.as_deref()), ("market", self.market.as_deref())];
        if tab == Tab::Attempts {
            parameters.extend([("decision", self.decision.as_deref()), ("reason", self.reason.as_deref())]);
            parameters.push(("scope", self.scope.as_deref()));
        }
        match tab {
            Tab::Attempts => parameters.push(("side", self.side.as_deref())),
            // A leader's fills are bought or sold; only our attempts are closes.
            Tab::Trades => parameters.push(("side", self.side.as_deref().filter(|side| *side != "CLOSE"))),
            Tab::Activity => parameters.push(("type", self.kind.as_deref())),
        }
        parameters.extend([("from", self.from.as_deref()), ("to", self.to.as_deref())]);
        parameters.retain(|(_, value)| pagination::given(*value).is_some());
        parameters
    }

    /// Returns the address of the page with `parameters`, at `cursor`.
    fn href(tab: Tab, parameters: &[(&str, Option<&str>)], cursor: Option<&str>) -> String {
        let mut all = vec![("tab", (tab != Tab::default()).then_some(tab.as_str()))];
        all.extend_from_slice(parameters);
        all.push(("cursor", cursor));
        address("/trades", &all)
    }

    /// Returns one link for each tab, with the filters that the tab uses.
    fn tabs(&self) -> Vec<Link> {
        let link = |tab: Tab| Link {
            text: tab.title().to_owned(),
            about: String::new(),
            href: Self::href(tab, &self.parameters(tab), None),
            current: tab == self.tab,
        };
        Tab::ALL.map(link).into()
    }

    /// Returns the address of the list as a file in `format`; there is none for other activity.
    fn export_href(&self, format: &str) -> Option<String> {
        let name = match self.tab {
            Tab::Attempts => "attempts",
            Tab::Trades => "trades",
            Tab::Activity => return None,
        };
        Some(address(&format!("/export/{name}.{format}"), &self.parameters(self.tab)))
    }

    /// Returns one link for each set filter, which removes that filter.
    fn chips(&self, names: &[(FollowedUserId, String)], market: Option<&str>) -> Vec<Link> {
        let parameters = self.parameters(self.tab);
        let chip = |(name, value): &(&'static str, Option<&str>)| {
            let rest: Vec<_> = parameters.iter().filter(|(other, _)| other != name).copied().collect();
            let value = value.unwrap_or_default();
            let label = || names.iter().find(|(id, _)| id.to_string() == value).map(|(_, label)| label.clone());
            let (about, text) = match *name {
                "user" => ("Leader", label()),
                "market" => ("Market", market.map(str::to_owned)),
                "decision" => ("Decision", Some(if value == "EXECUTE" { "Copied" } else { "Skipped" }.to_owned())),
                "scope" => ("Portfolio", Some(if value == "EXEC_GLOBAL" { "Global" } else { "Own" }.to_owned())),
                "side" => ("Side", Some(reason(value))),
                "reason" => ("Reason", Some(reason(value))),
                "type" => ("Type", Some(reason(value))),
                "from" => ("From", Some(value.replace('T', " "))),
                _ => ("To", Some(value.replace('T', " "))),
            };
            let text = text.unwrap_or_else(|| value.to_owned());
            Link { about: about.to_owned(), text, href: Self::href(self.tab, &rest, None), current: false }
        };
        parameters.iter().map(chip).collect()
    }
}

impl Tab {
    const ALL: [Self; 3] = [Self::Attempts, Self::Trades, Self::Activity];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Attempts => "attempts",
            Self::Trades => "trades",
            Self::Activity => "activity",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Attempts => "Copy attempts",
            Self::Trades => "Leaders' trades",
            Self::Activity => "Other activity",
        }
    }
}

impl TradesPage {
    async fn load(db: &Db, query: &TradesPageQuery, now: Timestamp) -> Result<Self, WebError> {
        let tab = query.tab;
        let search = MarketSearch::read(db, query.market.as_deref()).await?;
        let market = match &search {
            MarketSearch::One(id) => Some(id.clone()),
            _ => None,
        };
        let has_list = matches!(search, MarketSearch::Any | MarketSearch::One(_));
        let rows = if has_list { Rows::load(db, query, market.clone(), now).await? } else { Rows::default() };
        let parameters = query.parameters(tab);
        let at_cursor = pagination::given(query.cursor.as_deref()).is_some();
        let filter = query.attempts().filter(market.clone())?;
        let users = db.followed_users().await?;
        let users: Vec<_> = users.into_iter().map(|user| (user.id, user.label)).collect();
        let title = titles(db, market.as_slice()).await?.pop().map(|(_, title)| title);
        let (candidates, suggestions) = self::choices(db, query, &search, now).await?;
        // A list that ends before now does not grow, and neither does an older page.
        let grows = has_list && !at_cursor && filter.to.is_none_or(|to| to >= now);
        Ok(Self {
            tab,
            tabs: query.tabs(),
            chips: query.chips(&users, title.as_deref()),
            clear_href: TradesPageQuery::href(tab, &[], None),
            market_unknown: search == MarketSearch::None,
            candidates,
            form: FilterForm::new(query, &filter, title, users, suggestions),
            only: LiveRowFilter::new(query, filter.user, market),
            cap: grows.then_some(ROWS_SHOWN),
            newest_href: at_cursor.then(|| TradesPageQuery::href(tab, &parameters, None)),
            older_href: rows.next.as_deref().map(|next| TradesPageQuery::href(tab, &parameters, Some(next))),
            looked_back_to: rows.looked_back_to,
            export_csv: query.export_href("csv"),
            export_json: query.export_href("json"),
            attempts: rows.attempts,
            trades: rows.trades,
            activities: rows.activities,
        })
    }
}

impl Rows {
    async fn load(
        db: &Db,
        query: &TradesPageQuery,
        market: Option<MarketId>,
        now: Timestamp,
    ) -> Result<Self, WebError> {
        let none = Self::default();
        Ok(match query.tab {
            Tab::Attempts => {
                let list = AttemptView::listed(db, &query.attempts(), market).await?;
                Self { next: list.next_cursor, looked_back_to: list.looked_back_to, attempts: list.data, ..none }
            }
            Tab::Trades => {
                let list = TradeView::listed(db, &query.trades(), market).await?;
                Self { next: list.next_cursor, looked_back_to: list.looked_back_to, trades: list.data, ..none }
            }
            Tab::Activity => {
                let list = ActivityView::listed(db, &query.activities(), market, now).await?;
                Self { next: list.next_cursor, looked_back_to: list.looked_back_to, activities: list.data, ..none }
            }
        })
    }
}

impl FilterForm {
    /// `market` is the question of the market that was found; without one the form keeps the typed text.
    fn new(
        query: &TradesPageQuery,
        filter: &AttemptFilter,
        market: Option<String>,
        users: Vec<(FollowedUserId, String)>,
        suggestions: Vec<String>,
    ) -> Self {
        Self {
            user: filter.user,
            market: market.unwrap_or_else(|| text(&query.market)),
            side: text(&query.side),
            decision: text(&query.decision),
            reason: text(&query.reason),
            scope: text(&query.scope),
            kind: text(&query.kind),
            from: filter.from.map(local),
            to: filter.to.map(local),
            users,
            reasons: ReasonCode::ALL,
            kinds: KINDS,
            suggestions,
        }
    }
}

impl LiveRowFilter {
    fn new(query: &TradesPageQuery, user: Option<FollowedUserId>, market: Option<MarketId>) -> Self {
        Self {
            user,
            market,
            side: text(&query.side),
            decision: text(&query.decision),
            reason: text(&query.reason),
            scope: text(&query.scope),
        }
    }
}

/// Returns the text of a parameter; empty when it is missing or blank.
fn text(parameter: &Option<String>) -> String {
    pagination::given(parameter.as_deref()).unwrap_or_default().to_owned()
}

/// Returns links to the markets to choose from when a text fits several, and the suggestions for the market field.
async fn choices(
    db: &Db,
    query: &TradesPageQuery,
    search: &MarketSearch,
    now: Timestamp,
) -> Result<(Vec<Link>, Vec<String>), DbError> {
    let several: &[MarketId] = match search {
        MarketSearch::Several(ids) => ids,
        _ => &[],
    };
    let link = |(id, title): (MarketId, String)| {
        let mut parameters = query.parameters(query.tab);
        parameters.retain(|(name, _)| *name != "market");
        parameters.push(("market", Some(id.as_str())));
        Link {
            text: title,
            about: id.to_string(),
            href: TradesPageQuery::href(query.tab, &parameters, None),
            current: false,
        }
    };
    let candidates = titles(db, several).await?.into_iter().map(link).collect();
    let mut recent = db.traded_markets(now.plus_millis(-DAY_MS)).await?;
    recent.sort_unstable_by_key(|traded| std::cmp::Reverse(traded.last_trade));
    let ids: Vec<MarketId> = recent.into_iter().take(SUGGESTIONS).map(|traded| traded.market).collect();
    let mut suggestions: Vec<String> = titles(db, &ids).await?.into_iter().map(|(_, title)| title).collect();
    suggestions.sort_unstable();
    suggestions.dedup();
    Ok((candidates, suggestions))
}

/// Returns the questions of `ids`, or the ids of markets without facts.
async fn titles(db: &Db, ids: &[MarketId]) -> Result<Vec<(MarketId, String)>, DbError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let known = db.markets(ids).await?;
    let title = |id: &MarketId| {
        let market = known.iter().find(|market| market.id == *id).filter(|market| !market.question.is_empty());
        (id.clone(), market.map_or_else(|| id.to_string(), |market| market.question.clone()))
    };
    Ok(ids.iter().map(title).collect())
}

/// Returns a time as `datetime-local` takes it: `2026-01-15T12:34`.
fn local(time: Timestamp) -> String {
    time.iso().chars().take(16).collect()
}

/// Answers `GET /trades`.
///
/// # Errors
/// [`WebError::Mistake`] that names the invalid filter.
pub async fn page(context: PageContext, query: Query<TradesPageQuery>) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let page = TradesPage::load(&context.db, &query, context.now()).await?;
    context.page(Page::Trades, &position, &page).await
}
