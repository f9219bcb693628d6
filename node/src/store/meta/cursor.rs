//! Where the background scrub stands, as a record of the metadata store. Lost, it costs one pass that begins anew.

use crate::core::types::Digest;
use crate::store::meta::{MetaError, MetaStore, put, read};

const KEY: &[u8] = b"cursor";
const BYTES: usize = 32 + 4 + 8 + 8;

/// Where the background scrub stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrubCursor {
    /// The next artifact, or the one after it in order if that is gone.
    pub artifact: Digest,
    /// Its next chunk.
    pub chunk: u32,
    /// When this pass began, seconds since the Unix epoch.
    pub since_unix_s: u64,
    /// When the last full pass ended; 0: none did yet.
    pub passed_unix_s: u64,
}

impl MetaStore {
    /// Where the scrub stood when that was last kept.
    pub fn scrub_cursor(&self) -> Result<Option<ScrubCursor>, MetaError> {
        let body = self.with("read where the scrub stands", |trees| read(&trees.scrub, KEY))?;
        Ok(body.as_deref().and_then(parse))
    }

    /// Keeps where the scrub stands.
    pub fn put_scrub_cursor(&self, cursor: &ScrubCursor) -> Result<(), MetaError> {
        let mut body = Vec::with_capacity(BYTES);
        body.extend_from_slice(&cursor.artifact.0);
        body.extend_from_slice(&cursor.chunk.to_le_bytes());
        body.extend_from_slice(&cursor.since_unix_s.to_le_bytes());
        body.extend_from_slice(&cursor.passed_unix_s.to_le_bytes());
        self.with("keep where the scrub stands", |trees| put(trees, &trees.scrub, KEY, &body))
    }
}

fn parse(body: &[u8]) -> Option<ScrubCursor> {
    let (artifact, rest) = body.split_first_chunk::<32>()?;
    let (chunk, rest) = rest.split_first_chunk::<4>()?;
    let (since, rest) = rest.split_first_chunk::<8>()?;
    let passed: [u8; 8] = rest.try_into().ok()?;
    Some(ScrubCursor {
        artifact: Digest(*artifact),
        chunk: u32::from_le_bytes(*chunk),
        since_unix_s: u64::from_le_bytes(*since),
        passed_unix_s: u64::from_le_bytes(passed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrub_goes_on_where_it_was() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("meta");
        let cursor = ScrubCursor { artifact: Digest([3; 32]), chunk: 77, since_unix_s: 1 << 40, passed_unix_s: 5 };
        {
            let meta = MetaStore::open(&path).unwrap();
            assert_eq!(meta.scrub_cursor().unwrap(), None);
            meta.put_scrub_cursor(&cursor).unwrap();
        }
        assert_eq!(MetaStore::open(&path).unwrap().scrub_cursor().unwrap(), Some(cursor));
        assert_eq!(parse(&[0; BYTES - 1]), None);
        assert_eq!(parse(&[0; BYTES + 1]), None);
    }
}
