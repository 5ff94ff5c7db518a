//! Malformed texts: a valid one with a few mistakes. For the property tests of parsers, which need inputs that are
//! nearly right, because pure noise never gets past the first brace.

use proptest::{prelude::*, sample::Index};
use serde_json::Value;

/// JSON that `serde_json::Value` cannot hold, such as a number of a thousand digits or an object with a name twice.
#[derive(Debug, Clone)]
enum JsonTree {
    Leaf(String),
    Array(Vec<JsonTree>),
    Object(Vec<(String, JsonTree)>),
}

/// One mistake at one place of the tree.
#[derive(Debug, Clone)]
enum Harm {
    Drop,
    Double,
    /// Another text in this place; it is JSON or nearly JSON.
    Replace(String),
    /// A copy of another part of the tree.
    Swap(Index),
    /// The same value under another name.
    Rename(String),
    /// A number becomes a string, a string becomes its content, and any other value is put into a list.
    Retype,
    /// One byte of the leaf is changed.
    Nudge(Index, char),
    /// The value is nested in this many lists.
    Bury(usize),
}

/// One mistake in the text as a whole.
#[derive(Debug, Clone)]
enum Tear {
    Nothing,
    Cut(Index),
    Byte(Index, u8),
    Insert(Index, String),
    Around(&'static str, &'static str),
}

/// Returns one of `samples`, which are JSON, with up to four mistakes inside and sometimes one in its text.
pub fn mutated_json(samples: Vec<String>) -> impl Strategy<Value = String> {
    let trees: Vec<JsonTree> = samples.iter().map(|text| JsonTree::of(&serde_json::from_str(text).unwrap())).collect();
    (prop::sample::select(trees), prop::collection::vec((any::<Index>(), harm()), 0..5), tear()).prop_map(
        |(mut tree, harms, tear)| {
            for (place, harm) in harms {
                tree.mutate(place, &harm);
            }
            tear.apply(tree.text())
        },
    )
}

/// Returns one of the samples, which are not JSON, with up to four mistakes in its text.
pub fn mutated_text(sample: String) -> impl Strategy<Value = String> {
    prop::collection::vec(tear(), 0..5)
        .prop_map(move |tears| tears.into_iter().fold(sample.clone(), |text, tear| tear.apply(text)))
}

/// Returns noise: random bytes, converted to text with replacement characters.
pub fn noise() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,200}",
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "[\\[\\]{}\",:0-9eE+\\-. \\\\u]{0,200}",
    ]
}

/// Returns unusual numbers in the notations that JSON allows.
pub fn number() -> impl Strategy<Value = String> {
    let edges = [
        "0",
        "-0",
        "-0.0",
        "0.0000001",
        "0.0000005",
        "0.9999995",
        "1.0000005",
        "-1",
        "1e-400",
        "1e400",
        "-1e400",
        "1E+5",
        "5e-324",
        "1.7976931348623157e308",
        "2147483648",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "9223372036854.775807",
        "9223372036854.775808",
        "18446744073709551615",
        "18446744073709551616",
        "79228162514264337593543950335",
        "79228162514264337593543950336",
        "0.1000000000000000055511151231257827",
        "999999999999.9999999",
        "4102444800",
        "253402300800",
        "NaN",
        "Infinity",
        "-Infinity",
        "0x10",
        "1_000",
        "01",
        "+1",
        ".5",
        "5.",
        "1,5",
        "١",
    ];
    prop_oneof![
        3 => prop::sample::select(edges.to_vec()).prop_map(str::to_owned),
        2 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?",
        1 => any::<i64>().prop_map(|n| n.to_string()),
        1 => (0_usize..400).prop_map(|n| "9".repeat(n + 1)),
    ]
}

/// Returns unusual strings, without quotes.
pub fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just(" ".to_owned()),
        Just("null".to_owned()),
        Just("\0".to_owned()),
        Just("\u{feff}\u{202e}\u{200b}".to_owned()),
        Just("<script>alert('x')</script>".to_owned()),
        Just("İßſ\u{301}\u{1f4a9}".to_owned()),
        Just("../../etc/passwd".to_owned()),
        Just("'; drop table job; --".to_owned()),
        "\\PC{0,40}",
        (1_usize..70_000).prop_map(|n| "a".repeat(n)),
        "(0x)?[0-9a-fA-F]{38,66}",
        "[0-9]{1,80}",
        number(),
    ]
}

/// Returns any JSON value, or a text that is nearly one.
fn odd() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => number(),
        2 => words().prop_map(|text| Value::String(text).to_string()),
        1 => number().prop_map(|text| format!("\"{text}\"")),
        1 => prop::sample::select(vec!["null", "true", "false", "[]", "{}", "[null]", "\"\\ud800\"", "\"\\u0000\"", "\"\\x\"", "nul"])
            .prop_map(str::to_owned),
        1 => (1_usize..400).prop_map(|n| format!("{}{}", "[".repeat(n), "]".repeat(n))),
        1 => (1_usize..400).prop_map(|n| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n))),
    ]
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        2 => Just(Harm::Drop),
        1 => Just(Harm::Double),
        5 => odd().prop_map(Harm::Replace),
        2 => any::<Index>().prop_map(Harm::Swap),
        1 => words().prop_map(Harm::Rename),
        2 => Just(Harm::Retype),
        3 => (any::<Index>(), prop_oneof![Just('0'), Just('9'), Just('f'), Just('-'), Just('.'), Just('e'), any::<char>()])
            .prop_map(|(at, with)| Harm::Nudge(at, with)),
        1 => (1_usize..200).prop_map(Harm::Bury),
    ]
}

