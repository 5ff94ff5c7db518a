//! Markets, prices and curves: facts that are fetched repeatedly, and our own decisions that stay.

use polymarketspy::db::PortfolioSnapshot;
use polymarketspy::domain::accounting::ledger::PortfolioId;
use polymarketspy::domain::market::facts::{Market, MarketEvent};
use polymarketspy::domain::money::units::{PriceMicros, Timestamp, UsdcMicros};

use super::facts::{NOW, asset, follow, market, market_id, poll, price, trade};
use super::harness::{number, on_both};

const MINUTE: i64 = 60_000;

fn point(portfolio: PortfolioId, minute: i64, equity: i64) -> PortfolioSnapshot {
    PortfolioSnapshot {
        portfolio,
        bucket_time: NOW.plus_millis(minute * MINUTE),
        equity: UsdcMicros(equity),
        cash: UsdcMicros(equity),
        exposure: UsdcMicros::ZERO,
        unrealized_pnl: UsdcMicros(-3),
        realized_pnl: UsdcMicros(4),
        if_sold_now: None,
        stale_assets: 0,
    }
}

on_both! {
    async fn facts_are_replaced_and_what_we_know_better_stays(db: &Db) {
        db.save_market(&market(1)).await.unwrap();
        assert_eq!(db.market(&market_id(1)).await.unwrap(), Some(market(1)));
        db.set_blacklisted(&market_id(1), true, "a test", NOW).await.unwrap();
        let payouts = [(asset(1), PriceMicros::ONE), (asset(1_000_001), PriceMicros::ZERO)];
        assert!(db.set_payouts(&market_id(1), &payouts, NOW).await.unwrap());
        assert!(!db.set_payouts(&market_id(1), &payouts, NOW.plus_millis(5)).await.unwrap());
        // The API's answer knows neither, and renamed the market.
        db.save_market(&Market { question: "Renamed?\0".into(), active: false, ..market(1) }).await.unwrap();
        let read = db.market(&market_id(1)).await.unwrap().unwrap();
        assert_eq!(read.question, "Renamed?\u{fffd}");
        assert!(read.blacklisted);
        assert_eq!(read.resolved_at, Some(NOW));
        assert_eq!(read.payout_of(&asset(1)), Some(PriceMicros::ONE));
        assert_eq!(read.payout_of(&asset(1_000_001)), Some(PriceMicros::ZERO));
        assert_eq!(db.market_of_asset(&asset(1_000_001)).await.unwrap(), Some(market_id(1)));
        assert_eq!(db.market_of_asset(&asset(5)).await.unwrap(), None);
    }

    // Accident: the first source was down, the second source's half of the facts replaced the whole, and the close time
    // was lost.
    async fn half_of_the_facts_does_not_replace_the_whole(db: &Db) {
        let whole = Market { active: false, close_time: Some(NOW), neg_risk: true, ..market(1) };
        db.save_market(&whole).await.unwrap();
        let half = Market { outcomes: whole.outcomes.clone(), fee: whole.fee, ..Market::unknown(market_id(1)) };
        db.save_market(&half).await.unwrap();
        let read = db.market(&market_id(1)).await.unwrap().unwrap();
        assert_eq!(read, whole, "a tick that the second source lacks stays");
    }

    async fn the_event_of_a_market_is_kept_with_its_title(db: &Db) {
        let event = MarketEvent { id: "16167".into(), slug: "who-wins".into(), title: "Who <b>wins</b>?".into() };
        db.save_market(&Market { event: Some(event.clone()), ..market(1) }).await.unwrap();
        assert_eq!(db.market(&market_id(1)).await.unwrap().unwrap().event, Some(event.clone()));
        // An answer without the event, or with half of it, takes nothing away.
        db.save_market(&market(1)).await.unwrap();
        let bare = MarketEvent { slug: String::new(), title: String::new(), ..event.clone() };
        db.save_market(&Market { event: Some(bare), ..market(1) }).await.unwrap();
        assert_eq!(db.market(&market_id(1)).await.unwrap().unwrap().event, Some(event));
    }

    async fn many_markets_come_with_their_outcomes(db: &Db) {
        for n in 1..=70 {
            db.save_market(&market(n)).await.unwrap();
        }
        let ids: Vec<_> = (1..=71).map(market_id).collect();
        let mut read = db.markets(&ids).await.unwrap();
        read.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(read, (1..=70).map(market).collect::<Vec<_>>());
    }

    async fn what_closed_and_has_not_resolved_is_found(db: &Db) {
        db.save_market(&market(1)).await.unwrap();
        db.save_market(&Market { active: false, ..market(2) }).await.unwrap();
        db.save_market(&Market { close_time: None, ..market(3) }).await.unwrap();
        db.save_market(&Market { resolved_at: Some(NOW), active: false, ..market(4) }).await.unwrap();
        assert_eq!(db.unresolved_markets(NOW).await.unwrap(), [market_id(2)]);
        let later = NOW.plus_millis(3_600_000);
        assert_eq!(db.unresolved_markets(later).await.unwrap(), [market_id(1), market_id(2)]);
    }

    async fn the_newest_midpoint_and_the_last_trade_are_found(db: &Db) {
        let user = follow(db, 1).await;
        let (first, second) = (NOW, NOW.plus_millis(30_000));
        db.insert_prices(first, &[(asset(1), price(400_000)), (asset(2), price(100_000))]).await.unwrap();
        db.insert_prices(second, &[(asset(1), price(410_000))]).await.unwrap();
        db.insert_prices(second, &[(asset(1), price(999_999))]).await.unwrap();
        let newest = db.newest_prices(&[asset(1), asset(2), asset(3)]).await.unwrap();
        assert_eq!(newest.get(&asset(1)), Some(&(second, price(410_000))), "the first midpoint of a bucket stays");
        assert_eq!(newest.get(&asset(2)), Some(&(first, price(100_000))));
        assert_eq!(newest.get(&asset(3)), None);
        assert_eq!(db.prices(&asset(1), first, second, 10).await.unwrap().len(), 2);

        let mut later = trade(user, 8);
        later.price = price(777_000);
        db.record_poll(poll(user, vec![trade(user, 1), later.clone()])).await.unwrap();
        let pairs = [(later.market.clone(), later.asset.clone()), (market_id(5), asset(5))];
        let last = db.last_trades(&pairs).await.unwrap();
        assert_eq!(last.get(&later.asset), Some(&(later.event_time, price(777_000))));
        assert_eq!(last.len(), 1);
    }

    async fn a_curve_has_one_point_a_minute_for_each_portfolio(db: &Db) {
        let user = follow(db, 1).await;
        let (global, own) = (PortfolioId::ExecGlobal, PortfolioId::ExecUser(user));
        let points: Vec<_> = (0..120).flat_map(|n| [point(global, n, 1_000 + n), point(own, n, 5)]).collect();
        let note = [("portfolio:EXEC_GLOBAL".to_owned(), "{}".to_owned())];
        db.insert_snapshots(&points, &note, NOW).await.unwrap();
        db.insert_snapshots(&[point(global, 3, 9_999_999)], &[], NOW).await.unwrap();
        assert_eq!(number!(db, "select count(*) from portfolio_snapshot"), 240);

        let at = NOW.plus_millis(10 * MINUTE + 59_999);
        assert_eq!(db.snapshot_at_or_before(global, at).await.unwrap(), Some(point(global, 10, 1_010)));
        assert_eq!(db.snapshot_at_or_before(global, NOW.plus_millis(-1)).await.unwrap(), None);
        assert_eq!(db.newest_snapshot(own).await.unwrap(), Some(point(own, 119, 5)));
        assert_eq!(db.peak_since(global, NOW).await.unwrap(), Some(UsdcMicros(1_119)));
        assert_eq!(db.peak_since(PortfolioId::ShadowUser(user), NOW).await.unwrap(), None);
        let curve = db.snapshots(global, NOW, Timestamp::from_millis(i64::MAX), 30 * MINUTE).await.unwrap();
        assert_eq!(curve, [0, 30, 60, 90].map(|n| point(global, n, 1_000 + n)));
    }
}
