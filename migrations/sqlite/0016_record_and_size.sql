-- The source of canonical events has its right name, and explanations and books take a fraction of their bytes.
--
-- SQLite cannot alter a CHECK, and `drop column` would leave each page of attempts nearly empty. So the tables are made
-- again: the old one is renamed, a new one of the same name takes its rows, ids included, and the old one is dropped. The
-- small tables that refer to it are made again too, because a reference follows a rename. Dropping a table does not fire
-- its triggers, so the facts stay append-only for everything but this file.
--
-- 468 MB with 50,000 attempts took 12 s on a busy machine, so a month of three busy leaders takes a few minutes, once. It
-- needs about the size of the database free on the disk while it runs: each old table is dropped before the next is
-- copied, and its pages are used again.

-- Canonical rows carried the name of the host, `DATA_API`. The contract calls the source `POLYMARKET_API`.
alter table trade_event rename to trade_event_old;
create table trade_event (
    -- Made from source and source id, so the same fill has the same id in every database. Ids of canonical events go on
    -- hashing `DATA_API`, the name from before this migration: an id is in ledger and jobs and never changes.
    id blob primary key,
    source text not null check (source in ('POLYMARKET_API', 'ALCHEMY')),
    source_id text,
    tx_hash text,
    log_index integer,
    block_hash text,
    removed integer not null default false,
    is_canonical integer not null,
    profile_wallet text not null,
    proxy_wallet text,
    followed_user_id integer not null references followed_user (id),
    market_id text,
    asset_id text,
    side text not null check (side in ('BUY', 'SELL')),
    price_micros integer not null check (price_micros between 0 and 1000000),
    share_micros integer not null check (share_micros >= 0),
    notional_micros integer not null check (notional_micros >= 0),
    fee_micros integer,
    event_time integer not null,
    detect_time integer not null,
    created_at integer not null,
    -- Only the Data API moves portfolios: a chain log that called itself canonical would be copied twice.
    check (is_canonical = (source = 'POLYMARKET_API')),
    -- A canonical fill without its market or token could be neither grouped nor booked.
    check (not is_canonical or (source_id is not null and market_id is not null and asset_id is not null))
) strict;
insert into trade_event (id, source, source_id, tx_hash, log_index, block_hash, removed, is_canonical, profile_wallet,
        proxy_wallet, followed_user_id, market_id, asset_id, side, price_micros, share_micros, notional_micros, fee_micros,
        event_time, detect_time, created_at)
    select id, case source when 'DATA_API' then 'POLYMARKET_API' else source end, source_id, tx_hash, log_index, block_hash,
        removed, is_canonical, profile_wallet, proxy_wallet, followed_user_id, market_id, asset_id, side, price_micros,
        share_micros, notional_micros, fee_micros, event_time, detect_time, created_at
    from trade_event_old order by rowid;

alter table activity_event rename to activity_event_old;
create table activity_event (
    id blob primary key,
    source text not null check (source = 'POLYMARKET_API'),
    source_id text not null,
    is_canonical integer not null,
    profile_wallet text not null,
    proxy_wallet text,
    followed_user_id integer not null references followed_user (id),
    -- Any kind the API reports, kept as it came.
    type text not null,
    payload_json text not null,
    event_time integer not null,
    detect_time integer not null,
    created_at integer not null
) strict;
insert into activity_event (id, source, source_id, is_canonical, profile_wallet, proxy_wallet, followed_user_id, type,
        payload_json, event_time, detect_time, created_at)
    select id, 'POLYMARKET_API', source_id, is_canonical, profile_wallet, proxy_wallet, followed_user_id, type,
        payload_json, event_time, detect_time, created_at
    from activity_event_old order by rowid;

alter table event_group_member rename to event_group_member_old;
create table event_group_member (
    group_id blob not null references event_group (id),
    trade_event_id blob references trade_event (id),
    activity_event_id blob references activity_event (id),
    check ((trade_event_id is null) <> (activity_event_id is null))
) strict;
insert into event_group_member (group_id, trade_event_id, activity_event_id)
    select group_id, trade_event_id, activity_event_id from event_group_member_old order by rowid;
drop table event_group_member_old;
drop table trade_event_old;
drop table activity_event_old;

