//! The running portfolio against a naive fold of all entries, over random histories with restarts and marks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::domain::accounting::checkpoint::PortfolioCheckpoint;
use crate::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId, PortfolioScope};
use crate::domain::accounting::mark::{Mark, Marks};
use crate::domain::accounting::portfolio::{Portfolio, ViewQuery};
use crate::domain::accounting::totals::Figures;
use crate::domain::money::ids::{AssetId, FollowedUserId};
use crate::domain::money::units::{ShareMicros, UsdcMicros};
use crate::testkit::samples::{ALICE, asset, at, deposit, entry, market_id, price};

#[derive(Debug, Clone)]
enum Step {
    Apply(LedgerEntry),
    Mark(AssetId, Mark),
    Snapshot,
    ResetPeak,
    /// A restart through the JSON of a checkpoint, after which the known marks are set again.
    Restart,
}

/// The plain history, from which every figure is computed from scratch on each call.
#[derive(Default)]
struct Naive {
    entries: Vec<LedgerEntry>,
    marks: BTreeMap<AssetId, Marks>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct NaiveLot {
    shares: i128,
    cost: i128,
    realized: i128,
}

impl Naive {
    fn take(&mut self, entry: &LedgerEntry) {
        if let (PortfolioScope::ShadowUser, EntryType::TradeFill, Some(price), Some(asset)) =
            (entry.portfolio.scope(), entry.kind, entry.price, &entry.asset)
        {
            self.mark(asset, Mark::LastTrade(price, entry.created_at));
        }
        self.entries.push(entry.clone());
    }

    fn mark(&mut self, asset: &AssetId, mark: Mark) {
        let marks = self.marks.entry(asset.clone()).or_default();
        *marks = marks.with(mark);
    }

    fn lots(&self) -> BTreeMap<(AssetId, FollowedUserId), NaiveLot> {
        let mut lots: BTreeMap<_, NaiveLot> = BTreeMap::new();
        for entry in &self.entries {
            let moves_lot = !matches!(entry.kind, EntryType::Deposit | EntryType::Fee | EntryType::Mark);
            if let (true, Some(asset), Some(leader)) = (moves_lot, &entry.asset, entry.leader()) {
                let lot = lots.entry((asset.clone(), leader)).or_default();
                lot.take(i128::from(entry.shares.0), i128::from(entry.cash.0));
            }
        }
        lots
    }

    /// Value and exposure of a lot at the mark of its asset.
    fn worth(&self, asset: &AssetId, lot: &NaiveLot) -> (i128, i128) {
        match self
            .marks
            .get(asset)
            .and_then(|marks| marks.payout.or(marks.midpoint.or(marks.last_trade).map(|seen| seen.price)))
        {
            Some(mark) => {
                let product = lot.shares * i128::from(mark.micros());
                (product.div_euclid(1_000_000), (product.abs() + 999_999) / 1_000_000)
            }
            None => (lot.cost, lot.cost.abs()),
        }
    }

