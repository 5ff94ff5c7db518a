//! A configuration field: its name, unit, range and default, and how a partial text becomes a patch.
//!
//! In    a map of any text format that serde reads.
//! Out   patches in which every value is in range.
//! Fails [`ConfigError`] with the name of the field: unknown, given twice, of the wrong type, out of range.

use serde::{Deserialize, Deserializer, de};

use super::value::{FieldValue, Tags};
use crate::domain::money::text_enum::text_enum;

/// One field of a configuration text is wrong, so the whole text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config field `{field}` {problem}")]
pub struct ConfigError {
    pub field: String,
    pub problem: String,
}

/// The unit of a field's number, or the kind of another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FieldUnit {
    Flag,
    /// One of a few words.
    Choice,
    /// A list of tags of markets.
    Tags,
    Price,
    Usdc,
    Bps,
    Minutes,
    Seconds,
    Millis,
}
text_enum!(FieldUnit {
    Flag => "FLAG", Choice => "CHOICE", Tags => "TAGS", Price => "PRICE_MICROS", Usdc => "USDC_MICROS", Bps => "BPS", Minutes => "MINUTES",
    Seconds => "SECONDS", Millis => "MS",
});

/// One field, as pages and commands list, edit and explain it. A flag is 1 or 0 here, and `true` or `false` in text. A
/// choice is the place of its word in `choices`. For tags the range counts the tags, and the default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// `guardrails`, `sizing` or `system`.
    pub section: &'static str,
    /// The camelCase name in JSON.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
    pub unit: FieldUnit,
    pub min: i64,
    pub max: i64,
    pub default: i64,
    /// The words of a choice; empty for every other field.
    pub choices: &'static [&'static str],
    /// For a field that is newer than stored attempts: the value by which copies were decided before it existed. While
    /// it has this value, a config version is what it was without the field.
    pub before: Option<i64>,
}

impl Field {
    /// Returns the default value.
    pub fn default_value(&self) -> FieldValue {
        self.value_of(self.default)
    }

    /// Returns whether this value leaves every decision as it was before the field existed.
    pub(super) fn is_as_before(&self, value: &FieldValue) -> bool {
        self.before.is_some_and(|before| self.value_of(before) == *value)
    }

    /// Returns the word of a choice with this number.
    pub fn word(&self, number: i64) -> &'static str {
        usize::try_from(number).ok().and_then(|place| self.choices.get(place)).copied().unwrap_or_default()
    }

    fn value_of(&self, number: i64) -> FieldValue {
        match self.unit {
            FieldUnit::Tags => FieldValue::Tags(Tags::default()),
            _ => FieldValue::Number(number),
        }
    }

    /// Returns the value in `raw`, checked against the range of this field.
    ///
    /// # Errors
    /// [`ConfigError`] when it is of the wrong type or out of range.
    pub(in crate::domain) fn read(&self, raw: &RawValue) -> Result<FieldValue, ConfigError> {
        match self.unit {
            FieldUnit::Choice => self.read_choice(raw).map(FieldValue::Number),
            FieldUnit::Tags => self.read_tags(raw).map(FieldValue::Tags),
            _ => self.read_number(raw).map(FieldValue::Number),
        }
    }

    fn read_choice(&self, raw: &RawValue) -> Result<i64, ConfigError> {
        let words = self.choices.join(" or ");
        let RawValue::Text(text) = raw else {
            return Err(self.error(format!("must be {words}, not {}", raw.kind())));
        };
        let place = self.choices.iter().position(|word| word == text).and_then(|place| i64::try_from(place).ok());
        place.ok_or_else(|| self.error(format!("is `{}`, which is not {words}", shown(text))))
    }

    fn read_tags(&self, raw: &RawValue) -> Result<Tags, ConfigError> {
        let RawValue::List(items) = raw else {
            return Err(self.error(format!("must be a list of texts, not {}", raw.kind())));
        };
        let tag = |item: &RawValue| match item {
            RawValue::Text(text) => Ok(text.clone()),
            other => Err(self.error(format!("must be a list of texts, and has {} in it", other.kind()))),
        };
        let texts: Vec<String> = items.iter().map(tag).collect::<Result<_, _>>()?;
        Tags::new(texts).map_err(|problem| self.error(problem))
    }

    fn read_number(&self, raw: &RawValue) -> Result<i64, ConfigError> {
        match (self.unit, raw) {
            (FieldUnit::Flag, RawValue::Flag(flag)) => Ok(i64::from(*flag)),
            (FieldUnit::Flag, other) => Err(self.error(format!("must be true or false, not {}", other.kind()))),
            (_, RawValue::Number(number)) if (self.min..=self.max).contains(number) => Ok(*number),
            (_, RawValue::Number(number)) => {
                Err(self.error(format!("is `{number}`, which is not within {} and {}", self.min, self.max)))
            }
            (_, other) => Err(self.error(format!("must be a whole number, not {}", other.kind()))),
        }
    }

    fn error(&self, problem: String) -> ConfigError {
        ConfigError { field: self.name.to_owned(), problem }
    }
}

