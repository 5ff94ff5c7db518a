//! Generates the past minute by minute, in memory: what the bot would have detected, grouped, decided, settled and marked.
//! It does not touch the database, except to read ledger positions for the checkpoints.

mod portfolios;
mod reading;

use std::collections::{BTreeMap, HashMap, VecDeque};

use self::reading::DetectedEvent;
use super::edge_cases;
use super::error::HistoryError;
use super::rate::Progress;
use super::settings::HistorySettings;
use super::writer::{Batch, PlannedWrite};
use crate::db::Directory;
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId, PortfolioScope};
use crate::domain::accounting::lot::Position;
use crate::domain::accounting::portfolio::{Portfolio, ViewQuery};
use crate::domain::accounting::shadow::carried::{ShadowAsset, ShadowAssets, carried_over};
use crate::domain::accounting::shadow::cause::Cause;
use crate::domain::accounting::shadow::{ActivityFacts, ShadowEffect, entries_for_activity, entries_for_trade};
use crate::domain::config::effective::effective;
use crate::domain::config::follow_state::FollowState;
use crate::domain::decision::decide::{Situation, decide, precheck};
use crate::domain::decision::exit::TheirHolding;
use crate::domain::events::event::ActivityEvent;
use crate::domain::events::global_order::GroupPlace;
use crate::domain::events::group::{ClosedGroup, EventGroup, Member, PendingEvent};
use crate::domain::events::group_windows::Windows;
use crate::domain::market::book::{Level, OrderBook};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{ShareMicros, Timestamp};
use crate::simulator::rng::{hash_text, noise};
use crate::simulator::state::exchange::Exchange;
use crate::simulator::state::market::{Phase, Quotes};

/// From a market's resolution until we know of it.
const SETTLED_AFTER_MS: i64 = 45_000;

/// The bot in memory, at one point of the past.
pub struct HistoryGenerator {
    leaders: Vec<(FollowedUserId, Wallet)>,
    /// Some markets get hostile names.
    with_edge_cases: bool,
    pub progress: Progress,
    /// From then on prices are stored every 30 s.
    pub fresh_prices_from: Timestamp,
    directory: Directory,
    /// Events that are still to be ingested, in the order of their detection.
    events: VecDeque<DetectedEvent>,
    /// By how much each CONVERSION changed the holdings, by transaction. The bot would read the positions route.
    conversions: HashMap<String, Vec<(AssetId, ShareMicros)>>,
    windows: Windows,
    /// Closed groups that are not decided yet, in the global order.
    closed: BTreeMap<GroupPlace, ClosedGroup>,
    portfolios: BTreeMap<PortfolioId, Portfolio>,
    /// Known markets, and when we shall know their outcome; `None` once settled.
    markets: BTreeMap<MarketId, Option<Timestamp>>,
    newest_event: BTreeMap<FollowedUserId, Timestamp>,
    pub batch: Batch,
}

impl HistoryGenerator {
    /// Starts with an opening deposit in each portfolio.
    ///
    /// # Errors
    /// [`HistoryError`] when a deposit cannot be applied.
    pub fn new(
        leaders: Vec<(FollowedUserId, Wallet)>,
        directory: &Directory,
        start: Timestamp,
        with_edge_cases: bool,
    ) -> Result<Self, HistoryError> {
        let copies: Vec<_> = leaders.iter().map(|(user, _)| PortfolioId::ExecUser(*user)).collect();
        let mut generator = Self {
            leaders,
            with_edge_cases,
            progress: Progress::default(),
            fresh_prices_from: Timestamp::from_millis(i64::MAX),
            directory: directory.clone(),
            events: VecDeque::new(),
            conversions: HashMap::new(),
            windows: Windows::new(directory.config.system.aggregation_window_ms),
            closed: BTreeMap::new(),
            portfolios: BTreeMap::new(),
            markets: BTreeMap::new(),
            newest_event: BTreeMap::new(),
            batch: Batch::default(),
        };
        for user in generator.leader_ids() {
            // The shadow portfolio opens without cash.
            generator.shadow(user);
        }
        for portfolio in copies.into_iter().chain([PortfolioId::ExecGlobal]) {
            generator.plan(PlannedWrite::without_job(vec![LedgerEntry::opening_deposit(
                portfolio,
                directory.config.system.initial_bankroll,
                start,
            )]))?;
        }
        Ok(generator)
    }

    pub fn leader_ids(&self) -> Vec<FollowedUserId> {
        self.leaders.iter().map(|(user, _)| *user).collect()
    }

