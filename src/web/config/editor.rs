//! The form of the configuration: its fields with their stored values, and the texts that a visitor typed.
//!
//! An empty field has no stored value: in the global form the default counts, in a leader's form the global value. A form
//! also sends the text that each field held when the page was rendered. Only a field that differs from that is a change,
//! so that two visitors who edit different fields do not undo each other.

use std::collections::BTreeMap;

use serde::Serialize;

use super::display_units;
use crate::db::{Directory, FollowedUser};
use crate::domain::config::effective::{
    ConfigChange, ConfigError, ConfigPatch, Field, FieldUnit, FieldValue, Guardrails, Sizing, StoredConfig, System,
};
use crate::domain::money::ids::FollowedUserId;
use crate::web::labels;

/// Prefix of the hidden input that holds a field's text at the time when the page was rendered.
const WAS: &str = "was.";

/// The fields of a submitted form: decoded, not checked yet.
#[derive(Debug, Clone, Default)]
pub struct TypedForm {
    pairs: BTreeMap<String, String>,
}

/// The global form, or the form of one leader.
#[derive(Debug, Serialize)]
pub struct Editor {
    /// The leader whose form it is; null for the global form.
    pub user: Option<UserOption>,
    pub people: Vec<UserOption>,
    pub sections: Vec<Section>,
    /// Number of fields with a stored value: not the default, or an override.
    pub n_own: usize,
    /// Number of refused fields. Nothing is saved when there is one.
    pub n_wrong: usize,
}

/// A leader whose form can be chosen.
#[derive(Debug, Clone, Serialize)]
pub struct UserOption {
    pub id: FollowedUserId,
    /// Hostile text.
    pub label: String,
    pub enabled: bool,
    pub n_own: usize,
}

#[derive(Debug, Serialize)]
pub struct Section {
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub rows: Vec<FieldRow>,
}

/// One field of the form.
#[derive(Debug, Serialize)]
pub struct FieldRow {
    pub name: &'static str,
    pub label: &'static str,
    pub about: &'static str,
    pub note: Option<&'static str>,
    pub unit: FieldUnit,
    pub sign: &'static str,
    pub is_flag: bool,
    pub is_tags: bool,
    /// The words of a choice; empty for other fields.
    pub choices: &'static [&'static str],
    /// The text in the input.
    pub typed: String,
    /// The text of the stored value, before the visitor typed.
    pub was: String,
    /// The value that counts when the field is empty; `fallback_text` is the same for a sentence.
    pub fallback: String,
    pub fallback_text: String,
    pub min_text: String,
    pub max_text: String,
    /// True when a value is stored: a global one that is not the default, or an override.
    pub is_own: bool,
    pub wrong: Option<String>,
}

impl TypedForm {
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs: pairs.into_iter().collect() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.get(name).map(String::as_str)
    }

    /// Returns the change that the form asks for.
    ///
    /// # Errors
    /// One [`ConfigError`] for each field that cannot be read; no field is changed then.
    pub fn change(&self, of_user: bool) -> Result<ConfigChange, Vec<ConfigError>> {
        let (mut sections, mut unset, mut wrong) = (serde_json::Map::new(), Vec::new(), Vec::new());
        for field in fields(of_user) {
            let Some(typed) = self.get(field.name).map(str::trim) else { continue };
            if self.get(&format!("{WAS}{}", field.name)) == Some(typed) {
                continue;
            }
            match (typed, display_units::parse(field, typed)) {
                ("", _) => unset.push(field),
                (_, Ok(value)) if !of_user && value == field.default_value() => unset.push(field),
                (_, Ok(value)) => {
                    let section = sections.entry(field.section).or_insert_with(|| serde_json::json!({}));
                    section[field.name] = display_units::json(field, &value);
                }
                (_, Err(error)) => wrong.push(error),
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let set = ConfigPatch::parse(&serde_json::Value::Object(sections).to_string()).map_err(|error| vec![error])?;
        Ok(ConfigChange { set, unset })
    }
}

impl Editor {
    /// Builds the form from the stored values, or from the `typed` texts with the problems in `wrong`.
    pub fn new(directory: &Directory, user: Option<&FollowedUser>, typed: &TypedForm, wrong: &[ConfigError]) -> Self {
        let rows = |section: &'static str| -> Vec<FieldRow> {
            let of_section = fields(user.is_some()).filter(|field| field.section == section);
            of_section.map(|field| FieldRow::new(field, directory, user, typed, wrong)).collect()
        };
        let sections = [Guardrails::SECTION, Sizing::SECTION, System::SECTION].map(|name| {
            let (title, about) = labels::section(name);
            Section { name, title, about, rows: rows(name) }
        });
        let sections: Vec<Section> = sections.into_iter().filter(|section| !section.rows.is_empty()).collect();
        Self {
            user: user.map(|user| UserOption::new(directory, user)),
            people: directory.users.iter().map(|user| UserOption::new(directory, user)).collect(),
            n_own: sections.iter().flat_map(|section| &section.rows).filter(|row| row.is_own).count(),
            n_wrong: wrong.len(),
            sections,
        }
    }
}

