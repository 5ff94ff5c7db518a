//! `/trades`: decisions, leaders' trades and their other doings, under filters that stand in the address. The newest page
//! grows live; one behind a cursor stays as it is.

use actix_web::{HttpResponse, web::Query};
use serde::{Deserialize, Serialize};

use crate::db::{Db, DbError};
use crate::domain::decision::check::ReasonCode;
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::domain::money::units::Timestamp;
use crate::web::live::broadcaster::ROWS_SHOWN;
use crate::web::server::error::WebError;
use crate::web::server::format::reason;
use crate::web::shell::page::{Page, PageContext};
use crate::web::shell::pagination;
use crate::web::shell::pagination::{List, MarketSearch, address};
use crate::web::views::activities::{ActivityQuery, ActivityView};
use crate::web::views::attempts::{AttemptQuery, AttemptView};
use crate::web::views::trades::{TradeQuery, TradeView};

const DAY_MS: i64 = 86_400_000;
/// Markets offered while a visitor types.
const SUGGESTIONS: usize = 60;
/// Kinds of activity there is a filter for; any other can be asked for in the address.
const KINDS: [&str; 8] = ["MERGE", "SPLIT", "REDEEM", "CONVERSION", "MIGRATION", "REWARD", "DEPOSIT", "TRADE"];

/// What a visitor came for is, more often than not, why something was or was not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tab {
    #[default]
    Attempts,
    Trades,
    Activity,
}

/// The words of the page's address: those of all three lists. A list leaves the others' words alone.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListsQuery {
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

/// The page.
#[derive(Debug, Serialize)]
struct ListsPage {
    tab: Tab,
    tabs: Vec<Link>,
    form: Form,
    chips: Vec<Link>,
    /// Without any filter; the tab stays.
    clear_href: String,
    /// Markets that the text fits, when it fits several.
    candidates: Vec<Link>,
    /// The text fits no market.
    market_unknown: bool,
    attempts: Vec<AttemptView>,
    trades: Vec<TradeView>,
    activities: Vec<ActivityView>,
    only: Only,
    /// Rows that a live list holds; `None` while nothing is put in.
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
    /// What it says when it stands alone.
    about: String,
    href: String,
    current: bool,
}

/// What the fields of the filter hold and offer.
#[derive(Debug, Serialize)]
struct Form {
    user: Option<FollowedUserId>,
    market: String,
    side: String,
    decision: String,
    reason: String,
    scope: String,
    kind: String,
    /// As `datetime-local` takes it, in UTC.
    from: Option<String>,
    to: Option<String>,
    users: Vec<(FollowedUserId, String)>,
    reasons: &'static [ReasonCode],
    kinds: [&'static str; KINDS.len()],
    suggestions: Vec<String>,
}

/// What a pushed row must have to belong to the list.
#[derive(Debug, Serialize)]
struct Only {
    user: Option<FollowedUserId>,
    market: Option<MarketId>,
    side: String,
    decision: String,
    reason: String,
    scope: String,
}

/// The part of a list that all three have.
struct Part {
    next: Option<String>,
    looked_back_to: Option<Timestamp>,
}

impl ListsQuery {
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

    /// The filters that `tab` has.
    fn words(&self, tab: Tab) -> Vec<(&'static str, Option<&str>)> {
        let mut words = vec![("user", self.user.as_deref()), ("market", self.market.as_deref())];
        if tab == Tab::Attempts {
            words.extend([("decision", self.decision.as_deref()), ("reason", self.reason.as_deref())]);
            words.push(("scope", self.scope.as_deref()));
        }
        match tab {
            Tab::Attempts | Tab::Trades => words.push(("side", self.side.as_deref())),
            Tab::Activity => words.push(("type", self.kind.as_deref())),
        }
        words.extend([("from", self.from.as_deref()), ("to", self.to.as_deref())]);
        words.retain(|(_, value)| pagination::given(*value).is_some());
        words
    }

    /// The page with `words` and at `cursor`.
    fn href(tab: Tab, words: &[(&str, Option<&str>)], cursor: Option<&str>) -> String {
        let mut all = vec![("tab", (tab != Tab::default()).then_some(tab.as_str()))];
        all.extend_from_slice(words);
        all.push(("cursor", cursor));
        address("/trades", &all)
    }

