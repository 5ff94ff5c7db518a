-- The ledger and the curves read from it.

create table ledger_entry (
    -- Ascends in commit order; a running state remembers the last id it has folded in.
    id integer primary key autoincrement,
    portfolio_scope text not null check (portfolio_scope in ('SHADOW_USER', 'EXEC_USER', 'EXEC_GLOBAL')),
    -- The portfolio's owner.
    followed_user_id integer references followed_user (id),
    -- The leader who caused it; with the asset it names the lot.
    attributed_user_id integer references followed_user (id),
    market_id text,
    asset_id text,
    entry_type text not null check (
        entry_type in ('TRADE_FILL', 'MERGE', 'SPLIT', 'CONVERSION', 'FEE', 'MARK', 'SETTLEMENT', 'DEPOSIT')
    ),
    share_delta_micros integer not null,
    cash_delta_micros integer not null,
    price_micros integer check (price_micros between 0 and 1000000),
    ref_id text not null,
    created_at integer not null,
    -- An owned global entry, or an EXEC_USER entry without owner, would belong to no portfolio.
    check ((portfolio_scope = 'EXEC_GLOBAL') = (followed_user_id is null))
) strict;

-- The same cause must not move the same money twice. Both nullable columns are made comparable, because nulls count as
-- distinct in a key: without it every redelivered EXEC_GLOBAL entry would double.
create unique index ledger_entry_once
    on ledger_entry (portfolio_scope, coalesce(followed_user_id, 0), ref_id, entry_type, coalesce(asset_id, ''));
-- A restart reads one portfolio's entries after a position.
create index ledger_entry_by_portfolio on ledger_entry (portfolio_scope, coalesce(followed_user_id, 0), id);

create table portfolio_snapshot (
    id integer primary key autoincrement,
    portfolio_scope text not null check (portfolio_scope in ('SHADOW_USER', 'EXEC_USER', 'EXEC_GLOBAL')),
    followed_user_id integer references followed_user (id),
    bucket_time integer not null,
    equity_micros integer not null,
    cash_micros integer not null,
    exposure_micros integer not null,
    unrealized_pnl_micros integer not null,
    realized_pnl_micros integer not null,
    check ((portfolio_scope = 'EXEC_GLOBAL') = (followed_user_id is null))
) strict;

-- Two points in one minute would bend the curve and the loss baselines.
create unique index portfolio_snapshot_once
    on portfolio_snapshot (portfolio_scope, coalesce(followed_user_id, 0), bucket_time);
