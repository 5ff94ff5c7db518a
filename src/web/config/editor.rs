//! The form of the configuration: what stands in it, and what was typed.
//!
//! An empty field is one without a value of its own: the default counts, for a user everybody's value. A form says what
//! each field held when it was shown; only what differs from that is a change, so that two visitors who edit different
//! fields do not undo each other.

use std::collections::BTreeMap;

use serde::Serialize;

use super::display_units;
use crate::db::{Directory, FollowedUser};
use crate::domain::config::effective::{
    ConfigChange, ConfigError, ConfigPatch, Field, FieldUnit, Guardrails, Sizing, StoredConfig, System,
};
use crate::domain::money::ids::FollowedUserId;
use crate::web::labels;

/// Before the name of a field: what the form held when it was shown.
const WAS: &str = "was.";

/// A form as it came, decoded and not yet understood.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    pairs: BTreeMap<String, String>,
}

/// One person's or everybody's form.
#[derive(Debug, Serialize)]
pub struct Editor {
    /// Whose; null is everybody.
    pub user: Option<Person>,
    pub people: Vec<Person>,
    pub sections: Vec<Section>,
    /// Fields with a value of their own.
    pub n_own: usize,
    /// Fields that were refused; nothing was saved then.
    pub n_wrong: usize,
}

#[derive(Debug, Clone, Serialize)]
pub struct Person {
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
    pub rows: Vec<Row>,
}

/// One field of the form.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub label: &'static str,
    pub about: &'static str,
    pub note: Option<&'static str>,
    pub unit: FieldUnit,
    pub sign: &'static str,
    pub is_flag: bool,
    /// What the input holds.
    pub typed: String,
    /// What it held, or would have, before anybody typed.
    pub was: String,
    /// What counts when it is empty: for an input, and in a sentence.
    pub fallback: String,
    pub fallback_text: String,
    pub min_text: String,
    pub max_text: String,
    /// It has a value of its own, other than the default.
    pub is_own: bool,
    pub wrong: Option<String>,
}

impl Typed {
    pub fn new(pairs: Vec<(String, String)>) -> Self {
        Self { pairs: pairs.into_iter().collect() }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.get(name).map(String::as_str)
    }

    /// What is to change, or every field that is wrong.
    ///
    /// # Errors
    /// `ConfigError` for each such field.
    pub fn change(&self, of_user: bool) -> Result<ConfigChange, Vec<ConfigError>> {
        let (mut sections, mut unset, mut wrong) = (serde_json::Map::new(), Vec::new(), Vec::new());
        for field in fields(of_user) {
            let Some(typed) = self.get(field.name).map(str::trim) else { continue };
            if self.get(&format!("{WAS}{}", field.name)) == Some(typed) {
                continue;
            }
            match (typed, display_units::parse(field, typed)) {
                ("", _) => unset.push(field),
                (_, Ok(number)) if !of_user && number == field.default => unset.push(field),
                (_, Ok(number)) => {
                    let section = sections.entry(field.section).or_insert_with(|| serde_json::json!({}));
                    section[field.name] = display_units::json(field, number);
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
    /// The form as stored, or as it was typed and what was wrong with it.
    pub fn new(directory: &Directory, user: Option<&FollowedUser>, typed: &Typed, wrong: &[ConfigError]) -> Self {
        let rows = |section: &'static str| -> Vec<Row> {
            let of_section = fields(user.is_some()).filter(|field| field.section == section);
            of_section.map(|field| Row::new(field, directory, user, typed, wrong)).collect()
        };
        let sections = [Guardrails::SECTION, Sizing::SECTION, System::SECTION].map(|name| {
            let (title, about) = labels::section(name);
            Section { name, title, about, rows: rows(name) }
        });
        let sections: Vec<Section> = sections.into_iter().filter(|section| !section.rows.is_empty()).collect();
        Self {
            user: user.map(|user| Person::new(directory, user)),
            people: directory.users.iter().map(|user| Person::new(directory, user)).collect(),
            n_own: sections.iter().flat_map(|section| &section.rows).filter(|row| row.is_own).count(),
            n_wrong: wrong.len(),
            sections,
        }
    }
}

impl Person {
    fn new(directory: &Directory, user: &FollowedUser) -> Self {
        let own = directory.overrides.get(&user.id);
        Self {
            id: user.id,
            label: user.label.clone(),
            enabled: user.enabled,
            n_own: own.map_or(0, |overrides| overrides.numbers().len()),
        }
    }
}

impl Row {
    fn new(
        field: &'static Field,
        directory: &Directory,
        user: Option<&FollowedUser>,
        typed: &Typed,
        wrong: &[ConfigError],
    ) -> Self {
        let everybodys = number_of(&directory.config.numbers(), field).unwrap_or(field.default);
        let (own, fallback) = match user {
            None => (Some(everybodys).filter(|number| *number != field.default), field.default),
            Some(user) => {
                let overrides = directory.overrides.get(&user.id).map(|own| own.numbers()).unwrap_or_default();
                (number_of(&overrides, field), everybodys)
            }
        };
        let write = |number: i64| match (field.unit, number) {
            (FieldUnit::Flag, 0) => "off".to_owned(),
            (FieldUnit::Flag, _) => "on".to_owned(),
            (unit, number) => display_units::text(unit, number),
        };
        // Everybody's form shows every value; a user's only those of their own.
        let was = match user {
            None => write(everybodys),
            Some(_) => own.map(write).unwrap_or_default(),
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
            typed: typed.get(field.name).map_or_else(|| was.clone(), str::to_owned),
            was,
            fallback: write(fallback),
            fallback_text: display_units::shown(field.unit, fallback),
            min_text: display_units::shown(field.unit, field.min),
            max_text: display_units::shown(field.unit, field.max),
            is_own: own.is_some(),
            wrong: error.map(|error| error.problem.clone()),
        }
    }
}

/// What a form of that kind has; a user has no system settings.
fn fields(of_user: bool) -> impl Iterator<Item = &'static Field> {
    StoredConfig::fields().filter(move |field| !of_user || field.section != System::SECTION)
}

fn number_of(numbers: &[(&'static Field, i64)], field: &Field) -> Option<i64> {
    numbers.iter().find(|(other, _)| other.name == field.name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pairs: &[(&str, &str)]) -> Typed {
        Typed::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn only_what_was_typed_is_a_change() {
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
        let set: Vec<_> = serde_json::to_value(change.set).unwrap().to_string().split('"').map(str::to_owned).collect();
        assert!(set.contains(&"maxSpreadMicros".to_owned()) && set.contains(&"applyTakerFees".to_owned()));
        assert_eq!(change.set.guardrails.numbers().len() + change.set.sizing.numbers().len(), 2);
        // What is empty, and what is the default again.
        let unset: Vec<_> = change.unset.iter().map(|field| field.name).collect();
        assert_eq!(unset, ["decisionLatencyMs", "jitterMsMax"]);
        // A user may have the default for their own.
        assert_eq!(form.change(true).unwrap().unset.len(), 1);
    }

    #[test]
    fn every_wrong_field_is_named_and_none_is_taken() {
        let form = typed(&[("maxSpreadMicros", "wide"), ("maxOverMidMicros", "1"), ("jitterMsMax", "-3")]);
        let wrong = form.change(false).unwrap_err();
        assert_eq!(
            wrong.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(),
            ["maxSpreadMicros", "jitterMsMax"]
        );
    }
}
