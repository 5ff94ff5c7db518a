//! Parses configuration from JSON text, as the database, requests and the command line have it. The rules are in
//! [`crate::domain::config`].
use crate::domain::config::effective::{
    ConfigChange, ConfigError, ConfigPatch, GuardrailPatch, SizingPatch, SystemPatch,
};

macro_rules! parse_json {
    ($($patch:ident),+) => {$(
        impl $patch {
            /// Parses a patch from JSON text.
            ///
            /// # Errors
            /// [`ConfigError`] with the name of the first field that is invalid; then nothing is changed.
            pub fn parse(json: &str) -> Result<Self, ConfigError> {
                let mut text = serde_json::Deserializer::from_str(json);
                let patch = Self::parse_from(&mut text)?;
                ended(text)?;
                Ok(patch)
            }
        }
    )+};
}
parse_json!(ConfigPatch, GuardrailPatch, SizingPatch, SystemPatch);

impl ConfigChange {
    /// Parses a change from JSON text. A null field is reset to the value it would inherit. Top-level keys in `beside` are
    /// ignored; the caller parses them.
    ///
    /// # Errors
    /// [`ConfigError`] with the name of the first field that is invalid; then nothing is changed.
    pub fn parse(json: &str, beside: &[&str]) -> Result<Self, ConfigError> {
        let mut text = serde_json::Deserializer::from_str(json);
        let change = Self::parse_from(&mut text, beside)?;
        ended(text)?;
        Ok(change)
    }
}

/// Checks that no text follows the value.
fn ended(mut text: serde_json::Deserializer<serde_json::de::StrRead<'_>>) -> Result<(), ConfigError> {
    text.end().map_err(|error| ConfigError { field: "config".into(), problem: format!("is not readable: {error}") })
}
