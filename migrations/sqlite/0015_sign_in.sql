-- Who is let in, and who no longer: tokens of scripts, and sessions that ended before their time.

create table api_token (
    id integer primary key autoincrement,
    -- What its owner calls it.
    name text not null,
    -- SHA-256 of the token, in hex. The token itself is nowhere.
    token_hash text not null unique,
    scope text not null check (scope in ('READ', 'WRITE')),
    created_at integer not null,
    -- To the minute; null until it is used.
    last_used_at integer,
    revoked_at integer
) strict;

-- A name stands for one working token, so that `token revoke` and the audit log know which is meant.
create unique index api_token_open on api_token (name) where revoked_at is null;

-- Signed out. A copied cookie would otherwise go on until it expires. Rows are dropped once they would have ended anyway.
create table ended_session (
    id text primary key,
    ends_at integer not null
) strict;

create index ended_session_by_end on ended_session (ends_at);

-- Signed out everywhere: sessions of `who` that began at or before this time are over.
create table session_floor (
    who text primary key,
    began_at integer not null
) strict;
