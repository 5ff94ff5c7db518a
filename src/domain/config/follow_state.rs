//! How a leader is followed (spec 2 and 7.1).

use crate::domain::money::text_enum::text_enum;

/// Whether a leader's fills are read and copied. A leader is enabled unless stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum FollowState {
    /// Read and copied.
    #[default]
    Active,
    /// Read; exits are copied, and nothing new is opened. Becomes [`Self::Stopped`] when nothing is left to sell.
    WindingDown,
    /// Neither read nor copied. What was recorded stays.
    Stopped,
}
text_enum!(FollowState { Active => "ACTIVE", WindingDown => "WINDING_DOWN", Stopped => "STOPPED" });

impl FollowState {
    /// Returns whether the leader's fills are read, and their exits copied.
    pub const fn is_enabled(self) -> bool {
        !matches!(self, Self::Stopped)
    }

    /// Returns whether the leader's fills may open something new.
    pub const fn may_open(self) -> bool {
        matches!(self, Self::Active)
    }
}
