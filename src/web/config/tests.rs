//! Malformed changes of the configuration: each is taken whole and in range, or refused with the field's name.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::display_units;
use super::editor::TypedForm;
use super::what_if::request::Candidate;
use crate::domain::config::effective::{
    ConfigChange, ConfigError, ConfigPatch, Field, FieldValue, StoredConfig, UserOverrides,
};
use crate::domain::money::units::Timestamp;
use crate::testkit::malformed::{mutated_json, noise, number, words};
use crate::web::server::error::WebError;

fn now() -> Timestamp {
    Timestamp::parse_iso("2026-11-26T10:00:00Z").unwrap()
}

/// Returns the default configuration with every field, as JSON.
fn whole() -> Value {
    serde_json::to_value(StoredConfig::default()).unwrap()
}

fn bodies() -> impl Strategy<Value = String> {
    let mut nulls = whole();
    for section in nulls.as_object_mut().unwrap().values_mut() {
        for value in section.as_object_mut().unwrap().values_mut().take(3) {
            *value = Value::Null;
        }
    }
    let small = serde_json::json!({"guardrails": {"maxSpreadMicros": 20_000}, "sizing": {"applyTakerFees": null}});
    prop_oneof![8 => mutated_json(vec![whole().to_string(), nulls.to_string(), small.to_string()]), 1 => noise()]
}

fn candidates() -> impl Strategy<Value = String> {
    let window = serde_json::json!({
        "guardrails": {"maxSpreadMicros": 20_000}, "user": 7, "portfolio": "GLOBAL",
        "from": "2026-11-25T10:00:00Z", "to": "2026-11-26T09:00:00Z",
    });
    prop_oneof![8 => mutated_json(vec![window.to_string()]), 1 => noise()]
}

fn are_in_range(values: &[(&'static Field, FieldValue)]) -> Result<(), TestCaseError> {
    for (field, value) in values {
        let counted = value.number().unwrap_or(i64::try_from(value.tags().len()).unwrap());
        prop_assert!((field.min..=field.max).contains(&counted), "{} is {counted}", field.name);
    }
    Ok(())
}

fn is_named(error: &ConfigError) -> Result<(), TestCaseError> {
    prop_assert!(error.field.chars().count() <= 64 && !error.problem.is_empty(), "{error}");
    Ok(())
}

fn is_good(change: &ConfigChange) -> Result<(), TestCaseError> {
    let numbers = [change.set.guardrails.values(), change.set.sizing.values(), change.set.system.values()].concat();
    are_in_range(&numbers)?;
    for field in &change.unset {
        prop_assert!(numbers.iter().all(|(set, _)| set.name != field.name), "{} is set and unset", field.name);
    }
    // The changed configuration reads back unchanged from its own JSON.
    let config = StoredConfig::default().changed(change);
    are_in_range(&config.values())?;
    let text = serde_json::to_string(&config).unwrap();
    let again = StoredConfig::default().with(&ConfigPatch::parse(&text).unwrap());
    prop_assert_eq!(again.values(), config.values());
    if let Ok(own) = change.clone().for_user() {
        are_in_range(&UserOverrides::default().changed(&own).values())?;
    }
    Ok(())
}

/// Generates forms: names of fields and other names, with values that a visitor could type or broken ones.
fn forms() -> impl Strategy<Value = Vec<(String, String)>> {
    let names: Vec<String> = StoredConfig::fields().map(|field| field.name.to_owned()).collect();
    let name = prop_oneof![
        8 => prop::sample::select(names.clone()),
        2 => prop::sample::select(names).prop_map(|name| format!("was.{name}")),
        1 => prop::sample::select(vec!["user", "portfolio", "window", "from", "to"]).prop_map(str::to_owned),
        1 => words(),
    ];
    prop::collection::vec((name, typed()), 0..8)
}

fn typed() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[0-9]{0,8}(\\.[0-9]{0,8})?",
        2 => number(),
        1 => prop::sample::select(vec!["on", "off", "true", "false", "", " "]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["2026-11-25T10:00", "2026-11-25", "-262144-01-01T00:00:00Z"]).prop_map(str::to_owned),
        1 => words(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn web_config_bodies_are_changes_or_named_mistakes(body in bodies()) {
        match ConfigChange::parse(&body, &[]) {
            Ok(change) => is_good(&change)?,
            Err(error) => is_named(&error)?,
        }
        match ConfigPatch::parse(&body) {
            Ok(patch) => is_good(&ConfigChange::setting(patch))?,
            Err(error) => is_named(&error)?,
        }
    }

    #[test]
    fn web_candidates_have_a_window_or_are_mistakes(body in candidates()) {
        match Candidate::parse(&body, now()) {
            Ok(candidate) => {
                is_good(&candidate.change)?;
                prop_assert!(candidate.from < candidate.to && candidate.to <= now());
            }
            Err(WebError::Field(error)) => is_named(&error)?,
            Err(error) => prop_assert!(matches!(error, WebError::Mistake(_)), "{error}"),
        }
    }

    #[test]
    fn web_typed_values_are_in_range_or_named(text in typed()) {
        for field in StoredConfig::fields() {
            match display_units::parse(field, &text) {
                Ok(value) => {
                    are_in_range(&[(field, value.clone())])?;
                    prop_assert_eq!(display_units::parse(field, &display_units::input(field, &value)), Ok(value));
                }
                Err(error) => {
                    is_named(&error)?;
                    prop_assert!(error.field == field.name && error.problem.chars().count() < 200, "{error}");
                }
            }
        }
    }

    #[test]
    fn web_config_forms_are_changes_or_named_mistakes(pairs in forms(), of_user in any::<bool>()) {
        let last: BTreeMap<String, String> = pairs.iter().cloned().collect();
        let typed = TypedForm::new(pairs);
        match typed.change(of_user) {
            Ok(change) => {
                is_good(&change)?;
                prop_assert!(!of_user || change.for_user().is_ok());
            }
            Err(wrong) => {
                prop_assert!(!wrong.is_empty());
                for error in &wrong {
                    is_named(error)?;
                    prop_assert!(last.contains_key(&error.field), "{error}");
                }
            }
        }
        if let Err(error) = typed.user() {
            prop_assert!(matches!(error, WebError::Mistake(_) | WebError::NotFound), "{error}");
        }
        if let Ok((from, to)) = typed.window(now()) {
            prop_assert!(from < to && to <= now());
        }
    }
}
