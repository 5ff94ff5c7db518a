-- What a decision asks of a market besides its close: whether it takes orders, what is known of its fee, its delay for
-- takers, its event and its tags.

alter table market add column accepts_orders boolean not null default true;
-- A fee of zero that was stored before may be one that no source had answered for, so it counts as unknown until the
-- next answer.
alter table market add column fee_known boolean not null default false;
update market set fee_known = true where fee_rate_micros > 0;
alter table market add column taker_delay_ms bigint check (taker_delay_ms >= 0);
alter table market add column event_id text;
alter table market add column event_slug text;
-- A JSON list of Gamma's tag slugs, of the market and of its event.
alter table market add column tags text not null default '[]';
-- The markets of one event are one piece of evidence (spec 14).
create index market_by_event on market (event_id) where event_id is not null;
