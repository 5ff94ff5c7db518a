-- Of the text of an unreadable row only the beginning is kept. The fingerprint is the hash of the whole; this is its length in
-- bytes. Null for jobs and for rows of before, whose text is whole.
alter table dead_letter add column payload_bytes integer;

-- The open dead letters of a queue are counted and listed without reading the others, or their texts.
create index dead_letter_open_by_queue on dead_letter (queue, id) where replayed_at is null and dropped_at is null;
-- How many unreadable rows of a leader were kept lately.
create index dead_letter_rows_by_user on dead_letter (followed_user_id, created_at) where fingerprint is not null;
