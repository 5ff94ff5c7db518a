//! The running state of one portfolio: what a full fold of its ledger gives, kept entry by entry (spec section 9).
//!
//! In    ledger entries, marks, minute snapshots.
//! Out   figures, a decision's view, lots. Each costs a few tree look-ups, however many lots are held.
//! Fails `PortfolioError`; nothing has changed then.

use std::collections::BTreeMap;

use super::closed_lots::{ClosingBook, Closings};
use super::equity_history::EquityHistory;
use super::exposure::{Exposures, MarketPlace};
use super::ledger::{EntryError, EntryType, LedgerEntry, PortfolioId, PortfolioScope};
use super::lot::{Position, Valuation};
use super::mark::{Mark, Marks};
use super::totals::{Figures, Totals};
use super::view::PortfolioView;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

/// Why an entry or a mark was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortfolioError {
    #[error("an entry of {entry} was given to {portfolio}")]
    WrongPortfolio { portfolio: PortfolioId, entry: PortfolioId },
    #[error("the checkpoint of {portfolio} holds lots that cost `{}` micros, but its cash says `{}`", .cost.0, .expected.0)]
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
    pub(in crate::domain) id: PortfolioId,
    pub(in crate::domain) version: u64,
    pub(in crate::domain) totals: Totals,
    pub(in crate::domain) holdings: BTreeMap<AssetId, Holding>,
    pub(in crate::domain) history: EquityHistory,
    pub(in crate::domain) closings: ClosingBook,
    exposures: Exposures,
}

/// One asset: its marks, and its lots in order of leader. Few leaders hold the same asset, so the list is short.
#[derive(Debug, Clone, Default)]
pub(in crate::domain) struct Holding {
    market: Option<MarketPlace>,
    pub(in crate::domain) marks: Marks,
    pub(in crate::domain) lots: Vec<HeldLot>,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::domain) struct HeldLot {
    pub(in crate::domain) leader: FollowedUserId,
    pub(in crate::domain) position: Position,
    /// Since it was opened, fees included.
    pub(in crate::domain) realized: UsdcMicros,
    valuation: Valuation,
}

