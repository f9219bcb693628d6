//! One file under two names: what the file system offers instead of a copy, beside shared blocks. Called by `import`.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Files that the store and their owner have in common. Writing to one would change an artifact, so they are made read-only
/// when they are placed; if the import fails after all, they are given back as they were.
#[derive(Default)]
pub(super) struct Shared {
    /// What they are, and what they were allowed before.
    files: Vec<(File, Permissions)>,
    sealed: bool,
}

impl Shared {
    /// Gives the open file `source` the second name `placed`; false where the system does not let us.
    pub(super) fn add(&mut self, source: &File, placed: &Path) -> bool {
        let Ok(metadata) = source.metadata() else { return false };
        if !hard_link(source, placed) {
            return false;
        }
        // Whoever may set them to what they are may set them.
        let ours = |file: &File| file.set_permissions(metadata.permissions()).is_ok();
        let Some(file) = source.try_clone().ok().filter(ours) else {
            // Not ours to protect, so not ours to share.
            let _ = fs::remove_file(placed);
            return false;
        };
        self.files.push((file, metadata.permissions()));
        true
    }

    /// Makes them read-only.
    pub(super) fn seal(&mut self) -> io::Result<()> {
        self.sealed = true;
        let seal =
            |(file, before): &(File, Permissions)| file.set_permissions(Permissions::from_mode(before.mode() & !0o222));
        self.files.iter().try_for_each(seal)
    }

    /// The import is complete: they stay read-only.
    pub(super) fn keep(&mut self) {
        self.files.clear();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for (file, permissions) in self.files.drain(..).filter(|_| self.sealed) {
            // The owner can do the same; nothing depends on it.
            let _ = file.set_permissions(permissions);
        }
    }
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
