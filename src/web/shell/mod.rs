//! What surrounds every page: its frame, theme, flash messages, lists cut into pages.

pub(super) mod display_names;
pub(super) mod flash;
pub(super) mod page;
pub(super) mod pagination;
pub(super) mod theme;
