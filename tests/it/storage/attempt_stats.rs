//! Attempts counted by the hour and counted at once give the same numbers; a peak can be reset.

use polymarketspy::db::{LedgerWrite, PeakReset, PortfolioSnapshot};
use polymarketspy::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::money::units::{Timestamp, UsdcMicros};

use super::facts::{NOW, attempt, follow, grouped, market, skipped};
use super::harness::{number, on_both};

on_both! {
    async fn hours_that_are_over_are_kept_and_nothing_is_counted_twice_or_lost(db: &Db) {
        let (one, two) = (follow(db, 1).await, follow(db, 2).await);
        db.save_market(&market(0)).await.unwrap();
        let at = |n: i64| NOW.plus_millis(n * 20 * 60_000);
        let mut writes = Vec::new();
        for (user, groups) in [(one, grouped(db, one, 0..14).await), (two, grouped(db, two, 20..25).await)] {
            for (n, group) in groups.iter().enumerate() {
                let mut own = match n % 3 {
                    0 => skipped(PortfolioId::ExecUser(user), group, vec![ReasonCode::SpreadTooWide, ReasonCode::RiskCapUser]),
                    _ => attempt(PortfolioId::ExecUser(user), group),
                };
                own.created_at = at(n as i64);
                let mut global = attempt(PortfolioId::ExecGlobal, group);
                global.created_at = at(n as i64);
                writes.extend([own, global].map(|attempt| LedgerWrite { attempt: Some(attempt), ..Default::default() }));
            }
        }
        db.commit(&writes, NOW).await.unwrap();

        let all = async |scope| db.attempt_tallies(scope, None, Timestamp::EPOCH).await.unwrap();
        let (own, global) = (all(PortfolioScope::ExecUser).await, all(PortfolioScope::ExecGlobal).await);
        let counted: Vec<_> = own.values().map(|tally| (tally.executed(), tally.skipped)).collect();
        assert_eq!(counted, [(9, 5), (3, 2)]);
        assert_eq!(own[&one].reasons[&ReasonCode::RiskCapUser], 5);
        assert_eq!(global[&one].attempts(), 14);

        for now in [at(2), at(5), at(5), at(100)] {
            db.roll_up_attempts(now).await.unwrap();
            assert_eq!(all(PortfolioScope::ExecUser).await, own, "rolled up to {now}");
            assert_eq!(all(PortfolioScope::ExecGlobal).await, global, "rolled up to {now}");
        }
        assert!(number!(db, "select count(*) from attempt_tally") >= 12, "hours are kept");
        let late = db.attempt_tally(PortfolioScope::ExecUser, one, at(13)).await.unwrap();
        assert!((1..=3).contains(&late.attempts()), "only the last hour: {late:?}");
        let own_only = db.attempt_tallies(PortfolioScope::ExecUser, Some(two), Timestamp::EPOCH).await.unwrap();
        assert_eq!(own_only.keys().collect::<Vec<_>>(), [&two]);
    }

    async fn a_reset_peak_is_measured_from_anew_and_audited(db: &Db) {
        let global = PortfolioId::ExecGlobal;
        let snapshot = |minute: i64, equity: i64| PortfolioSnapshot {
            portfolio: global,
            bucket_time: NOW.bucket(60_000).plus_millis(minute * 60_000),
            equity: UsdcMicros(equity),
            cash: UsdcMicros(equity),
            exposure: UsdcMicros::ZERO,
            unrealized_pnl: UsdcMicros::ZERO,
            realized_pnl: UsdcMicros::ZERO,
            if_sold_now: None,
            stale_assets: 0,
        };
        db.insert_snapshots(&[snapshot(0, 100), snapshot(1, 90)], &[], NOW).await.unwrap();
        assert_eq!(db.peak(global).await.unwrap(), Some(UsdcMicros(100)));
        let revision = db.revision().await.unwrap();
        let reset = PeakReset { at: NOW.plus_millis(61_000), equity_micros: UsdcMicros(90) };
        db.reset_peak(global, reset, (Some(UsdcMicros(100)), "ilse@example.org")).await.unwrap();
        assert_eq!(db.peak(global).await.unwrap(), Some(UsdcMicros(90)));
        assert!(db.revision().await.unwrap() > revision);
        assert_eq!(db.directory().await.unwrap().peak_resets, [(global, reset)]);
        db.insert_snapshots(&[snapshot(3, 95)], &[], NOW).await.unwrap();
        assert_eq!(db.peak(global).await.unwrap(), Some(UsdcMicros(95)));
        let audit = db.audits(Some("reset_peak"), None, 10).await.unwrap().remove(0).audit;
        assert_eq!((audit.who.as_str(), audit.subject.as_str()), ("ilse@example.org", "portfolio:EXEC_GLOBAL"));
        assert_eq!((audit.before_json.as_deref(), audit.after_json.as_deref()), (Some("100"), Some("90")));
    }

    async fn a_curve_is_cut_down_without_losing_a_spike(db: &Db) {
        let user = follow(db, 1).await;
        let of = PortfolioId::ExecUser(user);
        let start = NOW.bucket(3_600_000);
        let point = |minute: i64, equity: i64| PortfolioSnapshot {
            portfolio: of,
            bucket_time: start.plus_millis(minute * 60_000),
            equity: UsdcMicros(equity),
            cash: UsdcMicros(0),
            exposure: UsdcMicros(equity),
            unrealized_pnl: UsdcMicros::ZERO,
            realized_pnl: UsdcMicros::ZERO,
            if_sold_now: None,
            stale_assets: 0,
        };
        let points: Vec<_> = [(0, 10), (1, 50), (2, 11), (3, 12), (4, 1), (5, 13), (9, 14)].map(|(m, e)| point(m, e)).into();
        db.insert_snapshots(&points, &[], NOW).await.unwrap();
        let curve = db.curve(of, (start, start.plus_millis(9 * 60_000)), 180_000).await.unwrap();
        let seen: Vec<_> = curve
            .iter()
            .map(|point| (point.time.millis_since(start) / 60_000, point.equity.0, point.low.0, point.high.0))
            .collect();
        assert_eq!(seen, [(0, 11, 10, 50), (3, 13, 1, 13), (9, 14, 14, 14)]);
        assert_eq!(db.curve_start(of).await.unwrap(), Some(start));
        let before = start.plus_millis(60_000 - 1);
        assert_eq!(db.peak_within(of, Timestamp::EPOCH, before).await.unwrap(), Some(UsdcMicros(10)));
    }
}