/// A value from a text before it is checked against a field. It keeps what an error message needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::domain) enum RawValue {
    Number(i64),
    Flag(bool),
    Text(String),
    List(Vec<RawValue>),
    Map(Vec<(String, RawValue)>),
    Null,
    Other(&'static str),
}

impl RawValue {
    /// Reads a value of any type.
    ///
    /// # Errors
    /// [`ConfigError`] with the message of the text format when the text is not well formed; its field is `section`.
    pub(in crate::domain) fn parse<'de, D: Deserializer<'de>>(section: &str, text: D) -> Result<Self, ConfigError> {
        Self::deserialize(text)
            .map_err(|error| ConfigError { field: section.to_owned(), problem: format!("is not readable: {error}") })
    }

    /// Returns the fields of a section, each at most once.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not an object, or names a field twice.
    pub(in crate::domain) fn fields(&self, section: &str) -> Result<&[(String, Self)], ConfigError> {
        let Self::Map(fields) = self else {
            let problem = format!("must be an object, not {}", self.kind());
            return Err(ConfigError { field: section.to_owned(), problem });
        };
        let mut rest = fields.as_slice();
        while let Some(((name, _), later)) = rest.split_first() {
            if later.iter().any(|(other, _)| other == name) {
                return Err(ConfigError { field: shown(name), problem: "is given twice".to_owned() });
            }
            rest = later;
        }
        Ok(fields)
    }

    /// Returns the kind of the value, as an error message names it.
    pub(in crate::domain) fn kind(&self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Flag(_) => "true or false",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
            Self::Null => "null",
            Self::Other(kind) => kind,
        }
    }
}

/// Returns the error for a name that is not a field of `section`.
pub(in crate::domain) fn unknown_field(section: &str, name: &str) -> ConfigError {
    ConfigError { field: shown(name), problem: format!("is not a field of {section}") }
}