impl UserOption {
    fn new(directory: &Directory, user: &FollowedUser) -> Self {
        let own = directory.overrides.get(&user.id);
        Self {
            id: user.id,
            label: user.label.clone(),
            enabled: user.enabled(),
            n_own: own.map_or(0, |overrides| overrides.values().len()),
        }
    }
}

impl FieldRow {
    fn new(
        field: &'static Field,
        directory: &Directory,
        user: Option<&FollowedUser>,
        typed: &TypedForm,
        wrong: &[ConfigError],
    ) -> Self {
        let global = value_of(directory.config.values(), field).unwrap_or_else(|| field.default_value());
        let (own, fallback) = match user {
            None => (Some(global.clone()).filter(|value| *value != field.default_value()), field.default_value()),
            Some(user) => {
                let overrides = directory.overrides.get(&user.id).map(|own| own.values()).unwrap_or_default();
                (value_of(overrides, field), global.clone())
            }
        };
        let write = |value: &FieldValue| display_units::input(field, value);
        // The global form shows every value, a leader's form only the overrides.
        let was = match user {
            None => write(&global),
            Some(_) => own.as_ref().map(write).unwrap_or_default(),
        };
        let error = wrong.iter().find(|error| error.field == field.name);
        Self {
            name: field.name,
            label: labels::label(field.name),
            about: labels::about(field),
            note: user.and_then(|_| labels::own_value_note(field.name)),
            unit: field.unit,
            sign: display_units::sign(field.unit),
            is_flag: field.unit == FieldUnit::Flag,
            is_tags: field.unit == FieldUnit::Tags,
            choices: field.choices,
            typed: typed.get(field.name).map_or_else(|| was.clone(), str::to_owned),
            was,
            fallback: write(&fallback),
            fallback_text: display_units::sentence(field, &fallback),
            min_text: display_units::shown(field.unit, field.min),
            max_text: display_units::shown(field.unit, field.max),
            is_own: own.is_some(),
            wrong: error.map(|error| error.problem.clone()),
        }
    }
}

/// Returns the fields of a form. A leader has no system settings.
fn fields(of_user: bool) -> impl Iterator<Item = &'static Field> {
    StoredConfig::fields().filter(move |field| !of_user || field.section != System::SECTION)
}

fn value_of(values: Vec<(&'static Field, FieldValue)>, field: &Field) -> Option<FieldValue> {
    values.into_iter().find(|(other, _)| other.name == field.name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pairs: &[(&str, &str)]) -> TypedForm {
        TypedForm::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn only_a_typed_field_is_a_change() {
        let form = typed(&[
            ("maxSpreadMicros", "1.5"),
            ("was.maxSpreadMicros", "2.00"),
            ("maxOverMidMicros", "1.50"),
            ("was.maxOverMidMicros", "1.50"),
            ("jitterMsMax", ""),
            ("was.jitterMsMax", "400"),
            ("decisionLatencyMs", " 750 "),
            ("was.decisionLatencyMs", "900"),
            ("applyTakerFees", "off"),
            ("was.applyTakerFees", "on"),
        ]);
        let change = form.change(false).unwrap();
        let set: Vec<_> =
            serde_json::to_value(&change.set).unwrap().to_string().split('"').map(str::to_owned).collect();
        assert!(set.contains(&"maxSpreadMicros".to_owned()) && set.contains(&"applyTakerFees".to_owned()));
        assert_eq!(change.set.guardrails.values().len() + change.set.sizing.values().len(), 2);
        // One field is empty, the other is set to the default.
        let unset: Vec<_> = change.unset.iter().map(|field| field.name).collect();
        assert_eq!(unset, ["decisionLatencyMs", "jitterMsMax"]);
        // An override may be equal to the default.
        assert_eq!(form.change(true).unwrap().unset.len(), 1);
    }

    #[test]
    fn every_invalid_field_is_named_and_nothing_is_changed() {
        let form = typed(&[("maxSpreadMicros", "wide"), ("maxOverMidMicros", "1"), ("jitterMsMax", "-3")]);
        let wrong = form.change(false).unwrap_err();
        assert_eq!(
            wrong.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(),
            ["maxSpreadMicros", "jitterMsMax"]
        );
    }
}
