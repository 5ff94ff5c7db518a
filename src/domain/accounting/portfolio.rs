//! The running state of one portfolio. It equals a full fold of the ledger, but is updated entry by entry (spec 9).
//!
//! In    ledger entries, marks, minute snapshots.
//! Out   figures, the view of a decision, lots. Each costs a few tree look-ups, however many lots are held.
//! Fails [`PortfolioError`]; nothing has changed then.

use std::collections::BTreeMap;

use super::closed_lots::{ClosedLotCounts, ClosedLots};
use super::equity_history::EquityHistory;
use super::exposure::{Exposures, MarketIndex};
use super::ledger::{EntryError, EntryType, LedgerEntry, PortfolioId, PortfolioScope};
use super::lot::{Position, Valuation};
use super::mark::{Mark, Marks, Quote};
use super::totals::{Figures, Totals};
use super::view::PortfolioView;
use crate::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use crate::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UnitError, UsdcMicros};

/// Why an entry, a mark or a checkpoint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortfolioError {
    #[error("an entry of {entry} was applied to {portfolio}")]
    WrongPortfolio { portfolio: PortfolioId, entry: PortfolioId },
    #[error("the checkpoint of {portfolio} holds lots that cost `{}` micros, but its cash implies `{}`", .cost.0, .expected.0)]
    Checkpoint { portfolio: PortfolioId, cost: UsdcMicros, expected: UsdcMicros },
    #[error(transparent)]
    Entry(#[from] EntryError),
    #[error(transparent)]
    Unit(#[from] UnitError),
}

/// One lot: the shares of one asset that one leader's actions brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    pub asset: AssetId,
    pub leader: FollowedUserId,
    pub market: Option<MarketId>,
    pub shares: ShareMicros,
    pub cost: UsdcMicros,
    pub value: UsdcMicros,
    pub exposure: UsdcMicros,
    /// `None` when only the average cost is known.
    pub mark: Option<PriceMicros>,
    /// True when no price of the last hour is known.
    pub is_stale: bool,
    /// The price of one share if it were sold now: the payout, else the best bid, else zero.
    pub sale_price: PriceMicros,
    /// True when the payout is known, so that a sale costs no fee.
    pub is_resolved: bool,
    /// The newest answer about the book.
    pub quote: Option<Quote>,
}

/// The group that a decision needs a view for.
#[derive(Debug, Clone, Copy)]
pub struct ViewQuery<'a> {
    pub leader: FollowedUserId,
    pub market: &'a MarketId,
    /// `None` for a MERGE, SPLIT or CONVERSION.
    pub asset: Option<&'a AssetId>,
    /// The outcomes of the market, in outcome order; empty where complete sets do not matter.
    pub outcomes: &'a [AssetId],
    pub now: Timestamp,
}

/// The state of one portfolio after the entries applied so far.
///
/// Marks are kept for every asset they were set for, held or not, so that a lot opened later is marked at once.
/// A lot is identified by asset and leader; in a portfolio with an owner, the owner is the leader of every lot.
#[derive(Debug, Clone)]
pub struct Portfolio {
    pub(in crate::domain) id: PortfolioId,
    pub(in crate::domain) version: u64,
    pub(in crate::domain) totals: Totals,
    pub(in crate::domain) holdings: BTreeMap<AssetId, Holding>,
    pub(in crate::domain) history: EquityHistory,
    pub(in crate::domain) closed_lots: ClosedLots,
    pub(in crate::domain) exposures: Exposures,
    /// The latest time that the portfolio was told of: marks are as old as this says.
    pub(in crate::domain) now: Timestamp,
}

/// One asset: its marks, and its lots ordered by leader. Few leaders hold the same asset, so the list is short.
#[derive(Debug, Clone, Default)]
pub(in crate::domain) struct Holding {
    pub(in crate::domain) market: Option<MarketIndex>,
    pub(in crate::domain) marks: Marks,
    pub(in crate::domain) lots: Vec<HeldLot>,
}

#[derive(Debug, Clone, Copy)]
pub(in crate::domain) struct HeldLot {
    pub(in crate::domain) leader: FollowedUserId,
    pub(in crate::domain) position: Position,
    /// Realized since the lot was opened, fees included.
    pub(in crate::domain) realized: UsdcMicros,
    pub(in crate::domain) valuation: Valuation,
}

impl Portfolio {
    /// Returns an empty portfolio.
    pub fn new(id: PortfolioId) -> Self {
        Self {
            id,
            version: 0,
            totals: Totals::default(),
            holdings: BTreeMap::new(),
            history: EquityHistory::default(),
            closed_lots: ClosedLots::default(),
            exposures: Exposures::default(),
            now: Timestamp::EPOCH,
        }
    }

    pub const fn id(&self) -> PortfolioId {
        self.id
    }

