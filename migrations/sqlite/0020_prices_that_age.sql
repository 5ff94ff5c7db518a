-- Prices with the two sides of their book, snapshots that say what the holdings would bring, and the way to a payout.

-- Both sides are known, or neither (rows of before this migration): the price is a midpoint. One side is known: the book
-- had no other, and the price is that side, which bounds a mark.
alter table market_price_snapshot
    add column bid_price_micros integer check (bid_price_micros between 0 and 1000000);
alter table market_price_snapshot
    add column ask_price_micros integer check (ask_price_micros between 0 and 1000000);

-- Cash, and the holdings at the best bid less fees. Null where it was not worked out.
alter table portfolio_snapshot add column if_sold_now_micros integer;
-- Held assets without a price of the last hour: such an equity is no baseline of a loss.
alter table portfolio_snapshot add column stale_assets integer not null default 0 check (stale_assets >= 0);

-- Markets that ended without payouts, so that a position that stays unsettled is seen. A resolved market stays listed
-- here; its payouts tell that it is done.
create table market_resolution (
    market_id text primary key references market (id),
    stage text not null check (stage in ('OPEN', 'PROPOSED', 'DISPUTED', 'RESOLVED')),
    -- When it was first seen ended.
    since integer not null,
    checked_at integer not null
) strict;
