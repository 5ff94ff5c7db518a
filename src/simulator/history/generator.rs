//! The past, minute by minute, in memory: what was seen, grouped, decided, settled and worth. Nothing here touches the
//! database but the last look for ledger positions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::rate::{Piece, Tally};
use super::writer::{Pages, Planned};
use super::{HistoryError, HistorySettings, MINUTE_MS, edge_cases};
use crate::db::{Db, Directory, PortfolioSnapshot};
use crate::domain::accounting::ledger::{LedgerEntry, PortfolioId};
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::portfolio::{Portfolio, ViewQuery};
use crate::domain::accounting::settlement::settle;
use crate::domain::accounting::shadow::{
    AssetGap, ShadowEffect, conversion_entries, entries_for_activity, entries_for_trade,
};
use crate::domain::config::effective::effective;
use crate::domain::decision::decide::{Situation, decide, precheck};
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::events::group::{ClosedGroup, EventGroup, GroupAction, Member, PendingEvent, Windows};
use crate::domain::market::book::OrderBook;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId, Wallet};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp};
use crate::polymarket::{Window, WireRow};
use crate::simulator::life::rng::{hash_text, noise};
use crate::simulator::state::exchange::World;
use crate::simulator::state::market::{Phase, Quotes};

/// From first appearance to our knowing of it: the chain has told us where to look.
const DETECTED_AFTER_MS: f64 = 900.0;
/// From a market's resolution to our knowing of it.
const SETTLED_AFTER_MS: i64 = 45_000;

pub struct Story {
    leaders: Vec<(FollowedUserId, Wallet)>,
    /// Names are hostile.
    oddities: bool,
    pub tally: Tally,
    directory: Directory,
    /// Still to be seen, in order.
    events: VecDeque<Seen>,
    /// What each CONVERSION moved, by transaction: the bot would ask the positions route.
    converted: HashMap<String, Vec<(AssetId, ShareMicros)>>,
    windows: Windows,
    /// Closed and not decided yet, in the global order.
    closed: BTreeMap<(Timestamp, String), ClosedGroup>,
    portfolios: BTreeMap<PortfolioId, Portfolio>,
    /// Markets we know, and when we shall know their outcome.
    markets: BTreeMap<MarketId, Option<Timestamp>>,
    newest: BTreeMap<FollowedUserId, Timestamp>,
    pub pages: Pages,
}

/// An event and when we saw it.
enum Seen {
    Trade(TradeEvent),
    Activity(ActivityEvent),
}

impl Seen {
    fn detect_time(&self) -> Timestamp {
        match self {
            Self::Trade(trade) => trade.detect_time,
            Self::Activity(activity) => activity.detect_time,
        }
    }
}

impl Story {
    /// Opens the portfolios.
    pub fn new(
        leaders: Vec<(FollowedUserId, Wallet)>,
        directory: &Directory,
        start: Timestamp,
        oddities: bool,
    ) -> Result<Self, HistoryError> {
        let ours: Vec<_> = leaders.iter().map(|(user, _)| PortfolioId::ExecUser(*user)).collect();
        let mut story = Self {
            leaders,
            oddities,
            tally: Tally::default(),
            directory: directory.clone(),
            events: VecDeque::new(),
            converted: HashMap::new(),
            windows: Windows::new(directory.config.system.aggregation_window_ms),
            closed: BTreeMap::new(),
            portfolios: BTreeMap::new(),
            markets: BTreeMap::new(),
            newest: BTreeMap::new(),
            pages: Pages::default(),
        };
        for user in story.leader_ids() {
            story.shadow(user);
        }
        for portfolio in ours.into_iter().chain([PortfolioId::ExecGlobal]) {
            story.write(Planned::free(vec![LedgerEntry::opening_deposit(
                portfolio,
                directory.config.system.initial_bankroll,
                start,
            )]))?;
        }
        Ok(story)
    }

    pub fn leader_ids(&self) -> Vec<FollowedUserId> {
        self.leaders.iter().map(|(user, _)| *user).collect()
    }

    /// Reads the leaders' rows of a piece with the bot's own eyes.
    pub fn read(&mut self, world: &World, piece: &Piece) -> Result<(), HistoryError> {
        let to = if piece.last { i64::MAX } else { piece.to.seconds() };
        for (user, wallet) in self.leaders.clone() {
            let seen = self.read_wallet(world, user, &wallet, (piece.from.seconds(), to))?;
            self.events.extend(seen);
        }
        // Some of the piece before may still be unseen.
        self.events.make_contiguous().sort_by_key(Seen::detect_time);
        Ok(())
    }

