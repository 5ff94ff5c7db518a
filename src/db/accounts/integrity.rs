//! Checks that facts which follow from each other are all stored: each rule in one statement, so that
//! it sees one consistent state. A statement reads a table once, in the order of its rows.

use crate::sql::connection::{Db, on, statements};
use crate::sql::error::DbError;

/// A rule, and by how much it is violated; zero means that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Integrity {
    pub rule: &'static str,
    pub off_by: i64,
}

statements! {
    /// Attempts of closes are few, so they are taken off. The cross join keeps SQLite from looking for the group of each
    /// attempt instead.
    UNDECIDED = "select 2 * (select count(*) from event_group where kind <> 'CLOSE')
        - (select count(*) from copy_attempt)
        + (select count(*) from event_group g cross join copy_attempt a where a.group_id = g.id and g.kind = 'CLOSE')
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
    /// Five rules in one pass over trades, ledger and attempts. Copies of anything but a fill or a close are few and are
    /// taken off. The cross joins keep SQLite from going through an index to each row, and the empty text keeps it from
    /// reading all executed attempts for each group.
    FILLS_AND_COPIES = "with seen as (select count(*) as n from trade_event t cross join followed_user u
                where u.id = t.followed_user_id and t.is_canonical
                    and (u.follows_from is null or t.event_time >= u.follows_from)),
            booked as (select
                    coalesce(sum(case when portfolio_scope = 'SHADOW_USER' then 1 else 0 end), 0) as shadow,
                    coalesce(sum(case when portfolio_scope = 'SHADOW_USER' then 0 else 1 end), 0) as n,
                    coalesce(sum(case when portfolio_scope = 'SHADOW_USER' then 0 else abs(cash_delta_micros) end), 0)
                        as cash,
                    coalesce(sum(case when portfolio_scope = 'SHADOW_USER' then 0 else abs(share_delta_micros) end), 0)
                        as shares
                from ledger_entry where entry_type = 'TRADE_FILL'),
            executed as (select count(*) as n, coalesce(sum(filled_notional_micros), 0) as cash,
                    coalesce(sum(filled_share_micros), 0) as shares
                from copy_attempt where decision = 'EXECUTE'),
            other as (select count(*) as n, coalesce(sum(a.filled_notional_micros), 0) as cash,
                    coalesce(sum(a.filled_share_micros), 0) as shares
                from event_group g cross join copy_attempt a
                where a.group_id = g.id and a.decision || '' = 'EXECUTE' and g.kind not in ('TRADE', 'CLOSE'))
        select
            (select n from seen) - (select count(*) from event_group_member where trade_event_id is not null)
                - (select count(*) from job where queue = 'q_group_events' and payload like 'trade:%')
                - (select count(distinct key) from dead_letter
                    where queue = 'q_group_events' and replayed_at is null and payload like 'trade:%'),
            cast((select n from seen) - booked.shadow
                - (select count(*) from job where queue = 'q_ingest_events' and payload like 'trade:%')
                - (select count(distinct key) from dead_letter
                    where queue = 'q_ingest_events' and replayed_at is null and payload like 'trade:%') as bigint),
            cast(executed.n - other.n - booked.n as bigint),
            cast(executed.cash - other.cash - booked.cash as bigint),
            cast(executed.shares - other.shares - booked.shares as bigint)
        from booked cross join executed cross join other";
    /// Both tables have the attempts in the order in which they were written, so this reads neither here and there.
    FILLS = "select count(*) from copy_attempt a where (
        select sum(f.filled_share_micros) <> a.filled_share_micros
            or sum(f.fill_notional_micros) <> a.filled_notional_micros
            or (count(*) > 0 and a.decision <> 'EXECUTE')
        from executable_fill f where f.copy_attempt_id = a.id)";
}

const RULES: [(&str, &str); 3] = [
    ("every group has an attempt in both portfolios, or waits for it", UNDECIDED),
    ("every close by hand has an attempt, or waits for it", UNCLOSED),
    ("the levels of every executed copy add up to it", FILLS),
];
/// The rules of [`FILLS_AND_COPIES`], in the order of its columns.
const FILL_RULES: [&str; 5] = [
    "every canonical fill since following began is in a group, or waits for one",
    "every canonical fill since following began is in its leader's shadow ledger, or waits for it",
    "every executed copy of a fill has its ledger entry",
    "executed copies and their ledger entries moved the same cash",
    "executed copies and their ledger entries moved the same shares",
];

impl Db {
    /// Returns the result of every rule. Reads whole tables: this is for `audit`, not for pages.
    ///
    /// # Errors
    /// [`DbError`] when the database cannot be reached or refuses a statement.
    pub async fn integrity(&self) -> Result<Vec<Integrity>, DbError> {
        let found: (i64, i64, i64, i64, i64) = on!(db self, c => sqlx::query_as(FILLS_AND_COPIES).fetch_one(c).await)?;
        let found = [found.0, found.1, found.2, found.3, found.4];
        let rules = FILL_RULES.into_iter().zip(found);
        let mut all: Vec<Integrity> = rules.map(|(rule, off_by)| Integrity { rule, off_by }).collect();
        for (rule, sql) in RULES {
            let off_by: i64 = on!(db self, c => sqlx::query_scalar(sql).fetch_one(c).await)?;
            all.push(Integrity { rule, off_by });
        }
        Ok(all)
    }
}
