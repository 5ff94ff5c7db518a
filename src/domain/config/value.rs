//! The values of configuration fields: numbers, the words of a choice, lists of tags.

use std::sync::Arc;

use crate::domain::money::text_enum::text_enum;
use crate::domain::money::units::{Bps, PriceMicros, UsdcMicros};

/// The value of one field. A flag is the number 1 or 0, a choice is the place of its word in the field's `choices`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    Number(i64),
    Tags(Tags),
}

/// Tags of markets, as Gamma writes their slugs: in lower case, each once, in alphabetical order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags(Arc<[String]>);

/// How a sale of a copy is sized (spec 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ExitSizing {
    /// Like a purchase: by the leader's notional.
    #[default]
    Notional,
    /// The share of our lot that the leader sold of theirs.
    Proportional,
}
text_enum!(ExitSizing { Notional => "NOTIONAL", Proportional => "PROPORTIONAL" });

impl FieldValue {
    /// Returns the number; `None` for a list of tags.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Tags(_) => None,
        }
    }

    /// Returns the tags; none for a number.
    pub fn tags(&self) -> &[String] {
        match self {
            Self::Number(_) => &[],
            Self::Tags(tags) => tags.list(),
        }
    }
}

impl Tags {
    /// The most tags of one list.
    pub const MOST: usize = 50;
    /// The most characters of one tag.
    pub const LONGEST: usize = 64;

    /// Returns these tags in lower case, sorted, each once.
    ///
    /// # Errors
    /// What is wrong, when there are too many tags, or when one is empty, too long, or has a character that no slug has.
    pub fn new(tags: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut list = Vec::new();
        for tag in tags {
            let tag = tag.trim().to_lowercase();
            let is_good = (1..=Self::LONGEST).contains(&tag.chars().count()) && tag.chars().all(is_of_a_slug);
            if !is_good {
                let shown: String = tag.chars().take(Self::LONGEST).collect();
                return Err(format!(
                    "has the tag `{shown}`, which is not 1 to {} letters, digits, `-`, `_` and `.`",
                    Self::LONGEST
                ));
            }
            list.push(tag);
        }
        list.sort_unstable();
        list.dedup();
        match list.len() {
            n if n > Self::MOST => Err(format!("has {n} tags, which is more than {}", Self::MOST)),
            _ => Ok(Self(list.into())),
        }
    }

    /// Returns the tags in alphabetical order.
    pub fn list(&self) -> &[String] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the first of these tags that is also in `others`.
    pub fn first_in<'a>(&'a self, others: &[String]) -> Option<&'a str> {
        self.0.iter().find(|tag| others.contains(tag)).map(String::as_str)
    }
}

fn is_of_a_slug(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.')
}

/// A typed value that a field holds as a [`FieldValue`].
pub(in crate::domain) trait ConfigValue: Clone {
    /// The words of a choice, in the order of their numbers.
    const CHOICES: &'static [&'static str] = &[];
    /// Converts a value that is in the range of the field, which is within the range of the type.
    fn from_value(value: &FieldValue) -> Self;
    fn value(&self) -> FieldValue;
}

impl ConfigValue for i64 {
    fn from_value(value: &FieldValue) -> Self {
        value.number().unwrap_or_default()
    }
    fn value(&self) -> FieldValue {
        FieldValue::Number(*self)
    }
}

impl ConfigValue for bool {
    fn from_value(value: &FieldValue) -> Self {
        value.number().unwrap_or_default() != 0
    }
    fn value(&self) -> FieldValue {
        FieldValue::Number(i64::from(*self))
    }
}

impl ConfigValue for Bps {
    fn from_value(value: &FieldValue) -> Self {
        Self(value.number().unwrap_or_default())
    }
    fn value(&self) -> FieldValue {
        FieldValue::Number(self.0)
    }
}

impl ConfigValue for UsdcMicros {
    fn from_value(value: &FieldValue) -> Self {
        Self(value.number().unwrap_or_default())
    }
    fn value(&self) -> FieldValue {
        FieldValue::Number(self.0)
    }
}

impl ConfigValue for PriceMicros {
    fn from_value(value: &FieldValue) -> Self {
        Self::new(value.number().unwrap_or_default()).unwrap_or(Self::ONE)
    }
    fn value(&self) -> FieldValue {
        FieldValue::Number(self.micros())
    }
}

impl ConfigValue for ExitSizing {
    const CHOICES: &'static [&'static str] = &[Self::Notional.as_str(), Self::Proportional.as_str()];
    fn from_value(value: &FieldValue) -> Self {
        let place = value.number().and_then(|number| usize::try_from(number).ok());
        place.and_then(|place| Self::ALL.get(place)).copied().unwrap_or_default()
    }
    fn value(&self) -> FieldValue {
        let place = Self::ALL.iter().position(|word| word == self).unwrap_or_default();
        FieldValue::Number(i64::try_from(place).unwrap_or_default())
    }
}

impl ConfigValue for Tags {
    fn from_value(value: &FieldValue) -> Self {
        match value {
            FieldValue::Tags(tags) => tags.clone(),
            FieldValue::Number(_) => Self::default(),
        }
    }
    fn value(&self) -> FieldValue {
        FieldValue::Tags(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(list: &[&str]) -> Result<Tags, String> {
        Tags::new(list.iter().map(|tag| (*tag).to_owned()))
    }

    #[test]
    fn tags_are_sorted_and_each_once_whatever_their_case() {
        let both = tags(&["Politics", "nba", " politics ", "us-election"]).unwrap();
        assert_eq!(both.list(), ["nba", "politics", "us-election"]);
        assert_eq!(both, tags(&["us-election", "politics", "nba"]).unwrap());
        assert_eq!(both.first_in(&["crypto".to_owned(), "politics".to_owned()]), Some("politics"));
        assert_eq!(both.first_in(&[]), None);
    }

    #[test]
    fn a_tag_that_no_market_can_have_is_refused() {
        let longest = "x".repeat(Tags::LONGEST);
        assert!(tags(&[&longest]).is_ok());
        for bad in ["", " ", "a b", "a,b", "a\"b", &format!("{longest}x"), "\u{0}"] {
            assert!(tags(&[bad]).unwrap_err().starts_with("has the tag `"), "{bad:?}");
        }
        let many: Vec<String> = (0..=Tags::MOST).map(|n| format!("tag-{n}")).collect();
        assert_eq!(Tags::new(many.clone()).unwrap_err(), "has 51 tags, which is more than 50");
        assert!(Tags::new(many.into_iter().skip(1)).is_ok());
    }

    #[test]
    fn every_choice_has_its_place() {
        for (place, word) in ExitSizing::ALL.iter().enumerate() {
            assert_eq!(word.value(), FieldValue::Number(i64::try_from(place).unwrap()));
            assert_eq!(ExitSizing::from_value(&word.value()), *word);
            assert_eq!(ExitSizing::CHOICES[place], word.as_str());
        }
    }
}
