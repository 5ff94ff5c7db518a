//! One field of the configuration before and after a change, in the integers of the contract and as a page shows it.

use serde::Serialize;

use super::display_units;
use crate::domain::config::effective::{Field, FieldUnit};

/// A field that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldChange {
    /// `guardrails`, `sizing` or `system`.
    pub section: &'static str,
    /// The name of the field.
    pub field: &'static str,
    /// The unit of `before` and `after`.
    pub unit: FieldUnit,
    /// Null when there is no value: a leader had no override before the change, or has none after it.
    pub before: Option<i64>,
    /// Null when there is no value after the change.
    pub after: Option<i64>,
    /// The value before, as pages show it.
    pub before_text: Option<String>,
    /// The value after, as pages show it.
    pub after_text: Option<String>,
}

/// Returns the fields in which two sets of values differ, in the order of the spec. A field that is missing from one
/// set counts as no value there.
pub fn changes(
    before: &[(&'static Field, i64)],
    after: &[(&'static Field, i64)],
    fields: impl Iterator<Item = &'static Field>,
) -> Vec<FieldChange> {
    let find = |of: &[(&'static Field, i64)], field: &Field| {
        of.iter().find(|(other, _)| other.name == field.name).map(|(_, number)| *number)
    };
    let change = |field: &'static Field| FieldChange::of(field, find(before, field), find(after, field));
    fields.filter_map(change).collect()
}

impl FieldChange {
    fn of(field: &'static Field, before: Option<i64>, after: Option<i64>) -> Option<Self> {
        let text = |number: i64| display_units::shown(field.unit, number);
        (before != after).then(|| Self {
            section: field.section,
            field: field.name,
            unit: field.unit,
            before,
            after,
            before_text: before.map(text),
            after_text: after.map(text),
        })
    }
}
