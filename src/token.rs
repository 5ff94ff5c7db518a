//! Random texts that identify a user or a script, and how they are hashed and compared.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRngCore, rngs::OsRng};
use sha2::{Digest, Sha256};

/// The SHA-256 of a token; only the hash is stored.
pub type Hash = [u8; 32];

/// The operating system returned no random numbers.
#[derive(Debug, thiserror::Error)]
#[error("the operating system returned no random numbers")]
pub struct NoRandomness(#[source] rand::rand_core::OsError);

/// Returns 256 random bits as text of 43 characters that fit into a URL.
///
/// # Errors
/// [`NoRandomness`].
pub fn random_text() -> Result<String, NoRandomness> {
    let mut bytes = [0; 32];
    fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Fills `bytes` with random bytes.
///
/// # Errors
/// [`NoRandomness`].
pub fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    OsRng.try_fill_bytes(bytes).map_err(NoRandomness)
}

/// Returns the SHA-256 of a token. A plain hash is enough because tokens are random: no list of guesses contains them.
pub fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Returns a hash as text, as the database and Redis store it.
pub fn hex(hash: &Hash) -> String {
    hash.iter().fold(String::with_capacity(64), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).expect("a half byte is a hex digit"));
        }
        text
    })
}

/// Compares two texts in a time that does not depend on them.
pub fn same(a: &str, b: &str) -> bool {
    same_hash(&hash(a), &hash(b))
}

/// Compares two hashes in a time that does not depend on them.
pub fn same_hash(a: &Hash, b: &Hash) -> bool {
    let different = a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b));
    std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_the_same_and_each_has_256_bits() {
        let (one, other) = (random_text().unwrap(), random_text().unwrap());
        assert_eq!((one.len(), other.len()), (43, 43));
        assert!(!same(&one, &other) && same(&one, &one.clone()));
    }

    #[test]
    fn the_hash_of_a_known_text_is_the_published_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&hash("abc")), expected);
    }
}
