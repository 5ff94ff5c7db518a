-- Curves and peaks read the equity of a month's minutes: from this index alone, and not row by row.

create index portfolio_snapshot_curve
    on portfolio_snapshot (portfolio_scope, coalesce(followed_user_id, 0), bucket_time, equity_micros, exposure_micros);
