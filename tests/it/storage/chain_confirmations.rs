//! Fills of the chain matched with the API's rows: the lag, and the fills that the API never confirmed.

use polymarketspy::db::Inserted;
use polymarketspy::db::{CONFIRMED_WITHIN_MS, ChainLag, ChainTrade, Db, every_statement};
use polymarketspy::domain::events::event::TradeEvent;
use polymarketspy::domain::money::ids::{EventId, FollowedUserId};
use polymarketspy::domain::money::units::Timestamp;
use polymarketspy::queue::{NewJob, Queue};

use super::facts::{NOW, follow, poll, trade};
use super::harness::on_both;

/// Long enough ago that the API should have shown the fill.
const SEEN: Timestamp = NOW.plus_millis(-2 * CONFIRMED_WITHIN_MS);
const FROM: Timestamp = NOW.plus_millis(-86_400_000);

/// The log of a fill.
fn log_of(fill: &TradeEvent, log_index: i64, block: &str, seen: Timestamp) -> ChainTrade {
    ChainTrade {
        tx_hash: fill.tx_hash.clone(),
        log_index,
        block_hash: Some(block.to_owned()),
        profile_wallet: fill.profile_wallet.clone(),
        proxy_wallet: fill.proxy_wallet.clone(),
        followed_user: fill.followed_user,
        asset: Some(fill.asset.clone()),
        side: fill.side,
        price: fill.price,
        shares: fill.shares,
        notional: fill.notional,
        fee: fill.fee,
        event_time: seen,
        detect_time: seen,
    }
}

/// An equal fill in the same transaction.
fn twin_of(fill: &TradeEvent) -> TradeEvent {
    let source_id = format!("{}:1", fill.source_id);
    TradeEvent { id: EventId::of("DATA_API", &source_id), source_id, ..fill.clone() }
}

async fn chain_shows(db: &Db, log: ChainTrade) {
    let job = NewJob {
        queue: Queue::Reconcile,
        key: log.tx_hash.clone(),
        followed_user: Some(log.followed_user),
        payload: "{}".to_owned(),
        due: log.detect_time,
    };
    let seen = log.detect_time;
    assert!(matches!(db.insert_chain_trade(&log, &job, &[], seen).await.unwrap(), Inserted::New(_)));
}

async fn api_shows(db: &Db, user: FollowedUserId, fills: Vec<TradeEvent>) {
    db.record_poll(poll(user, fills)).await.unwrap();
}

/// The database's plan for a statement. Index use is forced, because PostgreSQL reads a small table from end to end.
async fn plan(db: &Db, text: &str) -> String {
    let lines: Vec<String> = match db {
        Db::Postgres(pool, _) => {
            let mut tx = pool.begin().await.unwrap();
            sqlx::query("set local enable_seqscan = off").execute(&mut *tx).await.unwrap();
            let explain = sqlx::AssertSqlSafe(format!("explain {text}"));
            sqlx::query_scalar(explain).fetch_all(&mut *tx).await.unwrap()
        }
        Db::Sqlite { read, .. } => {
            let explain = sqlx::AssertSqlSafe(format!("explain query plan {text}"));
            let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(read).await.unwrap();
            steps.into_iter().map(|(.., step)| step).collect()
        }
    };
    lines.join("\n")
}

async fn unconfirmed(db: &Db, limit: i64) -> Vec<String> {
    let fills = db.unconfirmed_fills(FROM, NOW, limit).await.unwrap();
    fills.into_iter().map(|fill| fill.tx_hash).collect()
}

fn tx(n: u32) -> String {
    format!("0x{n:064x}")
}