-- The same fill read again by the next poll must not count again. Rows without a source id come from the chain only,
-- and those are kept apart by the next key.
create unique index trade_event_source on trade_event (source, source_id);
-- One log in one block is one event; after a reorganisation it may come again in another block.
create unique index trade_event_log on trade_event (tx_hash, log_index, coalesce(block_hash, ''))
    where log_index is not null;
-- The market is not in it any more: lists of one market have an index of their own, and a text of 66 characters took
-- more room than the rest of the key.
create index trade_event_newest on trade_event (detect_time, id, side) where is_canonical;
create index trade_event_by_user on trade_event (followed_user_id, detect_time, id, side) where is_canonical;
create index trade_event_by_market on trade_event (market_id, detect_time, id, side, followed_user_id)
    where is_canonical;
-- Chain sight waiting for the API's word, and the API's word beside chain sight.
create index trade_event_chain on trade_event (detect_time, id) where not is_canonical;
create index trade_event_by_tx on trade_event (tx_hash);
create unique index activity_event_source on activity_event (source, source_id);
create index activity_event_newest on activity_event (detect_time, id);
create index activity_event_by_user on activity_event (followed_user_id, detect_time, id);
-- A fill that joined two groups would be copied twice. Null means the member is of the other kind.
create unique index event_group_member_trade on event_group_member (trade_event_id) where trade_event_id is not null;
create unique index event_group_member_activity on event_group_member (activity_event_id)
    where activity_event_id is not null;
create index event_group_member_by_group on event_group_member (group_id);

create trigger activity_event_no_update before update on activity_event
begin select raise(abort, 'activity_event is append-only'); end;
create trigger activity_event_no_delete before delete on activity_event
begin select raise(abort, 'activity_event is append-only'); end;
create trigger event_group_member_no_update before update on event_group_member
begin select raise(abort, 'event_group_member is append-only'); end;
create trigger event_group_member_no_delete before delete on event_group_member
begin select raise(abort, 'event_group_member is append-only'); end;
-- A chain log may turn out to be reorganised away: that it was removed is the one thing a trade learns later, once.
create trigger trade_event_no_delete before delete on trade_event
begin select raise(abort, 'trade_event is append-only'); end;
create trigger trade_event_keep_facts before update of
    id, source, source_id, tx_hash, log_index, block_hash, is_canonical, profile_wallet, proxy_wallet,
    followed_user_id, market_id, asset_id, side, price_micros, share_micros, notional_micros, fee_micros,
    event_time, detect_time, created_at
on trade_event
begin select raise(abort, 'trade_event is append-only'); end;
create trigger trade_event_removed_once before update of removed on trade_event
when old.is_canonical or (old.removed and not new.removed)
begin select raise(abort, 'trade_event is append-only'); end;

-- An explanation was two thirds of everything stored. It moves to a table of its own, whose content may be packed:
-- `copy_attempt` stays append-only.
alter table copy_attempt rename to copy_attempt_old;
create table copy_attempt (
    id blob primary key,
    portfolio_scope text not null check (portfolio_scope in ('EXEC_USER', 'EXEC_GLOBAL')),
    followed_user_id integer not null references followed_user (id),
    group_id blob not null references event_group (id),
    group_key text not null,
    decision text not null check (decision in ('EXECUTE', 'SKIP')),
    -- Codes in the order of the decision, joined by commas.
    reason_codes text not null,
    target_notional_micros integer not null,
    filled_notional_micros integer not null,
    filled_share_micros integer not null,
    vwap_price_micros integer check (vwap_price_micros between 0 and 1000000),
    filled_ratio_bps integer not null,
    their_reference_price_micros integer,
    mid_price_micros_at_decision integer,
    config_version text not null,
    created_at integer not null,
    -- A skip that does not say why helps nobody, and a reason on a copy that was made would be a lie.
    check ((decision = 'EXECUTE') = (reason_codes = ''))
) strict;
insert into copy_attempt (id, portfolio_scope, followed_user_id, group_id, group_key, decision, reason_codes,
        target_notional_micros, filled_notional_micros, filled_share_micros, vwap_price_micros, filled_ratio_bps,
        their_reference_price_micros, mid_price_micros_at_decision, config_version, created_at)
    select id, portfolio_scope, followed_user_id, group_id, group_key, decision, reason_codes, target_notional_micros,
        filled_notional_micros, filled_share_micros, vwap_price_micros, filled_ratio_bps, their_reference_price_micros,
        mid_price_micros_at_decision, config_version, created_at
    from copy_attempt_old order by rowid;