impl Portfolio {
    pub fn new(id: PortfolioId) -> Self {
        Self {
            id,
            version: 0,
            totals: Totals::default(),
            holdings: BTreeMap::new(),
            history: EquityHistory::default(),
            closings: ClosingBook::default(),
            exposures: Exposures::default(),
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
            EntryType::Fee => self.take_fee(entry)?,
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
            self.exposures.grow_leader(lot.leader, change);
            if let Some(market) = holding.market {
                self.exposures.grow_market(market, change);
            }
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
        self.holdings.get(asset).map(|holding| holding.lot(leader).position).unwrap_or_default()
    }

    pub fn exposure_in(&self, market: &MarketId) -> UsdcMicros {
        self.exposures.in_market(market)
    }

    pub fn exposure_of(&self, leader: FollowedUserId) -> UsdcMicros {
        self.exposures.of_leader(leader)
    }

    /// Markets with a lot, and their exposure.
    pub fn exposure_by_market(&self) -> impl Iterator<Item = (&MarketId, UsdcMicros)> {
        self.exposures.by_market()
    }

    /// Leaders who cause exposure, and how much.
    pub fn exposure_by_leader(&self) -> impl Iterator<Item = (FollowedUserId, UsdcMicros)> {
        self.exposures.by_leader()
    }

    /// All lots, by asset and leader.
    pub fn lots(&self) -> impl Iterator<Item = Lot> {
        self.holdings.iter().flat_map(|(asset, holding)| self.shown(asset, holding))
    }

    /// The lots of one market, by asset and leader.
    pub fn lots_in(&self, market: &MarketId) -> Vec<Lot> {
        let holdings = self.exposures.assets_in(market).filter_map(|asset| self.holdings.get_key_value(asset));
        holdings.flat_map(|(asset, holding)| self.shown(asset, holding)).collect()
    }

    /// The assets with a lot: what wants a price.
    pub fn held_assets(&self) -> impl Iterator<Item = &AssetId> {
        self.holdings.iter().filter(|(_, holding)| !holding.lots.is_empty()).map(|(asset, _)| asset)
    }

    /// Whether both hold the same lots at the same cost, with the same cash, deposits and realized PnL: what `audit`
    /// asks of a running state and a full fold. Marks, baselines and versions may differ.
    pub fn same_books(&self, other: &Self) -> bool {
        let books = |of: &Self| (of.id, of.totals.cash, of.totals.realized, of.totals.deposits);
        let lots = |of: &Self| of.lots().map(|lot| (lot.asset, lot.leader, lot.shares, lot.cost)).collect::<Vec<_>>();
        books(self) == books(other) && lots(self) == lots(other)
    }

    /// Takes a minute snapshot into the baselines. False when that minute is known already.
    pub fn note_snapshot(&mut self, bucket: Timestamp, equity: UsdcMicros) -> bool {
        self.history.note(bucket, equity)
    }

    /// Since `at` the drawdown is measured from `peak`. False when that was known already.
    pub fn note_peak_reset(&mut self, at: Timestamp, peak: UsdcMicros) -> bool {
        self.history.note_reset(at, peak)
    }

    /// How the lots came out that are closed.
    pub fn closings(&self) -> Closings {
        self.closings.closings()
    }

    pub const fn history(&self) -> &EquityHistory {
        &self.history
    }

    /// Replaces the baselines, when they were read from the snapshots anew.
    pub fn set_history(&mut self, history: EquityHistory) {
        self.history = history;
    }

    fn take_fee(&mut self, entry: &LedgerEntry) -> Result<(), UnitError> {
        self.realize(entry.cash)?;
        let (Some(asset), Some(leader)) = (&entry.asset, entry.leader()) else { return Ok(()) };
        if self.closings.take_fee(asset, leader, &entry.ref_id, entry.cash) {
            return Ok(());
        }
        let lot = self.holdings.get_mut(asset).and_then(|holding| holding.lot_mut(leader));
        if let Some(lot) = lot {
            lot.realized.0 = lot.realized.0.saturating_add(entry.cash.0);
        }
        Ok(())
    }

    fn realize(&mut self, cash: UsdcMicros) -> Result<(), UnitError> {
        self.totals = self.totals.moved(&Totals { cash, realized: cash, ..Totals::default() })?;
        Ok(())
    }

    /// Moves one lot. All that can fail is worked out before anything changes.
    fn move_lot(&mut self, entry: &LedgerEntry, asset: &AssetId, leader: FollowedUserId) -> Result<(), UnitError> {
        let leaders_fill = entry.kind == EntryType::TradeFill && self.id.scope() == PortfolioScope::ShadowUser;
        let seen = entry.price.filter(|_| leaders_fill).map(Mark::LastTrade);
        let holding = match self.holdings.get_mut(asset) {
            Some(holding) => holding,
            None => self.holdings.entry(asset.clone()).or_default(),
        };
        let before = holding.lot(leader);
        let marks = seen.map_or(holding.marks, |mark| holding.marks.with(mark));
        let moved = before.position.moved(entry.shares, entry.cash)?;
        let realized = before.realized.plus(moved.realized)?;
        // What crosses zero closes one lot and opens the next.
        let is_left = (before.position.shares.0 > 0) == (moved.position.shares.0 > 0);
        let closes =
            before.position.shares != ShareMicros::ZERO && (moved.position.shares == ShareMicros::ZERO || !is_left);
        let after = HeldLot {
            leader,
            position: moved.position,
            realized: if closes { UsdcMicros::ZERO } else { realized },
            valuation: moved.position.at(marks.best())?,
        };
        self.totals = self.totals.moved(&Totals {
            cash: entry.cash,
            realized: moved.realized,
            cost: after.position.cost.minus(before.position.cost)?,
            ..Totals::revalued(before.valuation, after.valuation)?
        })?;
        // The leader of a shadow holds its only lot of the asset, so the new mark has no other lot to revalue.
        holding.marks = marks;
        holding.put(asset, entry.market.as_ref(), after, &mut self.exposures);
        if closes {
            self.closings.close(asset, leader, &entry.ref_id, realized);
        }
        Ok(())
    }

    /// Puts back a lot of a checkpoint, with the marks of that time.
    pub(in crate::domain) fn restore_lot(
        &mut self,
        asset: &AssetId,
        market: Option<&MarketId>,
        marks: Marks,
        leader: FollowedUserId,
        (position, realized): (Position, UsdcMicros),
    ) -> Result<(), UnitError> {
        let lot = HeldLot { leader, position, realized, valuation: position.at(marks.best())? };
        let bought = Totals { cost: position.cost, ..Totals::revalued(Valuation::default(), lot.valuation)? };
        self.totals = self.totals.moved(&bought)?;
        let holding = self.holdings.entry(asset.clone()).or_default();
        holding.marks = marks;
        holding.put(asset, market, lot, &mut self.exposures);
        Ok(())
    }

    pub(in crate::domain) fn market_of(&self, holding: &Holding) -> Option<&MarketId> {
        self.exposures.market_at(holding.market?)
    }

    fn shown(&self, asset: &AssetId, holding: &Holding) -> impl Iterator<Item = Lot> {
        let (market, mark) = (self.market_of(holding).cloned(), holding.marks.best());
        holding.lots.iter().map(move |lot| Lot {
            asset: asset.clone(),
            leader: lot.leader,
            market: market.clone(),
            shares: lot.position.shares,
            cost: lot.position.cost,
            value: lot.valuation.value,
            exposure: lot.valuation.exposure,
            mark,
        })
    }
}

impl Holding {
    /// The leader's lot, or one without shares.
    fn lot(&self, leader: FollowedUserId) -> HeldLot {
        let place = self.lots.binary_search_by_key(&leader, |lot| lot.leader).ok();
        place.and_then(|place| self.lots.get(place)).copied().unwrap_or(HeldLot {
            leader,
            position: Position::default(),
            realized: UsdcMicros::ZERO,
            valuation: Valuation::default(),
        })
    }