on_both! {
    async fn the_lead_is_told_for_all_and_for_each_user(db: &Db) {
        assert_eq!(db.chain_lags(FROM, NOW).await.unwrap(), Default::default());
        let (one, two) = (follow(db, 1).await, follow(db, 2).await);
        for n in 1..=10 {
            let fill = TradeEvent { detect_time: SEEN.plus_millis(i64::from(n) * 1_000), ..trade(one, n) };
            chain_shows(db, log_of(&fill, 1, "0xa", SEEN)).await;
            api_shows(db, one, vec![fill]).await;
        }
        let early = TradeEvent { detect_time: SEEN.plus_millis(-500), ..trade(two, 20) };
        chain_shows(db, log_of(&early, 1, "0xa", SEEN)).await;
        api_shows(db, two, vec![early]).await;
        // Each of these was seen on one side only.
        chain_shows(db, log_of(&trade(one, 30), 1, "0xa", SEEN)).await;
        api_shows(db, one, vec![trade(one, 31)]).await;

        let leads = db.chain_lags(FROM, NOW).await.unwrap();
        assert_eq!(leads.by_user[&one], ChainLag { n_fills: 10, p50_ms: 5_000, p90_ms: 9_000, n_api_first: 0 });
        assert_eq!(leads.by_user[&two], ChainLag { n_fills: 1, p50_ms: -500, p90_ms: -500, n_api_first: 1 });
        assert_eq!(leads.all, Some(ChainLag { n_fills: 11, p50_ms: 5_000, p90_ms: 9_000, n_api_first: 1 }));
        assert_eq!(db.chain_lags(SEEN.plus_millis(1), NOW).await.unwrap().all, None, "outside the period");
        assert_eq!(db.chain_lags(FROM, SEEN).await.unwrap().all, None, "outside the period");
    }

    async fn equal_fills_of_one_transaction_are_counted_one_by_one_and_a_missed_reorg_once(db: &Db) {
        let user = follow(db, 1).await;
        let fill = TradeEvent { detect_time: SEEN.plus_millis(4_000), ..trade(user, 1) };
        for (log_index, block, after) in [(1, "0xa", 0), (2, "0xa", 0), (5, "0xb", 2_000), (6, "0xb", 2_000)] {
            chain_shows(db, log_of(&fill, log_index, block, SEEN.plus_millis(after))).await;
        }
        api_shows(db, user, vec![fill.clone()]).await;
        assert_eq!(unconfirmed(db, 10).await, [tx(1)], "one of two");
        assert_eq!(db.chain_lags(FROM, NOW).await.unwrap().all.unwrap().n_fills, 1);
        api_shows(db, user, vec![TradeEvent { detect_time: SEEN.plus_millis(6_000), ..twin_of(&fill) }]).await;
        assert_eq!(unconfirmed(db, 10).await, [""; 0]);
        let all = db.chain_lags(FROM, NOW).await.unwrap().all;
        assert_eq!(all, Some(ChainLag { n_fills: 2, p50_ms: 4_000, p90_ms: 6_000, n_api_first: 0 }), "since first seen");
    }

    async fn a_log_taken_back_counts_in_neither(db: &Db) {
        let user = follow(db, 1).await;
        for n in 1..=2 {
            chain_shows(db, log_of(&trade(user, n), 1, "0xa", SEEN)).await;
            db.mark_removed(&tx(n), 1, Some("0xa")).await.unwrap();
        }
        api_shows(db, user, vec![trade(user, 1)]).await;
        assert_eq!(db.chain_lags(FROM, NOW).await.unwrap().all, None);
        assert_eq!(unconfirmed(db, 10).await, [""; 0]);
    }

    async fn what_the_api_does_not_show_within_five_minutes_is_listed_newest_first(db: &Db) {
        let (user, gone) = (follow(db, 1).await, follow(db, 2).await);
        let on_time = NOW.plus_millis(-CONFIRMED_WITHIN_MS);
        for (n, seen) in [(1, SEEN), (2, on_time.plus_millis(-1)), (3, on_time), (4, FROM.plus_millis(-1)), (5, SEEN)] {
            chain_shows(db, log_of(&trade(user, n), 1, "0xa", seen)).await;
        }
        api_shows(db, user, vec![trade(user, 5)]).await;
        chain_shows(db, log_of(&trade(gone, 6), 1, "0xa", SEEN)).await;
        assert_eq!(unconfirmed(db, 10).await.len(), 3);
        db.set_enabled(gone, false, "a test", NOW).await.unwrap();
        assert_eq!(unconfirmed(db, 10).await, [tx(2), tx(1)], "the fills of an unfollowed user are not polled");
        assert_eq!(unconfirmed(db, 1).await, [tx(2)]);
        let fill = db.unconfirmed_fills(FROM, NOW, 1).await.unwrap().remove(0);
        let expected = trade(user, 2);
        assert_eq!((fill.user_label.as_str(), fill.followed_user), ("leader 1", user));
        assert_eq!((Some(fill.wallet), fill.asset, fill.side), (expected.proxy_wallet, expected.asset, expected.side));
        assert_eq!((fill.price, fill.shares, fill.notional), (expected.price, expected.shares, expected.notional));
    }

    async fn the_period_and_the_rows_beside_it_are_found_by_their_indexes(db: &Db) {
        let statements = every_statement(db).into_iter().filter(|(name, _)| name.starts_with("chain_confirmations."));
        let mut n_checked = 0;
        for (name, text) in statements {
            let text = ["$1", "$2", "$3"].iter().fold(text.to_owned(), |text, place| text.replace(place, "7"));
            let plan = plan(db, &text).await;
            for index in ["trade_event_chain", "trade_event_by_tx"] {
                assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
            }
            n_checked += 1;
        }
        assert_eq!(n_checked, 3);
    }

    async fn a_transaction_is_confirmed_when_the_api_shows_every_fill_of_it(db: &Db) {
        let (user, other) = (follow(db, 1).await, follow(db, 2).await);
        let fill = trade(user, 1);
        chain_shows(db, log_of(&fill, 1, "0xa", SEEN)).await;
        chain_shows(db, log_of(&fill, 2, "0xa", SEEN)).await;
        chain_shows(db, log_of(&trade(other, 2), 1, "0xa", SEEN)).await;
        let open = async |since| {
            let mut open: Vec<String> = db.unconfirmed_transactions(user, since).await.unwrap().into_iter().collect();
            open.sort();
            open
        };
        assert_eq!(open(SEEN).await, [tx(1)]);
        assert_eq!(open(SEEN.plus_millis(1)).await, [""; 0]);
        api_shows(db, user, vec![fill.clone()]).await;
        assert_eq!(open(SEEN).await, [tx(1)], "one of two");
        db.mark_removed(&tx(1), 2, Some("0xa")).await.unwrap();
        assert_eq!(open(SEEN).await, [tx(1)], "it may be mined again");
        api_shows(db, user, vec![twin_of(&fill)]).await;
        assert_eq!(open(SEEN).await, [""; 0]);
    }
}
