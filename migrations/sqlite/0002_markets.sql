-- What is known of markets and their outcome tokens, and the prices seen.

create table market (
    -- The normalised condition id: the same market under two spellings would split a position.
    id text primary key check (id = lower(id)),
    condition_id text not null,
    question text not null,
    slug text not null,
    close_time integer,
    resolved_at integer,
    active integer not null,
    blacklisted integer not null default false,
    neg_risk integer not null,
    fee_rate_micros integer not null default 0 check (fee_rate_micros >= 0),
    fee_exponent integer not null default 0 check (fee_exponent >= 0),
    tick_micros integer,
    min_share_micros integer
) strict;

-- The settler asks every minute what closed and has not resolved.
create index market_unresolved on market (close_time) where resolved_at is null;

create table outcome_asset (
    id text primary key,
    market_id text not null references market (id),
    outcome text not null,
    outcome_index integer not null,
    -- A payout above one would print money at settlement.
    payout_micros integer check (payout_micros between 0 and 1000000)
) strict;

-- No unique key over (market_id, outcome_index): the API renumbers outcomes between two answers.
create index outcome_asset_by_market on outcome_asset (market_id, outcome_index);

create table market_price_snapshot (
    asset_id text not null,
    bucket_time integer not null,
    midpoint_price_micros integer not null check (midpoint_price_micros between 0 and 1000000),
    -- Two midpoints of one bucket would make a mark depend on which is read.
    primary key (asset_id, bucket_time)
) strict, without rowid;
