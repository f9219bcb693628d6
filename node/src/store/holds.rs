//! The hold promises of this node on disk: one small file, written whole or not at all before a promise is said. Called by
//! `driver`.

use std::io;
use std::path::Path;

use crate::core::keeping::holds::Promise;
use crate::core::types::{Digest, NodeId};
use crate::store::datadir::{read_small, write_atomic};
use crate::store::framed;

const FILE: &str = "holds";
const RECORD_VERSION: u8 = 1;
/// An artifact, a member, a time.
const PROMISE_BYTES: usize = 32 + 32 + 8;

/// The promises kept in `folder`. A damaged file is an error: a promise may not be forgotten in silence.
pub fn read(folder: &Path) -> io::Result<Vec<Promise>> {
    let Some(bytes) = read_small(&folder.join(FILE))? else { return Ok(Vec::new()) };
    decode(&bytes)
}

/// The promises in a file of them.
pub(super) fn decode(file: &[u8]) -> io::Result<Vec<Promise>> {
    let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let body = framed::unwrap(RECORD_VERSION, file).map_err(|error| damaged(error.to_string()))?;
    let (promises, rest) = body.as_chunks::<PROMISE_BYTES>();
    if !rest.is_empty() {
        return Err(damaged("it does not end with a whole promise".to_owned()));
    }
    Ok(promises.iter().map(promise).collect())
}

/// Keeps `promises`, durably.
pub fn write(folder: &Path, promises: impl Iterator<Item = Promise>) -> io::Result<()> {
    write_atomic(&folder.join(FILE), &encode(promises))
}

/// The whole file.
pub(super) fn encode(promises: impl Iterator<Item = Promise>) -> Vec<u8> {
    let mut body = Vec::new();
    for promise in promises {
        body.extend_from_slice(&promise.artifact.0);
        body.extend_from_slice(&promise.to.0);
        body.extend_from_slice(&promise.until_unix_s.to_le_bytes());
    }
    framed::wrap(RECORD_VERSION, &body)
}

fn promise(bytes: &[u8; PROMISE_BYTES]) -> Promise {
    let (mut artifact, mut to, mut until) = ([0; 32], [0; 32], [0; 8]);
    artifact.copy_from_slice(&bytes[..32]);
    to.copy_from_slice(&bytes[32..64]);
    until.copy_from_slice(&bytes[64..]);
    Promise { artifact: Digest(artifact), to: NodeId(to), until_unix_s: u64::from_le_bytes(until) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_survive_and_damage_is_noticed() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(read(base.path()).unwrap(), []);
        let promise =
            |n: u8| Promise { artifact: Digest([n; 32]), to: NodeId([n + 1; 32]), until_unix_s: u64::from(n) << 30 };
        let promises = [promise(1), promise(7)];
        write(base.path(), promises.into_iter()).unwrap();
        assert_eq!(read(base.path()).unwrap(), promises);
        let path = base.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(base.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
