-- Prices and snapshots are the rows of which a bot writes most, and most of their bytes named what they belong to: an
-- asset by its 77 digits in each row, a portfolio by its scope in a table and two indexes beside it. Both become tables
-- that are kept in the order of a small key and have no other index. Views give them the columns that they had.
--
-- The old tables are copied and dropped here, and their pages are used again. 43,000 rows a portfolio took a second.

create table priced_asset (
    id integer primary key,
    asset_id text not null unique
) strict;
insert into priced_asset (asset_id) select distinct asset_id from market_price_snapshot order by asset_id;

create table asset_price (
    priced_asset_id integer not null references priced_asset (id),
    bucket_time integer not null,
    midpoint_price_micros integer not null check (midpoint_price_micros between 0 and 1000000),
    -- As they were: both sides are known, or neither and the price is a midpoint; or one, and it is the price.
    bid_price_micros integer check (bid_price_micros between 0 and 1000000),
    ask_price_micros integer check (ask_price_micros between 0 and 1000000),
    -- Two midpoints of one bucket would make a mark depend on which is read.
    primary key (priced_asset_id, bucket_time)
) strict, without rowid;
insert into asset_price (priced_asset_id, bucket_time, midpoint_price_micros, bid_price_micros, ask_price_micros)
    select a.id, p.bucket_time, p.midpoint_price_micros, p.bid_price_micros, p.ask_price_micros
    from market_price_snapshot p join priced_asset a on a.asset_id = p.asset_id order by p.asset_id, p.bucket_time;
drop table market_price_snapshot;
create view market_price_snapshot (asset_id, bucket_time, midpoint_price_micros, bid_price_micros, ask_price_micros) as
    select a.asset_id, p.bucket_time, p.midpoint_price_micros, p.bid_price_micros, p.ask_price_micros
    from asset_price p join priced_asset a on a.id = p.priced_asset_id;

create table portfolio_point (
    -- The owner times four, plus 1 for SHADOW_USER and 2 for EXEC_USER; 0 is EXEC_GLOBAL. One number that is never null:
    -- two points in one minute would bend the curve and the loss baselines.
    portfolio integer not null check (portfolio = 0 or (portfolio > 4 and portfolio % 4 in (1, 2))),
    bucket_time integer not null,
    equity_micros integer not null,
    cash_micros integer not null,
    exposure_micros integer not null,
    unrealized_pnl_micros integer not null,
    realized_pnl_micros integer not null,
    -- Cash, and the holdings at the best bid less fees. Null where it was not worked out.
    if_sold_now_micros integer,
    -- Held assets without a price of the last hour: such an equity is no baseline of a loss.
    stale_assets integer not null default 0 check (stale_assets >= 0),
    primary key (portfolio, bucket_time)
) strict, without rowid;
insert into portfolio_point (portfolio, bucket_time, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros,
        realized_pnl_micros, if_sold_now_micros, stale_assets)
    select coalesce(followed_user_id, 0) * 4
            + case portfolio_scope when 'EXEC_GLOBAL' then 0 when 'SHADOW_USER' then 1 else 2 end,
        bucket_time, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros,
        if_sold_now_micros, stale_assets
    from portfolio_snapshot order by 1, 2;
drop table portfolio_snapshot;
create view portfolio_snapshot (portfolio_scope, followed_user_id, bucket_time, equity_micros, cash_micros,
        exposure_micros, unrealized_pnl_micros, realized_pnl_micros, if_sold_now_micros, stale_assets) as
    select case portfolio % 4 when 0 then 'EXEC_GLOBAL' when 1 then 'SHADOW_USER' else 'EXEC_USER' end,
        nullif(portfolio / 4, 0), bucket_time, equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros,
        realized_pnl_micros, if_sold_now_micros, stale_assets
    from portfolio_point;

-- An attempt has the id of its group, and the group has this key of 110 characters.
-- SQLite writes the rows anew where they are; `db vacuum` returns the room.
alter table copy_attempt drop column group_key;
