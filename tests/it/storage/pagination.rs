//! Lists of pages: newest first, filtered, page by page, each served by an index.

use polymarketspy::db::{AttemptFilter, Db, LedgerWrite, TradeFilter, every_statement};
use polymarketspy::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use polymarketspy::domain::decision::check::ReasonCode;
use polymarketspy::domain::decision::explanation::DecisionKind;
use polymarketspy::domain::events::event::Side;
use polymarketspy::domain::money::units::Timestamp;

use polymarketspy::queue::Queue;
use polymarketspy::testkit::TestDb;

use super::facts::{NOW, attempt, copy_jobs, entries, follow, grouped, market, market_id, poll, skipped, trade};
use super::harness::on_both;

on_both! {
    async fn trades_come_newest_first_and_no_page_repeats_or_skips_one(db: &Db) {
        let (one, two) = (follow(db, 1).await, follow(db, 2).await);
        db.save_market(&market(3)).await.unwrap();
        db.record_poll(poll(one, (0..25).map(|n| trade(one, n)).collect())).await.unwrap();
        // Detected in the same millisecond: the id decides.
        let same: Vec<_> = (100..110).map(|n| { let mut t = trade(two, n); t.detect_time = NOW; t }).collect();
        db.record_poll(poll(two, same)).await.unwrap();

        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = db.trades_page(&TradeFilter::default(), cursor, 8).await.unwrap();
            seen.extend(page.rows.iter().map(|row| row.trade.clone()));
            cursor = page.next;
            if cursor.is_none() { break }
        }
        assert_eq!(seen.len(), 35);
        assert!(seen.is_sorted_by(|a, b| (a.detect_time, a.id) > (b.detect_time, b.id)));
        let newest = &db.trades_page(&TradeFilter::default(), None, 1).await.unwrap().rows[0];
        assert_eq!((newest.trade.clone(), newest.user_label.as_str()), (trade(one, 24), "leader 1"));
        assert_eq!((newest.question.as_deref(), newest.outcome.as_deref()), (Some("Will <b>3</b> happen?"), Some("Yes")));

        let count = async |filter: TradeFilter| db.trades_page(&filter, None, 100).await.unwrap().rows.len();
        assert_eq!(count(TradeFilter { user: Some(two), ..Default::default() }).await, 10);
        assert_eq!(count(TradeFilter { side: Some(Side::Sell), user: Some(one), ..Default::default() }).await, 9);
        assert_eq!(count(TradeFilter { market: Some(market_id(3)), ..Default::default() }).await, 6);
        assert_eq!(count(TradeFilter { market: Some(market_id(3)), user: Some(one), ..Default::default() }).await, 4);
        let from = Some(NOW.plus_millis(20));
        assert_eq!(count(TradeFilter { from, to: Some(NOW.plus_millis(22)), ..Default::default() }).await, 3);
        assert_eq!(db.count_trades_since(NOW.plus_millis(20)).await.unwrap(), 5);
        assert_eq!(db.newest_trade_time().await.unwrap(), Some(NOW.plus_millis(-2_000)));
    }

    async fn attempts_are_listed_by_any_filter_and_explained(db: &Db) {
        let user = follow(db, 1).await;
        db.save_market(&market(0)).await.unwrap();
        let groups = grouped(db, user, 0..14).await;
        let jobs = copy_jobs(db, Queue::CopyAttemptUser, &groups).await;
        let mut writes = Vec::new();
        for (n, (group, job)) in groups.iter().zip(&jobs).enumerate() {
            let own = if n % 2 == 0 {
                skipped(PortfolioId::ExecUser(user), group, vec![ReasonCode::SpreadTooWide, ReasonCode::RiskCapUser])
            } else {
                attempt(PortfolioId::ExecUser(user), group)
            };
            let mut global = attempt(PortfolioId::ExecGlobal, group);
            global.created_at = NOW.plus_millis(n as i64);
            writes.push(LedgerWrite { attempt: Some(own), finishes: vec![job.fence()], ..Default::default() });
            writes.push(LedgerWrite { entries: entries(&global, group), attempt: Some(global), ..Default::default() });
        }
        db.commit(&writes, NOW).await.unwrap();

        let list = async |filter: AttemptFilter| db.attempts_page(&filter, None, 100).await.unwrap().rows;
        let all = list(AttemptFilter::default()).await;
        assert_eq!(all.len(), 28);
        assert!(all.is_sorted_by(|a, b| (a.attempt.created_at, a.attempt.id) > (b.attempt.created_at, b.attempt.id)));
        assert_eq!(list(AttemptFilter { decision: Some(DecisionKind::Skip), ..Default::default() }).await.len(), 7);
        assert_eq!(list(AttemptFilter { reason: Some(ReasonCode::RiskCapUser), ..Default::default() }).await.len(), 7);
        assert_eq!(list(AttemptFilter { reason: Some(ReasonCode::RiskCapGlobal), ..Default::default() }).await.len(), 0);
        let global = AttemptFilter { scope: Some(PortfolioScope::ExecGlobal), user: Some(user), ..Default::default() };
        assert_eq!(list(global).await.len(), 14);
        assert_eq!(list(AttemptFilter { market: Some(market_id(0)), ..Default::default() }).await.len(), 4);
        let narrow = AttemptFilter {
            market: Some(market_id(0)),
            user: Some(user),
            decision: Some(DecisionKind::Skip),
            side: Some(Side::Sell),
            from: Some(NOW),
            ..Default::default()
        };
        let one = list(narrow).await;
        assert_eq!(one.len(), 1);
        assert_eq!((one[0].question.as_deref(), one[0].outcome.as_deref()), (Some("Will <b>0</b> happen?"), Some("Yes")));
        assert_eq!((one[0].side, one[0].detect_time), (Some(Side::Sell), groups[0].detect_time));

        let first = db.attempts_page(&AttemptFilter::default(), None, 20).await.unwrap();
        let rest = db.attempts_page(&AttemptFilter::default(), first.next, 20).await.unwrap();
        assert_eq!((first.rows.len(), rest.rows.len(), rest.next), (20, 8, None));

        let detail = db.attempt(attempt(PortfolioId::ExecGlobal, &groups[3]).id).await.unwrap().unwrap();
        assert_eq!(detail.listed.attempt, { let mut a = attempt(PortfolioId::ExecGlobal, &groups[3]); a.created_at = NOW.plus_millis(3); a });
        assert_eq!((detail.fills.len(), detail.book), (2, None));
        let counts = db.count_attempts_since(NOW).await.unwrap();
        assert_eq!((counts.executed, counts.skipped), (21, 7));
        assert_eq!(db.count_attempts_since(NOW.plus_millis(10)).await.unwrap().executed, 4);
    }
}

