//! Room on the disk: how much an artifact needs, how much there is, and how to claim it at once. Called by the store.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::core::sizing;
use crate::store::error::StoreError;

/// What this user may still write to the disk under `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Refuses an artifact of `bytes` that has no room under `path`.
pub fn check_room(path: &Path, bytes: u64) -> Result<(), StoreError> {
    let free = free_bytes(path).map_err(|e| StoreError::io("measure the free space of", path, e))?;
    check(path, bytes, free)
}

fn check(path: &Path, artifact_bytes: u64, free_bytes: u64) -> Result<(), StoreError> {
    let needed_bytes = sizing::disk_needed_bytes(artifact_bytes);
    if needed_bytes > free_bytes {
        return Err(StoreError::DiskShort { path: path.to_owned(), artifact_bytes, needed_bytes, free_bytes });
    }
    Ok(())
}

/// Makes `file` `bytes` long and claims the blocks, so that a full disk shows now and not in the middle.
pub fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    if claims_by_zeroing(file) {
        return file.set_len(bytes);
    }
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Some file systems cannot claim blocks ahead; a sparse file then has to do.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => file.set_len(bytes),
        Err(error) => Err(error.into()),
    }
}

/// A new file at `placed`, as long as `source` and sharing its blocks until one of the two is written to; `None`, and nothing
/// left there, where the file system cannot.
#[cfg(target_os = "linux")]
pub fn reflink(source: &File, placed: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut new = std::fs::OpenOptions::new();
    let file = new.read(true).write(true).create_new(true).mode(0o600).open(placed).ok()?;
    if rustix::fs::ioctl_ficlone(&file, source).is_err() {
        // The copy that follows makes its own.
        let _ = std::fs::remove_file(placed);
        return None;
    }
    Some(file)
}

#[cfg(not(target_os = "linux"))]
pub fn reflink(_source: &File, _placed: &Path) -> Option<File> {
    None
}

/// Would claiming cost as much as writing? In memory there are no blocks to mark as claimed, only pages to fill with zeros;
/// a full one then shows when it is full, as ENOSPC, and pauses the transfer.
#[cfg(target_os = "linux")]
fn claims_by_zeroing(file: &File) -> bool {
    /// From linux/magic.h.
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|fs| fs.f_type as u64 == TMPFS_MAGIC)
}

#[cfg(not(target_os = "linux"))]
fn claims_by_zeroing(_file: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_carries_its_arithmetic() {
        assert_eq!(sizing::disk_needed_bytes(20 << 30), (21 << 30) + (2 << 30));
        assert_eq!(sizing::disk_needed_bytes(1 << 20), 65 << 20);
        let path = Path::new("/data");
        assert!(check(path, 20 << 30, 23 << 30).is_ok());
        let error = check(path, 20 << 30, 22 << 30).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not enough disk: 20.0 GiB for the artifact and 3.0 GiB beside it make 23.0 GiB, 22.0 GiB are free in /data, short 1.0 GiB"
        );
        assert!(check(path, u64::MAX, 1 << 60).is_err());
    }

    #[test]
    fn preallocation_sets_the_length() {
        let file = tempfile::tempfile().unwrap();
        for bytes in [0, 1, 70_000] {
            preallocate(&file, bytes).unwrap();
            assert_eq!(file.metadata().unwrap().len(), bytes);
        }
    }
}
