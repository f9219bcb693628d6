//! What disks and engines cost in time. `tests/tests/reality.rs` holds these against real processes.
//!
//! Not modelled: a disk that several loads, checks and transfers share, and weights that are still in the page cache from
//! an earlier load. Both sides of that comparison have a machine whose memory is full of other things by then.

use fednode::core::placement::plan::PlannedReplica;
use fednode::core::residency;
use fednode::core::types::{Digest, Duration, SlotName, Time};

use crate::world::World;

/// An engine that was asked to end is gone after this: its process ends within 44 ms (DESIGN 16).
pub(super) const UNLOAD: Duration = Duration::from_millis(50);

/// Weights that are read ahead into the page cache.
pub struct Staged {
    /// Whose.
    artifact: Digest,
    /// Since when.
    begun: Time,
    /// So many at most.
    bytes: u64,
}

/// The time that `bytes` take at a speed.
fn at_speed(bytes: u64, bytes_per_s: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(bytes_per_s.max(1));
    Duration(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl World {
    /// Weights are read ahead until they are loaded, or something else is.
    pub(super) fn stage(&mut self, node: usize, artifact: Digest, bytes: u64) {
        let begun = self.now;
        if let Some(process) = self.nodes[node].process.as_mut() {
            process.staged = Some(Staged { artifact, begun, bytes });
        }
    }

    /// Until a replica is ready: its process starts, and its weights and adapters come from the disk, but for what was
    /// staged. What else it needs is only set aside.
    pub(super) fn load_time(&mut self, node: usize, order: &PlannedReplica) -> Duration {
        let what = &self.run.machines[node].what;
        let (speed, start) = (what.load_bytes_per_s, Duration::from_millis(what.engine_start_ms));
        let bytes: u64 = residency::artifacts(order).map(|artifact| self.bytes_of(&artifact)).sum();
        let staged = self.nodes[node].process.as_mut().and_then(|process| process.staged.take());
        let staged = staged.filter(|staged| staged.artifact == order.artifact).map_or(0, |staged| {
            let read = u128::from(self.now.since(staged.begun).0) * u128::from(speed) / 1_000_000_000;
            staged.bytes.min(u64::try_from(read).unwrap_or(u64::MAX))
        });
        Duration(at_speed(bytes.saturating_sub(staged), speed).0 + start.0)
    }

    /// Making a whole artifact durable. Chunks were hashed as they came; only after a restart are they read back from the
    /// disk and hashed once more.
    pub(super) fn finish_time(&self, node: usize, artifact: &Digest) -> Duration {
        let disk = &self.nodes[node].disk;
        let resumed = disk.partial.get(artifact).is_some_and(|partial| partial.resumed);
        let read_bytes_per_s = self.run.machines[node].what.load_bytes_per_s.min(self.run.options.hash_bytes_per_s);
        let read = if resumed { at_speed(self.bytes_of(artifact), read_bytes_per_s) } else { Duration(0) };
        Duration(self.fsync().0 + read.0)
    }

    /// Until the first token of an answer whose engine is free.
    pub(super) fn first_token_time(&self, node: usize, slot: &SlotName, prompt_tokens: u64) -> Duration {
        let question_ms = self.run.machines[node].what.question_ms;
        Duration::from_millis(question_ms + prompt_tokens * 1000 / self.speeds(node, slot).0)
    }
}
