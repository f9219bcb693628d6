//! What is on its way into this node's memory: how far loads are, and the reading ahead of one that waits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::types::{NodeId, SlotName};
use crate::core::view::LoadView;
use crate::engine::LoadProgress;

/// One read of staging.
const READ_BYTES: usize = 4 << 20;

/// See the top of this file. Clones are one.
#[derive(Clone, Debug)]
pub struct Loading {
    me: NodeId,
    loads: Arc<Mutex<BTreeMap<SlotName, LoadProgress>>>,
    /// Counts what was staged: a later one ends the one before.
    staged: Arc<AtomicU64>,
}

impl Loading {
    /// Nothing yet.
    pub fn new(me: NodeId) -> Loading {
        Loading { me, loads: Arc::default(), staged: Arc::default() }
    }

    /// The load of `slot` is so far.
    pub fn is_at(&self, slot: &SlotName, progress: LoadProgress) {
        self.lock().insert(slot.clone(), progress);
    }

    /// The load of `slot` has ended.
    pub fn ended(&self, slot: &SlotName) {
        self.lock().remove(slot);
    }

    /// How far the load of `slot` on `node` is, if that is this node and something is known.
    pub fn of(&self, node: &NodeId, slot: &SlotName) -> Option<LoadView> {
        let progress = (*node == self.me).then(|| self.lock().get(slot).copied()).flatten()?;
        Some(LoadView { read_bytes: progress.read_bytes, total_bytes: progress.total_bytes })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SlotName, LoadProgress>> {
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the reading ahead.
    pub fn stop_staging(&self) {
        self.staged.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the first `bytes` bytes of the file into the page cache, unless something else is staged or loaded meanwhile.
    /// Blocks.
    pub fn stage(&self, path: &PathBuf, bytes: u64) -> std::io::Result<u64> {
        let turn = self.staged.fetch_add(1, Ordering::Relaxed) + 1;
        let (mut file, mut block, mut done) = (File::open(path)?.take(bytes), vec![0u8; READ_BYTES], 0);
        while self.staged.load(Ordering::Relaxed) == turn {
            match file.read(&mut block) {
                Ok(0) => break,
                Ok(count) => done += count as u64,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_staged_is_read_up_to_its_bound() {
        let loading = Loading::new(NodeId([1; 32]));
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10_000).unwrap();
        let path = file.path().to_owned();
        assert_eq!(loading.stage(&path, 7000).unwrap(), 7000);
        assert_eq!(loading.stage(&path, 70_000).unwrap(), 10_000);
        assert!(loading.stage(&path.join("not"), 1).is_err());
    }

    #[test]
    fn a_load_is_known_until_it_ends_and_only_here() {
        let (me, other) = (NodeId([1; 32]), NodeId([2; 32]));
        let (loading, slot) = (Loading::new(me), SlotName::new("UCM").unwrap());
        loading.is_at(&slot, LoadProgress { read_bytes: 1, total_bytes: 2 });
        assert_eq!(loading.of(&me, &slot), Some(LoadView { read_bytes: 1, total_bytes: 2 }));
        assert_eq!(loading.of(&other, &slot), None);
        loading.ended(&slot);
        assert_eq!(loading.of(&me, &slot), None);
    }
}