/// Returns a name from outside, shortened to fit in a message.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> de::Visitor<'de> for RawVisitor {
    type Value = RawValue;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a configuration value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<RawValue, E> {
        Ok(RawValue::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<RawValue, E> {
        Ok(RawValue::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<RawValue, E> {
        // Every range ends far below `i64::MAX`, so a number beyond it is out of range for every field.
        Ok(RawValue::Number(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<RawValue, E> {
        Ok(RawValue::Other("a fraction"))
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<RawValue, D::Error> {
        RawValue::deserialize(inner)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<RawValue, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(RawValue::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<RawValue, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            fields.push(entry);
        }
        Ok(RawValue::Map(fields))
    }
}

/// Makes the struct of a section, its patch and its field list from one table, so that the three cannot disagree.
macro_rules! config_section {
    (
        $(#[$about:meta])*
        $values:ident, $patch:ident, $section:literal {
            $(#[doc = $doc:literal] $field:ident: $kind:ty = $name:literal, $unit:ident, $default:literal, $min:literal..=$max:literal $(, before $before:literal)?;)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $values {
            $(#[doc = $doc] pub $field: $kind,)+
        }

        /// Some of the fields of the section of the same name: the ones that a request changes or a user overrides.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $patch {
            $(#[doc = $doc] pub $field: Option<$kind>,)+
        }

        impl Default for $values {
            fn default() -> Self {
                Self { $($field: <$kind as ConfigValue>::from_value(&FieldValue::Number($default)),)+ }
            }
        }

        impl $values {
            pub const SECTION: &'static str = $section;
            /// In the order of the table in the spec.
            pub const FIELDS: &'static [Field] = &[$(Field {
                section: $section,
                name: $name,
                about: $doc.trim_ascii(),
                unit: FieldUnit::$unit,
                min: $min,
                max: $max,
                default: $default,
                choices: <$kind as ConfigValue>::CHOICES,
                before: config_section!(@before $($before)?),
            },)+];

            /// Returns these values with the fields that `patch` sets.
            pub fn with(&self, patch: &$patch) -> Self {
                Self { $($field: patch.$field.clone().unwrap_or_else(|| self.$field.clone()),)+ }
            }

            /// Returns a patch that sets every field to these values.
            pub fn patch(&self) -> $patch {
                $patch { $($field: Some(self.$field.clone()),)+ }
            }

            /// Returns each field with its value, in the order of `FIELDS`.
            pub fn values(&self) -> Vec<(&'static Field, FieldValue)> {
                Self::FIELDS.iter().zip([$(self.$field.value(),)+]).collect()
            }
        }

        impl $patch {
            /// Reads a partial section.
            ///
            /// # Errors
            /// [`ConfigError`] with the name of the first field that is wrong; nothing is applied then.
            pub fn parse_from<'de, D: serde::Deserializer<'de>>(text: D) -> Result<Self, ConfigError> {
                Self::from_raw(&RawValue::parse($section, text)?)
            }

            /// Converts a raw section.
            ///
            /// # Errors
            /// [`ConfigError`] with the name of the first field that is wrong; nothing is applied then.
            pub(in crate::domain) fn from_raw(raw: &RawValue) -> Result<Self, ConfigError> {
                let mut patch = Self::default();
                for (name, value) in raw.fields($section)? {
                    patch.set(name, value)?;
                }
                Ok(patch)
            }

            fn set(&mut self, name: &str, value: &RawValue) -> Result<(), ConfigError> {
                let mut fields = $values::FIELDS.iter();
                $(
                    let field = fields.next();
                    if name == $name {
                        let value = field.map_or_else(|| Err(unknown_field($section, name)), |field| field.read(value))?;
                        self.$field = Some(<$kind as ConfigValue>::from_value(&value));
                        return Ok(());
                    }
                )+
                Err(unknown_field($section, name))
            }

            /// Returns both patches as one; where both set a field, `newer` wins.
            pub fn with(&self, newer: &Self) -> Self {
                Self { $($field: newer.$field.clone().or_else(|| self.$field.clone()),)+ }
            }

            /// Returns this patch without the field of that name.
            pub fn without(mut self, name: &str) -> Self {
                $(if name == $name {
                    self.$field = None;
                })+
                self
            }

            /// Returns whether no field is set.
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }

            /// Returns the fields that are set, each with its value, in the order of the section's `FIELDS`.
            pub fn values(&self) -> Vec<(&'static Field, FieldValue)> {
                $values::FIELDS
                    .iter()
                    .zip([$(self.$field.as_ref().map(ConfigValue::value),)+])
                    .filter_map(|(field, value)| Some((field, value?)))
                    .collect()
            }
        }

        impl serde::Serialize for $values {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_values(self.values(), serializer)
            }
        }

        impl serde::Serialize for $patch {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serialize_values(self.values(), serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $patch {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse_from(deserializer).map_err(serde::de::Error::custom)
            }
        }

        /// A field that the text lacks, because it was written before the field existed, has its default.
        impl<'de> serde::Deserialize<'de> for $values {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$patch as serde::Deserialize>::deserialize(deserializer).map(|patch| Self::default().with(&patch))
            }
        }
    };
    (@before) => { None };
    (@before $before:literal) => { Some($before) };
}
pub(in crate::domain) use config_section;

/// Writes fields under their names: flags as `true` and `false`, choices as their words, tags as a list.
///
/// # Errors
/// The error of the serializer.
pub(in crate::domain) fn serialize_values<S: serde::Serializer>(
    values: Vec<(&'static Field, FieldValue)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = serializer.serialize_map(Some(values.len()))?;
    for (field, value) in values {
        match (field.unit, value) {
            (_, FieldValue::Tags(tags)) => map.serialize_entry(field.name, tags.list())?,
            (FieldUnit::Flag, FieldValue::Number(number)) => map.serialize_entry(field.name, &(number != 0))?,
            (FieldUnit::Choice, FieldValue::Number(number)) => map.serialize_entry(field.name, field.word(number))?,
            (_, FieldValue::Number(number)) => map.serialize_entry(field.name, &number)?,
        }
    }
    map.end()
}
