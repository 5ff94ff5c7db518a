-- The key that keeps one cause from moving the same money twice was the largest index of all, and most of it was the
-- asset's 77 digits. A fill and its fee are of one asset: the fill of a leader has one, and so has a copy. So their key does
-- without it, and is stricter than before. A split, a merge or a settlement moves several assets, and theirs keeps it.
-- Both nullable columns are made comparable, because nulls count as distinct in a key.
drop index ledger_entry_once;
create unique index ledger_entry_once on ledger_entry (
    portfolio_scope, coalesce(followed_user_id, 0), ref_id, entry_type,
    (case when entry_type in ('TRADE_FILL', 'FEE') then '' else coalesce(asset_id, '') end)
);
