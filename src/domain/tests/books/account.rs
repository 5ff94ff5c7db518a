//! A venue account that trades, splits, merges, converts and redeems, and the books that we keep of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::accounting::ledger::{EntryType, LedgerEntry};
use crate::domain::accounting::mark::Mark;
use crate::domain::accounting::portfolio::Portfolio;
use crate::domain::accounting::shadow::carried::{ShadowAsset, ShadowAssets};
use crate::domain::accounting::shadow::cause::Cause;
use crate::domain::accounting::shadow::check::{CheckCase, adjust};
use crate::domain::accounting::shadow::conversion::{PositionCase, Resolved, StoredRows};
use crate::domain::accounting::shadow::correction::{Booked, Correction, Entered, enter, held_without};
use crate::domain::accounting::shadow::opening::{OpeningAsset, OpeningCase, OpeningRule, opening};
use crate::domain::accounting::shadow::reading::{Movement, PositionReading, Readings};
use crate::domain::accounting::shadow::{ActivityFacts, ShadowEffect, entries_for_activity, entries_for_trade};
use crate::domain::events::event::{ActivityEvent, ActivityKind, Side, TradeEvent};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{AssetId, PositionCheckId};
use crate::domain::money::units::{Bps, PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use crate::testkit::samples::{ALICE, SHADOW, activity, asset, at, market, market_id, price, trade};

/// The markets 1 to 3 are the questions of one neg-risk event; asset `10 n` is YES and `10 n + 1` is NO.
pub const N_QUESTIONS: usize = 3;
/// The market that resolves.
pub const RESOLVING: usize = 4;
/// Amounts are whole hundredths of a share, so that no rounding of the venue is in the way.
pub const CENT: i64 = 10_000;

/// All assets of the model.
pub fn all_assets() -> Vec<usize> {
    (1..=RESOLVING + 1).flat_map(|market| [10 * market, 10 * market + 1]).collect()
}

/// The time of step `n`: a step takes a second.
pub fn second(n: i64) -> Timestamp {
    Timestamp::from_millis(1_770_000_000_000 + n * 1000)
}

#[derive(Debug, Clone)]
pub enum Row {
    Trade(TradeEvent),
    Activity(ActivityEvent),
}

/// What the account tries to do in one step. Amounts are in hundredths of a share, parts in thousandths of the holding.
#[derive(Debug, Clone)]
pub enum Deed {
    Buy {
        asset: usize,
        amount: i64,
        price: i64,
    },
    Sell {
        asset: usize,
        part: i64,
        price: i64,
    },
    Split {
        market: usize,
        amount: i64,
    },
    Merge {
        market: usize,
        part: i64,
    },
    /// The NO of the questions whose bit is set become YES of the others.
    Convert {
        questions: usize,
        part: i64,
    },
    /// One row for each outcome, or one row for the condition.
    Redeem {
        by_outcome: bool,
    },
}

/// The account at the venue: what it holds, and since when.
#[derive(Debug, Clone, Default)]
pub struct Account {
    pub held: BTreeMap<usize, i64>,
    pub last_event: BTreeMap<usize, i64>,
    pub fee: Bps,
    /// Of the outcomes of the resolving market; `None` before it has resolved.
    pub payouts: Option<[i64; 2]>,
}

impl Account {
    /// Sets holdings that moved last at step `at`.
    pub fn hold(&mut self, at: i64, held: &[(usize, i64)]) {
        for (asset, shares) in held {
            self.held.insert(*asset, *shares);
            self.last_event.insert(*asset, at);
        }
    }

    fn holds(&self, asset: usize) -> i64 {
        self.held.get(&asset).copied().unwrap_or(0)
    }

    fn moves(&mut self, at: i64, asset: usize, shares: i64) {
        *self.held.entry(asset).or_default() += shares;
        assert!(self.holds(asset) >= 0, "the model never sells what it does not hold");
        self.last_event.insert(asset, at);
    }

    /// Returns a part of the smallest holding of `assets`, in whole hundredths of a share.
    fn part(&self, assets: &[usize], part: i64) -> i64 {
        let least = assets.iter().map(|n| self.holds(*n)).min().unwrap_or(0);
        least / CENT * part.clamp(0, 1000) / 1000 * CENT
    }

    pub fn market(&self, n: usize) -> Market {
        let payouts = self.payouts.filter(|_| n == RESOLVING).map_or([None, None], |paid| paid.map(Some));
        Market { neg_risk: n <= N_QUESTIONS, ..market(n, &payouts) }
    }

    /// Does the deed at step `at` and returns its rows; none when the account cannot do it.
    pub fn act(&mut self, at: i64, deed: &Deed) -> Vec<Row> {
        match *deed {
            Deed::Buy { asset, amount, price } => self.trade(at, asset, Side::Buy, amount * CENT, price),
            Deed::Sell { asset, part, price } => {
                let shares = self.part(&[asset], part);
                self.trade(at, asset, Side::Sell, shares, price)
            }
            Deed::Split { market, amount } => self.sets(at, market, ActivityKind::Split, amount * CENT),
            Deed::Merge { market, part } => {
                let sets = self.part(&[10 * market, 10 * market + 1], part);
                self.sets(at, market, ActivityKind::Merge, sets)
            }
            Deed::Convert { questions, part } => self.convert(at, questions, part),
            Deed::Redeem { by_outcome } => self.redeem(at, by_outcome),
        }
    }

    fn trade(&mut self, at: i64, asset: usize, side: Side, shares: i64, price: i64) -> Vec<Row> {
        if shares == 0 || (asset / 10 == RESOLVING && self.payouts.is_some()) {
            return Vec::new();
        }
        self.moves(at, asset, if side == Side::Buy { shares } else { -shares });
        let fill = trade(&format!("{at}"), asset, side, price, shares, 0);
        vec![Row::Trade(TradeEvent {
            market: market_id(asset / 10),
            fee: Some(UsdcMicros(price % 7)),
            event_time: second(at),
            detect_time: second(at),
            ..fill
        })]
    }

    fn row(
        at: i64,
        name: &str,
        market: usize,
        kind: ActivityKind,
        shares: i64,
        cash: i64,
        token: Option<usize>,
    ) -> Row {
        let mut row = activity(&format!("{at} {name}"), kind, shares, cash, token.map(asset));
        row.payload.condition_id = Some(market_id(market));
        row.payload.tx_hash = format!("{at}");
        Row::Activity(ActivityEvent { event_time: second(at), detect_time: second(at), ..row })
    }

    fn sets(&mut self, at: i64, market: usize, kind: ActivityKind, sets: i64) -> Vec<Row> {
        if sets == 0 || (market == RESOLVING && self.payouts.is_some()) {
            return Vec::new();
        }
        for outcome in [10 * market, 10 * market + 1] {
            self.moves(at, outcome, if kind == ActivityKind::Split { sets } else { -sets });
        }
        vec![Self::row(at, "sets", market, kind, sets, sets, None)]
    }

    fn convert(&mut self, at: i64, questions: usize, part: i64) -> Vec<Row> {
        let chosen = |n: &usize| questions >> (n - 1) & 1 == 1;
        let no: Vec<usize> = (1..=N_QUESTIONS).filter(chosen).map(|n| 10 * n + 1).collect();
        let amount = self.part(&no, part);
        if no.is_empty() || amount == 0 {
            return Vec::new();
        }
        // NegRiskAdapter.convertPositions: the fee is cut from the amount, and what is left is paid in cash and YES.
        let paid = amount - amount * self.fee.0 / 10_000;
        no.iter().for_each(|asset| self.moves(at, *asset, -amount));
        (1..=N_QUESTIONS).filter(|n| !chosen(n)).for_each(|n| self.moves(at, 10 * n, paid));
        let cash = paid * i64::try_from(no.len() - 1).unwrap();
        vec![Self::row(at, &format!("cash {cash}"), no[0] / 10, ActivityKind::Conversion, amount, 0, None)]
    }

    fn redeem(&mut self, at: i64, by_outcome: bool) -> Vec<Row> {
        let Some(payouts) = self.payouts else { return Vec::new() };
        let outcomes = [10 * RESOLVING, 10 * RESOLVING + 1].into_iter().zip(payouts);
        let burned: Vec<_> = outcomes.map(|(n, paid)| (n, self.holds(n), self.holds(n) / 100 * paid / CENT)).collect();
        let held: Vec<_> = burned.into_iter().filter(|(_, shares, _)| *shares > 0).collect();
        held.iter().for_each(|(n, shares, _)| self.moves(at, *n, -shares));
        let redeem =
            |name: &str, shares, cash, token| Self::row(at, name, RESOLVING, ActivityKind::Redeem, shares, cash, token);
        match (held.is_empty(), by_outcome) {
            (true, _) => Vec::new(),
            (false, true) => {
                held.iter().map(|(n, shares, cash)| redeem(&format!("{n}"), *shares, *cash, Some(*n))).collect()
            }
            (false, false) => vec![redeem("all", 0, held.iter().map(|(.., cash)| cash).sum(), None)],
        }
    }

    /// Returns the answer of the positions route at step `at`. A closed position is listed with its last event.
    pub fn readings(&self, at: i64, mark: &dyn Fn(usize) -> i64) -> Readings {
        let listed = self.last_event.iter().map(|(n, last)| PositionReading {
            asset: asset(*n),
            market: Some(market_id(n / 10)),
            shares: ShareMicros(self.holds(*n)),
            last_event_at: Some(second(*last)),
            current_price: Some(price(mark(*n))),
            average_price: None,
        });
        Readings::new(second(at), listed).unwrap()
    }
}

/// The books that we keep of the account.
pub struct Books {
    pub portfolio: Portfolio,
    pub entries: Vec<LedgerEntry>,
    movements: Vec<Movement>,
    pub corrections: Vec<Correction>,
    waiting: Vec<ActivityEvent>,
    pub n_adjusted: i64,
    n_questions: usize,
}

impl Books {
    /// Changes the number of questions of the neg-risk event.
    pub fn of_questions(self, n_questions: usize) -> Self {
        Self { n_questions, ..self }
    }

    pub fn new() -> Self {
        Self {
            portfolio: Portfolio::new(SHADOW),
            entries: Vec::new(),
            movements: Vec::new(),
            corrections: Vec::new(),
            waiting: Vec::new(),
            n_adjusted: 0,
            n_questions: N_QUESTIONS,
        }
    }

    pub fn equity(&self) -> i64 {
        self.portfolio.figures().equity.0
    }

    pub fn held(&self, n: usize) -> i64 {
        self.portfolio.position(&asset(n), ALICE).shares.0
    }

    pub fn mark(&mut self, mark: &dyn Fn(usize) -> i64) {
        for n in all_assets() {
            self.portfolio.set_mark(&asset(n), Mark::Midpoint(price(mark(n)), at(0))).unwrap();
        }
    }

    fn write(&mut self, entered: Entered, event_time: Option<Timestamp>) {
        for entry in entered.entries {
            entry.validate().unwrap();
            self.portfolio.apply(&entry).unwrap();
            let moved = entry.asset.clone().map(|asset| Movement { asset, shares: entry.shares, event_time });
            self.movements.extend(moved);
            self.entries.push(entry);
        }
        for now in entered.corrections {
            let same = |known: &&mut Correction| (&known.ref_id, &known.asset) == (&now.ref_id, &now.asset);
            match self.corrections.iter_mut().find(same) {
                Some(known) => *known = now,
                None => self.corrections.push(now),
            }
        }
        let keys: BTreeSet<_> = self.entries.iter().map(|e| (&e.ref_id, e.kind, &e.asset)).collect();
        assert_eq!(keys.len(), self.entries.len(), "two entries under one key");
    }

    /// Enters a row; a conversion waits until the positions show it.
    pub fn take(&mut self, row: &Row, account: &Account, readings: &Readings) {
        match row {
            Row::Trade(fill) => {
                let booked = Booked { entries: entries_for_trade(fill).unwrap(), ..Booked::default() };
                self.enter(&Cause::of_trade(fill), booked);
            }
            Row::Activity(row) if row.kind == ActivityKind::Conversion => self.waiting.push(row.clone()),
            Row::Activity(row) => self.act(row, account),
        }
        self.resolve_waiting(account, readings);
    }

    fn enter(&mut self, cause: &Cause, booked: Booked) {
        let entered = enter(cause, booked, &self.corrections).unwrap();
        self.write(entered, Some(cause.event_time));
    }

    fn act(&mut self, row: &ActivityEvent, account: &Account) {
        let n = (1..=RESOLVING + 1).find(|n| row.payload.condition_id == Some(market_id(*n))).unwrap();
        let market = account.market(n);
        let finds = |outcome: usize| {
            let held = ShareMicros(self.held(outcome));
            (asset(outcome), held_without(held, &self.corrections, &asset(outcome), row.event_time).unwrap())
        };
        let holdings = [finds(10 * n), finds(10 * n + 1)];
        let of_tx = |other: &&LedgerEntry| {
            matches!(other.kind, EntryType::Settlement | EntryType::Adjustment)
                && other.ref_id.starts_with("event:")
                && other.created_at == row.detect_time
                && other.market == row.payload.condition_id
        };
        let booked: Vec<_> = self.entries.iter().filter(of_tx).cloned().collect();
        let facts =
            ActivityFacts { market: Some(&market), holdings: &holdings, booked: &booked, payout_overdue: false };
        match entries_for_activity(row, &facts).unwrap() {
            ShadowEffect::Entries(booked) => self.enter(&Cause::of_activity(row), booked),
            other => panic!("{other:?}"),
        }
    }

    pub fn resolve_waiting(&mut self, account: &Account, readings: &Readings) {
        let markets: Vec<_> = (1..=self.n_questions).map(|n| account.market(n)).collect();
        let nothing = StoredRows::default();
        let mut left = Vec::new();
        let waiting = std::mem::take(&mut self.waiting);
        for (n, row) in waiting.iter().enumerate() {
            let assets = self.shadow_assets(readings);
            let others = left.iter().chain(&waiting[n + 1..]).cloned().collect();
            let pending = StoredRows { trades: Vec::new(), activities: others };
            let case = PositionCase {
                row,
                markets: &markets,
                fee: account.fee,
                readings,
                assets: &assets,
                corrections: &self.corrections,
                pending: &pending,
                since: &nothing,
            };
            match case.resolve(true) {
                Resolved::Booked(entered) => self.write(entered, Some(row.event_time)),
                _ => left.push(row.clone()),
            }
        }
        self.waiting = left;
    }

    pub fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    fn counted(&self, readings: &Readings, n: usize) -> ShareMicros {
        readings.counted(&asset(n), &self.movements).unwrap()
    }

    pub fn shadow_assets(&self, readings: &Readings) -> ShadowAssets {
        let best = |id: &AssetId| self.portfolio.lots().find(|lot| lot.asset == *id).and_then(|lot| lot.mark);
        let known = |n: usize| ShadowAsset {
            market: Some(market_id(n / 10)),
            lot: self.portfolio.position(&asset(n), ALICE),
            counted: self.counted(readings, n),
            mark: best(&asset(n)),
        };
        all_assets().into_iter().map(|n| (asset(n), known(n))).collect()
    }

    /// Books the opening from positions read at the marks.
    pub fn open(&mut self, readings: &Readings, mark: &dyn Fn(usize) -> i64) {
        let case = OpeningCase { leader: ALICE, rule: OpeningRule::New, checked_at: readings.checked_at() };
        let assets: Vec<_> = all_assets()
            .into_iter()
            .map(|n| OpeningAsset {
                asset: asset(n),
                market: Some(market_id(n / 10)),
                reading: readings.position(&asset(n)),
                counted: self.counted(readings, n),
                lot: self.portfolio.position(&asset(n), ALICE),
                payout: None,
                midpoint: PriceMicros::new(mark(n)).ok(),
            })
            .collect();
        let opened = opening(&case, &assets).unwrap();
        let entered = Entered { entries: opened.entries, corrections: opened.corrections, inexact: None };
        self.write(entered, None);
    }

    /// Ends every drift at once.
    pub fn check(&mut self, readings: &Readings, mark: &dyn Fn(usize) -> i64) {
        let counted = all_assets()
            .into_iter()
            .map(|n| (asset(n), (Some(market_id(n / 10)), self.counted(readings, n))))
            .collect();
        self.n_adjusted += 1;
        let check = PositionCheckId::of(ALICE, self.n_adjusted);
        let case = CheckCase { check, leader: ALICE, checked_at: readings.checked_at() };
        for drift in readings.drifts(&counted, &BTreeSet::new()).unwrap() {
            let n = all_assets().into_iter().find(|n| asset(*n) == drift.asset).unwrap();
            let lot = self.portfolio.position(&drift.asset, ALICE);
            let adjusted = adjust(&case, &drift, lot, PriceMicros::new(mark(n)).ok()).unwrap();
            let entered = Entered { entries: adjusted.entries, corrections: adjusted.corrections, inexact: None };
            self.write(entered, None);
        }
    }
}
