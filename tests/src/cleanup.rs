//! Leaves nothing behind when a test or the demo is interrupted: on SIGINT and SIGTERM every node that this program started
//! is killed, every directory it made is removed, and the program ends. Without a signal, `Drop` does the same.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::process::Signal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::process;

/// What shells report for a program that a signal ended, less the signal's number.
const EXIT_SIGNALLED: i32 = 128;

#[derive(Debug, Default)]
struct Live {
    pids: BTreeSet<u32>,
    folders: BTreeSet<PathBuf>,
}

static LIVE: Mutex<Live> = Mutex::new(Live { pids: BTreeSet::new(), folders: BTreeSet::new() });

fn live() -> MutexGuard<'static, Live> {
    // A set of numbers is sound after any panic.
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to watch for signals; once per program.
pub(crate) fn watch() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        // A program that may not handle signals still removes what it made when it ends by itself.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                remove_all();
                std::process::exit(EXIT_SIGNALLED + signal);
            }
        });
    });
}

fn remove_all() {
    let live = live();
    for pid in &live.pids {
        drop(process::signal(*pid, Signal::KILL));
    }
    for folder in &live.folders {
        // A dying node may still write; what is left then is in the system's temporary directory.
        drop(std::fs::remove_dir_all(folder));
    }
}

/// A process to kill.
pub(crate) fn started(pid: u32) {
    live().pids.insert(pid);
}

/// It has ended, or may run on.
pub(crate) fn ended(pid: u32) {
    live().pids.remove(&pid);
}

/// A directory to remove.
pub(crate) fn made(folder: PathBuf) {
    live().folders.insert(folder);
}

/// It is gone, or may stay.
pub(crate) fn gone(folder: &PathBuf) {
    live().folders.remove(folder);
}
