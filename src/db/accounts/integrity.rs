//! Checks that facts which follow from each other are all stored: one statement per rule, so that each rule sees one
//! consistent state.

use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;

/// A rule, and by how much it is violated; zero means that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integrity {
    pub rule: &'static str,
    pub off_by: i64,
}

statements! {
    UNGROUPED = "select (select count(*) from trade_event where is_canonical)
        - (select count(*) from event_group_member where trade_event_id is not null)
        - (select count(*) from job where queue = 'q_group_events' and payload like 'trade:%')
        - (select count(distinct key) from dead_letter
            where queue = 'q_group_events' and replayed_at is null and payload like 'trade:%')";
    UNDECIDED = "select 2 * (select count(*) from event_group where kind <> 'CLOSE')
        - (select count(*) from copy_attempt a join event_group g on g.id = a.group_id where g.kind <> 'CLOSE')
        - (select count(*) from job where queue in ('q_copy_attempt_user', 'q_copy_attempt_global')
            and key not like 'close:%')
        - (select count(*) from (select distinct queue, key from dead_letter
            where queue in ('q_copy_attempt_user', 'q_copy_attempt_global') and replayed_at is null
                and key not like 'close:%') as dead)";
    /// A close by hand is for one account or for both, so only groups without any attempt are counted.
    UNCLOSED = "select case when n_bare > n_open then n_bare - n_open else 0 end from (select
        (select count(*) from event_group g where g.kind = 'CLOSE'
            and not exists (select 1 from copy_attempt a where a.group_id = g.id)) as n_bare,
        (select count(*) from (select payload from job where key like 'close:%'
            union select payload from dead_letter where key like 'close:%' and replayed_at is null) as open) as n_open
        ) as counted";
    UNBOOKED = "select (select count(*) from trade_event where is_canonical)
        - (select count(*) from ledger_entry where portfolio_scope = 'SHADOW_USER' and entry_type = 'TRADE_FILL')
        - (select count(*) from job where queue = 'q_ingest_events' and payload like 'trade:%')
        - (select count(distinct key) from dead_letter
            where queue = 'q_ingest_events' and replayed_at is null and payload like 'trade:%')";
    COPIES = "select (select count(*) from copy_attempt a join event_group g on g.id = a.group_id
            where a.decision = 'EXECUTE' and g.kind in ('TRADE', 'CLOSE'))
        - (select count(*) from ledger_entry where entry_type = 'TRADE_FILL' and portfolio_scope <> 'SHADOW_USER')";
    COPIED_CASH = "select cast(
        (select coalesce(sum(a.filled_notional_micros), 0) from copy_attempt a join event_group g on g.id = a.group_id
            where a.decision = 'EXECUTE' and g.kind in ('TRADE', 'CLOSE'))
        - (select coalesce(sum(abs(cash_delta_micros)), 0) from ledger_entry
            where entry_type = 'TRADE_FILL' and portfolio_scope <> 'SHADOW_USER') as bigint)";
    COPIED_SHARES = "select cast(
        (select coalesce(sum(a.filled_share_micros), 0) from copy_attempt a join event_group g on g.id = a.group_id
            where a.decision = 'EXECUTE' and g.kind in ('TRADE', 'CLOSE'))
        - (select coalesce(sum(abs(share_delta_micros)), 0) from ledger_entry
            where entry_type = 'TRADE_FILL' and portfolio_scope <> 'SHADOW_USER') as bigint)";
    FILLS = "select count(*) from copy_attempt a join event_group g on g.id = a.group_id
        join (select copy_attempt_id, sum(filled_share_micros) as shares, sum(fill_notional_micros) as notional
            from executable_fill group by copy_attempt_id) f on f.copy_attempt_id = a.id
        where a.filled_share_micros <> f.shares or a.filled_notional_micros <> f.notional or a.decision <> 'EXECUTE'";
}

const RULES: [(&str, &str); 8] = [
    ("every canonical fill is in a group, or waits for one", UNGROUPED),
    ("every group has an attempt in both portfolios, or waits for it", UNDECIDED),
    ("every close by hand has an attempt, or waits for it", UNCLOSED),
    ("every canonical fill is in its leader's shadow ledger, or waits for it", UNBOOKED),
    ("every executed copy of a fill has its ledger entry", COPIES),
    ("executed copies and their ledger entries moved the same cash", COPIED_CASH),
    ("executed copies and their ledger entries moved the same shares", COPIED_SHARES),
    ("the levels of every executed copy add up to it", FILLS),
];

impl Db {
    /// Returns the result of every rule. Reads whole tables: this is for `audit`, not for pages.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn integrity(&self) -> Result<Vec<Integrity>, DbError> {
        let mut all = Vec::with_capacity(RULES.len());
        for (rule, sql) in RULES {
            let off_by: i64 = on!(db self, c => sqlx::query_scalar(sql).fetch_one(c).await)?;
            all.push(Integrity { rule, off_by });
        }
        Ok(all)
    }
}
