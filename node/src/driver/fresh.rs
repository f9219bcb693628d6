//! A data directory that did not exist before this start goes again with a start that is refused.

use std::path::{Path, PathBuf};

/// Removes a data directory that this start created, unless the start succeeded.
pub(super) struct Fresh {
    path: Option<PathBuf>,
    folder_was_there: bool,
    armed: bool,
}

fn outermost_missing(path: &Path) -> Option<PathBuf> {
    let missing = |folder: &&Path| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_err();
    path.ancestors().take_while(missing).last().map(Path::to_owned)
}

impl Fresh {
    /// Looks before anything is created; [`Fresh::arm`] follows once the directory is held by this process.
    pub(super) fn look(path: &Path) -> Fresh {
        let (path, folder_was_there) = match std::fs::read_dir(path) {
            Ok(mut entries) => (entries.next().is_none().then(|| path.to_owned()), true),
            // The outermost folder that is not there yet: what is created goes as a whole.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (outermost_missing(path), false),
            Err(_) => (None, true),
        };
        Fresh { path, folder_was_there, armed: false }
    }

    pub(super) fn arm(&mut self) {
        self.armed = true;
    }

    pub(super) fn keep(&mut self) {
        self.path = None;
    }

    /// What another machine knows of must survive a failed start.
    pub(super) fn keep_if(&mut self, condition: bool) {
        if condition {
            self.keep();
        }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let Some(path) = self.path.as_ref().filter(|_| self.armed) else { return };
        let removed = std::fs::remove_dir_all(path);
        let restored = if self.folder_was_there { std::fs::create_dir(path) } else { Ok(()) };
        if let Err(error) = removed.and(restored) {
            tracing::warn!(%error, path = %path.display(), "what a refused start had written could not be removed");
        }
    }
}
