-- Groups, the book each was decided on, and the decisions: append-only facts.

create table event_group (
    -- Made from the key.
    id blob primary key,
    -- A burst closed twice would be copied twice.
    group_key text not null unique,
    followed_user_id integer not null references followed_user (id),
    kind text not null check (kind in ('TRADE', 'MERGE', 'SPLIT', 'CONVERSION')),
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
    check ((kind = 'TRADE') = (asset_id is not null and side is not null))
) strict;

create index event_group_by_market on event_group (market_id, detect_time);

create table event_group_member (
    group_id blob not null references event_group (id),
    trade_event_id blob references trade_event (id),
    activity_event_id blob references activity_event (id),
    check ((trade_event_id is null) <> (activity_event_id is null))
) strict;

-- A fill that joined two groups would be copied twice. Null means the member is of the other kind.
create unique index event_group_member_trade on event_group_member (trade_event_id) where trade_event_id is not null;
create unique index event_group_member_activity on event_group_member (activity_event_id)
    where activity_event_id is not null;
create index event_group_member_by_group on event_group_member (group_id);

create table book_snapshot (
    -- Two books for one group would let the scopes decide on different facts.
    group_id blob primary key references event_group (id),
    asset_id text,
    fetched_at integer not null,
    bids_json text,
    asks_json text,
    hash text,
    tick_micros integer,
    min_share_micros integer,
    last_trade_price_micros integer,
    -- Why there is no book; then there are no sides.
    unavailable text,
    check ((unavailable is null) = (bids_json is not null and asks_json is not null))
) strict;

create index book_snapshot_by_asset on book_snapshot (asset_id, fetched_at);

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
    explain_json text not null,
    created_at integer not null,
    -- A skip that does not say why helps nobody, and a reason on a copy that was made would be a lie.
    check ((decision = 'EXECUTE') = (reason_codes = ''))
) strict;

-- The second delivery of a group must change nothing.
create unique index copy_attempt_once on copy_attempt (portfolio_scope, followed_user_id, group_key);
create index copy_attempt_newest on copy_attempt (created_at, id);
create index copy_attempt_by_user on copy_attempt (followed_user_id, created_at, id);
create index copy_attempt_by_decision on copy_attempt (decision, created_at, id);

create table executable_fill (
    id integer primary key autoincrement,
    copy_attempt_id blob not null references copy_attempt (id),
    filled_share_micros integer not null,
    fill_price_micros integer not null check (fill_price_micros between 0 and 1000000),
    fill_notional_micros integer not null
) strict;

create index executable_fill_by_attempt on executable_fill (copy_attempt_id);
