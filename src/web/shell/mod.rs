//! Shared by all pages: the frame, the theme, flash messages, display names and pagination.

pub(super) mod display_names;
pub(super) mod flash;
pub(super) mod page;
pub(super) mod pagination;
pub(super) mod theme;
