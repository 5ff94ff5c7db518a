//! The running state of one portfolio: what a full fold of its ledger gives, kept entry by entry (spec section 9).
//!
//! In    ledger entries, marks, minute snapshots.
//! Out   figures, a decision's view, lots. Each costs a few tree look-ups, however many lots are held.
//! Fails `PortfolioError`; nothing has changed then.

use std::collections::{BTreeMap, BTreeSet};

use super::equity_history::EquityHistory;
use super::figures::{Figures, Totals};
use super::ids::{AssetId, FollowedUserId, MarketId};
use super::ledger::{EntryError, EntryType, LedgerEntry, PortfolioId, PortfolioScope};
use super::lot::{Position, Valuation};
use super::mark::{Mark, Marks};
use super::portfolio_view::PortfolioView;
use super::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

/// Why an entry or a mark was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortfolioError {
    #[error("an entry of {entry} was given to {portfolio}")]
    WrongPortfolio { portfolio: PortfolioId, entry: PortfolioId },
    #[error("the checkpoint of {portfolio} holds lots that cost `{cost:?}`, but its cash says `{expected:?}`")]
    Checkpoint { portfolio: PortfolioId, cost: UsdcMicros, expected: UsdcMicros },
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// One lot: what one leader's actions brought of one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    pub asset: AssetId,
    pub leader: FollowedUserId,
    pub market: Option<MarketId>,
    pub shares: ShareMicros,
    pub cost: UsdcMicros,
    pub value: UsdcMicros,
    pub exposure: UsdcMicros,
    /// `None` when nothing but the average cost is known.
    pub mark: Option<PriceMicros>,
}

/// What a decision wants to know.
#[derive(Debug, Clone, Copy)]
pub struct ViewQuery<'a> {
    pub leader: FollowedUserId,
    pub market: &'a MarketId,
    /// `None` for a MERGE, SPLIT or CONVERSION.
    pub asset: Option<&'a AssetId>,
    /// The market's outcomes, in outcome order; empty where no sets are asked for.
    pub outcomes: &'a [AssetId],
    pub now: Timestamp,
}

/// One portfolio as it stands after the entries applied so far.
///
/// Marks are kept for every asset told of, held or not, so that a lot opened later is marked at once.
/// A lot is keyed by asset and leader; in a portfolio with an owner the owner is the leader of every lot.
#[derive(Debug, Clone)]
pub struct Portfolio {
    pub(super) id: PortfolioId,
    pub(super) version: u64,
    pub(super) totals: Totals,
    pub(super) holdings: BTreeMap<AssetId, Holding>,
    pub(super) history: EquityHistory,
    markets: BTreeMap<MarketId, InMarket>,
    leaders: BTreeMap<FollowedUserId, UsdcMicros>,
}