    fn read_wallet(
        &mut self,
        world: &World,
        user: FollowedUserId,
        wallet: &Wallet,
        (from, to): (i64, i64),
    ) -> Result<Vec<Seen>, HistoryError> {
        let mut shown_at: HashMap<String, Timestamp> = HashMap::new();
        let mut texts = Vec::new();
        for row in world.rows_between(wallet, from, to) {
            let late = noise(world.seed, row.visible_at.millis(), 77) * DETECTED_AFTER_MS;
            shown_at.entry(row.tx_hash.clone()).or_insert(row.visible_at.plus_millis(100 + late as i64));
            if row.kind == "CONVERSION" {
                self.converted.insert(row.tx_hash.clone(), row.moves.clone());
            }
            texts.push(world.row_text(row, row.complete_at));
        }
        let window = Window::of(texts.iter().map(|text| WireRow::parse(text)), wallet);
        if let Some(bad) = window.bad.into_iter().next() {
            return Err(HistoryError::Row { reason: bad.reason, text: bad.text });
        }
        let seen_at = |tx: &str, event: Timestamp| shown_at.get(tx).copied().unwrap_or(event);
        let trades = window.trades.into_iter().map(|draft| {
            let at = seen_at(&draft.tx_hash, draft.event_time);
            Seen::Trade(draft.into_event(user, wallet.clone(), at))
        });
        let activities = window.activities.into_iter().map(|draft| {
            let at = seen_at(&draft.payload.tx_hash, draft.event_time);
            Seen::Activity(draft.into_event(user, wallet.clone(), at))
        });
        Ok(trades.chain(activities).collect())
    }

    /// Everything up to `at`, in the order the bot would do it.
    pub fn minute(&mut self, world: &World, at: Timestamp, settings: &HistorySettings) -> Result<(), HistoryError> {
        while let Some(seen) = self.events.pop_front_if(|seen| seen.detect_time() <= at) {
            self.ingest(world, seen)?;
        }
        for closed in self.windows.close_due(at) {
            let place = (closed.group.detect_time, closed.group.key.to_string());
            self.closed.insert(place, closed);
        }
        while let Some(entry) = self.closed.first_entry()
            && let decided_at = decided_at(&self.directory, &entry.get().group)
            && decided_at <= at
        {
            let closed = entry.remove();
            self.copy(world, closed, decided_at)?;
        }
        self.settle(world, at)?;
        self.snapshot(world, at, settings)
    }

    /// No window is open and no copy waits: a good moment to write.
    pub fn is_quiet(&self) -> bool {
        self.windows.n_waiting() == 0 && self.closed.is_empty()
    }

    pub fn take_pages(&mut self) -> Pages {
        std::mem::take(&mut self.pages)
    }

    pub fn n_held(&self) -> usize {
        self.held().len()
    }

    pub fn n_markets(&self) -> usize {
        self.markets.len()
    }

    fn ingest(&mut self, world: &World, seen: Seen) -> Result<(), HistoryError> {
        self.tally.events += 1;
        match seen {
            Seen::Trade(trade) => {
                let market = self.meet(world, &trade.market, trade.detect_time);
                debug_assert!(!market.outcomes.is_empty(), "a market of the simulator has its outcomes");
                self.windows.add(PendingEvent::from_trade(&trade))?;
                self.newest.insert(trade.followed_user, trade.event_time);
                self.write(Planned::of_event(Member::Trade(trade.id), entries_for_trade(&trade)?))?;
                self.pages.trades.push(trade);
            }
            Seen::Activity(activity) => {
                if let Some(pending) = PendingEvent::from_activity(&activity) {
                    self.windows.add(pending)?;
                }
                self.newest.insert(activity.followed_user, activity.event_time);
                let entries = self.entries_of(world, &activity)?;
                self.write(Planned::of_event(Member::Activity(activity.id), entries))?;
                self.pages.activities.push(activity);
            }
        }
        Ok(())
    }

    fn entries_of(&mut self, world: &World, activity: &ActivityEvent) -> Result<Vec<LedgerEntry>, HistoryError> {
        let condition = activity.payload.condition_id.clone();
        let market = condition.map(|id| self.meet(world, &id, activity.detect_time));
        let user = activity.followed_user;
        let shadow = self.shadow(user);
        let held = |asset: &AssetId| shadow.position(asset, user).shares;
        let outcomes = market.iter().flat_map(|market| &market.outcomes);
        let holdings: Vec<_> = outcomes.map(|outcome| (outcome.asset.clone(), held(&outcome.asset))).collect();
        let effect = entries_for_activity(activity, market.as_ref(), &holdings)
            .map_err(|error| HistoryError::Row { reason: error.to_string(), text: activity.payload.row.clone() })?;
        match effect {
            ShadowEffect::Entries(entries) => Ok(entries),
            ShadowEffect::ReadPositions => {
                let moves = self.converted.get(&activity.payload.tx_hash).cloned().unwrap_or_default();
                let mut gaps = Vec::with_capacity(moves.len());
                for (asset, moved) in moves {
                    let Some((market, _)) = world.market_by_asset(&asset) else { continue };
                    let market = market.id().clone();
                    let shadow_holds = self.shadow(user).position(&asset, user).shares;
                    let leader_holds = shadow_holds.plus(moved)?;
                    gaps.push(AssetGap { asset, market: market.clone(), leader_holds, shadow_holds });
                    self.meet(world, &market, activity.detect_time);
                }
                Ok(conversion_entries(activity, &gaps)?)
            }
        }
    }

