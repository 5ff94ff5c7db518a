-- Lists by any combination of filters. A filter whose matches are rare makes a list look through many rows; what it looks
-- at stands in the index, so that only the rows it shows are read.

drop index copy_attempt_newest;
create index copy_attempt_newest on copy_attempt
    (created_at, id, followed_user_id, portfolio_scope, decision, reason_codes, group_key);

drop index trade_event_newest;
create index trade_event_newest on trade_event (detect_time, id, side, market_id) where is_canonical;
drop index trade_event_by_user;
create index trade_event_by_user on trade_event (followed_user_id, detect_time, id, side) where is_canonical;
drop index trade_event_by_market;
create index trade_event_by_market on trade_event (market_id, detect_time, id, side, followed_user_id)
    where is_canonical;
