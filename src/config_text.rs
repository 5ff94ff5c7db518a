//! Configuration as JSON text, as databases, requests and the command line hold it. The rules are the domain's.

use crate::domain::effective_config::{ConfigError, ConfigPatch, GuardrailPatch, SizingPatch, SystemPatch};

macro_rules! parse_json {
    ($($patch:ident),+) => {$(
        impl $patch {
            /// # Errors
            /// `ConfigError` with the name of the field that is wrong; nothing is taken then.
            pub fn parse(json: &str) -> Result<Self, ConfigError> {
                let mut text = serde_json::Deserializer::from_str(json);
                let patch = Self::parse_from(&mut text)?;
                text.end().map_err(|error| ConfigError { field: "config".into(), problem: format!("is not readable: {error}") })?;
                Ok(patch)
            }
        }
    )+};
}
parse_json!(ConfigPatch, GuardrailPatch, SizingPatch, SystemPatch);