fn tear() -> impl Strategy<Value = Tear> {
    prop_oneof![
        8 => Just(Tear::Nothing),
        1 => any::<Index>().prop_map(Tear::Cut),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Tear::Byte(at, byte)),
        1 => (any::<Index>(), words()).prop_map(|(at, text)| Tear::Insert(at, text)),
        1 => prop::sample::select(vec![("\u{feff}", ""), ("", "{}"), ("[", "]"), ("\n\n ", "\0"), ("", ","), ("{\"data\":", "}")])
            .prop_map(|(before, after)| Tear::Around(before, after)),
    ]
}

impl JsonTree {
    fn of(value: &Value) -> Self {
        match value {
            Value::Array(items) => Self::Array(items.iter().map(Self::of).collect()),
            Value::Object(fields) => {
                Self::Object(fields.iter().map(|(name, value)| (name.clone(), Self::of(value))).collect())
            }
            leaf => Self::Leaf(leaf.to_string()),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Leaf(text) => text.clone(),
            Self::Array(items) => format!("[{}]", items.iter().map(Self::text).collect::<Vec<_>>().join(",")),
            Self::Object(fields) => {
                let field = |(name, value): &(String, Self)| format!("{}:{}", Value::from(name.as_str()), value.text());
                format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
            }
        }
    }

    /// The number of values: this one and all values inside it.
    fn n_places(&self) -> usize {
        let inner: usize = match self {
            Self::Leaf(_) => 0,
            Self::Array(items) => items.iter().map(Self::n_places).sum(),
            Self::Object(fields) => fields.iter().map(|(_, value)| value.n_places()).sum(),
        };
        inner + 1
    }

    /// Returns the value of that number, where this value is the first. Subtracts the values that it passes from
    /// `number`.
    fn at(&mut self, number: &mut usize) -> Option<&mut Self> {
        if *number == 0 {
            return Some(self);
        }
        *number -= 1;
        match self {
            Self::Leaf(_) => None,
            Self::Array(items) => items.iter_mut().find_map(|item| item.at(number)),
            Self::Object(fields) => fields.iter_mut().find_map(|(_, value)| value.at(number)),
        }
    }

    fn mutate(&mut self, place: Index, harm: &Harm) {
        let n_places = self.n_places();
        let elsewhere = match harm {
            Harm::Swap(other) => self.at(&mut other.index(n_places)).cloned(),
            _ => None,
        };
        let Some(found) = self.at(&mut place.index(n_places)) else { return };
        match harm {
            // Drops, doubles or renames a value inside the place that was found, or empties the place.
            Harm::Drop => match found {
                Self::Array(items) if !items.is_empty() => drop(items.remove(place.index(items.len()))),
                Self::Object(fields) if !fields.is_empty() => drop(fields.remove(place.index(fields.len()))),
                other => *other = Self::Leaf("null".to_owned()),
            },
            Harm::Double => match found {
                Self::Array(items) if !items.is_empty() => items.push(items[place.index(items.len())].clone()),
                Self::Object(fields) if !fields.is_empty() => fields.push(fields[place.index(fields.len())].clone()),
                other => *other = Self::Array(vec![other.clone(), other.clone()]),
            },
            Harm::Rename(name) => match found {
                Self::Object(fields) if !fields.is_empty() => {
                    let at = place.index(fields.len());
                    fields[at].0.clone_from(name);
                }
                other => *other = Self::Object(vec![(name.clone(), other.clone())]),
            },
            Harm::Replace(text) => *found = Self::Leaf(text.clone()),
            Harm::Swap(_) => *found = elsewhere.unwrap_or_else(|| Self::Leaf("null".to_owned())),
            Harm::Retype => {
                let retyped = match &*found {
                    Self::Leaf(text) => match serde_json::from_str::<Value>(text) {
                        Ok(Value::String(inner)) => Self::Leaf(inner),
                        _ => Self::Leaf(Value::from(text.as_str()).to_string()),
                    },
                    other => Self::Array(vec![other.clone()]),
                };
                *found = retyped;
            }
            Harm::Nudge(at, with) => {
                if let Self::Leaf(text) = found {
                    let mut letters: Vec<char> = text.chars().collect();
                    let at = at.index(letters.len() + 1);
                    match letters.get_mut(at) {
                        Some(letter) => *letter = *with,
                        None => letters.push(*with),
                    }
                    *text = letters.into_iter().collect();
                }
            }
            Harm::Bury(depth) => {
                let text = format!("{}{}{}", "[".repeat(*depth), found.text(), "]".repeat(*depth));
                *found = Self::Leaf(text);
            }
        }
    }
}

impl Tear {
    fn apply(self, text: String) -> String {
        let mut bytes = text.into_bytes();
        match self {
            Self::Nothing => {}
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Byte(at, byte) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            Self::Insert(at, text) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, text.into_bytes());
            }
            Self::Around(before, after) => bytes = [before.as_bytes(), &bytes, after.as_bytes()].concat(),
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