/// One asset: its marks, and its lots in order of leader. Few leaders hold the same asset, so the list is short.
#[derive(Debug, Clone, Default)]
pub(super) struct Holding {
    pub(super) market: Option<MarketId>,
    pub(super) marks: Marks,
    pub(super) lots: Vec<HeldLot>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct HeldLot {
    pub(super) leader: FollowedUserId,
    pub(super) position: Position,
    valuation: Valuation,
}

/// What is held in one market.
#[derive(Debug, Clone, Default)]
struct InMarket {
    exposure: UsdcMicros,
    assets: BTreeSet<AssetId>,
}

impl Portfolio {
    pub fn new(id: PortfolioId) -> Self {
        Self {
            id,
            version: 0,
            totals: Totals::default(),
            holdings: BTreeMap::new(),
            history: EquityHistory::default(),
            markets: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }

    pub const fn id(&self) -> PortfolioId {
        self.id
    }

    /// Grows by one with each entry. Marks and snapshots leave it alone: they do not cross a decision.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Counts on from at least `version`: after a reload, no version a decision may still hold comes back.
    pub fn continue_from_version(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Folds one more entry. A leader's fill in a shadow is also a trade seen; our own paper fills are not.
    ///
    /// # Errors
    /// `PortfolioError`; the money has not moved then.
    pub fn apply(&mut self, entry: &LedgerEntry) -> Result<(), PortfolioError> {
        if entry.portfolio != self.id {
            return Err(PortfolioError::WrongPortfolio { portfolio: self.id, entry: entry.portfolio });
        }
        entry.validate()?;
        match entry.kind {
            EntryType::Deposit => {
                self.totals =
                    self.totals.moved(&Totals { cash: entry.cash, deposits: entry.cash, ..Totals::default() })?;
                self.history.open(entry.cash);
            }
            EntryType::Fee => self.realize(entry.cash)?,
            EntryType::Mark => {}
            EntryType::TradeFill
            | EntryType::Merge
            | EntryType::Split
            | EntryType::Conversion
            | EntryType::Settlement => match (&entry.asset, entry.leader()) {
                (Some(asset), Some(leader)) => self.move_lot(entry, asset, leader)?,
                _ => self.realize(entry.cash)?,
            },
        }
        self.version = self.version.saturating_add(1);
        Ok(())
    }

    /// Marks every lot of one asset. False when nothing changed.
    ///
    /// # Errors
    /// `PortfolioError::Unit` when a total would not fit.
    pub fn set_mark(&mut self, asset: &AssetId, mark: Mark) -> Result<bool, PortfolioError> {
        let Some(holding) = self.holdings.get_mut(asset) else {
            let marks = Marks::default().with(mark);
            self.holdings.insert(asset.clone(), Holding { marks, ..Holding::default() });
            return Ok(true);
        };
        let marks = holding.marks.with(mark);
        if marks == holding.marks {
            return Ok(false);
        }
        if marks.best() == holding.marks.best() {
            holding.marks = marks;
            return Ok(true);
        }
        let mut totals = self.totals;
        let mut valued = Vec::with_capacity(holding.lots.len());
        for lot in &holding.lots {
            let valuation = lot.position.at(marks.best())?;
            totals = totals.moved(&Totals::revalued(lot.valuation, valuation)?)?;
            valued.push(valuation);
        }
        self.totals = totals;
        holding.marks = marks;
        for (lot, valuation) in holding.lots.iter_mut().zip(valued) {
            let change = valuation.exposure.0.saturating_sub(lot.valuation.exposure.0);
            if let Some(market) = holding.market.as_ref().and_then(|market| self.markets.get_mut(market)) {
                grow(&mut market.exposure, change);
            }
            grow(self.leaders.entry(lot.leader).or_default(), change);
            lot.valuation = valuation;
        }
        Ok(true)
    }

    /// What a decision may know, at the version of this moment.
    pub fn view(&self, query: &ViewQuery<'_>) -> PortfolioView {
        let figures = self.figures();
        let held = |asset: &AssetId| self.position(asset, query.leader).shares;
        PortfolioView {
            id: self.id,
            version: self.version,
            cash: figures.cash,
            equity: figures.equity,
            exposure_total: figures.exposure,
            exposure_market: self.exposure_in(query.market),
            exposure_leader: self.exposure_of(query.leader),
            held: query.asset.map(held).unwrap_or_default(),
            held_sets: query.outcomes.iter().map(|asset| (asset.clone(), held(asset))).collect(),
            baselines: self.history.baselines(query.now),
        }
    }

    pub fn figures(&self) -> Figures {
        self.totals.figures()
    }

    /// The lot of this asset and leader; zero when there is none.
    pub fn position(&self, asset: &AssetId, leader: FollowedUserId) -> Position {
        self.holdings.get(asset).and_then(|holding| holding.lot(leader)).map(|lot| lot.position).unwrap_or_default()
    }

    pub fn exposure_in(&self, market: &MarketId) -> UsdcMicros {
        self.markets.get(market).map(|market| market.exposure).unwrap_or_default()
    }

    pub fn exposure_of(&self, leader: FollowedUserId) -> UsdcMicros {
        self.leaders.get(&leader).copied().unwrap_or_default()
    }

    /// Markets with a lot, and their exposure.
    pub fn exposure_by_market(&self) -> impl Iterator<Item = (&MarketId, UsdcMicros)> {
        self.markets.iter().map(|(market, held)| (market, held.exposure))
    }

    /// Leaders who cause exposure, and how much.
    pub fn exposure_by_leader(&self) -> impl Iterator<Item = (FollowedUserId, UsdcMicros)> {
        let leaders = self.leaders.iter().map(|(leader, exposure)| (*leader, *exposure));
        leaders.filter(|(_, exposure)| *exposure != UsdcMicros::ZERO)
    }

    /// All lots, by asset and leader.
    pub fn lots(&self) -> impl Iterator<Item = Lot> {
        self.holdings.iter().flat_map(|(asset, holding)| holding.shown(asset))
    }

    /// The lots of one market, by asset and leader.
    pub fn lots_in(&self, market: &MarketId) -> Vec<Lot> {
        let assets = self.markets.get(market).into_iter().flat_map(|market| &market.assets);
        assets.filter_map(|asset| Some(self.holdings.get(asset)?.shown(asset))).flatten().collect()
    }

    /// The assets with a lot: what wants a price.
    pub fn held_assets(&self) -> impl Iterator<Item = &AssetId> {
        self.holdings.iter().filter(|(_, holding)| !holding.lots.is_empty()).map(|(asset, _)| asset)
    }

    /// Takes a minute snapshot into the baselines. False when that minute is known already.
    pub fn note_snapshot(&mut self, bucket: Timestamp, equity: UsdcMicros) -> bool {
        self.history.note(bucket, equity)
    }

    /// From now on the drawdown is measured from today's equity.
    pub fn reset_peak(&mut self) {
        self.history.reset_peak(self.figures().equity);
    }

    pub const fn history(&self) -> &EquityHistory {
        &self.history
    }

    /// Replaces the baselines, when they were read from the snapshots anew.
    pub fn set_history(&mut self, history: EquityHistory) {
        self.history = history;
    }

    fn realize(&mut self, cash: UsdcMicros) -> Result<(), UnitError> {
        self.totals = self.totals.moved(&Totals { cash, realized: cash, ..Totals::default() })?;
        Ok(())
    }

    /// Moves one lot. All that can fail is worked out before anything changes.
    fn move_lot(&mut self, entry: &LedgerEntry, asset: &AssetId, leader: FollowedUserId) -> Result<(), UnitError> {
        let leaders_fill = entry.kind == EntryType::TradeFill && self.id.scope() == PortfolioScope::ShadowUser;
        let seen = entry.price.filter(|_| leaders_fill).map(Mark::LastTrade);
        let holding = holding_of(&mut self.holdings, asset);
        let before = holding.lot(leader).copied().unwrap_or(HeldLot::empty(leader));
        let marks = seen.map_or(holding.marks, |mark| holding.marks.with(mark));
        let moved = before.position.moved(entry.shares, entry.cash)?;
        let after = HeldLot { leader, position: moved.position, valuation: moved.position.at(marks.best())? };
        self.totals = self.totals.moved(&Totals {
            cash: entry.cash,
            realized: moved.realized,
            cost: after.position.cost.minus(before.position.cost)?,
            ..Totals::revalued(before.valuation, after.valuation)?
        })?;
        // The leader of a shadow holds its only lot of the asset, so the new mark has no other lot to revalue.
        holding.marks = marks;
        self.put_lot(asset, entry.market.as_ref(), before, after);
        Ok(())
    }

    /// Puts back a lot of a checkpoint, with the marks of that time.
    pub(super) fn restore_lot(
        &mut self,
        asset: &AssetId,
        market: Option<&MarketId>,
        marks: Marks,
        leader: FollowedUserId,
        position: Position,
    ) -> Result<(), UnitError> {
        let holding = holding_of(&mut self.holdings, asset);
        let before = holding.lot(leader).copied().unwrap_or(HeldLot::empty(leader));
        holding.marks = marks;
        let after = HeldLot { leader, position, valuation: position.at(marks.best())? };
        let cost = position.cost.minus(before.position.cost)?;
        self.totals = self.totals.moved(&Totals { cost, ..Totals::revalued(before.valuation, after.valuation)? })?;
        self.put_lot(asset, market, before, after);
        Ok(())
    }

    /// Puts `after` in the place of `before`, and moves the exposures that include it.
    fn put_lot(&mut self, asset: &AssetId, market: Option<&MarketId>, before: HeldLot, after: HeldLot) {
        let change = after.valuation.exposure.0.saturating_sub(before.valuation.exposure.0);
        grow(self.leaders.entry(after.leader).or_default(), change);
        let holding = holding_of(&mut self.holdings, asset);
        let was_counted = holding.market.is_some() && !holding.lots.is_empty();
        holding.put(after);
        if holding.market.is_none() {
            holding.market = market.cloned();
        }
        let Some(market) = &holding.market else { return };
        let is_held = !holding.lots.is_empty();
        match (was_counted, is_held) {
            (false, false) => {}
            (false, true) => {
                let in_market = self.markets.entry(market.clone()).or_default();
                in_market.assets.insert(asset.clone());
                holding.lots.iter().for_each(|lot| grow(&mut in_market.exposure, lot.valuation.exposure.0));
            }
            (true, _) => {
                let in_market = self.markets.entry(market.clone()).or_default();
                grow(&mut in_market.exposure, change);
                if !is_held {
                    in_market.assets.remove(asset);
                }
                if in_market.assets.is_empty() {
                    self.markets.remove(market);
                }
            }
        }
    }
}

impl Holding {
    fn lot(&self, leader: FollowedUserId) -> Option<&HeldLot> {
        let place = self.lots.binary_search_by_key(&leader, |lot| lot.leader).ok()?;
        self.lots.get(place)
    }

    /// Replaces the leader's lot; an empty one leaves.
    fn put(&mut self, lot: HeldLot) {
        let place = self.lots.binary_search_by_key(&lot.leader, |held| held.leader);
        match (place, lot.position.shares == ShareMicros::ZERO) {
            (Ok(place), true) => drop(self.lots.remove(place)),
            (Ok(place), false) => self.lots[place] = lot,
            (Err(_), true) => {}
            (Err(place), false) => self.lots.insert(place, lot),
        }
    }

    fn shown(&self, asset: &AssetId) -> impl Iterator<Item = Lot> {
        self.lots.iter().map(move |lot| Lot {
            asset: asset.clone(),
            leader: lot.leader,
            market: self.market.clone(),
            shares: lot.position.shares,
            cost: lot.position.cost,
            value: lot.valuation.value,
            exposure: lot.valuation.exposure,
            mark: self.marks.best(),
        })
    }
}

impl HeldLot {
    fn empty(leader: FollowedUserId) -> Self {
        Self { leader, position: Position::default(), valuation: Valuation::default() }
    }
}

/// The asset's holding, made on first sight. The id is cloned then only.
fn holding_of<'a>(holdings: &'a mut BTreeMap<AssetId, Holding>, asset: &AssetId) -> &'a mut Holding {
    if !holdings.contains_key(asset) {
        holdings.insert(asset.clone(), Holding::default());
    }
    holdings.entry(asset.clone()).or_default()
}

/// A part of the summed exposure, which was found to fit before: it cannot saturate.
fn grow(exposure: &mut UsdcMicros, change: i64) {
    exposure.0 = exposure.0.saturating_add(change);
}
