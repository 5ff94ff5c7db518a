-- A leader's books begin with what the leader held, and are held against the venue's positions from then on.

-- The start of the first window that was read of this leader. Set once: a row before it is part of the opening.
alter table followed_user add column follows_from bigint;
-- Leaders of before this rule get what they held as ADJUSTMENT: their books have no opening.
alter table followed_user add column opening_entry text not null default 'OPENING'
    check (opening_entry in ('OPENING', 'ADJUSTMENT'));
-- When the opening was booked. Until then the books are not exact.
alter table followed_user add column opened_at bigint;

-- Every row stored so far is in the books, so following began with the oldest of them. A leader that was read without
-- a row was read from 15 minutes before they were followed.
update followed_user set follows_from = (
    select min(event_time) from (
        select event_time from trade_event where is_canonical and followed_user_id = followed_user.id
        union all
        select event_time from activity_event where followed_user_id = followed_user.id
    ) as seen
);
update followed_user set follows_from = created_at - 900000
    where follows_from is null
        and exists (select 1 from system_checkpoint where key = 'api:lastTradeTime:' || followed_user.id);
update followed_user set opening_entry = 'ADJUSTMENT' where follows_from is not null;

alter table ledger_entry drop constraint ledger_entry_entry_type_check;
alter table ledger_entry add constraint ledger_entry_entry_type_check check (
    entry_type in (
        'TRADE_FILL', 'MERGE', 'SPLIT', 'CONVERSION', 'FEE', 'MARK', 'SETTLEMENT', 'DEPOSIT', 'WITHDRAWAL',
        'OPENING', 'ADJUSTMENT'
    )
);
-- The few entries that late rows take back from, and that pages count.
create index ledger_entry_corrections on ledger_entry (followed_user_id, asset_id, id)
    where entry_type in ('OPENING', 'ADJUSTMENT');

-- The position that an OPENING or an ADJUSTMENT was read from: up to when it counts the leader's events. A row of that
-- time or before it that comes later is in the entry already, and takes its shares back from it.
create table entry_position (
    followed_user_id bigint not null references followed_user (id),
    asset_id text not null,
    -- That of the entry.
    ref_id text not null,
    as_of bigint not null,
    primary key (followed_user_id, asset_id, ref_id)
);

create index entry_position_by_time on entry_position (followed_user_id, as_of);

create trigger entry_position_keep before update or delete on entry_position for each row execute function refuse_change();
create trigger entry_position_no_truncate before truncate on entry_position execute function refuse_change();

-- Each comparison of a leader's shadow with the venue's positions.
create table position_check (
    -- Made from the leader and the time, so that the entries of a check can name it before it is written.
    id uuid primary key,
    followed_user_id bigint not null references followed_user (id),
    checked_at bigint not null,
    n_assets bigint not null,
    n_drifting bigint not null,
    -- Absolute differences at their marks.
    drift_value_micros bigint not null check (drift_value_micros >= 0),
    state text not null check (state in ('EXACT', 'DRIFTING', 'ADJUSTED', 'UNREADABLE')),
    detail_json text not null
);

-- Two checks of one moment would count one drift twice.
create unique index position_check_once on position_check (followed_user_id, checked_at);

create trigger position_check_keep before update or delete on position_check for each row execute function refuse_change();
create trigger position_check_no_truncate before truncate on position_check execute function refuse_change();
