-- How a leader is followed, and sales that a person asks for.

alter table followed_user add column state text not null default 'ACTIVE'
    check (state in ('ACTIVE', 'WINDING_DOWN', 'STOPPED'));
update followed_user set state = 'STOPPED' where not enabled;
-- Two columns could contradict each other.
alter table followed_user drop column enabled;

alter table event_group drop constraint event_group_kind_check;
alter table event_group add constraint event_group_kind_check
    check (kind in ('TRADE', 'MERGE', 'SPLIT', 'CONVERSION', 'CLOSE'));
-- A close by hand sells one asset, and is no action of the leader.
alter table event_group add constraint event_group_close_check
    check (kind <> 'CLOSE' or (asset_id is not null and side is null));

-- The portfolio page lists the few entries that are deposits and withdrawals.
create index ledger_entry_transfers on ledger_entry (id) where entry_type in ('DEPOSIT', 'WITHDRAWAL');
