//! The time to fold a ledger into a portfolio, and the time of the reads and marks of one decision.
//!
//! Run it with `cargo bench --bench fold`. A start of the worker folds the entries after the last checkpoint; `audit`
//! folds all entries.

use divan::{Bencher, black_box};
use polymarketspy::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId};
use polymarketspy::domain::accounting::mark::Mark;
use polymarketspy::domain::accounting::portfolio::{Portfolio, ViewQuery};
use polymarketspy::domain::money::ids::{AssetId, FollowedUserId, MarketId};
use polymarketspy::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};

const ENTRIES: i64 = 1_000_000;

fn main() {
    divan::main();
}

/// A token id as long as real ones, which share no long prefix either.
fn asset(n: i64) -> AssetId {
    let digits = format!("{:039}{:039}", i128::from(n + 1) * 0x9e37_79b9_7f4a_7c15, n);
    AssetId::parse(&digits).expect("78 digits")
}

fn market(n: i64) -> MarketId {
    MarketId::parse(&format!("0x{:064x}", i128::from(n + 1) * 0x9e37_79b9_7f4a_7c15)).expect("64 hex digits")
}

/// Two buys and a sell, each followed by its fee: three leaders in `n_assets` assets of half as many markets.
fn history(n_entries: i64, n_assets: i64) -> Vec<LedgerEntry> {
    let assets: Vec<_> = (0..n_assets).map(|n| (asset(n), market(n / 2))).collect();
    let opening = LedgerEntry {
        portfolio: PortfolioId::ExecGlobal,
        attributed_user: None,
        market: None,
        asset: None,
        kind: EntryType::Deposit,
        shares: ShareMicros::ZERO,
        cash: UsdcMicros(10_000_000_000),
        price: None,
        ref_id: "deposit:opening".to_owned(),
        created_at: Timestamp::EPOCH,
    };
    let entry = |n: i64| {
        // The stride visits the assets out of order, as real trades do.
        let place = usize::try_from((n / 6) * 7919 % n_assets).expect("an index");
        let (asset, market) = &assets[place];
        let (kind, shares, cash) = match n % 6 {
            0 => (EntryType::TradeFill, 9_000_000 + n % 997, -4_100_000 - n % 991),
            2 => (EntryType::TradeFill, 7_000_000 + n % 997, -3_300_000 - n % 991),
            4 => (EntryType::TradeFill, -12_000_000 - n % 997, 6_100_000 + n % 991),
            _ => (EntryType::Fee, 0, -70_000),
        };
        LedgerEntry {
            attributed_user: Some(FollowedUserId(n / 6 % 3)),
            market: Some(market.clone()),
            asset: Some(asset.clone()),
            kind,
            shares: ShareMicros(shares),
            cash: UsdcMicros(cash),
            ref_id: format!("copy:{n:032}"),
            ..opening.clone()
        }
    };
    std::iter::once(opening.clone()).chain((1..n_entries).map(entry)).collect()
}

fn folded(entries: &[LedgerEntry]) -> Portfolio {
    let mut portfolio = Portfolio::new(PortfolioId::ExecGlobal);
    for entry in entries {
        portfolio.apply(entry).expect("the history fits");
    }
    portfolio
}

/// Folds the whole ledger, with 50, 500 and 10,000 assets held.
#[divan::bench(args = [50, 500, 10_000], sample_count = 5, sample_size = 1)]
fn fold_1_000_000_entries(bencher: Bencher<'_, '_>, n_assets: i64) {
    let entries = history(ENTRIES, n_assets);
    bencher.bench_local(|| folded(black_box(&entries)).figures());
}

/// Reads the view for one decision; its time should not depend on the number of assets held.
#[divan::bench(args = [50, 500, 10_000])]
fn view_for_one_decision(bencher: Bencher<'_, '_>, n_assets: i64) {
    let portfolio = folded(&history(n_assets * 18, n_assets));
    let (asset, market) = (asset(n_assets / 2), market(n_assets / 4));
    let query = ViewQuery {
        leader: FollowedUserId(1),
        market: &market,
        asset: Some(&asset),
        outcomes: &[],
        now: Timestamp::from_millis(1_770_000_000_000),
    };
    bencher.bench_local(|| portfolio.view(black_box(&query)));
}

/// Sets one midpoint, as the price refresh does.
#[divan::bench(args = [50, 500, 10_000])]
fn mark_one_asset(bencher: Bencher<'_, '_>, n_assets: i64) {
    let mut portfolio = folded(&history(n_assets * 18, n_assets));
    let asset = asset(n_assets / 2);
    let mut micros = 0;
    bencher.bench_local(|| {
        micros = (micros + 1) % 1_000_000;
        portfolio
            .set_mark(black_box(&asset), Mark::Midpoint(PriceMicros::new(micros).expect("a price"), Timestamp::EPOCH))
    });
}
