//! Random texts that prove who somebody is, and how they are compared and kept.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRngCore, rngs::OsRng};
use sha2::{Digest, Sha256};

/// A token's hash: all that is ever kept of one.
pub type Hash = [u8; 32];

/// The operating system gave no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random numbers")]
pub struct NoRandomness(#[source] rand::rand_core::OsError);

/// 256 random bits as text that fits in an address: 43 characters.
///
/// # Errors
/// `NoRandomness`.
pub fn random_text() -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// # Errors
/// `NoRandomness`.
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    OsRng.try_fill_bytes(bytes).map_err(NoRandomness)
}

/// SHA-256. Enough for texts that are random themselves, which nobody can guess from a list.
pub fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// A hash as a database and Redis keep it.
pub fn hex(hash: &Hash) -> String {
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).expect("a half byte is a hex digit"));
        }
        text
    })
}

/// Takes equally long whatever the texts are.
pub fn same(a: &str, b: &str) -> bool {
    same_hash(&hash(a), &hash(b))
}

/// Takes equally long whatever the hashes are.
pub fn same_hash(a: &Hash, b: &Hash) -> bool {
    let different = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same_and_each_is_256_bits() {
        let (one, other) = (random_text().unwrap(), random_text().unwrap());
        assert_eq!((one.len(), other.len()), (43, 43));
        assert!(!same(&one, &other) && same(&one, &one.clone()));
    }

    #[test]
    fn a_hash_is_the_one_that_others_would_work_out() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&hash("abc")), expected);
    }
}