/// A plan that reads a whole table, or sorts it, is fast today and slow in a month.
#[tokio::test]
async fn no_statement_reads_or_sorts_a_large_table() {
    let test_db = TestDb::sqlite().await;
    let Db::Sqlite { read, .. } = &test_db.db else { unreachable!() };
    let large = [
        "trade_event",
        "activity_event",
        "event_group",
        "event_group_member",
        "book_snapshot",
        "copy_attempt",
        "executable_fill",
        "ledger_entry",
        "portfolio_point",
        "asset_price",
        "outcome_asset",
        "t",
        "a",
        "c",
        "e",
        "g",
        "p",
    ];
    // These may sort, because they sort few rows: users and configuration are few, open jobs are the work in flight,
    // and markets are few. A market's groups are found by an index and sorted by decision; changes by people are filtered
    // from the audit log; a period's fills of the chain are matched with the API's; a conversion reads the minutes
    // since it happened; transfers are typed by people; books are sampled for a minute; an asset has few
    // corrections; few markets wait for a result; a leader has a position check an hour, and downloads of them are rare;
    // a leader changes between active, winding down and stopped a few times.
    let may_sort = [
        "config.",
        "users.",
        "queue.OPEN",
        "attempts.LISTED_OF_MARKET",
        "audit.CHANGES",
        "export.ATTEMPTS_OF_MARKET",
        "chain_confirmations.",
        "market_lists.SEARCH",
        "market_lists.BLACKLISTED",
        "polls.TRADES_SINCE",
        "polls.ACTIVITIES_SINCE",
        "baselines.CASH_MOVES",
        "corrections.CORRECTIONS",
        "book_samples.DECIDED",
        "market_resolutions.UNSETTLED",
        "exported_positions.CHECKS",
        "follow_histories.STATE_CHANGES",
    ];
    let mut bad = Vec::new();
    for (name, text) in every_statement(&test_db.db) {
        // `audit` reads whole tables on purpose. The plan of an insert shows the foreign keys of its children, which
        // SQLite reads only while one is violated.
        if name.starts_with("integrity.") || text.starts_with("insert") {
            continue;
        }
        let plan = sqlx::AssertSqlSafe(format!("explain query plan {text}"));
        let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan).fetch_all(read).await.unwrap();
        for (_, _, _, step) in steps {
            let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            // That index holds deposits and withdrawals alone.
            let first_of_index =
                (step.contains(" INDEX ") && text.ends_with("limit 1")) || step.ends_with(" ledger_entry_transfers");
            let is_download_of_checks = name.starts_with("exported_positions.CHECKS");
            let scans =
                scanned.is_some_and(|table| large.contains(&table)) && !first_of_index && !is_download_of_checks;
            let sorts = step.contains("FOR ORDER BY") && !may_sort.iter().any(|start| name.starts_with(start));
            if scans || sorts {
                bad.push(format!("{name}: {step}"));
            }
        }
    }
    test_db.close().await;
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test]
async fn a_cursor_before_the_beginning_of_time_is_harmless() {
    let test_db = TestDb::sqlite().await;
    let cursor = "0-00000000000000000000000000000000".parse().unwrap();
    let filter = TradeFilter { to: Some(Timestamp::EPOCH), ..Default::default() };
    let page = test_db.db.trades_page(&filter, Some(cursor), 5).await.unwrap();
    assert!(page.rows.is_empty());
    test_db.close().await;
}
