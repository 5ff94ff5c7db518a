//! An e-mail address, used only to identify a person: we compare addresses and never send mail.

use std::fmt;

/// The longest address that SMTP can carry (RFC 5321).
const BYTES_MAX: usize = 254;

/// An address in lower case, because providers write the same address in any case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// The text is not an e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an e-mail address: it needs one @ with something on both sides, in at most 254 ASCII characters without spaces"
)]
pub struct InvalidEmail;

impl Email {
    /// Reads an address and turns it into lower case.
    ///
    /// # Errors
    /// [`InvalidEmail`].
    pub fn parse(text: &str) -> Result<Self, InvalidEmail> {
        let (name, host) = text.rsplit_once('@').ok_or(InvalidEmail)?;
        // ASCII only: a letter outside ASCII may look like an ASCII letter, or turn into one in lower case, but it
        // makes a different address.
        let is_odd = |c: char| !c.is_ascii_graphic();
        if name.is_empty() || host.is_empty() || name.contains('@') || text.len() > BYTES_MAX || text.contains(is_odd) {
            return Err(InvalidEmail);
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
    type Err = InvalidEmail;

    fn from_str(text: &str) -> Result<Self, InvalidEmail> {
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
    fn a_text_that_is_not_an_address_is_refused() {
        for text in ["", "ada", "@example.org", "ada@", "a@b@c", "ada @example.org", "ada@example.org\n"] {
            assert_eq!(Email::parse(text), Err(InvalidEmail), "{text:?}");
        }
        // The Kelvin sign, which becomes a k in lower case.
        assert_eq!(Email::parse("\u{212a}im@example.org"), Err(InvalidEmail));
        assert_eq!(Email::parse(&format!("{}@example.org", "a".repeat(250))), Err(InvalidEmail));
    }
}
