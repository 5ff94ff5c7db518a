//! The configuration: its page, its JSON, and what may be done with it (spec sections 4 and 11).

mod change;
mod display_units;
mod editor;
mod form_page;
pub(super) mod history;
pub(super) mod page;
pub(super) mod save;
#[cfg(test)]
mod tests;
pub(super) mod what_if;
