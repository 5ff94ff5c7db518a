//! A strict checker of JSON against the schemas of our OpenAPI description.
//!
//! It knows the keywords that the description uses, and reports any other, so that nothing is skipped in silence. Unlike
//! JSON Schema it takes an object with `properties` as complete: a key beside them is a problem.

use serde_json::{Map, Value};

use crate::domain::money::units::Timestamp;

/// Keywords that explain and do not restrict, or that other tests cover (the patterns of ids).
const EXPLAINING: &[&str] = &["description", "examples", "default", "pattern", "title", "propertyNames"];

/// The description that answers are checked against.
pub struct Schemas<'a>(pub &'a Value);

impl Schemas<'_> {
    /// Returns what is wrong with `value`, each with its place. Empty when it fits `schema`.
    pub fn problems(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.check(schema, value, "$", &mut found);
        found
    }

    /// Returns the schema that a reference means.
    pub fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        match schema["$ref"].as_str() {
            Some(reference) => {
                let path = reference.strip_prefix('#').unwrap_or(reference);
                self.0.pointer(path).unwrap_or_else(|| panic!("`{reference}` has no schema"))
            }
            None => schema,
        }
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let schema = self.resolve(schema);
        let Some(keywords) = schema.as_object() else { return found.push(format!("{at}: `{schema}` is not a schema")) };
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "type" => check_type(rule, value, at, found),
                "enum" if !rule.as_array().is_some_and(|words| words.contains(value)) => {
                    found.push(format!("{at}: `{value}` is not one of {rule}"));
                }
                "minimum" if value.is_number() && value.as_i64() < rule.as_i64() => {
                    found.push(format!("{at}: `{value}` is below {rule}"))
                }
                "maximum" if value.is_number() && value.as_i64() > rule.as_i64() => {
                    found.push(format!("{at}: `{value}` is above {rule}"))
                }
                "format" => check_format(rule, value, at, found),
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}[{n}]"), found);
                    }
                }
                "minItems" | "maxItems" | "uniqueItems" => check_list(keyword, rule, value, at, found),
                "maxLength" if value.as_str().map(|text| text.chars().count() as u64) > rule.as_u64() => {
                    found.push(format!("{at}: `{value}` is longer than {rule}"));
                }
                "oneOf" => self.check_choice(rule, value, at, found),
                "allOf" => self.check(&self.merged(rule), value, at, found),
                "properties" | "required" | "additionalProperties" => {}
                "enum" | "minimum" | "maximum" | "maxLength" => {}
                other if EXPLAINING.contains(&other) => {}
                other => found.push(format!("{at}: the checker does not know the keyword `{other}`")),
            }
        }
        self.check_keys(keywords, value, at, found);
    }

    fn check_keys(&self, schema: &Map<String, Value>, value: &Value, at: &str, found: &mut Vec<String>) {
        let Some(object) = value.as_object() else { return };
        let (properties, others) = (schema.get("properties"), schema.get("additionalProperties"));
        for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !object.contains_key(name.as_str().unwrap_or_default()) {
                found.push(format!("{at}: the key {name} is missing"));
            }
        }
        for (name, value) in object {
            let at = format!("{at}.{name}");
            match (properties.and_then(|properties| properties.get(name)), others) {
                (Some(schema), _) => self.check(schema, value, &at, found),
                (None, Some(schema)) if schema.is_object() => self.check(schema, value, &at, found),
                (None, None) if properties.is_none() => {}
                (None, _) => found.push(format!("{at}: the description lacks this key")),
            }
        }
    }

    /// At least one of the choices has to fit. The problems are those of the nearest choice.
    fn check_choice(&self, choices: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let mut nearest: Option<Vec<String>> = None;
        for choice in choices.as_array().into_iter().flatten() {
            let mut problems = Vec::new();
            self.check(choice, value, at, &mut problems);
            if nearest.as_ref().is_none_or(|before| problems.len() < before.len()) {
                nearest = Some(problems);
            }
        }
        found.extend(nearest.unwrap_or_else(|| vec![format!("{at}: there is no choice")]));
    }

    /// Returns the parts of a flattened object as one object, so that its keys can be checked as a whole.
    fn merged(&self, parts: &Value) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in parts.as_array().into_iter().flatten() {
            let part = self.resolve(part);
            let part = part.get("allOf").map_or_else(|| part.clone(), |nested| self.merged(nested));
            properties.extend(part["properties"].as_object().expect("a flattened part is an object").clone());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        serde_json::json!({ "type": "object", "properties": properties, "required": required })
    }
}

fn check_type(rule: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = match rule {
        Value::Array(types) => types.iter().any(|allowed| allowed == is),
        allowed => allowed == is,
    };
    if !fits {
        found.push(format!("{at}: `{value}` is of the type {is}, not {rule}"));
    }
}

fn check_list(keyword: &str, rule: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(items) = value.as_array() else { return };
    let n = Some(items.len() as u64);
    let repeats = || items.iter().enumerate().any(|(place, item)| items[..place].contains(item));
    match keyword {
        "minItems" if n < rule.as_u64() => found.push(format!("{at}: the list has fewer than {rule} items")),
        "maxItems" if n > rule.as_u64() => found.push(format!("{at}: the list has more than {rule} items")),
        "uniqueItems" if *rule == Value::Bool(true) && repeats() => {
            found.push(format!("{at}: the list has an item twice"));
        }
        _ => {}
    }
}

fn check_format(rule: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let fits = match (rule.as_str(), value) {
        (Some("date-time"), Value::String(text)) => Timestamp::parse_iso(text).is_ok(),
        (Some("uuid"), Value::String(text)) => uuid::Uuid::parse_str(text).is_ok(),
        (Some("int32"), Value::Number(number)) => {
            number.as_i64().is_some_and(|number| i32::try_from(number).is_ok() || u32::try_from(number).is_ok())
        }
        (Some("int64"), Value::Number(number)) => number.is_i64() || number.is_u64(),
        (Some("int32" | "int64"), Value::Null) => true,
        _ => false,
    };
    if !fits {
        found.push(format!("{at}: `{value}` does not have the format {rule}"));
    }
}
