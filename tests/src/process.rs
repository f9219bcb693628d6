//! Signals, the children of a process, and what it takes.

use rustix::process::{Pid, Signal};

use crate::Error;

/// Sends `signal` to the process; one that has ended already is no error.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<(), Error> {
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match rustix::process::kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(Error::Io { attempt: format!("send a signal to process {pid}"), source: error.into() }),
    }
}

/// A field of `/proc/PID/status` that is a size, such as `VmRSS`, bytes; `None` once the process is gone.
pub fn status_bytes(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// The engine processes that a node has started, as Linux lists them; empty elsewhere.
pub fn engines_of(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()).collect()
}
