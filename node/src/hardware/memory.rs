//! How much host memory there is and how much of it is free, as the system states it, within the limits a container sets.
//! The parsers are pure; the readers below them touch the system. Called by `hardware`.

use std::path::{Path, PathBuf};

/// Memory of the host or of the container this process runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostMemory {
    /// All of it, bytes.
    pub total_bytes: u64,
    /// What programs could still get without swapping, bytes.
    pub available_bytes: u64,
    /// A container's limit is what bounds it.
    pub limited: bool,
}

/// Limit and use of one control group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Group {
    limit_bytes: u64,
    /// Without the page cache, which gives way.
    used_bytes: u64,
}

/// `/proc/meminfo`: MemTotal and MemAvailable.
fn parse_meminfo(text: &str) -> Option<HostMemory> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let (total_bytes, available_bytes) = (field("MemTotal")?, field("MemAvailable")?);
    Some(HostMemory { total_bytes, available_bytes: available_bytes.min(total_bytes), limited: false })
}

/// `/proc/self/cgroup`: the path of this process in the unified hierarchy (version 2).
fn parse_group_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// `memory.max`: a number, or "max" for none.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// `memory.current` and `memory.stat`: what is used for good.
fn parse_used(current: &str, stat: &str) -> Option<u64> {
    let current: u64 = current.trim().parse().ok()?;
    let field = |name: &str| -> u64 {
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    Some(current.saturating_sub(field("inactive_file")).saturating_sub(field("active_file")))
}

/// The host's memory within all the groups this process is in.
fn within(host: HostMemory, groups: &[Group]) -> HostMemory {
    groups.iter().fold(host, |memory, group| HostMemory {
        total_bytes: memory.total_bytes.min(group.limit_bytes),
        available_bytes: memory.available_bytes.min(group.limit_bytes.saturating_sub(group.used_bytes)),
        limited: memory.limited || group.limit_bytes < host.total_bytes,
    })
}

/// `vm_stat` of macOS: pages that are free or give way at once.
#[cfg(any(target_os = "macos", test))]
fn parse_vm_stat(text: &str) -> Option<u64> {
    let page = text.split_once("page size of ")?.1.split_once(' ')?.0.parse::<u64>().ok()?;
    let pages = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().trim_end_matches('.').parse().ok()
    };
    let free = pages("Pages free")? + pages("Pages inactive")? + pages("Pages speculative").unwrap_or(0);
    free.checked_mul(page)
}

/// Reads the memory of this machine; `None` where the system does not say.
#[cfg(target_os = "linux")]
pub fn read() -> Option<HostMemory> {
    let host = parse_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups: Vec<Group> = group_folders().iter().filter_map(|folder| read_group(folder)).collect();
    Some(within(host, &groups))
}

/// The folders of the control groups this process is in, from its own up, as far as this process sees them.
pub(super) fn group_folders() -> Vec<PathBuf> {
    let paths = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    parse_group_path(&paths).map(|path| folders(Path::new("/sys/fs/cgroup"), path)).unwrap_or_default()
}

/// Reads the memory of this machine; `None` where the system does not say.
#[cfg(target_os = "macos")]
pub fn read() -> Option<HostMemory> {
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let total_bytes = run("/usr/sbin/sysctl", &["-n", "hw.memsize"])?.trim().parse().ok()?;
    let available_bytes = parse_vm_stat(&run("/usr/bin/vm_stat", &[])?)?.min(total_bytes);
    Some(HostMemory { total_bytes, available_bytes, limited: false })
}

/// Reads the memory of this machine; this system does not say.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub fn read() -> Option<HostMemory> {
    None
}

/// The folder of a group and of all groups above it, as far as `root` shows them.
fn folders(root: &Path, path: &str) -> Vec<PathBuf> {
    // A path that climbs belongs to a namespace outside ours; only the root of what we see then counts.
    let relative = Path::new(path);
    let climbs = relative.components().any(|part| !matches!(part, std::path::Component::Normal(_)));
    let start = if climbs { PathBuf::new() } else { relative.to_owned() };
    start.ancestors().map(|group| root.join(group)).collect()
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn read_group(folder: &Path) -> Option<Group> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let limit_bytes = parse_limit(&read("memory.max")?)?;
    let used_bytes = parse_used(&read("memory.current")?, &read("memory.stat").unwrap_or_default())?;
    Some(Group { limit_bytes, used_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a virtual machine of 24 GB.
    const MEMINFO: &str = "MemTotal:       24684084 kB\nMemFree:        13989756 kB\nMemAvailable:   23135208 kB\n\
                           Buffers:           36488 kB\nCached:          9107576 kB\nSwapTotal:             0 kB\n";

    #[test]
    fn meminfo_is_read_and_nonsense_is_not() {
        let memory = parse_meminfo(MEMINFO).unwrap();
        assert_eq!((memory.total_bytes, memory.available_bytes), (24_684_084 << 10, 23_135_208 << 10));
        let too_large = format!("MemTotal: {} kB\nMemAvailable: 1 kB", u64::MAX);
        for bad in ["", "MemTotal: 5 kB", "MemTotal: x kB\nMemAvailable: 1 kB", &too_large] {
            assert_eq!(parse_meminfo(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_containers_limit_bounds_total_and_available() {
        let host = HostMemory { total_bytes: 64 << 30, available_bytes: 50 << 30, limited: false };
        assert_eq!(within(host, &[]), host);
        let used_bytes = parse_used("3221225472\n", "anon 1\ninactive_file 1073741824\nactive_file 0\n").unwrap();
        assert_eq!(used_bytes, 2 << 30);
        let inner = Group { limit_bytes: 16 << 30, used_bytes };
        let outer = Group { limit_bytes: 128 << 30, used_bytes: 100 << 30 };
        let expected = HostMemory { total_bytes: 16 << 30, available_bytes: 14 << 30, limited: true };
        assert_eq!(within(host, &[inner, outer]), expected);
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_limit("1073741824\n"), Some(1 << 30));
    }

    #[test]
    fn the_unified_hierarchy_is_found_among_old_ones() {
        let old_and_new = "4:memory:/a\n0::/user.slice/session.scope\n";
        assert_eq!(parse_group_path(old_and_new), Some("user.slice/session.scope"));
        assert_eq!(parse_group_path("0::/\n"), Some(""));
        assert_eq!(parse_group_path("4:memory:/a\n"), None);
    }

    #[test]
    fn limits_are_looked_for_in_every_group_above() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("outer/inner");
        std::fs::create_dir_all(&inner).unwrap();
        for (folder, limit) in [(&inner, "max"), (&root.path().join("outer"), "4096")] {
            std::fs::write(folder.join("memory.max"), limit).unwrap();
            std::fs::write(folder.join("memory.current"), "1024").unwrap();
        }
        let read = |path: &str| -> Vec<Group> {
            folders(root.path(), path).iter().filter_map(|folder| read_group(folder)).collect()
        };
        assert_eq!(read("outer/inner"), [Group { limit_bytes: 4096, used_bytes: 1024 }]);
        assert_eq!(read("../elsewhere"), []);
    }

    #[test]
    fn vm_stat_is_read() {
        let text = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\nPages free:                 100.\n\
                    Pages active:               900.\nPages inactive:              50.\nPages speculative:            6.\n";
        assert_eq!(parse_vm_stat(text), Some(156 * 16384));
        assert_eq!(parse_vm_stat("no such thing"), None);
    }
}
