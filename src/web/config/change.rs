//! One field of the configuration before and after a change, in the values of the contract and as a page shows it.

use serde::Serialize;

use super::display_units;
use crate::domain::config::effective::{Field, FieldUnit, FieldValue};

/// A field that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldChange {
    /// `guardrails`, `sizing` or `system`.
    pub section: &'static str,
    /// The name of the field.
    pub field: &'static str,
    /// The unit of `before` and `after`.
    pub unit: FieldUnit,
    /// The value before: a number, where 1 or 0 is a flag; the word of a choice; a list of tags. Null when there is no
    /// value: a leader had no override before the change, or has none after it.
    #[schema(value_type = Option<serde_json::Value>)]
    pub before: Option<ChangedValue>,
    /// The value after. Null when there is no value after the change.
    #[schema(value_type = Option<serde_json::Value>)]
    pub after: Option<ChangedValue>,
    /// The value before, as pages show it.
    pub before_text: Option<String>,
    /// The value after, as pages show it.
    pub after_text: Option<String>,
}

/// One of the two values of a changed field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ChangedValue {
    /// A flag is 1 or 0.
    Number(i64),
    Word(&'static str),
    Tags(Vec<String>),
}

/// Returns the fields in which two sets of values differ, in the order of the spec. A field that is missing from one
/// set counts as no value there.
pub fn changes(
    before: &[(&'static Field, FieldValue)],
    after: &[(&'static Field, FieldValue)],
    fields: impl Iterator<Item = &'static Field>,
) -> Vec<FieldChange> {
    let find = |of: &[(&'static Field, FieldValue)], field: &Field| {
        of.iter().find(|(other, _)| other.name == field.name).map(|(_, value)| value.clone())
    };
    let change = |field: &'static Field| FieldChange::of(field, find(before, field), find(after, field));
    fields.filter_map(change).collect()
}

impl FieldChange {
    fn of(field: &'static Field, before: Option<FieldValue>, after: Option<FieldValue>) -> Option<Self> {
        let text = |value: &FieldValue| display_units::sentence(field, value);
        let plain = |value: &FieldValue| ChangedValue::of(field, value);
        (before != after).then(|| Self {
            section: field.section,
            field: field.name,
            unit: field.unit,
            before: before.as_ref().map(plain),
            after: after.as_ref().map(plain),
            before_text: before.as_ref().map(text),
            after_text: after.as_ref().map(text),
        })
    }
}

impl ChangedValue {
    /// Returns the value of a field as JSON shows it.
    pub fn of(field: &'static Field, value: &FieldValue) -> Self {
        match (field.unit, value) {
            (FieldUnit::Choice, FieldValue::Number(number)) => Self::Word(field.word(*number)),
            (_, FieldValue::Number(number)) => Self::Number(*number),
            (_, FieldValue::Tags(tags)) => Self::Tags(tags.list().to_vec()),
        }
    }

    /// Returns the number; `None` for a word and for tags.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Word(_) | Self::Tags(_) => None,
        }
    }

    /// Returns the text from which the form of an undo reads the value again.
    pub fn undo_text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Word(word) => (*word).to_owned(),
            Self::Tags(tags) if tags.is_empty() => "none".to_owned(),
            Self::Tags(tags) => tags.join(","),
        }
    }
}