    fn lot_mut(&mut self, leader: FollowedUserId) -> Option<&mut HeldLot> {
        self.lots.iter_mut().find(|lot| lot.leader == leader)
    }

    /// Puts the lot in place of the leader's former one, in the sums too. A lot without shares leaves.
    fn put(&mut self, asset: &AssetId, market: Option<&MarketId>, lot: HeldLot, exposures: &mut Exposures) {
        let change = lot.valuation.exposure.0.saturating_sub(self.lot(lot.leader).valuation.exposure.0);
        exposures.grow_leader(lot.leader, change);
        let was_held = !self.lots.is_empty();
        let place = self.lots.binary_search_by_key(&lot.leader, |held| held.leader);
        match (place, lot.position.shares == ShareMicros::ZERO) {
            (Ok(place), true) => drop(self.lots.remove(place)),
            (Ok(place), false) => self.lots[place] = lot,
            (Err(_), true) => {}
            (Err(place), false) => self.lots.insert(place, lot),
        }
        match (self.market, market) {
            (Some(place), _) => {
                exposures.grow_market(place, change);
                match (was_held, !self.lots.is_empty()) {
                    (false, true) => exposures.enter(place, asset),
                    (true, false) => exposures.leave(place, asset),
                    _ => {}
                }
            }
            (None, Some(market)) => {
                let place = exposures.place_of(market);
                self.market = Some(place);
                self.lots.iter().for_each(|lot| exposures.grow_market(place, lot.valuation.exposure.0));
                if !self.lots.is_empty() {
                    exposures.enter(place, asset);
                }
            }
            (None, None) => {}
        }
    }
}
