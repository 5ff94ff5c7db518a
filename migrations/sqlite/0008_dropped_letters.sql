-- A dead letter that an operator put away for good. It keeps its content: what it named stays recorded, and `audit`
-- still knows why a fact has no consequence.

alter table dead_letter add column dropped_at integer
    -- Sent round again and put away at once, it would be done by nobody's decision.
    check (dropped_at is null or replayed_at is null);

drop index dead_letter_open;
create index dead_letter_open on dead_letter (id) where replayed_at is null and dropped_at is null;
