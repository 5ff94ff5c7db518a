//! The configuration: its page, its JSON, saving it, and testing a change before it is saved (spec 4, spec 11).

pub mod change;
pub mod display_units;
mod editor;
mod form_page;
pub(super) mod history;
pub(super) mod page;
pub(super) mod save;
#[cfg(test)]
mod tests;
pub(super) mod what_if;
