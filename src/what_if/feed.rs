//! Feeds a comparison: groups page by page, and between them the prices and resolutions of their time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Progress, WhatIf, WhatIfError};
use crate::db::{BookText, Db, DbError, PriceAt};
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::portfolio::PortfolioError;
use crate::domain::analysis::what_if::{
    Case, Comparison, ExternalEvent, Findings, Policy, RecordedDecision, StoredBook,
};
use crate::domain::config::effective::ExitSizing;
use crate::domain::decision::exit::{TheirHolding, exit_assets};
use crate::domain::events::group::{EventGroup, GroupKind};
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, AttemptId, GroupId, MarketId};
use crate::domain::money::units::Timestamp;

/// Groups read at a time.
const PAGE: i64 = 512;
/// Prices are read for this many of their steps at a time.
const STEPS_AT_ONCE: i64 = 120;

const HALF_MINUTE_MS: i64 = 30_000;
const DAY_MS: i64 = 86_400_000;

/// Replays the window, page by page.
pub(super) struct Feed<'a> {
    db: &'a Db,
    what_if: &'a WhatIf,
    progress: &'a Arc<Progress>,
    /// `None` while the deciding thread owns it.
    comparison: Option<Comparison>,
    /// Up to which time the comparison has the prices of each asset.
    priced: BTreeMap<AssetId, Timestamp>,
    /// The step between two prices.
    every_ms: i64,
}

/// Reads everything that does not depend on a decision, one page ahead of the deciding thread.
struct Reader<'a> {
    db: &'a Db,
    what_if: &'a WhatIf,
    progress: &'a Arc<Progress>,
    /// The start of the next page.
    from: Timestamp,
    markets: HashMap<MarketId, Arc<Market>>,
}

/// Groups in the global order.
struct Page {
    groups: Vec<Prepared>,
    /// Resolutions of the markets that no earlier page had.
    resolutions: Vec<(Timestamp, ExternalEvent)>,
}

/// A group with everything that its decision needs.
struct Prepared {
    group: EventGroup,
    market: Arc<Market>,
    recorded: Option<RecordedDecision>,
    book: Option<BookText>,
    /// The approximate time of its decision.
    due: Timestamp,
    their_holding: TheirHolding,
}

/// Returns when the market resolves, as the comparison expects it.
pub(super) fn resolution(market: &Arc<Market>) -> Option<(Timestamp, ExternalEvent)> {
    Some((market.resolved_at?, ExternalEvent::Resolved(market.clone())))
}

impl<'a> Feed<'a> {
    /// Creates a feed for this comparison.
    pub(super) fn new(db: &'a Db, what_if: &'a WhatIf, progress: &'a Arc<Progress>, comparison: Comparison) -> Self {
        // The start contains the prices of its holdings.
        let priced = comparison.held_assets().into_iter().map(|asset| (asset, what_if.from)).collect();
        let every_ms = every_ms(what_if.to.millis_since(what_if.from));
        Self { db, what_if, progress, comparison: Some(comparison), priced, every_ms }
    }

    /// Announces later happenings to the comparison.
    ///
    /// # Errors
    /// [`PortfolioError`] when one of them lies in the comparison's past.
    pub(super) fn tell(&mut self, happenings: Vec<(Timestamp, ExternalEvent)>) -> Result<(), PortfolioError> {
        let comparison = self.comparison();
        happenings.into_iter().try_for_each(|(at, happening)| comparison.schedule(at, happening))
    }

    /// Replays the whole window.
    ///
    /// # Errors
    /// [`WhatIfError`].
    pub(super) async fn live(mut self) -> Result<Findings, WhatIfError> {
        let Self { db, what_if, progress, .. } = self;
        let mut reader = Reader { db, what_if, progress, from: what_if.from, markets: HashMap::new() };
        let mut page = reader.next().await?;
        while let Some(lived) = page {
            // Reading takes half of the time, and runs while decisions are made.
            let (read, ()) = tokio::try_join!(reader.next(), self.live_through(lived))?;
            page = read;
        }
        while self.comparison().reached() < what_if.to {
            let until = self.horizon().min(what_if.to);
            self.step(Vec::new(), until).await?;
        }
        let (comparison, to) = (self.comparison.take(), what_if.to);
        let finish = move || comparison.expect("every step returns it").finish(to);
        Ok(tokio::task::spawn_blocking(finish).await??)
    }

