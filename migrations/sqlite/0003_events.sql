-- What leaders did, as seen: append-only facts.

create table trade_event (
    -- Made from source and source id, so the same fill has the same id in every database.
    id blob primary key,
    source text not null check (source in ('DATA_API', 'ALCHEMY')),
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
    check (is_canonical = (source = 'DATA_API')),
    -- A canonical fill without its market or token could be neither grouped nor booked.
    check (not is_canonical or (source_id is not null and market_id is not null and asset_id is not null))
) strict;

-- The same fill read again by the next poll must not count again. Rows without a source id come from the chain only,
-- and those are kept apart by the next key.
create unique index trade_event_source on trade_event (source, source_id);
-- One log in one block is one event; after a reorganisation it may come again in another block.
create unique index trade_event_log on trade_event (tx_hash, log_index, coalesce(block_hash, ''))
    where log_index is not null;
create index trade_event_newest on trade_event (detect_time, id) where is_canonical;
create index trade_event_by_user on trade_event (followed_user_id, detect_time, id) where is_canonical;
create index trade_event_by_market on trade_event (market_id, detect_time, id) where is_canonical;
-- Chain sight waiting for the API's word, and the API's word beside chain sight.
create index trade_event_chain on trade_event (detect_time, id) where not is_canonical;
create index trade_event_by_tx on trade_event (tx_hash);

create table activity_event (
    id blob primary key,
    source text not null check (source = 'DATA_API'),
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

create unique index activity_event_source on activity_event (source, source_id);
create index activity_event_newest on activity_event (detect_time, id);
create index activity_event_by_user on activity_event (followed_user_id, detect_time, id);