    /// Does all work up to `at`, in the order in which the bot does it.
    ///
    /// # Errors
    /// [`HistoryError`] when a row, a decision or an entry is refused.
    pub fn minute(
        &mut self,
        exchange: &Exchange,
        at: Timestamp,
        settings: &HistorySettings,
    ) -> Result<(), HistoryError> {
        while let Some(event) = self.events.pop_front_if(|event| event.detect_time() <= at) {
            self.ingest(exchange, event)?;
        }
        for closed in self.windows.close_due(at) {
            self.closed.insert(closed.group.place(), closed);
        }
        while let Some(entry) = self.closed.first_entry()
            && let decided_at = decided_at(&self.directory, &entry.get().group)
            && decided_at <= at
        {
            let closed = entry.remove();
            self.decide_copies(exchange, closed, decided_at)?;
        }
        self.settle(exchange, at)?;
        self.snapshot(exchange, at, settings)
    }

    /// Returns whether no window is open and no group waits for its decision: a good moment to write the batch.
    pub fn is_quiet(&self) -> bool {
        self.windows.n_waiting() == 0 && self.closed.is_empty()
    }

    /// Returns the rows to write and starts a new batch.
    pub fn take_batch(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// Returns how many assets the portfolios hold.
    pub fn n_held(&self) -> usize {
        self.held().len()
    }

    /// Returns how many markets are known.
    pub fn n_markets(&self) -> usize {
        self.markets.len()
    }

    /// Records one event: its rows, its place in a window, its shadow entries.
    fn ingest(&mut self, exchange: &Exchange, event: DetectedEvent) -> Result<(), HistoryError> {
        self.progress.events += 1;
        match event {
            DetectedEvent::Trade(trade) => {
                let market = self.market_facts(exchange, &trade.market, trade.detect_time);
                debug_assert!(!market.outcomes.is_empty(), "a market of the simulator has its outcomes");
                self.windows.add(PendingEvent::from_trade(&trade))?;
                self.newest_event.insert(trade.followed_user, trade.event_time);
                self.plan(PlannedWrite::of_event(Member::Trade(trade.id), entries_for_trade(&trade)?))?;
                self.batch.trades.push(trade);
            }
            DetectedEvent::Activity(activity) => {
                if let Some(pending) = PendingEvent::from_activity(&activity) {
                    self.windows.add(pending)?;
                }
                self.newest_event.insert(activity.followed_user, activity.event_time);
                let entries = self.entries_of(exchange, &activity)?;
                self.plan(PlannedWrite::of_event(Member::Activity(activity.id), entries))?;
                self.batch.activities.push(activity);
            }
        }
        Ok(())
    }

    /// Returns the shadow entries of an activity. For a CONVERSION the bot would read the positions route; here the
    /// changes are known.
    fn entries_of(&mut self, exchange: &Exchange, activity: &ActivityEvent) -> Result<Vec<LedgerEntry>, HistoryError> {
        let condition = activity.payload.condition_id.clone();
        let market = condition.map(|id| self.market_facts(exchange, &id, activity.detect_time));
        let user = activity.followed_user;
        let shadow = self.shadow(user);
        let held = |asset: &AssetId| shadow.position(asset, user).shares;
        let outcomes = market.iter().flat_map(|market| &market.outcomes);
        let holdings: Vec<_> = outcomes.map(|outcome| (outcome.asset.clone(), held(&outcome.asset))).collect();
        let facts = ActivityFacts { market: market.as_ref(), holdings: &holdings, booked: &[], payout_overdue: true };
        let effect = entries_for_activity(activity, &facts)
            .map_err(|error| HistoryError::Row { reason: error.to_string(), text: activity.payload.row.clone() })?;
        match effect {
            ShadowEffect::Entries(booked) => Ok(booked.entries),
            ShadowEffect::NeedsPayout => Ok(Vec::new()),
            ShadowEffect::ReadPositions => self.converted(exchange, activity),
        }
    }

    /// Returns the entries of a CONVERSION, from the changes that it made.
    fn converted(&mut self, exchange: &Exchange, activity: &ActivityEvent) -> Result<Vec<LedgerEntry>, HistoryError> {
        let user = activity.followed_user;
        let changes = self.conversions.get(&activity.payload.tx_hash).cloned().unwrap_or_default();
        let mut moved = BTreeMap::new();
        let mut assets = ShadowAssets::new();
        for (asset, change) in changes {
            let Some((market, _)) = exchange.market_by_asset(&asset) else { continue };
            let market = market.id().clone();
            let lot: Position = self.shadow(user).position(&asset, user);
            assets.insert(
                asset.clone(),
                ShadowAsset { market: Some(market.clone()), lot, counted: lot.shares, mark: None },
            );
            moved.insert(asset, change);
            self.market_facts(exchange, &market, activity.detect_time);
        }
        let cash = activity.payload.cash_micros;
        Ok(carried_over(&Cause::of_activity(activity), &moved, cash, &assets, &[])?.entries)
    }

    fn shadow(&mut self, user: FollowedUserId) -> &mut Portfolio {
        let id = PortfolioId::ShadowUser(user);
        self.portfolios.entry(id).or_insert_with(|| Portfolio::new(id))
    }

    /// Decides on a group in both portfolios, with the same book.
    fn decide_copies(&mut self, exchange: &Exchange, closed: ClosedGroup, now: Timestamp) -> Result<(), HistoryError> {
        let group = &closed.group;
        let market = self.facts_at(exchange, &group.market, now);
        let outcomes: Vec<AssetId> = market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect();
        let asset = group.action.asset();
        let quotes = asset.and_then(|asset| {
            let (market, index) = exchange.market_by_asset(asset)?;
            market.quotes(index, now)
        });
        let book = quotes.as_ref().and_then(book_of);
        let mut book_was_read = false;
        for portfolio in [PortfolioId::ExecUser(group.followed_user), PortfolioId::ExecGlobal] {
            let overrides = self.directory.overrides.get(&group.followed_user);
            let config = effective(&self.directory.config, overrides, portfolio.scope());
            let running = self.portfolios.entry(portfolio).or_insert_with(|| Portfolio::new(portfolio));
            let view = running.view(&ViewQuery {
                leader: group.followed_user,
                market: &group.market,
                asset,
                outcomes: &outcomes,
                now,
            });
            let situation = Situation {
                group,
                market: &market,
                portfolio: &view,
                config: &config,
                leader: FollowState::Active,
                their_holding: TheirHolding::NotAsked,
                now,
            };
            let undecided = |source| HistoryError::Undecided { group: Box::new(group.clone()), source };
            let decision = match precheck(&situation).map_err(undecided)? {
                Some(decision) => decision,
                None => {
                    book_was_read = true;
                    decide(&situation, book.as_ref()).map_err(undecided)?
                }
            };
            let (attempt, entries) = decision.into_record(portfolio, group, now)?;
            self.plan(PlannedWrite::of_copy(group.id, attempt, entries))?;
        }
        if let (true, Some(asset)) = (book_was_read, asset) {
            self.batch.add_book(group.id, asset, quotes, &market, now);
        }
        self.batch.groups.push((closed, now));
        Ok(())
    }

    /// Applies the entries of a write to the portfolios and adds the write to the batch.
    fn plan(&mut self, planned: PlannedWrite) -> Result<(), HistoryError> {
        for entry in &planned.entries {
            let id = entry.portfolio;
            self.portfolios.entry(id).or_insert_with(|| Portfolio::new(id)).apply(entry)?;
        }
        self.progress.reached.entries += planned.entries.len();
        self.progress.reached.attempts += usize::from(planned.attempt.is_some());
        self.batch.ledger_writes.push(planned);
        Ok(())
    }

    /// Returns the market's facts at a time. A market that is new is recorded, and settled when its outcome is known.
    fn market_facts(&mut self, exchange: &Exchange, id: &MarketId, now: Timestamp) -> Market {
        let market = self.facts_at(exchange, id, now);
        if !self.markets.contains_key(id) {
            let resolves_at = exchange.market(id).and_then(|market| market.resolves_at);
            self.markets.insert(id.clone(), resolves_at.map(|at| at.max(now).plus_millis(SETTLED_AFTER_MS)));
            self.batch.markets.push(market.clone());
        }
        market
    }

    /// Returns the market's facts at a time, renamed when the history has edge cases.
    fn facts_at(&self, exchange: &Exchange, id: &MarketId, now: Timestamp) -> Market {
        let mut facts = venue_facts(exchange, id, now);
        if self.with_edge_cases {
            edge_cases::rename(&mut facts);
        }
        facts
    }
}

/// Returns a market's facts as the venue has them at a time.
fn venue_facts(exchange: &Exchange, id: &MarketId, now: Timestamp) -> Market {
    let Some(market) = exchange.market(id) else { return Market::unknown(id.clone()) };
    let mut facts = market.facts.clone();
    let phase = market.phase(now);
    facts.active = matches!(phase, Phase::Open | Phase::Coming);
    facts.resolved_at = market.resolves_at.filter(|_| phase == Phase::Resolved);
    for (outcome, payout) in facts.outcomes.iter_mut().zip(market.payouts_at(now).unwrap_or_default()) {
        outcome.payout = Some(*payout);
    }
    facts
}

/// Returns when the bot decides on a group: the end of its window, plus the latency, plus a random part that is always the
/// same for this group.
fn decided_at(directory: &Directory, group: &EventGroup) -> Timestamp {
    let overrides = directory.overrides.get(&group.followed_user);
    let config = effective(&directory.config, overrides, PortfolioScope::ExecUser);
    let random = noise(hash_text(0, group.key.as_str()), 0, 0);
    let jitter = (random * config.guardrails.jitter_ms_max as f64) as i64;
    let wait = config.system.aggregation_window_ms + config.guardrails.decision_latency_ms + jitter;
    group.window_start.plus_millis(wait)
}

/// Returns the quotes as the bot's book; `None` when they are not a valid book.
fn book_of(quotes: &Quotes) -> Option<OrderBook> {
    let side = |levels: &[Level]| -> Vec<_> { levels.iter().map(|level| (level.price, level.shares)).collect() };
    OrderBook::from_levels(side(&quotes.bids), side(&quotes.asks)).ok()
}