    async fn live_through(&mut self, page: Page) -> Result<(), WhatIfError> {
        self.tell(page.resolutions)?;
        let mut groups = page.groups;
        while !groups.is_empty() {
            let horizon = self.horizon();
            let n = groups.iter().position(|prepared| prepared.due > horizon).unwrap_or(groups.len());
            let rest = groups.split_off(n);
            // The other groups are due at the horizon or later: until then, time may pass.
            let until = if rest.is_empty() { groups.iter().map(|prepared| prepared.due).max() } else { Some(horizon) };
            self.step(groups, until.unwrap_or(horizon)).await?;
            groups = rest;
        }
        Ok(())
    }

    fn comparison(&mut self) -> &mut Comparison {
        self.comparison.as_mut().expect("every step returns it")
    }

    /// Returns how far ahead prices may be read.
    fn horizon(&mut self) -> Timestamp {
        let ahead = self.every_ms.saturating_mul(STEPS_AT_ONCE);
        self.comparison().reached().plus_millis(ahead)
    }

    /// Decides these groups and replays up to `until`, on a blocking thread.
    async fn step(&mut self, groups: Vec<Prepared>, until: Timestamp) -> Result<(), WhatIfError> {
        self.progress.check()?;
        let prices = self.prices(&groups, until).await?;
        let progress = self.progress.clone();
        let mut comparison = self.comparison.take().expect("every step returns it");
        let live = move || -> Result<Comparison, WhatIfError> {
            for (asset, at, price) in prices {
                comparison.schedule(at, ExternalEvent::Price(asset, Mark::Midpoint(price, at)))?;
            }
            for prepared in groups {
                decide(&mut comparison, prepared)?;
                progress.done.fetch_add(1, Ordering::Relaxed);
            }
            comparison.advance(until)?;
            Ok(comparison)
        };
        self.comparison = Some(tokio::task::spawn_blocking(live).await??);
        Ok(())
    }

    /// Returns the prices up to `until` of all assets that are held, or may be held after these groups. For an asset whose
    /// prices were not read up to now, its latest price before comes first.
    async fn prices(&mut self, groups: &[Prepared], until: Timestamp) -> Result<Vec<PriceAt>, WhatIfError> {
        let (reached, mut wanted) = (self.comparison().reached(), self.comparison().held_assets());
        for Prepared { group, market, .. } in groups {
            match group.action.asset() {
                Some(asset) => drop(wanted.insert(asset.clone())),
                None => wanted.extend(market.outcomes.iter().map(|outcome| outcome.asset.clone())),
            }
        }
        let known = |asset: &AssetId| self.priced.get(asset).is_some_and(|told| *told >= reached);
        let wanted: Vec<AssetId> = wanted.into_iter().collect();
        let new: Vec<AssetId> = wanted.iter().filter(|asset| !known(asset)).cloned().collect();
        let mut prices = self.db.prices_as_of(&new, reached).await?;
        prices.extend(self.db.prices_between(&wanted, reached, until, self.every_ms).await?);
        self.priced.extend(wanted.into_iter().map(|asset| (asset, until)));
        Ok(prices)
    }
}

