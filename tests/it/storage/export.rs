//! Downloads read every row once, in parts, with every column, on both databases.

use polymarketspy::db::{
    ATTEMPT_COLUMNS, AttemptFilter, CHECK_COLUMNS, CORRECTION_COLUMNS, Cell, CorrectionKey, LEDGER_COLUMNS,
    LedgerFilter, LedgerWrite, PortfolioSnapshot, PositionCheck, PositionFilter, SNAPSHOT_COLUMNS, TRADE_COLUMNS,
    TradeFilter,
};
use polymarketspy::domain::accounting::ledger::{EntryType, PortfolioId, PortfolioScope};
use polymarketspy::domain::accounting::shadow::correction::{Correction, Takes};
use polymarketspy::domain::accounting::shadow::exactness::CheckOutcome;
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::market::facts::{Market, MarketEvent};
use polymarketspy::domain::money::ids::PositionCheckId;
use polymarketspy::domain::money::units::{PriceMicros, ShareMicros, Timestamp, UsdcMicros};
use polymarketspy::queue::Queue;

use super::facts::{NOW, attempt, copy_jobs, entries, follow, grouped, market, market_id, poll, skipped, trade};
use super::harness::on_both;

/// The cell of a row by its column's name.
macro_rules! cell {
    ($columns:expr, $row:expr, $name:literal) => {
        &$row[$columns.iter().position(|(name, _)| *name == $name).unwrap()]
    };
}

