//! May the weights of a replica be locked in memory (`--lock`)? The system lets a program lock only so much; where that is too
//! little, the owner is told what to change, and the replica is loaded unlocked.

use rustix::process::{Resource, getrlimit};

use crate::core::types::human_bytes;

/// `CAP_IPC_LOCK` in the kernel's sets of capabilities: whoever has it may lock all there is.
const MAY_LOCK_ALL: u64 = 1 << 14;

/// `Err` with what to do if `bytes` are more than this process and its children may lock.
pub fn may_lock(bytes: u64) -> Result<(), String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    judge(bytes, getrlimit(Resource::Memlock).current, capabilities(&status))
}

fn judge(bytes: u64, limit: Option<u64>, capabilities: u64) -> Result<(), String> {
    match limit {
        Some(limit) if bytes > limit && capabilities & MAY_LOCK_ALL == 0 => Err(format!(
            "the system lets this program lock {} of memory, and the weights have {}: raise it with `ulimit -l unlimited` before \
             `fednode up`, with LimitMEMLOCK=infinity in its systemd unit, or with a memlock line in /etc/security/limits.conf",
            human_bytes(limit),
            human_bytes(bytes)
        )),
        _ => Ok(()),
    }
}

/// `CapEff` of `/proc/self/status`; none where there is no such file.
fn capabilities(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_lock_too_little_is_told_the_remedy() {
        let refused = judge(13 << 30, Some(8 << 20), 0).expect_err("too little");
        for part in ["lock 8.0 MiB", "have 13.0 GiB", "ulimit -l unlimited", "LimitMEMLOCK=infinity"] {
            assert!(refused.contains(part), "{refused} should say {part}");
        }
        assert_eq!(judge(8 << 20, Some(8 << 20), 0), Ok(()));
        assert_eq!(judge(u64::MAX, None, 0), Ok(()));
        assert_eq!(judge(u64::MAX, Some(0), MAY_LOCK_ALL), Ok(()));
        assert!(judge(1, Some(0), !MAY_LOCK_ALL).is_err());
    }

    #[test]
    fn capabilities_are_read_from_the_kernels_words() {
        assert_eq!(capabilities("CapPrm:\t0\nCapEff:\t0000000000004000\n"), MAY_LOCK_ALL);
        for bad in ["", "CapEff:", "CapEff:\txyz", "CapEff:\t1ffffffffffffffff"] {
            assert_eq!(capabilities(bad), 0, "{bad:?}");
        }
    }
}
