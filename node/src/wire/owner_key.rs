//! The owner's key as a recovery file: text that a person can print, with a version and a checksum.

use libp2p_identity::ed25519;

use crate::core::types::{FederationId, hex};
use crate::wire::{WireError, field};

/// What the file's one meaningful line begins with.
const PREFIX: &str = "fednode-owner-1:";
/// In errors.
const WHAT: &str = "this recovery file is not usable";
const DAMAGED: &str = "it is damaged or cut short; use another copy of it, or export it again on the owner's machine";
/// Bytes of BLAKE3 behind the key: against slips of the hand, not against attackers.
const CHECKSUM_BYTES: usize = 8;

/// The recovery file of `owner`'s key.
pub fn to_text(owner: &ed25519::Keypair) -> String {
    let federation = FederationId(owner.public().to_bytes());
    let mut bytes = owner.secret().as_ref().to_vec();
    bytes.extend_from_slice(&checksum(&bytes));
    let digits = hex(&bytes);
    format!(
        "# WHOEVER HAS THIS FILE OWNS THE FEDERATION {federation}.\n\
         # It is not encrypted: keep it offline, such as on a stick or on paper in a drawer.\n\
         # On any machine of the federation: fednode owner import THIS_FILE\n\
         {PREFIX}{digits}\n"
    )
}

/// The key of a recovery file. Its lines of comment may be missing, as after typing it off; nothing else is forgiven.
pub fn from_text(text: &str) -> Result<ed25519::Keypair, WireError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(field(WHAT, "it is no recovery file, or not a whole one; `fednode owner export` writes one"));
    };
    let Some(digits) = line.strip_prefix(PREFIX) else {
        let why = match line.starts_with("fednode-owner-") {
            true => "it is of a newer version; install the fednode that wrote it",
            false => "it is no recovery file; `fednode owner export` writes one",
        };
        return Err(field(WHAT, why));
    };
    let bytes = unhex(digits).ok_or_else(|| field(WHAT, DAMAGED))?;
    let (secret, stored) = bytes.split_at(32);
    if checksum(secret) != stored {
        return Err(field(WHAT, DAMAGED));
    }
    let secret = ed25519::SecretKey::try_from_bytes(secret.to_vec()).map_err(|_| field(WHAT, DAMAGED))?;
    Ok(secret.into())
}

fn checksum(secret: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::derive_key("fednode 2026 owner key file v1 checksum", secret);
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&hash[..CHECKSUM_BYTES]);
    checksum
}

/// Exactly a key and its checksum.
fn unhex(digits: &str) -> Option<[u8; 32 + CHECKSUM_BYTES]> {
    let digits = digits.as_bytes();
    let mut bytes = [0; 32 + CHECKSUM_BYTES];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ed25519::Keypair {
        ed25519::SecretKey::try_from_bytes([7; 32]).expect("any 32 bytes are a secret key").into()
    }

    #[test]
    fn a_key_comes_back_from_its_file_with_or_without_the_comments() {
        let text = to_text(&key());
        let bare = text.lines().last().expect("a line").to_owned();
        for text in [text.clone(), bare, text.replace('\n', "\r\n"), format!("\n{text}\n\n")] {
            assert_eq!(from_text(&text).map(|found| found.to_bytes()), Ok(key().to_bytes()));
        }
        assert!(text.starts_with("# WHOEVER HAS THIS FILE OWNS THE FEDERATION "));
        assert!(text.contains(&FederationId(key().public().to_bytes()).to_string()));
    }

    #[test]
    fn no_slip_of_the_hand_passes() {
        let text = to_text(&key());
        let line = text.lines().last().expect("a line");
        for at in 0..line.len() {
            let (head, tail) = line.split_at(at);
            assert!(from_text(head).is_err(), "cut at {at}");
            let wrong = if tail.starts_with('0') { '1' } else { '0' };
            assert!(from_text(&format!("{head}{wrong}{}", &tail[1..])).is_err(), "changed at {at}");
        }
        assert!(from_text(&format!("{line}\n{line}")).is_err());
        for (text, says) in [("", "export"), ("fednode1:ab", "export"), ("fednode-owner-2:00", "newer")] {
            let error = from_text(text).map(|_| ()).expect_err(text).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