    /// Returns the version. It grows by one with each entry, but not with marks and snapshots, because they do not
    /// invalidate a decision.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Continues from at least `version`, so that after a reload no version is used twice that a pending decision may
    /// hold.
    pub fn continue_from_version(&mut self, version: u64) {
        self.version = self.version.max(version);
    }

    /// Applies one entry. A leader's fill in a shadow also sets the last-trade mark; our own paper fills do not.
    ///
    /// # Errors
    /// [`PortfolioError`]; cash and lots have not changed then.
    pub fn apply(&mut self, entry: &LedgerEntry) -> Result<(), PortfolioError> {
        if entry.portfolio != self.id {
            return Err(PortfolioError::WrongPortfolio { portfolio: self.id, entry: entry.portfolio });
        }
        entry.validate()?;
        match entry.kind {
            EntryType::Deposit | EntryType::Withdrawal => {
                self.totals =
                    self.totals.moved(&Totals { cash: entry.cash, deposits: entry.cash, ..Totals::default() })?;
                self.history.take_transfer(entry.cash);
            }
            EntryType::Fee => self.take_fee(entry)?,
            EntryType::Mark => {}
            EntryType::TradeFill
            | EntryType::Merge
            | EntryType::Split
            | EntryType::Conversion
            | EntryType::Settlement
            | EntryType::Opening
            | EntryType::Adjustment => match (&entry.asset, entry.leader()) {
                (Some(asset), Some(leader)) => self.move_lot(entry, asset, leader)?,
                _ => self.realize(entry.cash)?,
            },
        }
        self.version = self.version.saturating_add(1);
        Ok(())
    }

    /// Returns the facts that a decision may use, with the current version.
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

    /// Returns the sums over the portfolio: equity, cash, exposure and PnL.
    pub fn figures(&self) -> Figures {
        self.totals.figures()
    }

    /// Returns the lot of this asset and leader; zero when there is none.
    pub fn position(&self, asset: &AssetId, leader: FollowedUserId) -> Position {
        self.holdings.get(asset).map(|holding| holding.lot(leader).position).unwrap_or_default()
    }

    /// Returns the exposure in one market, over all leaders.
    pub fn exposure_in(&self, market: &MarketId) -> UsdcMicros {
        self.exposures.in_market(market)
    }

    /// Returns the exposure that one leader caused, over all markets.
    pub fn exposure_of(&self, leader: FollowedUserId) -> UsdcMicros {
        self.exposures.of_leader(leader)
    }

    /// Returns the markets with a lot, and their exposure.
    pub fn exposure_by_market(&self) -> impl Iterator<Item = (&MarketId, UsdcMicros)> {
        self.exposures.by_market()
    }

    /// Returns the leaders with exposure, and the exposure of each.
    pub fn exposure_by_leader(&self) -> impl Iterator<Item = (FollowedUserId, UsdcMicros)> {
        self.exposures.by_leader()
    }

    /// Returns all lots, ordered by asset and leader.
    pub fn lots(&self) -> impl Iterator<Item = Lot> {
        self.holdings.iter().flat_map(|(asset, holding)| self.shown(asset, holding))
    }

    /// Returns the lots of one market, ordered by asset and leader.
    pub fn lots_in(&self, market: &MarketId) -> Vec<Lot> {
        let holdings = self.exposures.assets_in(market).filter_map(|asset| self.holdings.get_key_value(asset));
        holdings.flat_map(|(asset, holding)| self.shown(asset, holding)).collect()
    }

    /// Returns the assets with a lot, which need a price.
    pub fn held_assets(&self) -> impl Iterator<Item = &AssetId> {
        self.holdings.iter().filter(|(_, holding)| !holding.lots.is_empty()).map(|(asset, _)| asset)
    }

    /// Returns whether both hold the same lots at the same cost, with the same cash, deposits and realized PnL. `audit`
    /// compares a running state and a full fold this way. Marks, baselines and versions may differ.
    pub fn same_books(&self, other: &Self) -> bool {
        let books = |of: &Self| (of.id, of.totals.cash, of.totals.realized, of.totals.deposits);
        let lots = |of: &Self| of.lots().map(|lot| (lot.asset, lot.leader, lot.shares, lot.cost)).collect::<Vec<_>>();
        books(self) == books(other) && lots(self) == lots(other)
    }

    /// Adds a minute snapshot to the baselines. `is_fresh` is false when a held asset had a stale mark. Returns false when
    /// that minute was added before.
    pub fn note_snapshot(&mut self, bucket: Timestamp, equity: UsdcMicros, is_fresh: bool) -> bool {
        self.history.note(bucket, equity, is_fresh)
    }

    /// Measures the drawdown from `peak` since `at`. Returns false when this reset was applied before.
    pub fn note_peak_reset(&mut self, at: Timestamp, peak: UsdcMicros) -> bool {
        self.history.note_reset(at, peak)
    }

    /// Returns the closed lots by result.
    pub fn closed_lots(&self) -> ClosedLotCounts {
        self.closed_lots.counts()
    }

