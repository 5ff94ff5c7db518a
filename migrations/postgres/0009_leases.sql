-- Whose work is whose, when several workers share one database. A single embedded bot holds everything and leaves these
-- tables empty.

create table lease (
    -- `user:7` or `global`.
    name text primary key,
    -- The leader whose polling, grouping and copies it covers. Null for the global portfolio.
    followed_user_id bigint references followed_user (id),
    -- Null while nobody holds it.
    holder text,
    -- Rises whenever it changes hands. What a former holder writes names an older epoch and is refused.
    epoch bigint not null default 0
);

-- Two leases on one leader would be two pollers and two portfolios of them.
create unique index lease_of_user on lease (followed_user_id) where followed_user_id is not null;
create index lease_by_holder on lease (holder, followed_user_id) where holder is not null;

create table worker (
    id text primary key,
    -- Rises while it lives. Others watch it by their own clocks: no two machines need to agree on the time. How many
    -- live decides how many leases are a fair share. Not in the lease, whose row would then be locked at every beat,
    -- beside the commits that lock it.
    beat bigint not null default 0
);
