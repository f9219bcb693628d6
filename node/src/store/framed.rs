//! The frame around everything small this program stores: a version byte, a checksum, the body. A flipped bit, a cut or
//! an empty record is told apart from a record of a version this program does not know.

/// Bytes of BLAKE3 kept: against accidents, not against attackers, who could rewrite the checksum too.
const CHECKSUM_BYTES: usize = 8;

/// Why a stored record cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Not what was written.
    #[error("its checksum does not match")]
    Damaged,
    /// Of another version.
    #[error("it has version {found}, this fednode knows {known}")]
    Version {
        /// What it says.
        found: u8,
        /// What this program reads.
        known: u8,
    },
}

/// `body` with `version` and a checksum over both.
pub fn wrap(version: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + CHECKSUM_BYTES + body.len());
    bytes.push(version);
    bytes.extend_from_slice(&checksum(version, body));
    bytes.extend_from_slice(body);
    bytes
}

/// The body of `bytes`, if it is whole and of `version`.
pub fn unwrap(version: u8, bytes: &[u8]) -> Result<&[u8], FrameError> {
    let (&found, rest) = bytes.split_first().ok_or(FrameError::Damaged)?;
    let (stored, body) = rest.split_at_checked(CHECKSUM_BYTES).ok_or(FrameError::Damaged)?;
    if stored != checksum(found, body) {
        return Err(FrameError::Damaged);
    }
    if found != version {
        return Err(FrameError::Version { found, known: version });
    }
    Ok(body)
}

fn checksum(version: u8, body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[version]).update(body);
    let mut checksum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let whole = wrap(1, b"state");
        assert_eq!(unwrap(1, &whole), Ok(&b"state"[..]));
        assert_eq!(unwrap(2, &whole), Err(FrameError::Version { found: 1, known: 2 }));
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unwrap(1, &bytes), Err(FrameError::Damaged), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(unwrap(1, &whole[..length]), Err(FrameError::Damaged), "length {length}");
        }
    }
}
