-- The source of canonical events has its right name, and explanations and books take a fraction of their bytes.
--
-- The update writes each canonical event a second time, and the moved explanations leave their old bytes behind in
-- `copy_attempt`: new rows fill that room, and `polymarketspy db vacuum` gives it back.

-- Canonical rows carried the name of the host, `DATA_API`. The contract calls the source `POLYMARKET_API`. Ids of
-- canonical events go on hashing the old name: an id is in ledger and jobs and never changes.
drop trigger trade_event_keep_facts on trade_event;
drop trigger trade_event_removed_once on trade_event;
drop trigger activity_event_keep on activity_event;
alter table trade_event drop constraint trade_event_source_check;
-- The check that only the Data API is canonical.
alter table trade_event drop constraint trade_event_check;
alter table activity_event drop constraint activity_event_source_check;
-- Without its indexes the update need not change each of them for each row.
drop index trade_event_source;
drop index trade_event_newest;
drop index trade_event_by_user;
drop index trade_event_by_market;
drop index trade_event_by_tx;
drop index activity_event_source;

update trade_event set source = 'POLYMARKET_API' where source = 'DATA_API';
update activity_event set source = 'POLYMARKET_API';

alter table trade_event add constraint trade_event_source_check check (source in ('POLYMARKET_API', 'ALCHEMY'));
-- Only the Data API moves portfolios: a chain log that called itself canonical would be copied twice.
alter table trade_event add constraint trade_event_check check (is_canonical = (source = 'POLYMARKET_API'));
alter table activity_event add constraint activity_event_source_check check (source = 'POLYMARKET_API');
-- The same fill read again by the next poll must not count again. Rows without a source id come from the chain only,
-- and those are kept apart by `trade_event_log`.
create unique index trade_event_source on trade_event (source, source_id);
-- The market is not in it any more: lists of one market have an index of their own, and a text of 66 characters took
-- more room than the rest of the key.
create index trade_event_newest on trade_event (detect_time, id, side) where is_canonical;
create index trade_event_by_user on trade_event (followed_user_id, detect_time, id, side) where is_canonical;
create index trade_event_by_market on trade_event (market_id, detect_time, id, side, followed_user_id)
    where is_canonical;
create index trade_event_by_tx on trade_event (tx_hash);
create unique index activity_event_source on activity_event (source, source_id);

create trigger activity_event_keep before update or delete on activity_event for each row execute function refuse_change();
-- A chain log may turn out to be reorganised away: that it was removed is the one thing a trade learns later, once.
create trigger trade_event_keep_facts before update of
    id, source, source_id, tx_hash, log_index, block_hash, is_canonical, profile_wallet, proxy_wallet,
    followed_user_id, market_id, asset_id, side, price_micros, share_micros, notional_micros, fee_micros,
    event_time, detect_time, created_at
on trade_event for each row execute function refuse_change();
create trigger trade_event_removed_once before update of removed on trade_event for each row
when (old.is_canonical or (old.removed and not new.removed)) execute function refuse_change();

-- An explanation was two thirds of everything stored. It moves to a table of its own, whose content may be packed:
-- `copy_attempt` stays append-only.
create table attempt_explanation (
    attempt_id uuid primary key references copy_attempt (id),
    -- The JSON text of the explanation, or that text packed: its first byte tells. Unpacked it is the same to the byte.
    content bytea not null
);
-- As text; the running bot packs it later, a few rows at a time.
insert into attempt_explanation (attempt_id, content) select id, convert_to(explain_json, 'UTF8') from copy_attempt;
alter table copy_attempt drop column explain_json;

-- The second delivery of a group must change nothing. By the group's id and not by its key of 110 characters: the key is
-- unique in `event_group`, which the id names. It finds the attempts of a market's groups too.
drop index copy_attempt_once;
create unique index copy_attempt_once on copy_attempt (group_id, portfolio_scope, followed_user_id);
drop index copy_attempt_by_group;
-- Lists by any combination of filters: what a search looks at is in the index; the group knows the side.
drop index copy_attempt_newest;
create index copy_attempt_newest on copy_attempt
    (created_at, id, followed_user_id, portfolio_scope, decision, reason_codes, group_id);

-- The content may be packed, an explanation may not be lost or given to another attempt.
create trigger attempt_explanation_keep before delete on attempt_explanation for each row execute function refuse_change();
create trigger attempt_explanation_keep_owner before update of attempt_id on attempt_explanation
for each row execute function refuse_change();
create trigger attempt_explanation_no_truncate before truncate on attempt_explanation execute function refuse_change();

-- The two sides of a book in one column that may be packed: `[bids, asks]` as JSON, each level
-- `[price_micros, share_micros]` in the order of the answer, or that packed: the first byte tells. Null without a book.
alter table book_snapshot add column sides bytea;
update book_snapshot set sides = convert_to('[' || bids_json || ',' || asks_json || ']', 'UTF8') where unavailable is null;
-- The check on the two columns goes with them.
alter table book_snapshot drop column bids_json;
alter table book_snapshot drop column asks_json;
alter table book_snapshot add constraint book_snapshot_check check ((unavailable is null) = (sides is not null));

-- The book of a group again, some seconds after the one it was decided on. It decides nothing.
create table book_sample (
    group_id uuid not null references event_group (id),
    delay_s bigint not null check (delay_s > 0),
    fetched_at bigint not null,
    -- As in `book_snapshot`.
    sides bytea,
    unavailable text,
    check ((unavailable is null) = (sides is not null)),
    -- A delay sampled twice would count twice.
    primary key (group_id, delay_s)
);
