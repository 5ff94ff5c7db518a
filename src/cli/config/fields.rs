//! Config fields as users type them: `guardrails.maxSpreadMicros=15000`.

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::domain::config::effective::{
    ConfigChange, ConfigError, ConfigPatch, Field, FieldUnit, FieldValue, StoredConfig,
};

/// Reads all changes.
///
/// # Errors
/// The first change that is invalid, by its field; then no change is applied.
pub fn parse_change(texts: &[String]) -> anyhow::Result<ConfigChange> {
    let mut sections: Map<String, Value> = Map::new();
    let mut unset: Vec<&'static Field> = Vec::new();
    let mut seen: Vec<&'static Field> = Vec::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .with_context(|| format!("`{text}` should be FIELD=VALUE; `config get` reads a field"))?;
        let (field, value) = (field_named(name.trim())?, value.trim());
        if seen.contains(&field) {
            bail!("config field `{}` is given twice", field.name);
        }
        seen.push(field);
        if value == "default" || value == "inherit" {
            unset.push(field);
            continue;
        }
        let section = sections.entry(field.section).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(fields) = section {
            fields.insert(field.name.to_owned(), typed(field, value));
        }
    }
    Ok(ConfigChange { set: ConfigPatch::parse(&Value::Object(sections).to_string())?, unset })
}

/// Returns the field of this name, with or without its section in front.
///
/// # Errors
/// [`ConfigError`] when no field or several fields have this name.
pub fn field_named(name: &str) -> Result<&'static Field, ConfigError> {
    let (section, last) = match name.split_once('.') {
        Some((section, last)) => (Some(section), last),
        None => (None, name),
    };
    let matches = |field: &&Field| field.name == last && section.is_none_or(|section| section == field.section);
    let found: Vec<&'static Field> = StoredConfig::fields().filter(matches).collect();
    match found.as_slice() {
        [field] => Ok(field),
        [] => {
            let near = nearest(last).map(|field| format!("; did you mean `{}`?", full_name(field)));
            Err(error(
                name,
                format!("is not a field{}", near.unwrap_or_else(|| "; `config get` lists them".to_owned())),
            ))
        }
        several => {
            let names: Vec<String> = several.iter().map(|field| full_name(field)).collect();
            Err(error(name, format!("is ambiguous, it could be {}", names.join(" or "))))
        }
    }
}

pub fn full_name(field: &Field) -> String {
    format!("{}.{}", field.section, field.name)
}

/// Returns the value of a field as JSON: a flag is true or false, a choice its word, tags a list.
pub fn value_json(field: &Field, value: &FieldValue) -> Value {
    match (field.unit, value) {
        (_, FieldValue::Tags(tags)) => Value::from(tags.list()),
        (FieldUnit::Flag, FieldValue::Number(number)) => Value::Bool(*number != 0),
        (FieldUnit::Choice, FieldValue::Number(number)) => Value::from(field.word(*number)),
        (_, FieldValue::Number(number)) => Value::from(*number),
    }
}

/// Turns `PRICE_MICROS` into the text of a table, `price micros`.
pub fn unit_text(unit: &str) -> String {
    unit.to_ascii_lowercase().replace('_', " ")
}

/// Reads a value as JSON. Digits may have underscores between them, as in the documents. Tags may be typed as a list with
/// commas; an empty text and `none`
/// are no tag. Any other text becomes a JSON string, which a field takes as the word of a choice, or
/// refuses with an error that names the field.
fn typed(field: &Field, value: &str) -> Value {
    if field.unit == FieldUnit::Tags && !value.starts_with('[') {
        return value.split(',').map(str::trim).filter(|tag| !matches!(*tag, "" | "none")).map(Value::from).collect();
    }
    let is_grouped = value.contains('_') && value.bytes().all(|b| b.is_ascii_digit() || b == b'_' || b == b'-');
    let plain = if is_grouped { value.replace('_', "") } else { value.to_owned() };
    serde_json::from_str(&plain).unwrap_or_else(|_| Value::from(value))
}

/// Returns the field whose name differs only in case, dashes and underscores, or whose name contains the text.
fn nearest(name: &str) -> Option<&'static Field> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let wanted = plain(name);
    let same = StoredConfig::fields().find(|field| plain(field.name) == wanted);
    let within = || StoredConfig::fields().find(|field| wanted.len() > 3 && plain(field.name).contains(&wanted));
    same.or_else(within)
}

fn error(name: &str, problem: String) -> ConfigError {
    ConfigError { field: name.chars().take(64).collect(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(texts: &[&str]) -> anyhow::Result<ConfigChange> {
        parse_change(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn fields_are_set_with_or_without_their_section_and_reset_to_the_inherited_value() {
        let typed = change(&["guardrails.maxSpreadMicros=15_000", "applyTakerFees = false", "jitterMsMax=default"]);
        let typed = typed.unwrap();
        let same = ConfigPatch::parse(r#"{"guardrails":{"maxSpreadMicros":15000},"sizing":{"applyTakerFees":false}}"#);
        assert_eq!(typed.set, same.unwrap());
        assert_eq!(typed.unset, [field_named("guardrails.jitterMsMax").unwrap()]);
        assert_eq!(change(&["jitterMsMax=inherit"]).unwrap().unset.len(), 1);
    }

    #[test]
    fn an_invalid_change_is_refused_with_the_name_of_its_field() {
        let check = |texts: &[&str], message: &str| {
            let error = format!("{:#}", change(texts).unwrap_err());
            assert!(error.contains(message), "{error}");
        };
        check(&["maxSpreadMicros"], "`maxSpreadMicros` should be FIELD=VALUE");
        check(&["maxSpreadMicros=-1"], "config field `maxSpreadMicros` is `-1`, which is not within 0 and 1000000");
        check(&["maxSpreadMicros=1.5"], "config field `maxSpreadMicros` must be a whole number, not a fraction");
        check(&["maxSpreadMicros=wide"], "config field `maxSpreadMicros` must be a whole number, not a text");
        check(&["maxSpreadMicros="], "config field `maxSpreadMicros` must be a whole number, not a text");
        check(&["maxSpreadMicros=1", "guardrails.maxSpreadMicros=2"], "config field `maxSpreadMicros` is given twice");
        check(&["applyTakerFees=1"], "config field `applyTakerFees` must be true or false, not a number");
        check(&["max_spread_micros=1"], "did you mean `guardrails.maxSpreadMicros`?");
        check(&["sizing.maxSpreadMicros=1"], "`sizing.maxSpreadMicros` is not a field");
        check(&["=1"], "is not a field");
        check(&["maxSpreadMicros=99999999999999999999"], "config field `maxSpreadMicros`");
    }

    #[test]
    fn no_two_sections_have_a_field_of_the_same_name() {
        for field in StoredConfig::fields() {
            assert_eq!(field_named(field.name), Ok(field));
            assert_eq!(field_named(&full_name(field)), Ok(field));
        }
    }
}
