//! How a leader is followed (spec 2 and 7.1).

use std::collections::BTreeMap;

use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::Timestamp;

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

/// The states of one leader over time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FollowHistory {
    /// The state before the first change.
    pub first: FollowState,
    /// The state that each change made.
    pub changes: BTreeMap<Timestamp, FollowState>,
}

impl FollowHistory {
    /// Returns a history without changes.
    pub const fn always(state: FollowState) -> Self {
        Self { first: state, changes: BTreeMap::new() }
    }

    /// Returns the state at `time`; a change counts from its own moment.
    pub fn at(&self, time: Timestamp) -> FollowState {
        self.changes.range(..=time).next_back().map_or(self.first, |(_, state)| *state)
    }
}

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