create table attempt_explanation (
    attempt_id blob primary key references copy_attempt (id),
    -- The JSON text of the explanation, or that text packed: its first byte tells. Unpacked it is the same to the byte.
    content blob not null
) strict;
-- As text; the running bot packs it later, a few rows at a time.
insert into attempt_explanation (attempt_id, content)
    select id, cast(explain_json as blob) from copy_attempt_old order by rowid;

alter table executable_fill rename to executable_fill_old;
create table executable_fill (
    id integer primary key autoincrement,
    copy_attempt_id blob not null references copy_attempt (id),
    filled_share_micros integer not null,
    fill_price_micros integer not null check (fill_price_micros between 0 and 1000000),
    fill_notional_micros integer not null
) strict;
insert into executable_fill (id, copy_attempt_id, filled_share_micros, fill_price_micros, fill_notional_micros)
    select id, copy_attempt_id, filled_share_micros, fill_price_micros, fill_notional_micros
    from executable_fill_old order by id;
drop table executable_fill_old;
drop table copy_attempt_old;

-- The second delivery of a group must change nothing. By the group's id and not by its key of 110 characters: the key is
-- unique in `event_group`, which the id names. It finds the attempts of a market's groups too.
create unique index copy_attempt_once on copy_attempt (group_id, portfolio_scope, followed_user_id);
-- Lists by any combination of filters: what a search looks at is in the index; the group knows the side.
create index copy_attempt_newest on copy_attempt
    (created_at, id, followed_user_id, portfolio_scope, decision, reason_codes, group_id);
create index copy_attempt_by_user on copy_attempt (followed_user_id, created_at, id);
create index copy_attempt_by_decision on copy_attempt (decision, created_at, id);
create index executable_fill_by_attempt on executable_fill (copy_attempt_id);

create trigger copy_attempt_no_update before update on copy_attempt
begin select raise(abort, 'copy_attempt is append-only'); end;
create trigger copy_attempt_no_delete before delete on copy_attempt
begin select raise(abort, 'copy_attempt is append-only'); end;
create trigger executable_fill_no_update before update on executable_fill
begin select raise(abort, 'executable_fill is append-only'); end;
create trigger executable_fill_no_delete before delete on executable_fill
begin select raise(abort, 'executable_fill is append-only'); end;
-- The content may be packed, an explanation may not be lost or given to another attempt.
create trigger attempt_explanation_keep_owner before update of attempt_id on attempt_explanation
begin select raise(abort, 'attempt_explanation keeps its attempt'); end;
create trigger attempt_explanation_no_delete before delete on attempt_explanation
begin select raise(abort, 'attempt_explanation is append-only'); end;

-- The two sides of a book in one column that may be packed.
alter table book_snapshot rename to book_snapshot_old;
create table book_snapshot (
    -- Two books for one group would let the scopes decide on different facts.
    group_id blob primary key references event_group (id),
    asset_id text,
    fetched_at integer not null,
    -- `[bids, asks]` as JSON, each level `[price_micros, share_micros]` in the order of the answer, or that packed: the
    -- first byte tells.
    sides blob,
    hash text,
    tick_micros integer,
    min_share_micros integer,
    last_trade_price_micros integer,
    -- Why there is no book; then there are no sides.
    unavailable text,
    check ((unavailable is null) = (sides is not null))
) strict;
insert into book_snapshot (group_id, asset_id, fetched_at, sides, hash, tick_micros, min_share_micros,
        last_trade_price_micros, unavailable)
    select group_id, asset_id, fetched_at, cast('[' || bids_json || ',' || asks_json || ']' as blob), hash, tick_micros,
        min_share_micros, last_trade_price_micros, unavailable
    from book_snapshot_old order by rowid;
drop table book_snapshot_old;
create index book_snapshot_by_asset on book_snapshot (asset_id, fetched_at);

-- The book of a group again, some seconds after the one it was decided on. It decides nothing.
create table book_sample (
    group_id blob not null references event_group (id),
    delay_s integer not null check (delay_s > 0),
    fetched_at integer not null,
    -- As in `book_snapshot`.
    sides blob,
    unavailable text,
    check ((unavailable is null) = (sides is not null)),
    -- A delay sampled twice would count twice.
    primary key (group_id, delay_s)
) strict, without rowid;