impl Reader<'_> {
    /// Returns the next page, or `None` after the last.
    async fn next(&mut self) -> Result<Option<Page>, WhatIfError> {
        self.progress.check()?;
        match self.groups().await? {
            Some(groups) => self.prepare(groups).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the next groups, in the global order.
    async fn groups(&mut self) -> Result<Option<Vec<EventGroup>>, WhatIfError> {
        let (user, to, mut limit) = (self.what_if.portfolio.owner(), self.what_if.to, PAGE);
        loop {
            let mut groups = self.db.groups_detected(user, self.from, to, limit).await?;
            let Some(last) = groups.last().map(|group| group.detect_time) else { return Ok(None) };
            let is_full = i64::try_from(groups.len()).is_ok_and(|n| n == limit);
            if is_full {
                // There may be more groups in the last millisecond; their order is known only when all are read.
                groups.retain(|group| group.detect_time < last);
                if groups.is_empty() {
                    limit = limit.saturating_mul(2);
                    continue;
                }
            }
            groups.sort_by_cached_key(EventGroup::place);
            self.from = if is_full { last } else { to };
            return Ok(Some(groups));
        }
    }

    async fn prepare(&mut self, mut groups: Vec<EventGroup>) -> Result<Page, WhatIfError> {
        let portfolio = self.what_if.portfolio.to_string();
        let attempt_of = |group: &EventGroup| AttemptId::of(&portfolio, &group.key);
        let ids: Vec<AttemptId> = groups.iter().map(attempt_of).collect();
        let mut recorded = self.db.recorded(&ids).await?;
        // A close by hand may be meant for the other account only.
        groups.retain(|group| group.action.kind() != GroupKind::Close || recorded.contains_key(&attempt_of(group)));
        let ids: Vec<AttemptId> = groups.iter().map(attempt_of).collect();
        let trades = groups.iter().filter(|group| group.action.asset().is_some());
        let trades: Vec<GroupId> = trades.map(|group| group.id).collect();
        let mut books: HashMap<GroupId, BookText> = self.db.book_texts(&trades).await?.into_iter().collect();
        let resolutions = self.meet(&groups).await?;
        let config = &self.what_if.current.global;
        let wait = config.system.aggregation_window_ms.saturating_add(config.guardrails.decision_latency_ms);
        let due = |group: &EventGroup, recorded: Option<&RecordedDecision>| match recorded {
            Some(recorded) => recorded.decided_at,
            None => group.detect_time.plus_millis(wait),
        };
        let dues = groups.iter().zip(&ids).map(|(group, id)| due(group, recorded.get(id)));
        let mut holdings = self.holdings(groups.iter().zip(dues)).await?;
        let prepare = |(group, id): (EventGroup, AttemptId)| {
            let recorded = recorded.remove(&id);
            Prepared {
                market: self.market(&group.market),
                book: books.remove(&group.id),
                due: due(&group, recorded.as_ref()),
                their_holding: holdings.remove(&group.id).unwrap_or_default(),
                recorded,
                group,
            }
        };
        Ok(Page { groups: groups.into_iter().zip(ids).map(prepare).collect(), resolutions })
    }

    /// Returns what the leaders held before their exits, as known at the time of the decision, where one of the
    /// configurations sizes exits by it.
    async fn holdings(
        &self,
        groups: impl Iterator<Item = (&EventGroup, Timestamp)>,
    ) -> Result<HashMap<GroupId, TheirHolding>, WhatIfError> {
        let mut holdings = HashMap::new();
        for (group, decided_at) in groups {
            let assets = exit_assets(group, &self.market(&group.market));
            let is_asked = |policy: &Policy| {
                let own = policy.overrides.get(&group.followed_user);
                let sizing = own.and_then(|own| own.sizing.exit_sizing).unwrap_or(policy.global.sizing.exit_sizing);
                sizing == ExitSizing::Proportional
            };
            if assets.is_empty() || ![&self.what_if.current, &self.what_if.candidate].into_iter().any(is_asked) {
                continue;
            }
            let before = self.db.their_holding_before(group, &assets, decided_at).await?;
            holdings.insert(group.id, before.unwrap_or(TheirHolding::Late));
        }
        Ok(holdings)
    }

    /// Loads the groups' markets, and returns when they resolve.
    async fn meet(&mut self, groups: &[EventGroup]) -> Result<Vec<(Timestamp, ExternalEvent)>, WhatIfError> {
        let new: BTreeSet<&MarketId> = groups.iter().map(|group| &group.market).collect();
        let new: Vec<MarketId> = new.into_iter().filter(|id| !self.markets.contains_key(*id)).cloned().collect();
        let mut resolutions = Vec::new();
        for market in self.db.markets(&new).await? {
            let market = Arc::new(market);
            resolutions.extend(resolution(&market));
            self.markets.insert(market.id.clone(), market);
        }
        Ok(resolutions)
    }

    fn market(&self, id: &MarketId) -> Arc<Market> {
        self.markets.get(id).cloned().unwrap_or_else(|| Arc::new(Market::unknown(id.clone())))
    }
}

fn decide(comparison: &mut Comparison, prepared: Prepared) -> Result<(), WhatIfError> {
    let Prepared { group, market, recorded, book, their_holding, .. } = prepared;
    let kept = book.map(read).transpose()?;
    let book = match &kept {
        Some(Some(book)) => StoredBook::Known(book),
        Some(None) => StoredBook::Unavailable,
        None => StoredBook::NotStored,
    };
    let case = Case { group: &group, market: &market, book, recorded: recorded.as_ref(), their_holding };
    Ok(comparison.decide(&case)?)
}

/// Returns the sorted book; `None` if there was none or it is invalid, as in the live decision.
fn read(text: BookText) -> Result<Option<OrderBook>, DbError> {
    Ok(text.read()?.book.ok().and_then(|stored| stored.ordered().ok()))
}

/// Prices are stored every half minute. A window of a day reads all of them. A longer window reads only as many as the chart
/// of a month needs, because the half minutes of a month are a million rows for ten assets.
fn every_ms(span_ms: i64) -> i64 {
    match span_ms {
        ..=DAY_MS => HALF_MINUTE_MS,
        span if span <= 7 * DAY_MS => 10 * HALF_MINUTE_MS,
        _ => 20 * HALF_MINUTE_MS,
    }
}
