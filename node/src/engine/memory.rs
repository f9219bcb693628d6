//! How much memory a process occupies, from `/proc`; `None` on systems without it.

use super::Footprint;

/// The memory of the process `pid`.
pub(super) fn of_process(pid: u32) -> Option<Footprint> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse(status: &str) -> Option<Footprint> {
    let bytes = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Footprint {
        resident_bytes: bytes("VmRSS:")?,
        peak_bytes: bytes("VmHWM:")?,
        private_bytes: bytes("RssAnon:")?,
        locked_bytes: bytes("VmLck:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_words() {
        let status = "Name:\tfednode\nVmLck:\t     256 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nRssAnon:\t     512 kB\n\
                      Threads:\t3\n";
        let footprint = Footprint {
            resident_bytes: 1 << 20,
            peak_bytes: 2 << 20,
            private_bytes: 512 << 10,
            locked_bytes: 256 << 10,
        };
        assert_eq!(parse(status), Some(footprint));
    }

    #[test]
    fn a_process_without_memory_has_no_footprint() {
        assert_eq!(parse("Name:\tkthreadd\n"), None);
    }
}
