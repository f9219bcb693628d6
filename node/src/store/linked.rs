//! Files that the store shares with their owner, because they were imported with `--link`: one file under two names. It was
//! made read-only, but its owner can undo that, so it is never simply trusted, and never written to. Called by the store.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use crate::store::datadir::sync_folder;
use crate::wire::manifest::VerifiedManifest;

/// Has the file another name, outside the store?
pub(super) fn is_linked(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 1)
}

/// Was the shared file at `path` written to after `manifest`, whose time says when the file was hashed?
pub(super) fn was_changed(path: &Path, manifest: &Path) -> io::Result<bool> {
    let file = fs::metadata(path)?;
    Ok(file.nlink() > 1 && file.modified()? > fs::metadata(manifest)?.modified()?)
}

/// When a file of `verified` in the folder `files` was last written to or touched.
pub(super) fn newest_change(files: &Path, verified: &VerifiedManifest) -> io::Result<SystemTime> {
    let mut times = verified.manifest.files.iter().map(|file| fs::metadata(files.join(&file.name))?.modified());
    times.try_fold(SystemTime::UNIX_EPOCH, |newest, time| Ok(newest.max(time?)))
}

/// What was written or touched until `seen` was hashed since: gives `manifest` the time that [`was_changed`] compares with.
pub(super) fn vouch(manifest: &Path, seen: SystemTime) -> io::Result<()> {
    let file = File::open(manifest)?;
    if file.metadata()?.modified()? < seen { file.set_modified(seen) } else { Ok(()) }
}

/// Gives the store a file of its own with the same bytes, before anything is written to the one at `path`.
pub(super) fn unshare(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.nlink() > 1 => {}
        Ok(metadata) => return make_writable(path, &metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let copy = path.with_extension("unshared");
    let unshared = copy_durably(path, &copy).and_then(|()| fs::rename(&copy, path));
    if let Err(error) = unshared {
        // Half a copy on a full disk would only take more of it.
        let _ = fs::remove_file(&copy);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_folder)
}

fn copy_durably(path: &Path, copy: &Path) -> io::Result<()> {
    // One from an earlier life may be read-only.
    match fs::remove_file(copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::copy(path, copy)?;
    fs::set_permissions(copy, fs::Permissions::from_mode(0o600))?;
    File::open(copy)?.sync_all()
}

/// A file that only the store has any more may be written to again: it was made read-only for its owner's sake, and he has
/// removed his name.
pub(super) fn make_writable(path: &Path, metadata: &Metadata) -> io::Result<()> {
    match metadata.mode() & 0o600 {
        0o600 => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(0o600)),
    }
}