on_both! {
    async fn trades_leave_newest_first_and_each_once(db: &Db) {
        let user = follow(db, 1).await;
        db.save_market(&market(3)).await.unwrap();
        db.record_poll(poll(user, (0..25).map(|n| trade(user, n)).collect())).await.unwrap();
        let all = async |filter: TradeFilter| {
            let (mut rows, mut after) = (Vec::new(), None);
            loop {
                let part = db.export_trades(&filter, after, 8).await.unwrap();
                assert!(part.rows.len() <= 8);
                rows.extend(part.rows);
                after = part.next;
                if after.is_none() { return rows }
            }
        };
        let rows = all(TradeFilter::default()).await;
        let newest = trade(user, 24);
        assert_eq!(rows.len(), 25);
        assert_eq!(cell!(TRADE_COLUMNS, rows[0], "id"), &Cell::Uuid(newest.id.0));
        assert_eq!(cell!(TRADE_COLUMNS, rows[0], "is_canonical"), &Cell::Flag(true));
        assert_eq!(cell!(TRADE_COLUMNS, rows[0], "removed"), &Cell::Flag(false));
        assert_eq!(cell!(TRADE_COLUMNS, rows[0], "log_index"), &Cell::Null);
        assert_eq!(cell!(TRADE_COLUMNS, rows[0], "share_micros"), &Cell::Integer(newest.shares.0));
        assert_eq!(cell!(TRADE_COLUMNS, rows[0], "detect_time"), &Cell::Time(newest.detect_time));
        assert_eq!(cell!(TRADE_COLUMNS, rows[0], "followed_user_label"), &Cell::Text("leader 1".to_owned()));
        assert_eq!(all(TradeFilter { user: Some(user), side: Some(Side::Sell), ..Default::default() }).await.len(), 9);
        let of_market = all(TradeFilter { market: Some(market_id(3)), user: Some(user), ..Default::default() }).await;
        assert_eq!(of_market.len(), 4);
        assert_eq!(
            cell!(TRADE_COLUMNS, of_market[0], "question"),
            &Cell::Text("Will <b>3</b> happen?".to_owned())
        );
    }

    async fn attempts_and_what_they_booked_leave_by_every_filter(db: &Db) {
        let user = follow(db, 1).await;
        let groups = grouped(db, user, 0..14).await;
        let jobs = copy_jobs(db, Queue::CopyAttemptUser, &groups).await;
        let mut writes = Vec::new();
        for (group, job) in groups.iter().zip(&jobs) {
            let own = skipped(PortfolioId::ExecUser(user), group, vec![ReasonCode::SpreadTooWide, ReasonCode::RiskCapUser]);
            let global = attempt(PortfolioId::ExecGlobal, group);
            writes.push(LedgerWrite { attempt: Some(own), finishes: vec![job.fence()], ..Default::default() });
            writes.push(LedgerWrite { entries: entries(&global, group), attempt: Some(global), ..Default::default() });
        }
        db.commit(&writes, NOW).await.unwrap();

        let count = async |filter: AttemptFilter| {
            let (mut n_rows, mut after) = (0, None);
            loop {
                let part = db.export_attempts(&filter, after, 5).await.unwrap();
                n_rows += part.rows.len();
                after = part.next;
                if after.is_none() { return n_rows }
            }
        };
        assert_eq!(count(AttemptFilter::default()).await, 28);
        assert_eq!(count(AttemptFilter { decision: Some(DecisionKind::Skip), ..Default::default() }).await, 14);
        assert_eq!(count(AttemptFilter { user: Some(user), decision: Some(DecisionKind::Execute), ..Default::default() }).await, 14);
        assert_eq!(count(AttemptFilter { reason: Some(ReasonCode::RiskCapUser), ..Default::default() }).await, 14);
        assert_eq!(count(AttemptFilter { scope: Some(PortfolioScope::ExecGlobal), ..Default::default() }).await, 14);
        assert_eq!(count(AttemptFilter { market: Some(market_id(0)), ..Default::default() }).await, 4);
        let skip = AttemptFilter { decision: Some(DecisionKind::Skip), ..Default::default() };
        let row = &db.export_attempts(&skip, None, 1).await.unwrap().rows[0];
        let codes = Cell::Words("SPREAD_TOO_WIDE,RISK_CAP_USER".to_owned());
        assert_eq!(cell!(ATTEMPT_COLUMNS, row, "reason_codes"), &codes);
        assert!(matches!(cell!(ATTEMPT_COLUMNS, row, "explain_json"), Cell::Json(text) if text.starts_with('{')));

        let n_entries: usize = writes.iter().map(|write| write.entries.len()).sum();
        let ledger = async |filter: LedgerFilter| {
            let (mut rows, mut after) = (Vec::new(), 0);
            loop {
                let part = db.export_ledger(&filter, after, 5).await.unwrap();
                rows.extend(part.rows);
                let Some(next) = part.next else { return rows };
                after = next;
            }
        };
        let all = ledger(LedgerFilter::default()).await;
        assert_eq!(all.len(), n_entries);
        assert!(all.is_sorted_by_key(|row| match cell!(LEDGER_COLUMNS, row, "id") { Cell::Integer(id) => *id, _ => 0 }));
        let of = |scope, user| LedgerFilter { scope, user, ..LedgerFilter::default() };
        assert_eq!(ledger(of(Some(PortfolioScope::ExecGlobal), None)).await.len(), n_entries);
        assert_eq!(ledger(of(Some(PortfolioScope::ExecGlobal), Some(user))).await.len(), n_entries);
        assert_eq!(ledger(of(None, Some(user))).await.len(), n_entries);
        assert_eq!(ledger(of(Some(PortfolioScope::ExecUser), Some(user))).await.len(), 0);
        assert_eq!(ledger(LedgerFilter { to: Some(Timestamp::EPOCH), ..Default::default() }).await.len(), 0);
    }

    async fn snapshots_leave_minute_by_minute(db: &Db) {
        let user = follow(db, 1).await;
        let minute = |n: i64| Timestamp::from_millis(n * 60_000);
        let point = |portfolio, n| PortfolioSnapshot {
            portfolio,
            bucket_time: minute(n),
            equity: UsdcMicros(n),
            cash: UsdcMicros(n),
            exposure: UsdcMicros::ZERO,
            unrealized_pnl: UsdcMicros::ZERO,
            realized_pnl: UsdcMicros::ZERO,
            if_sold_now: Some(UsdcMicros(2 * n)),
            stale_assets: 1,
        };
        let points: Vec<_> =
            (1..=9).flat_map(|n| [point(PortfolioId::ExecUser(user), n), point(PortfolioId::ExecGlobal, n)]).collect();
        db.insert_snapshots(&points, &[], NOW).await.unwrap();
        let part = db.export_snapshots(PortfolioId::ExecGlobal, (minute(2), minute(8)), 4).await.unwrap();
        assert_eq!((part.rows.len(), part.next), (4, Some(minute(6))));
        assert_eq!(cell!(SNAPSHOT_COLUMNS, part.rows[0], "bucket_time"), &Cell::Time(minute(3)));
        assert_eq!(cell!(SNAPSHOT_COLUMNS, part.rows[0], "followed_user_id"), &Cell::Null);
        assert_eq!(cell!(SNAPSHOT_COLUMNS, part.rows[0], "if_sold_now_micros"), &Cell::Integer(6));
        assert_eq!(cell!(SNAPSHOT_COLUMNS, part.rows[0], "stale_assets"), &Cell::Integer(1));
        let rest = db.export_snapshots(PortfolioId::ExecGlobal, (minute(6), minute(8)), 4).await.unwrap();
        assert_eq!((rest.rows.len(), rest.next), (2, None));
    }

    async fn position_checks_and_corrections_leave_with_every_column(db: &Db) {
        let (first, second) = (follow(db, 1).await, follow(db, 2).await);
        let event = MarketEvent { id: "9".to_owned(), slug: "votes".to_owned(), title: "Who wins?".to_owned() };
        db.save_market(&Market { event: Some(event), ..market(3) }).await.unwrap();
        let asset = market(3).outcomes[0].asset.clone();
        let correction = |leader, n: i64| Correction {
            leader,
            ref_id: format!("open:{leader}:{n}"),
            kind: EntryType::Opening,
            asset: asset.clone(),
            market: Some(market_id(3)),
            takes: Takes::Opening,
            counted_to: NOW.plus_millis(n),
            price: Some(PriceMicros::ONE),
            booked_shares: ShareMicros(7),
            booked_cash: UsdcMicros(-7),
            shares: ShareMicros(5),
        };
        for user in [first, second] {
            for n in 0..5 {
                let checked_at = NOW.plus_millis(n);
                let (id, outcome) = (PositionCheckId::of(user, checked_at.millis()), CheckOutcome::Exact);
                let check =
                    PositionCheck { id, user, checked_at, n_assets: n, outcome, drifts: Vec::new(), problem: None };
                let write = LedgerWrite {
                    check: Some(check),
                    corrections: vec![correction(user, n)],
                    ..LedgerWrite::default()
                };
                db.commit(&[write], NOW).await.unwrap();
            }
        }
        let checks = async |filter: PositionFilter| {
            let (mut rows, mut after) = (Vec::new(), None);
            loop {
                let part = db.export_checks(&filter, after, 3).await.unwrap();
                rows.extend(part.rows);
                after = part.next;
                if after.is_none() { return rows }
            }
        };
        let corrections = async |filter: PositionFilter| {
            let (mut rows, mut after) = (Vec::new(), CorrectionKey::default());
            loop {
                let part = db.export_corrections(&filter, after, 3).await.unwrap();
                rows.extend(part.rows);
                match part.next {
                    Some(next) => after = next,
                    None => return rows,
                }
            }
        };
        let all = checks(PositionFilter::default()).await;
        let mut ids: Vec<String> =
            all.iter().map(|row| format!("{:?}", cell!(CHECK_COLUMNS, row, "id"))).collect();
        ids.dedup();
        assert_eq!((all.len(), ids.len()), (10, 10));
        assert_eq!(cell!(CHECK_COLUMNS, all[9], "checked_at"), &Cell::Time(NOW.plus_millis(4)));
        assert_eq!(cell!(CHECK_COLUMNS, all[9], "n_assets"), &Cell::Integer(4));
        assert_eq!(cell!(CHECK_COLUMNS, all[9], "detail_json"), &Cell::Json("{\"drifts\":[]}".to_owned()));
        let some = PositionFilter { user: Some(second), from: Some(NOW.plus_millis(1)), to: Some(NOW.plus_millis(3)) };
        assert_eq!((checks(some).await.len(), corrections(some).await.len()), (3, 3));

        let all = corrections(PositionFilter::default()).await;
        assert_eq!(all.len(), 10);
        assert_eq!(cell!(CORRECTION_COLUMNS, all[0], "booked_share_micros"), &Cell::Integer(7));
        assert_eq!(cell!(CORRECTION_COLUMNS, all[0], "share_micros"), &Cell::Integer(5));
        assert_eq!(cell!(CORRECTION_COLUMNS, all[0], "followed_user_label"), &Cell::Text("leader 1".to_owned()));
        assert_eq!(cell!(CORRECTION_COLUMNS, all[0], "event_id"), &Cell::Text("9".to_owned()));
        assert_eq!(cell!(CORRECTION_COLUMNS, all[0], "event_title"), &Cell::Text("Who wins?".to_owned()));
    }
}
