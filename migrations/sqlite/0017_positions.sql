-- A leader's books begin with what the leader held, and are held against the venue's positions from then on.

-- The start of the first window that was read of this leader. Set once: a row before it is part of the opening.
alter table followed_user add column follows_from integer;
-- Leaders of before this rule get what they held as ADJUSTMENT: their books have no opening.
alter table followed_user add column opening_entry text not null default 'OPENING'
    check (opening_entry in ('OPENING', 'ADJUSTMENT'));
-- When the opening was booked. Until then the books are not exact.
alter table followed_user add column opened_at integer;

-- Every row stored so far is in the books, so following began with the oldest of them. A leader that was read without
-- a row was read from 15 minutes before they were followed.
update followed_user set follows_from = (
    select min(event_time) from (
        select event_time from trade_event where is_canonical and followed_user_id = followed_user.id
        union all
        select event_time from activity_event where followed_user_id = followed_user.id
    )
);
update followed_user set follows_from = created_at - 900000
    where follows_from is null
        and exists (select 1 from system_checkpoint where key = 'api:lastTradeTime:' || followed_user.id);
update followed_user set opening_entry = 'ADJUSTMENT' where follows_from is not null;

-- A check cannot be changed in place: the table is made again with its three new kinds, and keeps its rows and ids.
create table ledger_entry_with_openings (
    -- Ascends in commit order; a running state remembers the last id it has folded in.
    id integer primary key autoincrement,
    portfolio_scope text not null check (portfolio_scope in ('SHADOW_USER', 'EXEC_USER', 'EXEC_GLOBAL')),
    -- The portfolio's owner.
    followed_user_id integer references followed_user (id),
    -- The leader who caused it; with the asset it names the lot.
    attributed_user_id integer references followed_user (id),
    market_id text,
    asset_id text,
    entry_type text not null check (
        entry_type in (
            'TRADE_FILL', 'MERGE', 'SPLIT', 'CONVERSION', 'FEE', 'MARK', 'SETTLEMENT', 'DEPOSIT', 'WITHDRAWAL',
            'OPENING', 'ADJUSTMENT'
        )
    ),
    share_delta_micros integer not null,
    cash_delta_micros integer not null,
    price_micros integer check (price_micros between 0 and 1000000),
    ref_id text not null,
    created_at integer not null,
    -- An owned global entry, or an EXEC_USER entry without owner, would belong to no portfolio.
    check ((portfolio_scope = 'EXEC_GLOBAL') = (followed_user_id is null))
) strict;
insert into ledger_entry_with_openings select * from ledger_entry order by id;
drop table ledger_entry;
alter table ledger_entry_with_openings rename to ledger_entry;

-- The same cause must not move the same money twice. Both nullable columns are made comparable, because nulls count as
-- distinct in a key: without it every redelivered EXEC_GLOBAL entry would double.
create unique index ledger_entry_once
    on ledger_entry (portfolio_scope, coalesce(followed_user_id, 0), ref_id, entry_type, coalesce(asset_id, ''));
-- A restart reads one portfolio's entries after a position.
create index ledger_entry_by_portfolio on ledger_entry (portfolio_scope, coalesce(followed_user_id, 0), id);
create trigger ledger_entry_no_update before update on ledger_entry
begin select raise(abort, 'ledger_entry is append-only'); end;
create trigger ledger_entry_no_delete before delete on ledger_entry
begin select raise(abort, 'ledger_entry is append-only'); end;

-- An OPENING or ADJUSTMENT of one asset: the position that it was read from, and the shares that it accounts for now. A
-- row that the position includes and that comes later explains a part of them, and takes it back.
create table position_correction (
    followed_user_id integer not null references followed_user (id),
    asset_id text not null,
    -- That of its entry. An opening at or below zero has no entry: a late row may bring it above.
    ref_id text not null,
    entry_type text not null check (entry_type in ('OPENING', 'ADJUSTMENT')),
    market_id text,
    -- Which late rows it gives shares back to.
    takes text not null check (takes in ('UP_TO_ZERO', 'OPENING', 'ANY')),
    -- Up to when the position counts the leader's events.
    counted_to integer not null,
    price_micros integer check (price_micros between 0 and 1000000),
    booked_share_micros integer not null,
    booked_cash_micros integer not null,
    share_micros integer not null,
    primary key (followed_user_id, asset_id, ref_id, entry_type)
) strict, without rowid;

create index position_correction_by_time on position_correction (followed_user_id, counted_to);

-- What late rows took back is all that changes.
create trigger position_correction_keep_facts before update of
    followed_user_id, asset_id, ref_id, entry_type, market_id, takes, counted_to, price_micros, booked_share_micros,
    booked_cash_micros
on position_correction
begin select raise(abort, 'position_correction is append-only'); end;
create trigger position_correction_no_delete before delete on position_correction
begin select raise(abort, 'position_correction is append-only'); end;

-- Each comparison of a leader's shadow with the venue's positions.
create table position_check (
    -- Made from the leader and the time, so that the entries of a check can name it before it is written.
    id blob primary key,
    followed_user_id integer not null references followed_user (id),
    checked_at integer not null,
    n_assets integer not null,
    n_drifting integer not null,
    -- Absolute differences at their marks.
    drift_value_micros integer not null check (drift_value_micros >= 0),
    state text not null check (state in ('EXACT', 'DRIFTING', 'ADJUSTED', 'UNREADABLE')),
    detail_json text not null
) strict;

-- Two checks of one moment would count one drift twice.
create unique index position_check_once on position_check (followed_user_id, checked_at);
-- The few that changed the books are counted on every page of the leader.
create index position_check_adjusted on position_check (followed_user_id, checked_at) where state = 'ADJUSTED';

create trigger position_check_no_update before update on position_check
begin select raise(abort, 'position_check is append-only'); end;
create trigger position_check_no_delete before delete on position_check
begin select raise(abort, 'position_check is append-only'); end;