    fn figures(&self) -> Figures {
        let sum = |kind: Option<EntryType>| -> i128 {
            let entries = self.entries.iter().filter(|entry| kind.is_none_or(|kind| entry.kind == kind));
            entries.map(|entry| i128::from(entry.cash.0)).sum()
        };
        let lots = self.lots();
        let worth: Vec<_> = lots.iter().map(|((asset, _), lot)| self.worth(asset, lot)).collect();
        let (cash, deposits) = (sum(None), sum(Some(EntryType::Deposit)));
        let assetless =
            self.entries.iter().filter(|entry| entry.asset.is_none() && entry.kind == EntryType::Settlement);
        let realized = lots.values().map(|lot| lot.realized).sum::<i128>()
            + sum(Some(EntryType::Fee))
            + assetless.map(|entry| i128::from(entry.cash.0)).sum::<i128>();
        let value: i128 = worth.iter().map(|(value, _)| value).sum();
        let cost: i128 = lots.values().map(|lot| lot.cost).sum();
        let usdc = |wide: i128| UsdcMicros(i64::try_from(wide).unwrap());
        Figures {
            equity: usdc(cash + value),
            cash: usdc(cash),
            exposure: usdc(worth.iter().map(|(_, exposure)| exposure).sum()),
            realized: usdc(realized),
            unrealized: usdc(value - cost),
            deposits: usdc(deposits),
        }
    }
}

impl NaiveLot {
    /// Closing shares leave at average cost; opening shares add their cash.
    fn take(&mut self, shares: i128, cash: i128) {
        let closes = if self.shares.signum() == -shares.signum() { shares.abs().min(self.shares.abs()) } else { 0 };
        if shares == 0 {
            self.realized += cash;
        } else if closes == 0 {
            self.shares += shares;
            self.cost -= cash;
        } else {
            let closing_cash = (cash * closes).div_euclid(shares.abs());
            let removed = -((-self.cost * closes).div_euclid(self.shares.abs()));
            self.realized += closing_cash - removed;
            self.cost -= removed;
            self.shares += shares.signum() * closes;
            if closes < shares.abs() {
                assert_eq!((self.shares, self.cost), (0, 0));
                self.shares = shares - shares.signum() * closes;
                self.cost = closing_cash - cash;
            }
        }
    }
}

fn agrees(portfolio: &Portfolio, naive: &Naive) {
    let figures = portfolio.figures();
    assert_eq!(figures, naive.figures());
    assert_eq!(figures.realized.0 + figures.unrealized.0, figures.equity.0 - figures.deposits.0);

    let lots = naive.lots();
    let held: BTreeMap<_, _> = lots.into_iter().filter(|(_, lot)| lot.shares != 0).collect();
    let shown: Vec<_> = portfolio.lots().map(|lot| ((lot.asset, lot.leader), lot.shares.0, lot.cost.0)).collect();
    let expected: Vec<_> = held
        .iter()
        .map(|(key, lot)| (key.clone(), i64::try_from(lot.shares).unwrap(), i64::try_from(lot.cost).unwrap()))
        .collect();
    assert_eq!(shown, expected);

    for leader in 7..10 {
        let leader = FollowedUserId(leader);
        for n in 1..4 {
            let market = market_id(n);
            let in_market = |held: &AssetId| (10 * n..10 * n + 10).any(|n| *held == asset(n));
            let outcomes: Vec<_> = (10 * n..10 * n + 3).map(asset).collect();
            let query = ViewQuery {
                leader,
                market: &market,
                asset: outcomes.first(),
                outcomes: &outcomes,
                now: at(90_000_000),
            };
            let view = portfolio.view(&query);
            let exposure = |counts: &dyn Fn(&AssetId, FollowedUserId) -> bool| -> i64 {
                let counted = held.iter().filter(|((asset, leader), _)| counts(asset, *leader));
                i64::try_from(counted.map(|((asset, _), lot)| naive.worth(asset, lot).1).sum::<i128>()).unwrap()
            };
            assert_eq!(view.exposure_total, figures.exposure);
            assert_eq!(view.exposure_market.0, exposure(&|asset, _| in_market(asset)));
            assert_eq!(view.exposure_leader.0, exposure(&|_, of| of == leader));
            let lot = |asset: &AssetId| held.get(&(asset.clone(), leader)).map_or(0, |lot| lot.shares);
            assert_eq!(i128::from(view.held.0), lot(&outcomes[0]));
            let sets: Vec<_> = view.held_sets.iter().map(|(asset, held)| (asset.clone(), i128::from(held.0))).collect();
            assert_eq!(sets, outcomes.iter().map(|asset| (asset.clone(), lot(asset))).collect::<Vec<_>>());
            let there: Vec<_> = held.keys().filter(|(asset, _)| in_market(asset)).cloned().collect();
            let listed: Vec<_> = portfolio.lots_in(&market).into_iter().map(|lot| (lot.asset, lot.leader)).collect();
            assert_eq!(listed, there);
        }
    }
}

fn restarted(portfolio: &Portfolio, naive: &Naive) -> Portfolio {
    let kept = serde_json::to_string(&portfolio.checkpoint(42)).unwrap();
    let checkpoint: PortfolioCheckpoint = serde_json::from_str(&kept).unwrap();
    let mut restored = Portfolio::restore(portfolio.id(), &checkpoint).unwrap();
    assert_eq!(restored.checkpoint(42), checkpoint);
    for (asset, marks) in &naive.marks {
        let told = [
            marks.last_trade.map(|seen| Mark::LastTrade(seen.price, seen.at)),
            marks.midpoint.map(|seen| Mark::Midpoint(seen.price, seen.at)),
            marks.payout.map(Mark::Payout),
        ];
        for mark in told.into_iter().flatten() {
            restored.set_mark(asset, mark).unwrap();
        }
    }
    assert_eq!(restored.history(), portfolio.history());
    restored
}

fn replay(id: PortfolioId, steps: &[Step]) {
    let (mut portfolio, mut naive) = (Portfolio::new(id), Naive::default());
    let mut minute = 0;
    for step in steps {
        match step {
            Step::Apply(entry) => {
                let version = portfolio.version();
                portfolio.apply(entry).unwrap();
                naive.take(entry);
                assert_eq!(portfolio.version(), version + 1);
            }
            Step::Mark(asset, mark) => {
                portfolio.set_mark(asset, *mark).unwrap();
                naive.mark(asset, *mark);
            }
            Step::Snapshot => {
                minute += 1;
                let peak = portfolio.history().baselines(at(0)).peak;
                let equity = portfolio.figures().equity;
                assert!(portfolio.note_snapshot(at(60_000 * minute), equity, true));
                assert_eq!(portfolio.history().baselines(at(0)).peak, peak.max(equity));
            }
            Step::ResetPeak => {
                minute += 1;
                let equity = portfolio.figures().equity;
                assert!(portfolio.note_peak_reset(at(60_000 * minute), equity));
                assert_eq!(portfolio.history().baselines(at(0)).peak, portfolio.figures().equity);
            }
            Step::Restart => {
                agrees(&portfolio, &naive);
                portfolio = restarted(&portfolio, &naive);
                agrees(&portfolio, &naive);
            }
        }
        assert_eq!(portfolio.figures(), naive.figures(), "after {step:?}");
    }
    agrees(&portfolio, &naive);
}

fn an_entry(id: PortfolioId) -> impl Strategy<Value = LedgerEntry> {
    let kinds = prop::sample::select(vec![
        EntryType::TradeFill,
        EntryType::TradeFill,
        EntryType::TradeFill,
        EntryType::Split,
        EntryType::Merge,
        EntryType::Conversion,
        EntryType::Settlement,
        EntryType::Fee,
        EntryType::Deposit,
    ]);
    // Small amounts test every rounding and cross zero often; large ones test for overflow.
    let amount = prop_oneof![6 => -6_i64..=6, 2 => -5_000_000_i64..=5_000_000, 1 => -1_000_000_000_000_000_i64..=1_000_000_000_000_000];
    (kinds, 1_usize..4, 0_usize..3, 7_i64..10, amount.clone(), amount, prop::option::of(0_i64..=1_000_000), 0..8)
        .prop_map(move |(kind, market, outcome, leader, shares, cash, paid, odd)| {
            let moved = entry(id, kind, 10 * market + outcome, shares, cash);
            match kind {
                EntryType::Deposit => deposit(id, cash.abs()),
                EntryType::Fee => LedgerEntry { shares: ShareMicros::ZERO, ..moved },
                EntryType::Settlement if odd == 0 => LedgerEntry { shares: ShareMicros::ZERO, asset: None, ..moved },
                _ => LedgerEntry {
                    attributed_user: Some(FollowedUserId(leader)),
                    price: paid.map(price),
                    cash: if kind == EntryType::Conversion { UsdcMicros::ZERO } else { moved.cash },
                    ..moved
                },
            }
        })
}

fn a_step(id: PortfolioId) -> impl Strategy<Value = Step> {
    let mark = (1_usize..4, 0_usize..3, 0..3, 0_i64..=1_000_000).prop_map(|(market, outcome, kind, micros)| {
        let kinds =
            [Mark::Payout(price(micros)), Mark::Midpoint(price(micros), at(0)), Mark::LastTrade(price(micros), at(0))];
        Step::Mark(asset(10 * market + outcome), kinds[usize::try_from(kind).unwrap()])
    });
    prop_oneof![
        12 => an_entry(id).prop_map(Step::Apply),
        5 => mark,
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restart),
        1 => Just(Step::ResetPeak),
    ]
}

