//! The columns of each download, in order: the stored columns (spec 2), and the names of users, markets, their events,
//! and outcomes.

/// The kind of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Flag,
    Uuid,
    /// Milliseconds.
    Time,
    Text,
    /// JSON that we wrote.
    Json,
    /// JSON that we wrote, stored packed.
    Explanation,
    /// Words that we wrote, joined by commas.
    Words,
}

/// A column's name and kind.
pub type Column = (&'static str, Kind);

/// The columns of a canonical `trade_event`.
pub const TRADE_COLUMNS: [Column; 27] = [
    ("id", Kind::Uuid),
    ("source", Kind::Text),
    ("source_id", Kind::Text),
    ("tx_hash", Kind::Text),
    ("log_index", Kind::Integer),
    ("block_hash", Kind::Text),
    ("removed", Kind::Flag),
    ("is_canonical", Kind::Flag),
    ("profile_wallet", Kind::Text),
    ("proxy_wallet", Kind::Text),
    ("followed_user_id", Kind::Integer),
    ("market_id", Kind::Text),
    ("asset_id", Kind::Text),
    ("side", Kind::Text),
    ("price_micros", Kind::Integer),
    ("share_micros", Kind::Integer),
    ("notional_micros", Kind::Integer),
    ("fee_micros", Kind::Integer),
    ("event_time", Kind::Time),
    ("detect_time", Kind::Time),
    ("created_at", Kind::Time),
    ("followed_user_label", Kind::Text),
    ("question", Kind::Text),
    ("outcome", Kind::Text),
    ("event_id", Kind::Text),
    ("event_slug", Kind::Text),
    ("event_title", Kind::Text),
];

/// The columns of a `copy_attempt` and its group.
pub const ATTEMPT_COLUMNS: [Column; 27] = [
    ("id", Kind::Uuid),
    ("portfolio_scope", Kind::Text),
    ("followed_user_id", Kind::Integer),
    ("group_id", Kind::Uuid),
    ("group_key", Kind::Text),
    ("decision", Kind::Text),
    ("reason_codes", Kind::Words),
    ("target_notional_micros", Kind::Integer),
    ("filled_notional_micros", Kind::Integer),
    ("filled_share_micros", Kind::Integer),
    ("vwap_price_micros", Kind::Integer),
    ("filled_ratio_bps", Kind::Integer),
    ("their_reference_price_micros", Kind::Integer),
    ("mid_price_micros_at_decision", Kind::Integer),
    ("config_version", Kind::Text),
    ("explain_json", Kind::Explanation),
    ("created_at", Kind::Time),
    ("kind", Kind::Text),
    ("market_id", Kind::Text),
    ("asset_id", Kind::Text),
    ("side", Kind::Text),
    ("followed_user_label", Kind::Text),
    ("question", Kind::Text),
    ("outcome", Kind::Text),
    ("event_id", Kind::Text),
    ("event_slug", Kind::Text),
    ("event_title", Kind::Text),
];

/// The columns of a `ledger_entry`. The label is the owner's; in the global portfolio, that of the leader who caused
/// it.
pub const LEDGER_COLUMNS: [Column; 18] = [
    ("id", Kind::Integer),
    ("portfolio_scope", Kind::Text),
    ("followed_user_id", Kind::Integer),
    ("attributed_user_id", Kind::Integer),
    ("market_id", Kind::Text),
    ("asset_id", Kind::Text),
    ("entry_type", Kind::Text),
    ("share_delta_micros", Kind::Integer),
    ("cash_delta_micros", Kind::Integer),
    ("price_micros", Kind::Integer),
    ("ref_id", Kind::Text),
    ("created_at", Kind::Time),
    ("followed_user_label", Kind::Text),
    ("question", Kind::Text),
    ("outcome", Kind::Text),
    ("event_id", Kind::Text),
    ("event_slug", Kind::Text),
    ("event_title", Kind::Text),
];

/// The columns of a `portfolio_snapshot`.
pub const SNAPSHOT_COLUMNS: [Column; 10] = [
    ("portfolio_scope", Kind::Text),
    ("followed_user_id", Kind::Integer),
    ("bucket_time", Kind::Time),
    ("equity_micros", Kind::Integer),
    ("cash_micros", Kind::Integer),
    ("exposure_micros", Kind::Integer),
    ("unrealized_pnl_micros", Kind::Integer),
    ("realized_pnl_micros", Kind::Integer),
    ("if_sold_now_micros", Kind::Integer),
    ("stale_assets", Kind::Integer),
];

/// The columns of a `position_check`.
pub const CHECK_COLUMNS: [Column; 9] = [
    ("id", Kind::Uuid),
    ("followed_user_id", Kind::Integer),
    ("checked_at", Kind::Time),
    ("n_assets", Kind::Integer),
    ("n_drifting", Kind::Integer),
    ("drift_value_micros", Kind::Integer),
    ("state", Kind::Text),
    ("detail_json", Kind::Json),
    ("followed_user_label", Kind::Text),
];

/// The columns of a `position_correction`: an opening or adjustment of one asset, and what late rows have left of it.
pub const CORRECTION_COLUMNS: [Column; 17] = [
    ("followed_user_id", Kind::Integer),
    ("asset_id", Kind::Text),
    ("ref_id", Kind::Text),
    ("entry_type", Kind::Text),
    ("market_id", Kind::Text),
    ("takes", Kind::Text),
    ("counted_to", Kind::Time),
    ("price_micros", Kind::Integer),
    ("booked_share_micros", Kind::Integer),
    ("booked_cash_micros", Kind::Integer),
    ("share_micros", Kind::Integer),
    ("followed_user_label", Kind::Text),
    ("question", Kind::Text),
    ("outcome", Kind::Text),
    ("event_id", Kind::Text),
    ("event_slug", Kind::Text),
    ("event_title", Kind::Text),
];
