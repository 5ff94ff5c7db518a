//! Holds an answer against what was asked: whose rows they are (spec 3.1).

use std::collections::BTreeSet;

use crate::domain::money::ids::Wallet;

/// The rows of an answer name wallets that are not the leader's. None of them is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer for `{asked}` has rows of other wallets: {}", names(.wallets))]
pub(super) struct ForeignRows {
    pub asked: Wallet,
    pub wallets: Vec<Wallet>,
}

/// At most this many wallets are named.
const NAMED_MAX: usize = 5;

fn names(wallets: &[Wallet]) -> String {
    let named: Vec<&str> = wallets.iter().take(NAMED_MAX).map(Wallet::as_str).collect();
    match wallets.len().saturating_sub(named.len()) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Returns the wallets that are new, at most one: the leader may have a wallet that no row has named before.
///
/// `is_first` is for a leader of whom no row is stored and no wallet but the one that is asked for is known.
///
/// # Errors
/// [`ForeignRows`] when the rows name several unknown wallets, one of another leader, or an unknown wallet alone although
/// this is not the first answer.
pub(super) fn new_wallets(
    asked: &Wallet,
    named: &BTreeSet<Wallet>,
    is_known: impl Fn(&Wallet) -> bool,
    is_of_another: impl Fn(&Wallet) -> bool,
    is_first: bool,
) -> Result<Vec<Wallet>, ForeignRows> {
    let new: Vec<Wallet> = named.iter().filter(|wallet| !is_known(wallet)).cloned().collect();
    let is_taken = match new.as_slice() {
        [] => true,
        [one] => (is_first || named.len() > 1) && !is_of_another(one),
        _ => false,
    };
    if is_taken { Ok(new) } else { Err(ForeignRows { asked: asked.clone(), wallets: new }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::wallet_of;

    #[test]
    fn an_answer_is_taken_when_its_rows_name_known_wallets_or_one_new_one_beside_them() {
        let check = |is_first: bool, named: &[&str], expected: Option<&[&str]>| {
            let asked = wallet_of("asked");
            let named: BTreeSet<Wallet> = named.iter().map(|name| wallet_of(name)).collect();
            let is_known = |wallet: &Wallet| *wallet == asked || *wallet == wallet_of("proxy");
            let is_of_another = |wallet: &Wallet| *wallet == wallet_of("theirs");
            let new = new_wallets(&asked, &named, is_known, is_of_another, is_first).ok();
            let expected = expected.map(|names| names.iter().map(|name| wallet_of(name)).collect::<Vec<_>>());
            assert_eq!(new, expected, "{named:?}");
        };
        for is_first in [false, true] {
            check(is_first, &[], Some(&[]));
            check(is_first, &["asked"], Some(&[]));
            check(is_first, &["proxy", "asked"], Some(&[]));
            check(is_first, &["proxy", "second"], Some(&["second"]));
            check(is_first, &["proxy", "a stranger", "another"], None);
            check(is_first, &["a stranger", "another"], None);
            check(is_first, &["proxy", "theirs"], None);
            check(is_first, &["theirs"], None);
        }
        check(true, &["second"], Some(&["second"]));
        check(false, &["second"], None);
    }

    #[test]
    fn the_text_names_the_wallets_and_is_short() {
        let wallets: Vec<Wallet> = (0..40).map(|n| wallet_of(&format!("stranger {n}"))).collect();
        let text = ForeignRows { asked: wallet_of("leader"), wallets: wallets.clone() }.to_string();
        assert!(text.contains(wallets[0].as_str()) && text.ends_with("and 35 more"), "{text}");
    }
}
