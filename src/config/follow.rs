//! The traders to follow from the first start.

use super::{SettingError, Sources};
use crate::domain::money::ids::Wallet;
use crate::domain::money::label::{LABEL_CHARACTERS_MAX, label_of};

/// The traders that the settings name.
#[derive(Debug, Clone, Default)]
pub struct FollowSettings {
    /// `FOLLOW`: `label=wallet` or a wallet alone, separated by commas. When a worker starts, it follows those that its
    /// database has never known. Default: none.
    pub traders: Vec<NamedWallet>,
}

/// A wallet to follow and its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedWallet {
    pub label: String,
    pub wallet: Wallet,
}

/// Parses `FOLLOW`.
///
/// # Errors
/// [`SettingError::WrongEntry`] for the first entry that is invalid, or repeats a wallet or label.
pub(super) fn follow(sources: &Sources) -> Result<FollowSettings, SettingError> {
    let mut traders: Vec<NamedWallet> = Vec::new();
    let entries = sources.text("FOLLOW").map(|text| text.split(',')).into_iter().flatten();
    for entry in entries.map(str::trim) {
        let wrong = |problem| SettingError::WrongEntry { name: "FOLLOW", entry: entry.to_owned(), problem };
        let trader = named_wallet(entry).map_err(wrong)?;
        if traders.iter().any(|other| other.wallet == trader.wallet) {
            return Err(wrong("names a wallet that another entry names too"));
        }
        // `unfollow` and other commands also compare labels without case.
        if traders.iter().any(|other| other.label.eq_ignore_ascii_case(&trader.label)) {
            return Err(wrong("has a label that another entry has too"));
        }
        traders.push(trader);
    }
    Ok(FollowSettings { traders })
}

fn named_wallet(entry: &str) -> Result<NamedWallet, &'static str> {
    // A label may contain `=`, a wallet does not.
    let (label, wallet) = match entry.rsplit_once('=') {
        Some((label, wallet)) => (Some(label.trim()), wallet.trim()),
        None => (None, entry),
    };
    let wallet = Wallet::parse(wallet)
        .map_err(|_| "should be `label=wallet` or a wallet alone; a wallet is 0x and 40 hex digits")?;
    let label = match label {
        Some("") => return Err("has no label before its `=`"),
        Some(label) => label.to_owned(),
        None => label_of(&wallet),
    };
    match label.chars().count() <= LABEL_CHARACTERS_MAX {
        true => Ok(NamedWallet { label, wallet }),
        false => Err("has a label of more than 60 characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings::from_environment;
    use super::*;

    const ONE: &str = "0x1111111111111111111111111111111111111111";
    const TWO: &str = "0x2222222222222222222222222222222222222222";

    fn parsed(text: &str) -> Result<Vec<(String, String)>, SettingError> {
        let traders = from_environment(&[("FOLLOW", text)])?.follow.traders;
        Ok(traders.into_iter().map(|trader| (trader.label, trader.wallet.to_string())).collect())
    }

    #[test]
    fn an_entry_without_a_label_is_named_by_the_beginning_of_its_wallet() {
        let check = |text: &str, wanted: &[(&str, &str)]| {
            let wanted: Vec<_> = wanted.iter().map(|(label, wallet)| ((*label).into(), (*wallet).into())).collect();
            assert_eq!(parsed(text).unwrap(), wanted, "{text}");
        };
        let longest = "é".repeat(LABEL_CHARACTERS_MAX);
        check("", &[]);
        check(&format!("ada={ONE}"), &[("ada", ONE)]);
        check(&format!(" Ada L. = {ONE} ,\n{TWO}"), &[("Ada L.", ONE), ("0x22222222", TWO)]);
        check(&format!("a=b={ONE}"), &[("a=b", ONE)]);
        check(&format!("{longest}={ONE}"), &[(longest.as_str(), ONE)]);
        let checksummed = "0xE111180000d2663C0091e4f400237545B87B996B";
        check(checksummed, &[("0xe1111800", checksummed.to_lowercase().as_str())]);
    }

    #[test]
    fn an_entry_that_cannot_be_followed_is_named() {
        let check = |text: &str, entry: &str, part: &str| {
            let message = parsed(text).unwrap_err().to_string();
            let named = format!("entry `{entry}` of setting `FOLLOW` ");
            assert!(message.starts_with(&named) && message.contains(part), "{message}");
        };
        check("ada=0x12", "ada=0x12", "40 hex digits");
        check(&format!("ada={ONE},grace"), "grace", "40 hex digits");
        check(&format!("{ONE}=ada"), &format!("{ONE}=ada"), "40 hex digits");
        check(&format!("ada={ONE},"), "", "40 hex digits");
        check(&format!("={ONE}"), &format!("={ONE}"), "no label");
        let long = format!("{}={ONE}", "é".repeat(LABEL_CHARACTERS_MAX + 1));
        check(&long, &long, &format!("more than {LABEL_CHARACTERS_MAX} characters"));
        check(&format!("ada={ONE},Ada={TWO}"), &format!("Ada={TWO}"), "label that another");
        check(&format!("ada={ONE},grace={ONE}"), &format!("grace={ONE}"), "wallet that another");
    }
}
