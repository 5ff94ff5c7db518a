-- Facts stay as they were written, whoever holds the connection.

create trigger activity_event_no_update before update on activity_event
begin select raise(abort, 'activity_event is append-only'); end;
create trigger activity_event_no_delete before delete on activity_event
begin select raise(abort, 'activity_event is append-only'); end;

create trigger event_group_no_update before update on event_group
begin select raise(abort, 'event_group is append-only'); end;
create trigger event_group_no_delete before delete on event_group
begin select raise(abort, 'event_group is append-only'); end;

create trigger event_group_member_no_update before update on event_group_member
begin select raise(abort, 'event_group_member is append-only'); end;
create trigger event_group_member_no_delete before delete on event_group_member
begin select raise(abort, 'event_group_member is append-only'); end;

create trigger copy_attempt_no_update before update on copy_attempt
begin select raise(abort, 'copy_attempt is append-only'); end;
create trigger copy_attempt_no_delete before delete on copy_attempt
begin select raise(abort, 'copy_attempt is append-only'); end;

create trigger executable_fill_no_update before update on executable_fill
begin select raise(abort, 'executable_fill is append-only'); end;
create trigger executable_fill_no_delete before delete on executable_fill
begin select raise(abort, 'executable_fill is append-only'); end;

create trigger ledger_entry_no_update before update on ledger_entry
begin select raise(abort, 'ledger_entry is append-only'); end;
create trigger ledger_entry_no_delete before delete on ledger_entry
begin select raise(abort, 'ledger_entry is append-only'); end;

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
