-- Attempts counted by the hour, so that a page of a month reads hundreds of rows and not half a million.

create table attempt_tally (
    portfolio_scope text not null check (portfolio_scope in ('EXEC_USER', 'EXEC_GLOBAL')),
    followed_user_id bigint not null references followed_user (id),
    -- The start of a whole hour that is over: nothing is added to it any more.
    hour bigint not null check (hour % 3600000 = 0),
    tally_json text not null,
    -- An hour counted twice would be shown twice.
    primary key (portfolio_scope, followed_user_id, hour)
);
