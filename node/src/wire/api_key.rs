//! The text of an API key: `fednode-`, then 256 random bits and a checksum of 24 in base 32. The prefix is for people and
//! for programs that look for leaked secrets (`fednode-[a-z2-7]{56}`), the checksum tells a slip of the hand from a key that
//! was removed. What is kept of a key is one derived BLAKE3 hash: a slow hash would make guessing a password slow, but nobody
//! guesses 256 random bits, and a slow one would let strangers burn this machine's time with wrong keys.

/// What every key begins with.
const PREFIX: &str = "fednode-";
const SECRET_BYTES: usize = 32;
/// With the secret 35 bytes: exactly 56 digits of base 32, so that no two texts mean the same key.
const CHECKSUM_BYTES: usize = 3;
const TEXT_DIGITS: usize = 56;
/// RFC 4648 in lower case: no 0, 1, 8 or 9, which are taken for letters.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const CHECKSUM_CONTEXT: &str = "fednode 2026 API key checksum";
const DIGEST_CONTEXT: &str = "fednode 2026 API key at rest";

/// Text that cannot be a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotAKey {
    /// Something else altogether.
    #[error("it is not a key of fednode, which begins with fednode- and has 64 characters")]
    Form,
    /// Nearly one.
    #[error("it is damaged or cut short: its checksum does not match")]
    Checksum,
}

/// A key itself; it is shown once and never kept.
#[derive(Clone)]
pub struct SecretKey([u8; SECRET_BYTES]);

impl std::fmt::Debug for SecretKey {
    /// Without the secret: keys must not leak into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey")
    }
}

impl SecretKey {
    /// From 256 random bits.
    pub fn new(random: [u8; SECRET_BYTES]) -> SecretKey {
        SecretKey(random)
    }

    /// What is shown once.
    pub fn to_text(&self) -> String {
        let mut bytes = self.0.to_vec();
        bytes.extend_from_slice(&self.checksum());
        let digits = bytes.chunks(5).flat_map(|five| {
            let bits = five.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            (0..8).map(move |digit| ALPHABET[(bits >> (35 - 5 * digit) & 31) as usize] as char)
        });
        PREFIX.chars().chain(digits).collect()
    }

    /// From what a client sent.
    pub fn from_text(text: &str) -> Result<SecretKey, NotAKey> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAKey::Form)?.as_bytes();
        if digits.len() != TEXT_DIGITS {
            // The prefix is right: more likely cut by a terminal than another program's secret.
            return Err(NotAKey::Checksum);
        }
        let mut bytes = Vec::with_capacity(SECRET_BYTES + CHECKSUM_BYTES);
        for eight in digits.chunks_exact(8) {
            let mut bits = 0u64;
            for digit in eight {
                let value = ALPHABET.iter().position(|letter| letter == digit).ok_or(NotAKey::Checksum)?;
                bits = bits << 5 | value as u64;
            }
            bytes.extend_from_slice(&bits.to_be_bytes()[3..]);
        }
        let (secret, checksum) = bytes.split_first_chunk::<SECRET_BYTES>().ok_or(NotAKey::Form)?;
        let key = SecretKey(*secret);
        if checksum == key.checksum() { Ok(key) } else { Err(NotAKey::Checksum) }
    }

    /// What is kept: it says who comes, and nobody can make a key of it.
    pub fn digest(&self) -> blake3::Hash {
        blake3::Hash::from_bytes(blake3::derive_key(DIGEST_CONTEXT, &self.0))
    }

    fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        let [first, second, third, ..] = blake3::derive_key(CHECKSUM_CONTEXT, &self.0);
        [first, second, third]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_and_its_digest_tells_it_apart() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..=255u8 {
            let secret: [u8; 32] = std::array::from_fn(|at| seed.wrapping_mul(31).wrapping_add(at as u8));
            let key = SecretKey::new(secret);
            let text = key.to_text();
            let digits = text.strip_prefix("fednode-").unwrap();
            assert!(digits.len() == 56 && digits.bytes().all(|digit| ALPHABET.contains(&digit)), "{text}");
            assert_eq!(SecretKey::from_text(&text).unwrap().0, secret);
            assert!(seen.insert(key.digest().to_hex().to_string()));
            assert!(!format!("{key:?}").contains(&digits[..8]));
        }
    }

    #[test]
    fn every_wrong_letter_and_every_cut_is_noticed() {
        let text = SecretKey::new([7; 32]).to_text();
        for at in 0..text.len() {
            for letter in ['a', 'q', '7', '-', 'A', '1'] {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[at] == letter {
                    continue;
                }
                changed[at] = letter;
                let changed: String = changed.into_iter().collect();
                assert!(SecretKey::from_text(&changed).is_err(), "{changed}");
            }
            assert!(SecretKey::from_text(&text[..at]).is_err());
        }
        for other in ["", "sk-none", "fednode1:ab", "fednode-é", &format!("{text}a"), &text.to_uppercase()] {
            assert!(SecretKey::from_text(other).is_err(), "{other}");
        }
    }
}
