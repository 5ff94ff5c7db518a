//! Configuration as JSON text, as databases, requests and the command line hold it. The rules are the domain's.

use crate::domain::config::effective::{
    ConfigChange, ConfigError, ConfigPatch, GuardrailPatch, SizingPatch, SystemPatch,
};

macro_rules! parse_json {
    ($($patch:ident),+) => {$(
        impl $patch {
            /// # Errors
            /// `ConfigError` with the name of the field that is wrong; nothing is taken then.
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
    /// The same for a change, in which a field may be null; fields named in `beside` are somebody else's to read.
    ///
    /// # Errors
    /// `ConfigError` with the name of the field that is wrong; nothing is taken then.
    pub fn parse(json: &str, beside: &[&str]) -> Result<Self, ConfigError> {
        let mut text = serde_json::Deserializer::from_str(json);
        let change = Self::parse_from(&mut text, beside)?;
        ended(text)?;
        Ok(change)
    }
}

/// Nothing comes behind the one value.
fn ended(mut text: serde_json::Deserializer<serde_json::de::StrRead<'_>>) -> Result<(), ConfigError> {
    text.end().map_err(|error| ConfigError { field: "config".into(), problem: format!("is not readable: {error}") })
}
