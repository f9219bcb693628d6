//! Taking turns at computing: the children of one node share its threads, and four that compute at once on two cores are slower
//! by far than one after the other (DESIGN 16). A turn is one step of decoding; it is a lock on a file in the node's folder, so
//! that the death of a child ends it.
//!
//! Two locks make it fair: whoever wants a turn first becomes the next one, waits for the turn, and then makes place for another
//! next one. Who has just had its turn queues behind the next one.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// One child's way to its turns.
pub(super) struct Turns {
    next: File,
    turn: File,
}

/// A turn. Dropping it ends it.
pub(super) struct Turn<'a>(&'a File);

impl Turns {
    /// Those of all who name the same folder.
    pub(super) fn open(folder: &Path) -> io::Result<Turns> {
        let open = |name: &str| File::options().create(true).truncate(false).write(true).open(folder.join(name));
        Ok(Turns { next: open("next")?, turn: open("turn")? })
    }

    /// Waits for a turn, at most for one step of each of the others.
    pub(super) fn take(&self) -> io::Result<Turn<'_>> {
        lock(&self.next, FlockOperation::LockExclusive)?;
        let taken = lock(&self.turn, FlockOperation::LockExclusive);
        lock(&self.next, FlockOperation::Unlock)?;
        taken.map(|()| Turn(&self.turn))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = lock(self.0, FlockOperation::Unlock) {
            tracing::error!(%error, "a turn could not be ended; it ends with this process");
        }
    }
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| flock(file, operation))?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time_and_nobody_twice_while_another_waits() {
        let folder = tempfile::tempdir().unwrap();
        let (inside, most) = (AtomicU32::new(0), AtomicU32::new(0));
        let order = std::sync::Mutex::new(Vec::new());
        let begin = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for who in 0..2 {
                let (folder, inside, most, order, begin) = (folder.path(), &inside, &most, &order, &begin);
                scope.spawn(move || {
                    let turns = Turns::open(folder).unwrap();
                    begin.wait();
                    for _ in 0..50 {
                        let _turn = turns.take().unwrap();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        order.lock().unwrap().push(who);
                        std::thread::sleep(std::time::Duration::from_millis(1));
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
        // Who stands in line as soon as its turn is over is not overtaken more than once.
        let order = order.into_inner().unwrap();
        let longest = order.chunk_by(|a, b| a == b).map(<[_]>::len).max().unwrap_or(0);
        assert!(longest <= 25, "one had {longest} turns in a row: {order:?}");
    }

    #[test]
    fn whoever_dies_in_its_turn_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let dying = Turns::open(folder.path()).unwrap();
        std::mem::forget(dying.take().unwrap());
        drop(dying);
        drop(Turns::open(folder.path()).unwrap().take().unwrap());
    }
}
