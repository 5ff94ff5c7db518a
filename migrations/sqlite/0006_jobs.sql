-- Open work, and work that failed for good.

create table job (
    -- Never given out twice: a stale lease names its job by it.
    id integer primary key autoincrement,
    queue text not null,
    key text not null,
    followed_user_id integer,
    payload text not null,
    -- How often it was taken. With the id it is the fence: who lost the lease cannot finish the job.
    attempts integer not null default 0,
    failures integer not null default 0,
    -- When it should run.
    due integer not null,
    -- Set while somebody works on it; when it passes, the job may be taken again.
    leased_until integer,
    last_error text,
    created_at integer not null
) strict;

-- One cause, one piece of open work.
create unique index job_once on job (queue, key);
create index job_claim on job (queue, coalesce(leased_until, due), id);
create index job_claim_by_user on job (queue, followed_user_id, coalesce(leased_until, due), id)
    where followed_user_id is not null;

create table dead_letter (
    id integer primary key autoincrement,
    -- The queue of a failed job, or `row` for an answer that could not be read.
    queue text not null,
    key text not null,
    followed_user_id integer,
    payload text not null,
    error text not null,
    -- Hash of an unreadable row's text: the same bad row comes with every poll. Null for jobs, which may fail again.
    fingerprint text,
    created_at integer not null,
    -- When an operator sent it round again.
    replayed_at integer
) strict;

create unique index dead_letter_once on dead_letter (queue, fingerprint) where fingerprint is not null;
create index dead_letter_open on dead_letter (id) where replayed_at is null;
