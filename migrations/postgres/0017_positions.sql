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
-- An OPENING or ADJUSTMENT of one asset: the position that it was read from, and the shares that it accounts for now. A
-- row that the position includes and that comes later explains a part of them, and takes it back.
create table position_correction (
    followed_user_id bigint not null references followed_user (id),
    asset_id text not null,
    -- That of its entry. An opening at or below zero has no entry: a late row may bring it above.
    ref_id text not null,
    entry_type text not null check (entry_type in ('OPENING', 'ADJUSTMENT')),
    market_id text,
    -- Which late rows it gives shares back to.
    takes text not null check (takes in ('UP_TO_ZERO', 'OPENING', 'ANY')),
    -- Up to when the position counts the leader's events.
    counted_to bigint not null,
    price_micros bigint check (price_micros between 0 and 1000000),
    booked_share_micros bigint not null,
    booked_cash_micros bigint not null,
    share_micros bigint not null,
    primary key (followed_user_id, asset_id, ref_id, entry_type)
);

create index position_correction_by_time on position_correction (followed_user_id, counted_to);

-- What late rows took back is all that changes.
create trigger position_correction_keep before delete on position_correction for each row execute function refuse_change();
create trigger position_correction_keep_facts before update of
    followed_user_id, asset_id, ref_id, entry_type, market_id, takes, counted_to, price_micros, booked_share_micros,
    booked_cash_micros
on position_correction for each row execute function refuse_change();
create trigger position_correction_no_truncate before truncate on position_correction execute function refuse_change();

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
-- The few that changed the books are counted on every page of the leader.
create index position_check_adjusted on position_check (followed_user_id, checked_at) where state = 'ADJUSTED';

create trigger position_check_keep before update or delete on position_check for each row execute function refuse_change();
create trigger position_check_no_truncate before truncate on position_check execute function refuse_change();
