//! An e-mail address as a name for somebody: compared, never written to.

use std::fmt;

/// The longest that SMTP can carry (RFC 5321).
const BYTES_MAX: usize = 254;

/// Lower case throughout: providers write the same address in any case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// A text that is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no e-mail address: it needs one @ with something on both sides, in at most 254 ASCII characters without spaces"
)]
pub struct NoEmail;

impl Email {
    /// # Errors
    /// `NoEmail`.
    pub fn parse(text: &str) -> Result<Self, NoEmail> {
        let (name, host) = text.rsplit_once('@').ok_or(NoEmail)?;
        // ASCII only: a letter that merely looks like another, or becomes one when lowered, would be another address.
        let is_odd = |c: char| !c.is_ascii_graphic();
        if name.is_empty() || host.is_empty() || name.contains('@') || text.len() > BYTES_MAX || text.contains(is_odd) {
            return Err(NoEmail);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Email {
    type Err = NoEmail;

    fn from_str(text: &str) -> Result<Self, NoEmail> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_address_in_another_case_is_the_same() {
        assert_eq!(Email::parse("Ada@Example.ORG"), Email::parse("ada@example.org"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "ada", "@example.org", "ada@", "a@b@c", "ada @example.org", "ada@example.org\n"] {
            assert_eq!(Email::parse(text), Err(NoEmail), "{text:?}");
        }
        // The Kelvin sign, which becomes a k when lowered as a letter.
        assert_eq!(Email::parse("\u{212a}im@example.org"), Err(NoEmail));
        assert_eq!(Email::parse(&format!("{}@example.org", "a".repeat(250))), Err(NoEmail));
    }
}
