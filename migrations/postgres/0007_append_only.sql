-- Facts stay as they were written, whoever holds the connection.

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name;
end
$$;

create trigger activity_event_keep before update or delete on activity_event for each row execute function refuse_change();
create trigger event_group_keep before update or delete on event_group for each row execute function refuse_change();
create trigger event_group_member_keep before update or delete on event_group_member for each row execute function refuse_change();
create trigger copy_attempt_keep before update or delete on copy_attempt for each row execute function refuse_change();
create trigger executable_fill_keep before update or delete on executable_fill for each row execute function refuse_change();
create trigger ledger_entry_keep before update or delete on ledger_entry for each row execute function refuse_change();

create trigger trade_event_no_truncate before truncate on trade_event execute function refuse_change();
create trigger activity_event_no_truncate before truncate on activity_event execute function refuse_change();
create trigger event_group_no_truncate before truncate on event_group execute function refuse_change();
create trigger event_group_member_no_truncate before truncate on event_group_member execute function refuse_change();
create trigger copy_attempt_no_truncate before truncate on copy_attempt execute function refuse_change();
create trigger executable_fill_no_truncate before truncate on executable_fill execute function refuse_change();
create trigger ledger_entry_no_truncate before truncate on ledger_entry execute function refuse_change();

-- A chain log may turn out to be reorganised away: that it was removed is the one thing a trade learns later, once.
create trigger trade_event_keep before delete on trade_event for each row execute function refuse_change();
create trigger trade_event_keep_facts before update of
    id, source, source_id, tx_hash, log_index, block_hash, is_canonical, profile_wallet, proxy_wallet,
    followed_user_id, market_id, asset_id, side, price_micros, share_micros, notional_micros, fee_micros,
    event_time, detect_time, created_at
on trade_event for each row execute function refuse_change();
create trigger trade_event_removed_once before update of removed on trade_event for each row
when (old.is_canonical or (old.removed and not new.removed)) execute function refuse_change();
