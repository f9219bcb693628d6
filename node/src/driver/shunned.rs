//! A machine that was revoked while it was away hears nothing of it: strangers are told nothing, and a revoked machine is one. All
//! it sees is that members which answer close every connection at once. This is where that is noticed, said to its owner, and
//! noted on the disk, so that a new ticket lets it in again although its own roster still names it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::core::limits;
use crate::core::types::NodeId;

/// Connections in a row that members closed at once before it is said: one may be a member that restarts.
const CLOSED_MIN: u32 = 3;
/// Said again after so many more: at the slowest pace of dialling, every few minutes.
const CLOSED_AGAIN: u32 = 32;
/// The note in the data directory.
const FILE: &str = "shunned";
/// What its owner should know.
pub(super) const NOTICE: &str = "members close every connection to this machine at once: it may have been revoked, or its certificate \
    has expired. Ask whoever owns the federation; `fednode join` with a new ticket lets it in again, and its files stay";

/// Was this machine shut out when it last ran?
pub(super) fn was(data_dir: &Path) -> bool {
    data_dir.join(FILE).exists()
}

/// How members have received this machine since it started.
pub struct Shunned {
    file: PathBuf,
    open: BTreeMap<NodeId, Instant>,
    closed: u32,
    say_at: u32,
    shut_out: bool,
}

impl Shunned {
    /// For the node of this data directory.
    pub(super) fn new(data_dir: &Path) -> Shunned {
        Shunned {
            file: data_dir.join(FILE),
            open: BTreeMap::new(),
            closed: 0,
            say_at: CLOSED_MIN,
            shut_out: was(data_dir),
        }
    }

    /// A member connected.
    pub(super) fn connected(&mut self, node: NodeId, now: Instant) {
        self.open.insert(node, now);
    }

    /// Its last connection ended. True when it is time to tell the owner, and to note it.
    pub(super) fn disconnected(&mut self, node: NodeId, now: Instant) -> bool {
        let Some(since) = self.open.remove(&node) else { return false };
        if now.saturating_duration_since(since).as_nanos() >= u128::from(limits::CONNECTION_LIVED.0) {
            return false;
        }
        self.closed += 1;
        // One that stays connected knows this machine, whatever happens with the others.
        let due = self.closed >= self.say_at && self.open.is_empty();
        if due {
            self.say_at = self.closed + CLOSED_AGAIN;
        }
        due
    }

    /// This machine is shut out; the work that notes it on the disk.
    pub(super) fn note(&mut self) -> impl FnOnce() + Send + use<> {
        self.shut_out = true;
        let file = self.file.clone();
        move || {
            if let Err(error) = std::fs::write(file, NOTICE) {
                tracing::warn!(%error, "that this machine is shut out could not be noted");
            }
        }
    }

    /// A member speaks with this machine; the work that forgets the note, if there is one.
    pub(super) fn received(&mut self) -> Option<impl FnOnce() + Send + use<>> {
        (self.closed, self.say_at) = (0, CLOSED_MIN);
        let file = self.file.clone();
        // Gone already is as good.
        std::mem::take(&mut self.shut_out).then_some(move || drop(std::fs::remove_file(file)))
    }

    /// What the owner should know now.
    pub(super) fn notice(&self) -> &'static str {
        if self.shut_out { NOTICE } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_members_that_all_close_at_once_mean_anything() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut shunned = Shunned::new(folder.path());
        let (one, two, begin) = (NodeId([1; 32]), NodeId([2; 32]), Instant::now());
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let brief = |shunned: &mut Shunned, node, ms| {
            shunned.connected(node, at(ms));
            shunned.disconnected(node, at(ms + 5))
        };
        assert!(!brief(&mut shunned, one, 0) && !brief(&mut shunned, two, 10));
        assert!(brief(&mut shunned, one, 20), "the third in a row");
        shunned.note()();
        assert!(was(folder.path()) && shunned.notice() == NOTICE);
        assert!(!brief(&mut shunned, one, 30), "it was said just now");
        shunned.connected(two, at(40));
        assert!(!shunned.disconnected(two, at(2000)), "it was received");
        assert_eq!(Shunned::new(folder.path()).notice(), NOTICE, "known after a restart");
        shunned.received().expect("a note to forget")();
        assert!(!was(folder.path()) && shunned.notice().is_empty() && shunned.received().is_none());
        shunned.connected(two, at(3000));
        for ms in [3010, 3020, 3030, 3040] {
            assert!(!brief(&mut shunned, one, ms), "one that stays connected knows us");
        }
        assert!(!shunned.disconnected(two, at(9000)));
        shunned.connected(two, at(9010));
        assert!(!brief(&mut shunned, one, 9020) && shunned.disconnected(two, at(9025)), "all of them are gone");
    }
}