    /// Returns the facts from which the baselines are computed.
    pub const fn history(&self) -> &EquityHistory {
        &self.history
    }

    /// Replaces the history with one that was read again from the snapshots.
    pub fn set_history(&mut self, history: EquityHistory) {
        self.history = history;
    }

    fn take_fee(&mut self, entry: &LedgerEntry) -> Result<(), UnitError> {
        self.realize(entry.cash)?;
        let (Some(asset), Some(leader)) = (&entry.asset, entry.leader()) else { return Ok(()) };
        if self.closed_lots.take_fee(asset, leader, &entry.ref_id, entry.cash) {
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

    /// Moves one lot. Every step that can fail is computed before anything changes.
    fn move_lot(&mut self, entry: &LedgerEntry, asset: &AssetId, leader: FollowedUserId) -> Result<(), UnitError> {
        let leaders_fill = entry.kind == EntryType::TradeFill && self.id.scope() == PortfolioScope::ShadowUser;
        let seen = entry.price.filter(|_| leaders_fill).map(|price| Mark::LastTrade(price, entry.created_at));
        let holding = match self.holdings.get_mut(asset) {
            Some(holding) => holding,
            None => self.holdings.entry(asset.clone()).or_default(),
        };
        let before = holding.lot(leader);
        let marks = seen.map_or(holding.marks, |mark| holding.marks.with(mark));
        let moved = before.position.moved(entry.shares, entry.cash)?;
        let realized = before.realized.plus(moved.realized)?;
        // A movement across zero closes one lot and opens the next.
        let is_left = (before.position.shares.0 > 0) == (moved.position.shares.0 > 0);
        let closes =
            before.position.shares != ShareMicros::ZERO && (moved.position.shares == ShareMicros::ZERO || !is_left);
        let after = HeldLot {
            leader,
            position: moved.position,
            realized: if closes { UsdcMicros::ZERO } else { realized },
            valuation: marks.value(moved.position, self.now)?,
        };
        self.totals = self.totals.moved(&Totals {
            cash: entry.cash,
            realized: moved.realized,
            cost: after.position.cost.minus(before.position.cost)?,
            ..Totals::revalued(before.valuation, after.valuation)?
        })?;
        // Only a shadow gets a new mark here, and its leader has the only lot of the asset, so there is no other lot to
        // revalue.
        holding.marks = marks;
        holding.put(asset, entry.market.as_ref(), after, &mut self.exposures);
        let is_correction = matches!(entry.kind, EntryType::Opening | EntryType::Adjustment);
        if is_correction && before.position.shares == ShareMicros::ZERO {
            self.closed_lots.note_correction(asset, leader, &entry.ref_id);
        }
        // A holding below zero is shares that we did not see bought, so its end is not a result.
        if closes && !is_correction && before.position.shares > ShareMicros::ZERO {
            self.closed_lots.close(asset, leader, &entry.ref_id, realized);
        }
        Ok(())
    }

    /// Adds a lot from a checkpoint, with the marks of that time.
    ///
    /// # Errors
    /// [`UnitError::Overflow`] when a total would not fit.
    pub(in crate::domain) fn restore_lot(
        &mut self,
        asset: &AssetId,
        market: Option<&MarketId>,
        marks: Marks,
        leader: FollowedUserId,
        (position, realized): (Position, UsdcMicros),
    ) -> Result<(), UnitError> {
        let lot = HeldLot { leader, position, realized, valuation: marks.value(position, self.now)? };
        let bought = Totals { cost: position.cost, ..Totals::revalued(Valuation::default(), lot.valuation)? };
        self.totals = self.totals.moved(&bought)?;
        let holding = self.holdings.entry(asset.clone()).or_default();
        holding.marks = marks;
        holding.put(asset, market, lot, &mut self.exposures);
        Ok(())
    }

    /// Returns the market of a holding, if it is known.
    pub(in crate::domain) fn market_of(&self, holding: &Holding) -> Option<&MarketId> {
        self.exposures.market_at(holding.market?)
    }

    fn shown(&self, asset: &AssetId, holding: &Holding) -> impl Iterator<Item = Lot> {
        let (market, mark) = (self.market_of(holding).cloned(), holding.marks.at(self.now));
        let marks = holding.marks;
        holding.lots.iter().map(move |lot| Lot {
            asset: asset.clone(),
            leader: lot.leader,
            market: market.clone(),
            shares: lot.position.shares,
            cost: lot.position.cost,
            value: lot.valuation.value,
            exposure: lot.valuation.exposure,
            mark: mark.price,
            is_stale: mark.is_stale,
            sale_price: marks.sale_price(),
            is_resolved: marks.payout.is_some(),
            quote: marks.quote,
        })
    }
}

impl Holding {
    /// Returns the lot of the leader, or one without shares.
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

    /// Replaces the lot of the leader, also in the sums of exposure. A lot without shares is removed.
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
                let place = exposures.index_of(market);
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
