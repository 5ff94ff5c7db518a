-- A market's attempts, from its groups to their decisions by indexes alone: an attempt names its group and not its
-- market, and reading the explanations of a busy market's attempts to put them in order took a second.

drop index event_group_by_market;
create index event_group_by_market on event_group (market_id, detect_time, id, side);

create index copy_attempt_by_group on copy_attempt
    (group_id, created_at, id, portfolio_scope, decision, followed_user_id, reason_codes);