    fn shadow(&mut self, user: FollowedUserId) -> &mut Portfolio {
        let id = PortfolioId::ShadowUser(user);
        self.portfolios.entry(id).or_insert_with(|| Portfolio::new(id))
    }

    /// Both scopes on the same book.
    fn copy(&mut self, world: &World, closed: ClosedGroup, now: Timestamp) -> Result<(), HistoryError> {
        let group = &closed.group;
        let market = self.facts(world, &group.market, now);
        let outcomes: Vec<AssetId> = market.outcomes.iter().map(|outcome| outcome.asset.clone()).collect();
        let asset = match &group.action {
            GroupAction::Trade { asset, .. } => Some(asset),
            _ => None,
        };
        let quotes = asset.and_then(|asset| {
            let (market, index) = world.market_by_asset(asset)?;
            market.quotes(index, now)
        });
        let book = quotes.as_ref().and_then(book_of);
        let mut looked = false;
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
            let situation =
                Situation { group, market: &market, portfolio: &view, config: &config, user_enabled: true, now };
            let undecided = |source| HistoryError::Undecided { group: Box::new(group.clone()), source };
            let decision = match precheck(&situation).map_err(undecided)? {
                Some(decision) => decision,
                None => {
                    looked = true;
                    decide(&situation, book.as_ref()).map_err(undecided)?
                }
            };
            let (attempt, entries) = decision.into_record(portfolio, group, now)?;
            self.write(Planned::of_copy(group.id, attempt, entries))?;
        }
        if let (true, Some(asset)) = (looked, asset) {
            self.pages.book(group.id, asset, quotes, &market, now);
        }
        self.pages.groups.push((closed, now));
        Ok(())
    }

    /// Markets whose outcome is known by now close what we hold in them.
    fn settle(&mut self, world: &World, at: Timestamp) -> Result<(), HistoryError> {
        let known = |(id, due): (&MarketId, &Option<Timestamp>)| due.filter(|due| *due <= at).map(|_| id.clone());
        let resolved: Vec<MarketId> = self.markets.iter().filter_map(known).collect();
        for id in resolved {
            let market = self.facts(world, &id, at);
            let mut entries = Vec::new();
            for (portfolio, running) in &mut self.portfolios {
                for outcome in &market.outcomes {
                    let held = running.lots_in(&id).iter().any(|lot| lot.asset == outcome.asset);
                    if let (Some(payout), true) = (outcome.payout, held) {
                        running.set_mark(&outcome.asset, Mark::Payout(payout))?;
                    }
                }
                entries.push(settle(*portfolio, &market, &running.lots_in(&id), at)?);
            }
            for entries in entries.into_iter().filter(|entries| !entries.is_empty()) {
                self.write(Planned::free(entries))?;
            }
            self.pages.resolved(&market, at);
            self.markets.insert(id, None);
        }
        Ok(())
    }

    /// Marks, prices and one point a portfolio.
    fn snapshot(&mut self, world: &World, at: Timestamp, settings: &HistorySettings) -> Result<(), HistoryError> {
        let bucket = at.bucket(MINUTE_MS);
        if bucket != at {
            return Ok(());
        }
        let due = |every: i64| bucket.millis() % every.max(MINUTE_MS) == 0;
        if due(settings.marks_every_ms) || due(settings.prices_every_ms) {
            let mids = self.mark(world, at)?;
            if due(settings.prices_every_ms) {
                self.pages.prices.push((bucket, mids.into_iter().collect()));
            }
        }
        for (portfolio, running) in &mut self.portfolios {
            let figures = running.figures();
            if running.note_snapshot(bucket, figures.equity) {
                self.pages.snapshots.push(PortfolioSnapshot {
                    portfolio: *portfolio,
                    bucket_time: bucket,
                    equity: figures.equity,
                    cash: figures.cash,
                    exposure: figures.exposure,
                    unrealized_pnl: figures.unrealized,
                    realized_pnl: figures.realized,
                });
            }
        }
        Ok(())
    }

    /// Marks what is held at its midpoint, where it has one.
    fn mark(&mut self, world: &World, at: Timestamp) -> Result<BTreeMap<AssetId, PriceMicros>, HistoryError> {
        let mut mids = BTreeMap::new();
        for asset in self.held() {
            let found = world.market_by_asset(&asset).and_then(|(market, index)| market.midpoint(index, at));
            mids.extend(found.map(|mid| (asset, mid)));
        }
        for running in self.portfolios.values_mut() {
            let held: Vec<AssetId> = running.held_assets().cloned().collect();
            for asset in held {
                if let Some(mid) = mids.get(&asset) {
                    running.set_mark(&asset, Mark::Midpoint(*mid))?;
                }
            }
        }
        Ok(mids)
    }

    fn held(&self) -> BTreeSet<AssetId> {
        self.portfolios.values().flat_map(Portfolio::held_assets).cloned().collect()
    }

    /// Folds what is planned, at once.
    fn write(&mut self, planned: Planned) -> Result<(), HistoryError> {
        for entry in &planned.entries {
            let id = entry.portfolio;
            self.portfolios.entry(id).or_insert_with(|| Portfolio::new(id)).apply(entry)?;
        }
        self.tally.reached.entries += planned.entries.len();
        self.tally.reached.attempts += usize::from(planned.attempt.is_some());
        self.pages.planned.push(planned);
        Ok(())
    }

    /// The market's facts at a time; from the first meeting on it is watched for its outcome.
    fn meet(&mut self, world: &World, id: &MarketId, now: Timestamp) -> Market {
        let market = self.facts(world, id, now);
        if !self.markets.contains_key(id) {
            let resolves_at = world.market(id).and_then(|market| market.resolves_at);
            self.markets.insert(id.clone(), resolves_at.map(|at| at.max(now).plus_millis(SETTLED_AFTER_MS)));
            self.pages.markets.push(market.clone());
        }
        market
    }

    /// What the venue says of a market at a time.
    fn facts(&self, world: &World, id: &MarketId, now: Timestamp) -> Market {
        let mut facts = facts(world, id, now);
        if self.oddities {
            edge_cases::rename(&mut facts);
        }
        facts
    }

    /// Where the running bot goes on from.
    pub async fn checkpoints(&self, db: &Db, now: Timestamp) -> Result<Vec<(String, String)>, HistoryError> {
        let mut checkpoints = Vec::new();
        for (id, running) in &self.portfolios {
            let checkpoint = running.checkpoint(db.last_position(*id).await?);
            let text = serde_json::to_string(&checkpoint)?;
            checkpoints.push((format!("portfolio:{id}"), text));
        }
        for user in self.directory.users.iter().map(|user| user.id) {
            let time = self.newest.get(&user).copied().unwrap_or(now);
            let text = serde_json::json!({"time": time}).to_string();
            checkpoints.push((format!("api:lastTradeTime:{user}"), text.clone()));
            checkpoints.push((format!("api:lastActivityTime:{user}"), text));
        }
        Ok(checkpoints)
    }
}

