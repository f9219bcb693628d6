//! What the store finds when it opens: complete artifacts, partial ones, and what has to be repaired or put aside.
//! Nothing that can still be used is thrown away, and nothing on the disk can keep the node from starting.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::warn;

use crate::core::types::Digest;
use crate::store::datadir::read_small;
use crate::store::error::StoreError;
use crate::store::meta::MetaStore;
use crate::store::partial::{self, Partial};
use crate::store::{ARTIFACTS_FOLDER, FILES_FOLDER, Held, INCOMING_FOLDER, MANIFEST_FILE, PARTIAL_FOLDER, REPAIR_FILE};
use crate::store::{linked, move_folder, scrub};
use crate::wire::manifest::{self, VerifiedManifest};

/// Everything the store under `root` holds.
pub(super) fn scan(root: &Path, meta: &MetaStore) -> Result<BTreeMap<Digest, Held>, StoreError> {
    let mut held = BTreeMap::new();
    for folder in entries(&root.join(ARTIFACTS_FOLDER))? {
        match sound_manifest(&folder) {
            Ok(verified) if files_have_their_lengths(&folder, &verified) => {
                held.insert(verified.artifact, Held::Complete(Arc::new(verified)));
            }
            // Its chunks may still be good: it goes back among the partial ones, where they are hashed.
            Ok(verified) => {
                warn!(artifact = %verified.artifact.short(), "a stored artifact is damaged and will be completed again");
                meta.remove_bitmap(&verified.artifact)?;
                let target = root.join(PARTIAL_FOLDER).join(verified.artifact.to_string());
                if target.exists() {
                    discard(root, &folder)?;
                } else {
                    if let Err(error) = partial::mark_repair(&folder) {
                        warn!(%error, "it will be completed only if the plan wants it here");
                    }
                    move_folder(&folder, &target)?;
                }
            }
            Err(why) => put_aside(root, &folder, &why)?,
        }
    }
    for folder in entries(&root.join(PARTIAL_FOLDER))? {
        match sound_manifest(&folder) {
            Ok(verified) if held.contains_key(&verified.artifact) => discard(root, &folder)?,
            Ok(verified) => match resume(&folder, verified, meta) {
                Ok(partial) => {
                    held.insert(partial.artifact(), Held::Partial(Arc::new(partial)));
                }
                // That passes; nothing is wrong with the artifact.
                Err(error @ StoreError::DiskFull { .. }) => {
                    warn!(folder = %folder.display(), %error, "left as it is until the next start");
                }
                Err(error) => put_aside(root, &folder, &error.to_string())?,
            },
            Err(why) => put_aside(root, &folder, &why)?,
        }
    }
    Ok(held)
}

/// Removes whatever is in `folder`: work that a crash cut short.
pub(super) fn empty_folder(folder: &Path) -> Result<(), StoreError> {
    for path in entries(folder)? {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(|e| StoreError::io("remove", &path, e))?;
    }
    Ok(())
}

fn resume(folder: &Path, verified: VerifiedManifest, meta: &MetaStore) -> Result<Partial, StoreError> {
    let under_repair = folder.join(REPAIR_FILE).exists();
    for file in &verified.manifest.files {
        let path = folder.join(FILES_FOLDER).join(&file.name);
        linked::unshare(&path).map_err(|e| StoreError::io("copy", &path, e))?;
        let opened = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let restored = opened.and_then(|opened| {
            // As long as it should be, whatever happened to it: chunks that are not sound are found by their hashes.
            opened.set_len(file.bytes)?;
            if under_repair {
                opened.sync_data()?;
                scrub::forget_cached(&opened, 0, 0);
            }
            Ok(())
        });
        restored.map_err(|e| StoreError::io("restore", &path, e))?;
    }
    let known = meta.bitmap(&verified.artifact, verified.manifest.chunk_count())?;
    let rebuilt = known.is_none();
    let partial = Partial::open(folder.to_owned(), Arc::new(verified), known)?;
    if !rebuilt && !under_repair {
        partial.keep_written()?;
    }
    if rebuilt {
        partial.sync_files()?;
        meta.put_bitmap(&partial.artifact(), &partial.bitmap())?;
    }
    Ok(partial)
}

/// The manifest in `folder`, if it is sound and the folder bears its name; else why not.
fn sound_manifest(folder: &Path) -> Result<VerifiedManifest, String> {
    let bytes = read_small(&folder.join(MANIFEST_FILE)).map_err(|error| error.to_string())?;
    let verified = manifest::open(&bytes.ok_or("it has no manifest")?).map_err(|error| error.to_string())?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
    if name != Some(verified.artifact.to_string()) {
        return Err("its manifest is that of another artifact".to_owned());
    }
    Ok(verified)
}

fn files_have_their_lengths(folder: &Path, verified: &VerifiedManifest) -> bool {
    verified.manifest.files.iter().all(|file| {
        let metadata = fs::metadata(folder.join(FILES_FOLDER).join(&file.name));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.bytes)
    })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = fs::read_dir(folder).and_then(|all| all.map(|entry| entry.map(|entry| entry.path())).collect());
    let mut paths: Vec<PathBuf> = read.map_err(|e| StoreError::io("read", folder, e))?;
    paths.sort();
    Ok(paths)
}

/// Moves what cannot be understood out of the way; the owner may look at it, and the artifact can be fetched again.
fn put_aside(root: &Path, folder: &Path, why: &str) -> Result<(), StoreError> {
    let aside = root.join("damaged");
    fs::create_dir_all(&aside).map_err(|e| StoreError::io("create", &aside, e))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let free = (1..).map(|n| aside.join(format!("{name}.{n}"))).find(|path| !path.exists());
    let target = free.expect("some number is not taken yet");
    warn!(folder = %folder.display(), target = %target.display(), why, "put aside");
    move_folder(folder, &target)
}

fn discard(root: &Path, folder: &Path) -> Result<(), StoreError> {
    let name = folder.file_name().unwrap_or_default();
    let grave = root.join(INCOMING_FOLDER).join(name);
    move_folder(folder, &grave)?;
    fs::remove_dir_all(&grave).map_err(|e| StoreError::io("remove", &grave, e))
}
