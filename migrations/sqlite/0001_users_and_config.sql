-- Who is followed, how copies are sized and guarded, and who may sign in.
-- Times are UTC milliseconds, money and shares are millionths, everywhere in this database.

create table followed_user (
    id integer primary key autoincrement,
    label text not null,
    -- Two rows of one trader would copy every fill twice.
    profile_wallet text not null unique,
    enabled integer not null default true,
    created_at integer not null
) strict;

create table followed_user_proxy_wallet (
    id integer primary key autoincrement,
    followed_user_id integer not null references followed_user (id),
    -- A wallet of two traders would give its fills to whichever was asked first.
    wallet text not null unique
) strict;

create index followed_user_proxy_wallet_by_user on followed_user_proxy_wallet (followed_user_id);

create table guardrail_config (
    id integer primary key autoincrement,
    scope text not null check (scope in ('GLOBAL', 'USER')),
    followed_user_id integer references followed_user (id),
    config_json text not null,
    updated_at integer not null,
    -- A GLOBAL row with an owner, or a USER row without one, would be read by nobody.
    check ((scope = 'GLOBAL') = (followed_user_id is null))
) strict;

-- Nulls count as distinct in a plain key: without the coalesce a second GLOBAL row would fit in.
create unique index guardrail_config_owner on guardrail_config (scope, coalesce(followed_user_id, 0));

create table copy_sizing_config (
    id integer primary key autoincrement,
    scope text not null check (scope in ('GLOBAL', 'USER')),
    followed_user_id integer references followed_user (id),
    config_json text not null,
    updated_at integer not null,
    check ((scope = 'GLOBAL') = (followed_user_id is null))
) strict;

create unique index copy_sizing_config_owner on copy_sizing_config (scope, coalesce(followed_user_id, 0));

create table system_config (
    -- One row: two would leave it open whether the engine is paused.
    id integer primary key check (id = 1),
    config_json text not null,
    updated_at integer not null
) strict;

create table system_checkpoint (
    key text primary key,
    value_json text not null,
    updated_at integer not null
) strict;

create table allowed_admin_email (
    email text primary key check (email = lower(email)),
    created_at integer not null
) strict;

create table audit_log (
    id integer primary key autoincrement,
    -- Who did it: an e-mail, `command line`, or the actor that found the situation.
    who text not null,
    action text not null,
    -- What it was done to: `user:7`, `market:0x..`, `config:global`.
    subject text not null,
    before_json text,
    after_json text,
    created_at integer not null
) strict;

create index audit_log_by_action on audit_log (action, id);

-- The global rows stand from the first day; empty means the defaults, and time zero that nobody has changed them.
insert into guardrail_config (scope, config_json, updated_at) values ('GLOBAL', '{}', 0);
insert into copy_sizing_config (scope, config_json, updated_at) values ('GLOBAL', '{}', 0);
insert into system_config (id, config_json, updated_at) values (1, '{}', 0);