fn facts(world: &World, id: &MarketId, now: Timestamp) -> Market {
    let Some(market) = world.market(id) else { return Market::unknown(id.clone()) };
    let mut facts = market.facts.clone();
    let phase = market.phase(now);
    facts.active = matches!(phase, Phase::Open | Phase::Coming);
    facts.resolved_at = market.resolves_at.filter(|_| phase == Phase::Resolved);
    for (outcome, payout) in facts.outcomes.iter_mut().zip(market.payouts_at(now).unwrap_or_default()) {
        outcome.payout = Some(*payout);
    }
    facts
}

/// End of window, latency, and the chance part that belongs to this group for ever.
fn decided_at(directory: &Directory, group: &EventGroup) -> Timestamp {
    let overrides = directory.overrides.get(&group.followed_user);
    let config = effective(&directory.config, overrides, crate::domain::accounting::ledger::PortfolioScope::ExecUser);
    let luck = noise(hash_text(0, group.key.as_str()), 0, 0);
    let jitter = (luck * config.guardrails.jitter_ms_max as f64) as i64;
    let wait = config.system.aggregation_window_ms + config.guardrails.decision_latency_ms + jitter;
    group.window_start.plus_millis(wait)
}

fn book_of(quotes: &Quotes) -> Option<OrderBook> {
    let side = |levels: &[crate::domain::market::book::Level]| -> Vec<_> {
        levels.iter().map(|level| (level.price, level.shares)).collect()
    };
    OrderBook::from_levels(side(&quotes.bids), side(&quotes.asks)).ok()
}