    /// One link for each filter that is set, which takes it away.
    fn chips(&self, names: &[(FollowedUserId, String)], market: Option<&str>) -> Vec<Link> {
        let words = self.words(self.tab);
        let chip = |(name, value): &(&'static str, Option<&str>)| {
            let rest: Vec<_> = words.iter().filter(|(other, _)| other != name).copied().collect();
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
        words.iter().map(chip).collect()
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

impl ListsPage {
    async fn load(db: &Db, query: &ListsQuery, now: Timestamp) -> Result<Self, WebError> {
        let tab = query.tab;
        let sought = MarketSearch::read(db, query.market.as_deref()).await.map_err(WebError::ours)?;
        let market = match &sought {
            MarketSearch::One(id) => Some(id.clone()),
            _ => None,
        };
        let (mut attempts, mut trades, mut activities) = (Vec::new(), Vec::new(), Vec::new());
        let known = matches!(sought, MarketSearch::Any | MarketSearch::One(_));
        let part = match tab {
            _ if !known => Part { next: None, looked_back_to: None },
            Tab::Attempts => {
                let (part, data) = parted(AttemptView::listed(db, &query.attempts(), market.clone()).await?);
                attempts = data;
                part
            }
            Tab::Trades => {
                let (part, data) = parted(TradeView::listed(db, &query.trades(), market.clone()).await?);
                trades = data;
                part
            }
            Tab::Activity => {
                let (part, data) = parted(ActivityView::listed(db, &query.activities(), market.clone(), now).await?);
                activities = data;
                part
            }
        };
        let words = query.words(tab);
        let at_cursor = pagination::given(query.cursor.as_deref()).is_some();
        let filter = query.attempts().filter(market.clone())?;
        let users = db.followed_users().await.map_err(WebError::ours)?;
        let users: Vec<_> = users.into_iter().map(|user| (user.id, user.label)).collect();
        let title = titles(db, market.as_slice()).await.map_err(WebError::ours)?.pop();
        let (candidates, suggestions) = self::choices(db, query, &sought, now).await.map_err(WebError::ours)?;
        let export = |kind: &str| {
            let name = if tab == Tab::Trades { "trades" } else { "attempts" };
            (tab != Tab::Activity).then(|| address(&format!("/export/{name}.{kind}"), &words))
        };
        let text = |word: &Option<String>| pagination::given(word.as_deref()).unwrap_or_default().to_owned();
        // What ends before now does not grow, and neither does a page from further down.
        let grows = known && !at_cursor && filter.to.is_none_or(|to| to >= now);
        Ok(Self {
            tab,
            tabs: Tab::ALL
                .into_iter()
                .map(|other| Link {
                    text: other.title().to_owned(),
                    about: String::new(),
                    href: ListsQuery::href(other, &query.words(other), None),
                    current: other == tab,
                })
                .collect(),
            chips: query.chips(&users, title.as_ref().map(|(_, title)| title.as_str())),
            clear_href: ListsQuery::href(tab, &[], None),
            market_unknown: sought == MarketSearch::None,
            candidates,
            form: Form {
                user: filter.user,
                market: title.map_or_else(|| text(&query.market), |(_, title)| title),
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
            },
            only: Only {
                user: filter.user,
                market,
                side: text(&query.side),
                decision: text(&query.decision),
                reason: text(&query.reason),
                scope: text(&query.scope),
            },
            cap: grows.then_some(ROWS_SHOWN),
            newest_href: at_cursor.then(|| ListsQuery::href(tab, &words, None)),
            older_href: part.next.as_deref().map(|next| ListsQuery::href(tab, &words, Some(next))),
            looked_back_to: part.looked_back_to,
            export_csv: export("csv"),
            export_json: export("json"),
            attempts,
            trades,
            activities,
        })
    }
}

fn parted<T>(list: List<T>) -> (Part, Vec<T>) {
    (Part { next: list.next_cursor, looked_back_to: list.looked_back_to }, list.data)
}

/// Markets to choose from where a text fits several, and what to offer while somebody types.
async fn choices(
    db: &Db,
    query: &ListsQuery,
    sought: &MarketSearch,
    now: Timestamp,
) -> Result<(Vec<Link>, Vec<String>), DbError> {
    let several: &[MarketId] = match sought {
        MarketSearch::Several(ids) => ids,
        _ => &[],
    };
    let link = |(id, title): (MarketId, String)| {
        let mut words = query.words(query.tab);
        words.retain(|(name, _)| *name != "market");
        words.push(("market", Some(id.as_str())));
        Link { text: title, about: id.to_string(), href: ListsQuery::href(query.tab, &words, None), current: false }
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

/// The questions of markets, or their ids while nothing more is known.
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

/// `2026-01-15T12:34`.
fn local(time: Timestamp) -> String {
    time.iso().chars().take(16).collect()
}

/// `GET /trades`.
pub async fn page(context: PageContext, query: Query<ListsQuery>) -> Result<HttpResponse, WebError> {
    let position = context.position().await?;
    let page = ListsPage::load(&context.db, &query, context.now()).await?;
    context.page(Page::Trades, &position, &page).await
}
