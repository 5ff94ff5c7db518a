//! The names of fields, sections and audited actions on a page.

use crate::domain::config::effective::Field;
use crate::domain::config::follow_state::FollowState;

/// Returns the label of a field; the field's name itself when it is unknown.
pub fn label(name: &str) -> &str {
    match name {
        "maxWorseningVsTheirFillMicros" => "Worse than their fill, at most",
        "maxOverMidMicros" => "Away from mid, at most",
        "maxSpreadMicros" => "Spread, at most",
        "minDepthMultiplierBps" => "Depth of the target, at least",
        "noNewOpensWithinMinutesToClose" => "No opens before close",
        "decisionLatencyMs" => "Decision latency",
        "jitterMsMax" => "Jitter, at most",
        "maxTotalExposureBps" => "Total exposure, at most",
        "maxExposurePerMarketBps" => "Exposure per market, at most",
        "maxExposurePerUserBps" => "Exposure per leader, at most",
        "dailyLossLimitBps" => "Daily loss limit",
        "weeklyLossLimitBps" => "Weekly loss limit",
        "maxDrawdownLimitBps" => "Drawdown limit",
        "maxSignalAgeSeconds" => "Signal age, at most",
        "copyPctNotionalBps" => "Part that is copied",
        "minTradeNotionalMicros" => "Smallest copy",
        "maxTradeNotionalMicros" => "Largest copy",
        "maxTradeBankrollBps" => "Largest copy, of equity",
        "applyTakerFees" => "Taker fees",
        "exitSizing" => "Size of a sale",
        "venueOrderRules" => "Order rules of the venue",
        "minPriceMicros" => "Their price, at least",
        "maxPriceMicros" => "Their price, at most",
        "minLeaderNotionalMicros" => "Their trade, at least",
        "maxMinutesToClose" => "Time to close, at most",
        "onlyCategories" => "Only markets with a tag of",
        "notCategories" => "No markets with a tag of",
        "opensEnabled" => "New positions",
        "bookSampleBps" => "Groups with sampled books",
        "copyEngineEnabled" => "Copying",
        "aggregationWindowMs" => "Grouping window",
        "pollingIntervalMs" => "Polling interval",
        "backfillMinutes" => "Backfill at start",
        "initialBankrollMicros" => "Opening bankroll",
        other => other,
    }
}

/// Returns one line about a field. On a page a flag is on or off.
pub fn about(field: &Field) -> &'static str {
    match field.name {
        "copyEngineEnabled" => "Off pauses every decision.",
        "opensEnabled" => "Off stops new positions and lets exits go on.",
        _ => field.about,
    }
}

/// Returns the title of a section and one line about it.
pub fn section(name: &str) -> (&'static str, &'static str) {
    match name {
        "guardrails" => ("Guardrails", "What a copy must satisfy."),
        "sizing" => ("Sizing", "How large a copy is."),
        _ => ("System", "The switches of the whole bot."),
    }
}

/// Returns the note beside an override of a limit of the shared bankroll, which no leader can override there.
pub fn own_value_note(name: &str) -> Option<&'static str> {
    let of_the_bankroll = [
        "maxTotalExposureBps",
        "maxExposurePerMarketBps",
        "dailyLossLimitBps",
        "weeklyLossLimitBps",
        "maxDrawdownLimitBps",
    ];
    of_the_bankroll
        .contains(&name)
        .then_some("Counts in this leader's own portfolio; in the global one everybody's does.")
}

/// Returns true for fields whose effect cannot be shown with recorded groups and books.
pub fn is_unseen_by_a_test(name: &str) -> bool {
    let unseen = [
        "decisionLatencyMs",
        "jitterMsMax",
        "aggregationWindowMs",
        "pollingIntervalMs",
        "backfillMinutes",
        "initialBankrollMicros",
        "bookSampleBps",
    ];
    unseen.contains(&name)
}

/// Returns how a leader is followed in words.
pub const fn follow_state(state: FollowState) -> &'static str {
    match state {
        FollowState::Active => "followed",
        FollowState::WindingDown => "winding down",
        FollowState::Stopped => "stopped",
    }
}

/// Returns an audited action in words; a page writes the subject behind it.
pub fn action(name: &str) -> &str {
    match name {
        "save_config" => "Configuration saved",
        "follow" => "Followed",
        "rename" => "Renamed",
        "set_enabled" => "Switched",
        "set_state" => "Following changed",
        "wound_down" => "Wound down",
        "close_by_hand" => "Closed by hand",
        "deposit" => "Deposit",
        "withdraw" => "Withdrawal",
        "withdraw_refused" => "Withdrawal refused",
        "set_blacklisted" => "Blacklist",
        "reset_peak" => "Peak reset",
        "sign_in" => "Signed in",
        "sign_in_refused" => "Sign-in refused",
        "sign_out" => "Signed out",
        "sign_out_everywhere" => "Signed out everywhere",
        "admin_add" => "Allowed to sign in",
        "admin_remove" => "No longer allowed to sign in",
        "token_new" => "Token made",
        "token_revoke" => "Token revoked",
        "token_refused" => "Token refused",
        "replay_dead_letter" => "Dead letter sent round again",
        "drop_dead_letter" => "Dead letter put away",
        "backup" => "Backup made",
        "backup_failed" => "Backup failed",
        "restore" => "Restored from a backup",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::effective::StoredConfig;

    #[test]
    fn every_field_has_a_name_for_people() {
        for field in StoredConfig::fields() {
            assert_ne!(label(field.name), field.name);
        }
    }
}