fn a_history() -> impl Strategy<Value = (PortfolioId, Vec<Step>)> {
    let ids = vec![PortfolioId::ExecGlobal, PortfolioId::ExecUser(ALICE), PortfolioId::ShadowUser(ALICE)];
    prop::sample::select(ids).prop_flat_map(|id| (Just(id), prop::collection::vec(a_step(id), 1..60)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_running_portfolio_equals_the_naive_fold_after_any_history((id, steps) in a_history()) {
        replay(id, &steps);
    }

    #[test]
    fn a_refused_entry_changes_nothing((id, steps) in a_history(), at in any::<prop::sample::Index>()) {
        let mut portfolio = Portfolio::new(id);
        for step in &steps[..=at.index(steps.len())] {
            if let Step::Apply(entry) = step {
                portfolio.apply(entry).unwrap();
            }
        }
        let before = portfolio.checkpoint(0);
        let figures = portfolio.figures();
        let elsewhere = PortfolioId::ExecUser(FollowedUserId(99));
        prop_assert!(portfolio.apply(&entry(elsewhere, EntryType::TradeFill, 10, 1, -1)).is_err());
        prop_assert!(portfolio.apply(&entry(id, EntryType::TradeFill, 90, 1, i64::MIN)).is_err());
        prop_assert!(portfolio.apply(&entry(id, EntryType::Fee, 10, 1, -1)).is_err());
        prop_assert_eq!(portfolio.checkpoint(0), before);
        prop_assert_eq!(portfolio.figures(), figures);
    }
}
