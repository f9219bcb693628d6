//! Was it the system that killed an engine, because memory ran out? Linux counts such kills, for the machine and for each control
//! group, and names the process in its log where this process may read it. Everything here is `None` or "no" elsewhere.

use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Records of the kernel's log that are looked through: all that its usual buffer of 256 KiB holds.
const RECORDS_MAX: usize = 8192;
/// One record of that log.
const RECORD_BYTES_MAX: usize = 8192;

/// How sure it is that memory ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The kernel's log says so, of this process.
    Certainly,
    /// The system killed something for want of memory in these seconds, and this process was killed.
    Probably,
    /// Nothing points to it.
    No,
}

/// Processes that the system has killed for want of memory so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Kills(u64);

impl Kills {
    /// As counted now.
    pub fn so_far() -> Kills {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let machine = read(Path::new("/proc/vmstat")).and_then(|text| count(&text));
        // In a container the machine's own count may be hidden, and what happens outside does not matter.
        let group = read(Path::new("/sys/fs/cgroup/memory.events")).and_then(|text| count(&text));
        Kills(machine.unwrap_or(0).saturating_add(group.unwrap_or(0)))
    }

    /// Was process `pid`, which somebody killed since these were counted, killed for want of memory?
    pub fn verdict(self, pid: u32) -> Verdict {
        judge(self, Kills::so_far(), is_in_log(pid))
    }
}

fn judge(before: Kills, after: Kills, in_log: bool) -> Verdict {
    match (in_log, after > before) {
        (true, _) => Verdict::Certainly,
        (false, true) => Verdict::Probably,
        (false, false) => Verdict::No,
    }
}

/// The line `oom_kill N` of `/proc/vmstat` and of a group's `memory.events`.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Does the kernel's log say that it killed `pid`? Process ids come again; but what was killed lived until just now.
fn is_in_log(pid: u32) -> bool {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let Ok(mut log) = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg") else {
        return false;
    };
    let mut record = vec![0; RECORD_BYTES_MAX];
    for _ in 0..RECORDS_MAX {
        match log.read(&mut record) {
            Ok(0) => return false,
            Ok(len) if names(&String::from_utf8_lossy(&record[..len]), pid) => return true,
            Ok(_) => {}
            // Overwritten while it was read: the next one is there.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
            Err(_) => return false, // the end, for now
        }
    }
    false
}

/// `6,1234,5678,-;Out of memory: Killed process 4711 (fednode) total-vm:…`, or the same of a control group.
fn names(record: &str, pid: u32) -> bool {
    let ours = |rest: &str| rest.strip_prefix(&pid.to_string()).is_some_and(|rest| rest.starts_with(" ("));
    record.contains("ut of memory") && record.split("Killed process ").skip(1).any(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted_in_the_kernels_files() {
        assert_eq!(count("nr_free_pages 5\noom_kill 12\nnuma_hit 1\n"), Some(12));
        assert_eq!(count("low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n"), Some(1));
        for bad in ["", "oom_kill", "oom_kill x", "oom_killed 4", "oom_kill -1", "oom_kill 99999999999999999999999"] {
            assert_eq!(count(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_log_names_a_process_and_not_another_one_whose_number_begins_alike() {
        let record = "3,891,5120,-;Out of memory: Killed process 4711 (fednode) total-vm:1kB, anon-rss:1kB";
        assert!(names(record, 4711));
        assert!(names("3,1,2,-;Memory cgroup out of memory: Killed process 7 (x) total-vm:1kB", 7));
        for other in [471, 47110, 1, 0] {
            assert!(!names(record, other), "{other}");
        }
        assert!(!names("Killed process 4711 (fednode)", 4711), "somebody else's line");
        assert!(!names("", 4711));
    }

    #[test]
    fn only_the_log_makes_it_certain() {
        for (after, in_log, verdict) in [
            (Kills(3), false, Verdict::No),
            (Kills(4), false, Verdict::Probably),
            (Kills(3), true, Verdict::Certainly),
            (Kills(4), true, Verdict::Certainly),
            // A group that went took its count with it.
            (Kills(2), false, Verdict::No),
        ] {
            assert_eq!(judge(Kills(3), after, in_log), verdict);
        }
        assert_eq!(Kills::so_far().verdict(u32::MAX), Verdict::No);
    }
}
