//! The name that a page shows for a followed trader.

use super::ids::Wallet;

/// The longest label, in characters. Labels are shown in tables; the venue allows far longer names.
pub const LABEL_CHARACTERS_MAX: usize = 60;

/// Returns the label of a trader without a name: the first ten characters of the wallet, for example `0x1a2b3c4d`.
pub fn label_of(wallet: &Wallet) -> String {
    wallet.as_str().chars().take(10).collect()
}
