//! The page cache of a machine whose memory is full: it has the weights of the manager that is ready and of no other. What a
//! system takes away early from a manager that is ready is read again, past any limit; what is left of one that went is
//! forgotten.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use fednode_tests::disk;
use fednode_tests::lan::Machine;

use crate::watch::Watch;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// Every so many looks, what is ready is read: 150 MB that are there take 40 ms.
const LOOKS_PER_READ: u32 = 50;

/// Where an artifact lies.
pub fn folder(machine: &Machine, artifact: &str) -> PathBuf {
    machine.data_dir().join("artifacts").join(artifact)
}

/// A thread that does it until it is dropped.
pub struct Cache {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Cache {
    /// For these slots with their artifacts.
    pub fn keep(machine: &Machine, artifacts: &[(&'static str, String)]) -> Cache {
        let (stop, stopped) = mpsc::channel();
        let folders: Vec<_> = artifacts.iter().map(|(slot, artifact)| (*slot, folder(machine, artifact))).collect();
        let watch = Watch::begin(machine);
        let work = move || {
            let mut held = vec![false; folders.len()];
            let mut looks = 0;
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                looks += 1;
                let Some(look) = watch.last() else { continue };
                for (held, (slot, folder)) in held.iter_mut().zip(&folders) {
                    let holds = look.state_of(slot).is_some();
                    if std::mem::replace(held, holds) && !holds {
                        disk::forget(folder);
                    }
                    if look.is_ready(slot) && looks % LOOKS_PER_READ == 0 {
                        read(&folder.join("files"));
                    }
                }
            }
        };
        Cache { stop: Some(stop), thread: Some(std::thread::spawn(work)) }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Reads the files of a folder and keeps nothing of them.
fn read(folder: &Path) {
    let mut block = vec![0; 1 << 20];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(mut file) = File::open(entry.path()) else { continue };
        while file.read(&mut block).is_ok_and(|count| count > 0) {}
    }
}
