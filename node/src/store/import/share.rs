//! One file under two names, or two files with the same blocks: what the file system offers instead of a copy. Called by
//! `import`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Files that the store and their owner have in common. Writing to one would change an artifact, so they were made
/// read-only; if the import fails after all, they are given back as they were.
#[derive(Default)]
pub(super) struct Shared {
    before: Vec<(File, Permissions)>,
}

impl Shared {
    /// Gives the open file `source` the second name `placed`; false where the system does not let us.
    pub(super) fn add(&mut self, source: &File, placed: &Path) -> bool {
        let Ok(metadata) = source.metadata() else { return false };
        if !hard_link(source, placed) {
            return false;
        }
        let sealed = Permissions::from_mode(metadata.mode() & !0o222);
        let Some(file) = source.try_clone().ok().filter(|file| file.set_permissions(sealed).is_ok()) else {
            // Not ours to protect, so not ours to share.
            let _ = fs::remove_file(placed);
            return false;
        };
        self.before.push((file, metadata.permissions()));
        true
    }

    /// The import is complete: they stay read-only.
    pub(super) fn keep(&mut self) {
        self.before.clear();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for (file, permissions) in self.before.drain(..) {
            // The owner can do the same; nothing depends on it.
            let _ = file.set_permissions(permissions);
        }
    }
}

/// A file at `placed` that shares all blocks of `source`; `None` where the file system cannot.
#[cfg(target_os = "linux")]
pub(super) fn reflink(source: &File, placed: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(placed).ok()?;
    rustix::fs::ioctl_ficlone(&file, source).ok().map(|()| file)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reflink(_source: &File, _placed: &Path) -> Option<File> {
    None
}

/// Links the open file itself, not whatever its path now leads to.
#[cfg(target_os = "linux")]
fn hard_link(source: &File, placed: &Path) -> bool {
    use std::os::fd::AsRawFd;
    let open_file = format!("/proc/self/fd/{}", source.as_raw_fd());
    let flags = rustix::fs::AtFlags::SYMLINK_FOLLOW;
    rustix::fs::linkat(rustix::fs::CWD, open_file, rustix::fs::CWD, placed, flags).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn hard_link(_source: &File, _placed: &Path) -> bool {
    false
}
