//! What the system knows of a process: the processor time it took and the memory it used. Linux only; elsewhere there is no
//! answer, and the report says so.

use std::fs;

/// The memory of a process, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Memory {
    /// Now.
    pub(super) resident_bytes: u64,
    /// The most since it began or since [`forget_peak`].
    pub(super) peak_bytes: u64,
}

/// Seconds of processor time that process `pid` took so far, its own and the kernel's for it.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    cpu_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(|ticks| ticks as f64 / TICKS_PER_SECOND)
}

/// The unit of `/proc/PID/stat`: USER_HZ, which is 100 on every architecture that Linux shows to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields 14 and 15. The second field is the name in parentheses, which may hold anything, parentheses too.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    Some(times.next()?.ok()? + times.next()?.ok()?)
}

/// The memory of process `pid`.
pub(super) fn memory(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Memory { resident_bytes: kib(&status, "VmRSS:")? << 10, peak_bytes: kib(&status, "VmHWM:")? << 10 })
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Makes the peak of process `pid` start again from what it uses now.
pub(super) fn forget_peak(pid: u32) {
    // Without it the peak is that of the whole life: too high, never too low.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_words_are_understood() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 900 0 0 0 250 75 0 0 20 0 9 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(325));
        assert_eq!(cpu_ticks("42 (x"), None);
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     512 kB\n";
        assert_eq!(
            (kib(status, "VmHWM:"), kib(status, "VmRSS:"), kib(status, "VmSwap:")),
            (Some(2048), Some(512), None)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_taken_time_and_memory() {
        let memory = memory(std::process::id()).expect("Linux tells");
        assert!(memory.resident_bytes > 0 && memory.peak_bytes >= memory.resident_bytes);
        assert!(cpu_seconds(std::process::id()).is_some());
    }
}
