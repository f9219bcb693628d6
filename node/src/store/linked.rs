//! Files that the store shares with their owner, because they were imported with `--link`: one file under two names. It was
//! made read-only, but its owner can undo that, so it is never simply trusted, and never written to. Called by the store.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Has the file another name, outside the store?
pub(super) fn is_linked(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 1)
}

/// Was the shared file at `path` written to after `manifest`, which was written when the file had been hashed?
pub(super) fn was_changed(path: &Path, manifest: &Path) -> io::Result<bool> {
    let file = fs::metadata(path)?;
    Ok(file.nlink() > 1 && file.modified()? > fs::metadata(manifest)?.modified()?)
}

/// Gives the store a file of its own with the same bytes, before anything is written to the one at `path`.
pub(super) fn unshare(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.nlink() > 1 => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let copy = path.with_extension("unshared");
    fs::copy(path, &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))?;
    fs::rename(&copy, path)
}
