//! Lists that search for their rows, other activity, and markets that pages search for.

use polymarketspy::db::{ActivityFilter, AttemptFilter, LedgerWrite, TradeFilter};
use polymarketspy::domain::accounting::ledger::{EntryType, LedgerEntry, PortfolioId, PortfolioScope};
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::{ActivityKind, Side};
use polymarketspy::domain::market::facts::Market;
use polymarketspy::domain::money::units::{ShareMicros, Timestamp, UsdcMicros};

use super::facts::{NOW, asset, attempt, follow, grouped, market, market_id, merge, poll, price, skipped, trade};
use super::harness::on_both;

on_both! {
    async fn a_rare_trade_is_found_however_far_back_it_is(db: &Db) {
        let (one, two) = (follow(db, 1).await, follow(db, 2).await);
        // The first search covers 2,000 rows.
        let buys = (0..2_100).map(|n| { let mut t = trade(one, n); t.side = Side::Buy; t });
        let mut trades: Vec<_> = buys.collect();
        trades[3].side = Side::Sell;
        db.record_poll(poll(one, trades)).await.unwrap();
        db.record_poll(poll(two, vec![trade(two, 5_001)])).await.unwrap();
        let sells = TradeFilter { side: Some(Side::Sell), ..TradeFilter::default() };
        for filter in [
            sells.clone(),
            TradeFilter { user: Some(one), ..sells.clone() },
            TradeFilter { user: Some(one), market: Some(market_id(3)), ..sells.clone() },
            TradeFilter { from: Some(NOW.plus_millis(3)), to: Some(NOW.plus_millis(5_000)), ..sells.clone() },
        ] {
            let page = db.trades_page(&filter, None, 5).await.unwrap();
            assert_eq!(page.rows.last().map(|row| row.trade.detect_time), Some(NOW.plus_millis(3)), "{filter:?}");
            assert_eq!((page.next, page.looked_back_to), (None, None), "there is no next page");
        }
        let late = TradeFilter { from: Some(NOW.plus_millis(4)), user: Some(one), ..sells };
        assert_eq!(db.trades_page(&late, None, 5).await.unwrap().rows, []);
    }

    async fn attempts_by_several_filters_at_once(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..6).await;
        let mut writes = Vec::new();
        for (n, group) in groups.iter().enumerate() {
            let own = match n % 2 {
                0 => skipped(PortfolioId::ExecUser(user), group, vec![ReasonCode::SpreadTooWide]),
                _ => attempt(PortfolioId::ExecUser(user), group),
            };
            writes.push(LedgerWrite { attempt: Some(own), ..Default::default() });
        }
        db.commit(&writes, NOW).await.unwrap();
        let count = async |filter: AttemptFilter| db.attempts_page(&filter, None, 50).await.unwrap().rows.len();
        let skips = AttemptFilter { user: Some(user), decision: Some(DecisionKind::Skip), ..Default::default() };
        assert_eq!(count(skips.clone()).await, 3);
        // Fills 0 and 3 are sells.
        assert_eq!(count(AttemptFilter { side: Some(Side::Sell), ..skips.clone() }).await, 1);
        assert_eq!(count(AttemptFilter { side: Some(Side::Buy), reason: Some(ReasonCode::SpreadTooWide), ..skips.clone() }).await, 2);
        assert_eq!(count(AttemptFilter { scope: Some(PortfolioScope::ExecGlobal), ..skips.clone() }).await, 0);
        assert_eq!(count(AttemptFilter { to: Some(NOW.plus_millis(-1)), ..skips }).await, 0);
    }

    async fn other_activity_is_listed_with_what_it_moved(db: &Db) {
        let (one, two) = (follow(db, 1).await, follow(db, 2).await);
        let mut rows: Vec<_> = (0..5).map(|n| { let mut row = merge(one, n); row.detect_time = NOW.plus_millis(i64::from(n)); row }).collect();
        rows[2].kind = ActivityKind::Other("REWARD".to_owned());
        rows[3].followed_user = two;
        let mut write = poll(one, Vec::new());
        write.activities = rows.clone();
        db.record_poll(write).await.unwrap();
        let list = async |filter: ActivityFilter| {
            let page = db.activities_page(&filter, None, 50).await.unwrap();
            page.rows.iter().map(|row| row.detect_time.millis_since(NOW)).collect::<Vec<_>>()
        };
        assert_eq!(list(ActivityFilter::default()).await, [4, 3, 2, 1, 0]);
        assert_eq!(list(ActivityFilter { user: Some(two), ..Default::default() }).await, [3]);
        assert_eq!(list(ActivityFilter { kind: Some("REWARD".to_owned()), ..Default::default() }).await, [2]);
        assert_eq!(list(ActivityFilter { market: Some(market_id(1)), user: Some(one), ..Default::default() }).await, [1]);
        let (from, to) = (Some(NOW.plus_millis(1)), Some(NOW.plus_millis(3)));
        assert_eq!(list(ActivityFilter { from, to, ..Default::default() }).await, [3, 2, 1]);
        let first = db.activities_page(&ActivityFilter::default(), None, 3).await.unwrap();
        let rest = db.activities_page(&ActivityFilter::default(), first.next, 3).await.unwrap();
        assert_eq!((rest.rows.len(), rest.next, rest.looked_back_to), (2, None, None));

        let entry = LedgerEntry {
            portfolio: PortfolioId::ShadowUser(one),
            attributed_user: Some(one),
            market: Some(market_id(1)),
            asset: Some(asset(1)),
            kind: EntryType::Merge,
            shares: ShareMicros(-5_000_000),
            cash: UsdcMicros(5_000_000),
            price: Some(price(500_000)),
            ref_id: format!("event:{}", rows[1].id),
            created_at: NOW,
        };
        db.commit(&[LedgerWrite { entries: vec![entry], ..Default::default() }], NOW).await.unwrap();
        let moved = db.movements(rows[1].id, one).await.unwrap();
        assert_eq!(moved.len(), 1);
        assert_eq!((moved[0].shares, moved[0].asset.clone()), (ShareMicros(-5_000_000), Some(asset(1))));
        assert!(db.movements(rows[1].id, two).await.unwrap().is_empty());
        assert!(db.decisions_on(rows[1].id).await.unwrap().is_empty());
    }

    async fn markets_are_found_by_text_and_by_what_happened_in_them(db: &Db) {
        let user = follow(db, 1).await;
        for n in 0..3 {
            db.save_market(&market(n)).await.unwrap();
        }
        let odd = Market { question: "100% of A_B?".to_owned(), slug: "odd".to_owned(), ..Market::unknown(market_id(9)) };
        db.save_market(&odd).await.unwrap();
        assert_eq!(db.search_markets("HAPPEN", 10).await.unwrap().len(), 3);
        assert_eq!(db.search_markets("HAPPEN", 2).await.unwrap().len(), 2);
        for text in ["0% of", "a_b", "ODD"] {
            assert_eq!(db.search_markets(text, 10).await.unwrap(), [market_id(9)], "{text}");
        }
        for text in ["1%A", "a%b", "\\", "axb"] {
            assert_eq!(db.search_markets(text, 10).await.unwrap(), [], "{text}");
        }
        assert_eq!(db.markets_named("odd", 10).await.unwrap(), [market_id(9)]);
        assert_eq!(db.markets_named("od", 10).await.unwrap(), []);
        db.set_blacklisted(&market_id(2), true, "a test", NOW).await.unwrap();
        assert_eq!(db.blacklisted_markets(10).await.unwrap(), [market_id(2)]);

        let groups = grouped(db, user, 0..9).await;
        let writes: Vec<_> = groups
            .iter()
            .flat_map(|group| {
                let skip = skipped(PortfolioId::ExecUser(user), group, vec![ReasonCode::SpreadTooWide]);
                [skip, attempt(PortfolioId::ExecGlobal, group)]
            })
            .map(|attempt| LedgerWrite { attempt: Some(attempt), ..Default::default() })
            .collect();
        db.commit(&writes, NOW).await.unwrap();
        let mut traded = db.traded_markets(NOW.plus_millis(7)).await.unwrap();
        traded.sort_by_key(|one| one.market.clone());
        let seen: Vec<_> = traded.iter().map(|one| (one.market.clone(), one.last_trade)).collect();
        assert_eq!(seen, [(market_id(0), NOW.plus_millis(7)), (market_id(1), NOW.plus_millis(8))]);
        assert_eq!(db.last_trade_in(&market_id(0)).await.unwrap(), Some(NOW.plus_millis(7)));
        assert_eq!(db.count_trades_in(&market_id(0), NOW.plus_millis(7)).await.unwrap(), 1);
        let all = db.attempts_in(&market_id(0), Timestamp::EPOCH).await.unwrap();
        assert_eq!((all.attempts, all.executed), (4, 2));
        assert_eq!(db.attempts_in(&market_id(0), NOW.plus_millis(1)).await.unwrap().attempts, 2);
        assert_eq!(db.leaders_in(&market_id(0)).await.unwrap(), [user]);
        let copies = db.copies_in(&market_id(0), Timestamp::EPOCH, 10).await.unwrap();
        assert_eq!(copies.len(), 2);
        assert_eq!((copies[0].scope, copies[0].vwap, copies[0].theirs), (PortfolioScope::ExecGlobal, price(333_333), price(320_000)));
    }

    async fn a_price_curve_has_the_last_midpoint_of_each_stretch(db: &Db) {
        for n in 0..6 {
            db.insert_prices(NOW.plus_millis(n * 30_000), &[(asset(1), price(500_000 + n))]).await.unwrap();
        }
        let span = (NOW, NOW.plus_millis(4 * 30_000));
        let curve = db.price_curve(&asset(1), span, 60_000).await.unwrap();
        let plain: Vec<_> = curve.iter().map(|(at, price)| (at.millis_since(NOW), price.micros())).collect();
        assert_eq!(plain, [(30_000, 500_001), (90_000, 500_003), (120_000, 500_004)]);
        assert_eq!(db.price_curve_start(&asset(1)).await.unwrap(), Some(NOW));
        assert_eq!(db.price_curve_start(&asset(2)).await.unwrap(), None);
    }
}
