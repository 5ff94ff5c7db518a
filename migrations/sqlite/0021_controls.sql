-- How a leader is followed, and sales that a person asks for.

alter table followed_user add column state text not null default 'ACTIVE'
    check (state in ('ACTIVE', 'WINDING_DOWN', 'STOPPED'));
update followed_user set state = 'STOPPED' where not enabled;
-- Two columns could contradict each other.
alter table followed_user drop column enabled;

-- A CHECK cannot be altered, so event_group is made again. Its rows return to a table of the same name, so that the
-- references to them are whole again when the transaction ends.
pragma defer_foreign_keys = on;
-- Each row that goes and returns is looked for in the tables that refer to it; each has an index that begins with the
-- group.
create table event_group_kept as select * from event_group;
drop table event_group;

create table event_group (
    -- Made from the key.
    id blob primary key,
    -- A burst closed twice would be copied twice.
    group_key text not null unique,
    followed_user_id integer not null references followed_user (id),
    kind text not null check (kind in ('TRADE', 'MERGE', 'SPLIT', 'CONVERSION', 'CLOSE')),
    market_id text not null,
    asset_id text,
    condition_id text,
    side text check (side in ('BUY', 'SELL')),
    notional_micros integer not null,
    share_micros integer not null,
    reference_price_micros integer check (reference_price_micros between 0 and 1000000),
    window_start integer not null,
    detect_time integer not null,
    event_time integer not null,
    -- A trade without its asset and side, or a merge with them, could not be decided.
    check ((kind = 'TRADE') = (asset_id is not null and side is not null)),
    -- A close by hand sells one asset, and is no action of the leader.
    check (kind <> 'CLOSE' or (asset_id is not null and side is null))
) strict;

insert into event_group select id, group_key, followed_user_id, kind, market_id, asset_id, condition_id, side,
    notional_micros, share_micros, reference_price_micros, window_start, detect_time, event_time
    from event_group_kept order by rowid;
drop table event_group_kept;

create index event_group_by_market on event_group (market_id, detect_time, id, side);
create index event_group_by_time on event_group (detect_time, id);
create trigger event_group_no_update before update on event_group
begin select raise(abort, 'event_group is append-only'); end;
create trigger event_group_no_delete before delete on event_group
begin select raise(abort, 'event_group is append-only'); end;

-- The portfolio page lists the few entries that are deposits and withdrawals.
create index ledger_entry_transfers on ledger_entry (id) where entry_type in ('DEPOSIT', 'WITHDRAWAL');
