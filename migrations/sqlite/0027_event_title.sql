-- What pages and figures call the event of a market: its markets are one piece of evidence (spec 14).

alter table market add column event_title text;
