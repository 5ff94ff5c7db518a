//! A walk over the objects of a JSON value.

use serde_json::Value;

/// Applies `change` to each object in a value, inner objects first.
pub fn each_object(value: &mut Value, change: &dyn Fn(&mut Value)) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| each_object(value, change)),
        Value::Object(fields) => {
            fields.values_mut().for_each(|value| each_object(value, change));
            change(value);
        }
        _ => {}
    }
}
