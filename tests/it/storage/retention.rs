//! Old prices and snapshots are thinned, and the curves over them stay as they were (spec 9).

use polymarketspy::db::{Db, PortfolioSnapshot};
use polymarketspy::domain::accounting::ledger::PortfolioId;
use polymarketspy::domain::money::ids::AssetId;
use polymarketspy::domain::money::units::{PriceMicros, Timestamp, UsdcMicros};

use super::facts::follow;
use super::harness::{number, on_both};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 / DAY * DAY)
}

/// Writes the half minutes of the half hour that began `ago` days before now, for each of `assets`.
async fn price_half_an_hour(db: &Db, assets: &[AssetId], ago: i64) {
    let start = now().plus_millis(-ago * DAY);
    for n in 1..=60 {
        let price = |at: usize| PriceMicros::new(n * 1_000 + at as i64).unwrap();
        let prices: Vec<(AssetId, PriceMicros)> =
            assets.iter().enumerate().map(|(at, asset)| (asset.clone(), price(at))).collect();
        db.insert_prices(start.plus_millis(n * MINUTE / 2), &prices).await.unwrap();
    }
}

async fn snapshot_an_hour(db: &Db, portfolio: PortfolioId, ago: i64) {
    let start = now().plus_millis(-ago * DAY);
    let snapshot = |n: i64| PortfolioSnapshot {
        portfolio,
        bucket_time: start.plus_millis(n * MINUTE),
        equity: UsdcMicros(n * 1_000_000),
        cash: UsdcMicros(1),
        exposure: UsdcMicros(n),
        unrealized_pnl: UsdcMicros(0),
        realized_pnl: UsdcMicros(0),
        if_sold_now: None,
        stale_assets: 0,
    };
    let rows: Vec<PortfolioSnapshot> = (1..=60).map(snapshot).collect();
    db.insert_snapshots(&rows, &[], now()).await.unwrap();
}

on_both! {
    async fn price_rows_of_250_held_assets_stay_within_the_retention(db: &Db) {
        let assets: Vec<AssetId> = (1..=250).map(|n| AssetId::parse(&n.to_string()).unwrap()).collect();
        for ago in [100, 8, 1] {
            price_half_an_hour(db, &assets, ago).await;
        }
        let asset = &assets[41];
        let span = |ago: i64| (now().plus_millis(-ago * DAY + 1), now().plus_millis(-ago * DAY + 30 * MINUTE));
        let curve_before = db.price_curve(asset, span(8), 5 * MINUTE).await.unwrap();
        let every_before = db
            .prices_between(&assets, span(8).0, span(8).1, 5 * MINUTE)
            .await
            .unwrap();
        db.tidy(now()).await.unwrap();
        let count = |ago: i64| {
            let (from, to) = span(ago);
            format!(
                "select count(*) from market_price_snapshot where bucket_time >= {} and bucket_time <= {}",
                from.millis(),
                to.millis()
            )
        };
        assert_eq!(number!(db, count(1).as_str()), 250 * 60, "a day old: each half minute");
        assert_eq!(number!(db, count(8).as_str()), 250 * 6, "eight days old: each five minutes");
        assert_eq!(number!(db, count(100).as_str()), 250, "a hundred days old: each hour");
        assert_eq!(number!(db, "select count(*) from market_price_snapshot"), 250 * 67);
        assert_eq!(db.price_curve(asset, span(8), 5 * MINUTE).await.unwrap(), curve_before);
        let mut every = db.prices_between(&assets, span(8).0, span(8).1, 5 * MINUTE).await.unwrap();
        let mut expected = every_before;
        every.sort();
        expected.sort();
        assert_eq!(every.len(), 250 * 6);
        assert_eq!(every, expected, "what-if tests read the same prices");
        // The newest price of an asset that is held no more stays its mark.
        let newest = db.newest_prices(std::slice::from_ref(asset)).await.unwrap();
        assert_eq!(newest[asset].0, now().plus_millis(-DAY + 30 * MINUTE));

        db.tidy(now().plus_millis(7 * 60 * MINUTE)).await.unwrap();
        assert_eq!(number!(db, "select count(*) from market_price_snapshot"), 250 * 67, "nothing was due");
        db.tidy(now().plus_millis(8 * DAY)).await.unwrap();
        assert_eq!(number!(db, "select count(*) from market_price_snapshot"), 250 * 13);
    }

    async fn old_snapshots_stay_each_five_minutes_and_then_each_hour(db: &Db) {
        let user = follow(db, 1).await;
        let portfolios = [PortfolioId::ExecGlobal, PortfolioId::ExecUser(user), PortfolioId::ShadowUser(user)];
        for portfolio in portfolios {
            for ago in [500, 100, 10] {
                snapshot_an_hour(db, portfolio, ago).await;
            }
        }
        let span = |ago: i64| (now().plus_millis(-ago * DAY + 1), now().plus_millis(-ago * DAY + 60 * MINUTE));
        let lasts = async |portfolio: PortfolioId| {
            let points = db.curve(portfolio, span(100), 5 * MINUTE).await.unwrap();
            points.into_iter().map(|point| (point.time, point.equity, point.exposure)).collect::<Vec<_>>()
        };
        let before = lasts(portfolios[1]).await;
        db.tidy(now()).await.unwrap();
        for portfolio in portfolios {
            for (ago, rows) in [(500, 1), (100, 12), (10, 60)] {
                let (from, to) = span(ago);
                assert_eq!(db.snapshots(portfolio, from, to, 1).await.unwrap().len(), rows, "{portfolio} {ago}");
            }
        }
        assert_eq!(lasts(portfolios[1]).await, before);
        let at = db.snapshot_at_or_before(portfolios[0], span(100).1).await.unwrap().unwrap();
        assert_eq!(at.equity, UsdcMicros(60_000_000));
        let hourly = db.snapshots(portfolios[2], span(500).0, span(500).1, 60 * MINUTE).await.unwrap();
        assert_eq!(hourly.len(), 1, "the row of an hour is at the full hour");
    }

    async fn the_growth_is_known_after_six_hours(db: &Db) {
        db.note_size(now()).await.unwrap();
        db.note_size(now().plus_millis(MINUTE)).await.unwrap();
        let state = db.storage_state().await.unwrap();
        assert_eq!((state.growth_bytes_per_day, state.days_left), (None, None));
        assert_eq!(state.free_bytes.is_some(), !db.is_shared(), "the disk of a server is not seen");
        price_half_an_hour(db, &(1..=250).map(|n| AssetId::parse(&n.to_string()).unwrap()).collect::<Vec<_>>(), 1).await;
        db.note_size(now().plus_millis(DAY / 2)).await.unwrap();
        let state = db.storage_state().await.unwrap();
        let growth = state.growth_bytes_per_day.unwrap();
        assert!(growth > 100_000, "{growth}");
        assert_eq!(state.days_left, state.free_bytes.map(|free| free / growth));
        db.vacuum().await.unwrap();
        assert_eq!(number!(db, "select count(*) from market_price_snapshot"), 250 * 60);
    }
}
