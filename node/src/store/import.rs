//! From a file of the owner's to an artifact of the federation: parsed, cut, hashed, signed, and placed in the store by
//! sharing blocks where the file system can, by copying where it must. The file is opened once; what is placed is what
//! was hashed, whatever happens to the path meanwhile. Called by `driver` for `fednode publish`.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libp2p_identity::ed25519;
use tracing::warn;

use crate::core::artifact::{ArtifactFile, ArtifactKind, Chunk, Manifest};
use crate::core::limits;
use crate::core::types::Digest;
use crate::store::chunks::{self, Cut};
use crate::store::error::StoreError;
use crate::store::gguf::{self, GgufError, ParsedModel};
use crate::store::weightfile::WeightFile;
use crate::store::{FILES_FOLDER, Held, PARTIAL_FOLDER, Store, disk, partial, place};
use crate::wire::WireError;
use crate::wire::manifest::{self, VerifiedManifest};

/// What the publisher states beside the file itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImportOptions {
    /// Free text, at most 64 bytes.
    pub version: String,
    /// Instead of `general.name`, or else the file's own name.
    pub name: Option<String>,
    /// Share the file itself (a hard link) where blocks cannot be shared. The owner then must never change it in place.
    pub link: bool,
}

/// How the bytes came into the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// The owner's file and the store's are one file.
    Linked,
    /// They share blocks until one of them changes.
    Reflinked,
    /// The store has bytes of its own.
    Copied,
    /// The artifact was here before.
    AlreadyStored,
}

impl Placement {
    /// In words, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Placement::Linked => "linked",
            Placement::Reflinked => "reflinked",
            Placement::Copied => "copied",
            Placement::AlreadyStored => "already stored",
        }
    }
}

/// An artifact that is now in the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// Its signed manifest; the shape in it states the precision.
    pub manifest: Arc<VerifiedManifest>,
    /// How it got there.
    pub placed_by: Placement,
}

/// Why a file was not imported. Nothing of it is left in the store.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not a model this program takes.
    #[error("{path}: {source}", path = .path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: GgufError,
    },
    /// Cut too finely.
    #[error("{path} would have {found} chunks, more than the {max} an artifact may have", path = .path.display(), max = limits::CHUNKS_PER_ARTIFACT_MAX)]
    TooManyChunks {
        /// The file.
        path: PathBuf,
        /// How many.
        found: usize,
    },
    /// Written to while it was read.
    #[error("{path} changed while it was imported; wait until it is complete and try again", path = .0.display())]
    Changed(PathBuf),
    /// Something the other members would refuse.
    #[error("cannot publish {path}: {source}", path = .path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What they would say.
        source: WireError,
    },
    /// The file could not be read.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Read {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One import under way.
struct Import<'a> {
    /// For messages only: after the first open nothing is looked up by it again.
    path: &'a Path,
    source: File,
    /// Where the artifact is put together.
    staging: tempfile::TempDir,
}

impl Store {
    /// Imports the GGUF file at `path`, signed by `publisher`. `progress` hears bytes done and bytes in all; the latter
    /// doubles when the file has to be copied as well as hashed.
    pub fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        publisher: &ed25519::Keypair,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Imported, ImportError> {
        let source = open_source(path).map_err(|e| read_error("open", path, e))?;
        let import = Import { path, source, staging: self.staging()? };
        // Refused before anything is placed: most mistakes are found in the first megabyte.
        let model = import.parse(&import.source)?;
        let placed = import.staging.path().join(FILES_FOLDER).join(file_name(model.kind));
        create_files_folder(import.staging.path())?;
        let shared = reflink(&import.source, &placed);
        // With a reflink the store's own file is hashed: nobody else can change it.
        let subject = shared.as_ref().unwrap_or(&import.source);
        let model = if shared.is_some() { import.parse(subject)? } else { model };
        let passes = if shared.is_some() || options.link { 1 } else { 2 };
        let total = model.file_bytes * passes;
        let verified = import.describe(subject, &model, options, publisher, &mut |done| progress(done, total))?;
        if let Some(stored) = self.stored(&verified.artifact) {
            return Ok(Imported { manifest: stored, placed_by: Placement::AlreadyStored });
        }
        if self.manifest(&verified.artifact).is_none() {
            self.check_budget(model.file_bytes)?; // a partial one has its room already
        }
        let placed_by = match shared {
            Some(_) => Placement::Reflinked,
            None if options.link && hard_link(&import.source, &placed) => {
                import.check_unchanged(&verified)?;
                Placement::Linked
            }
            None => {
                disk::check_room(import.staging.path(), model.file_bytes)?;
                import.copy(&placed, &verified, &mut |done| progress(model.file_bytes + done, model.file_bytes * 2))?;
                Placement::Copied
            }
        };
        self.adopt(import, &placed, verified, placed_by)
    }

    /// Makes the staged artifact durable and gives it its place.
    fn adopt(
        &self,
        import: Import<'_>,
        placed: &Path,
        verified: VerifiedManifest,
        placed_by: Placement,
    ) -> Result<Imported, ImportError> {
        File::open(placed).and_then(|file| file.sync_all()).map_err(|e| StoreError::io("sync", placed, e))?;
        partial::seal_folder(import.staging.path(), &verified)?;
        let provenance = import.path.display().to_string();
        let _structure = self.structure();
        if let Some(stored) = self.stored(&verified.artifact) {
            return Ok(Imported { manifest: stored, placed_by: Placement::AlreadyStored });
        }
        place(import.staging, &self.complete_folder(&verified.artifact))?;
        let manifest = Arc::new(verified);
        let before = self.held().insert(manifest.artifact, Held::Complete(manifest.clone()));
        if before.is_some() {
            // A transfer of the same artifact was under way; it has nothing left to bring.
            self.remove_folder(&self.root.join(PARTIAL_FOLDER).join(manifest.artifact.to_string()))?;
            self.forget_bitmap(&manifest.artifact);
        }
        if let Err(error) = self.meta.put_provenance(&manifest.artifact, &provenance) {
            // The artifact is in its place; where it came from is only for people.
            warn!(%error, "the origin of an import was not kept");
        }
        Ok(Imported { manifest, placed_by })
    }

    fn stored(&self, artifact: &Digest) -> Option<Arc<VerifiedManifest>> {
        match self.held().get(artifact)? {
            Held::Complete(verified) => Some(verified.clone()),
            Held::Partial(_) => None,
        }
    }
}

impl Import<'_> {
    fn parse(&self, file: &File) -> Result<ParsedModel, ImportError> {
        gguf::parse_file(file).map_err(|source| ImportError::Model { path: self.path.to_owned(), source })
    }

    /// Cuts, hashes and signs `subject`.
    fn describe(
        &self,
        subject: &File,
        model: &ParsedModel,
        options: &ImportOptions,
        publisher: &ed25519::Keypair,
        progress: &mut dyn FnMut(u64),
    ) -> Result<VerifiedManifest, ImportError> {
        let cuts = chunks::cut(model);
        if cuts.len() > limits::CHUNKS_PER_ARTIFACT_MAX as usize {
            return Err(ImportError::TooManyChunks { path: self.path.to_owned(), found: cuts.len() });
        }
        let (chunks, digest) = self.hash(subject, &cuts, progress)?;
        let file = ArtifactFile { name: file_name(model.kind).to_owned(), bytes: model.file_bytes, digest, chunks };
        let manifest = Manifest {
            kind: model.kind,
            name: options.name.clone().or_else(|| model.name.clone()).unwrap_or_else(|| stem(self.path)),
            version: options.version.clone(),
            shape: model.shape.clone(),
            files: vec![file],
            base_name: model.base_name.clone(),
        };
        // Opened as every other member will open it: what they would refuse is refused here.
        let sealed = manifest::seal(manifest, publisher);
        manifest::open(&sealed.signed).map_err(|source| ImportError::Manifest { path: self.path.to_owned(), source })
    }

    fn hash(
        &self,
        subject: &File,
        cuts: &[Cut],
        progress: &mut dyn FnMut(u64),
    ) -> Result<(Vec<Chunk>, Digest), ImportError> {
        chunks::hash(subject, cuts, progress).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImportError::Changed(self.path.to_owned()),
            _ => read_error("read", self.path, error),
        })
    }

    /// Copies chunk by chunk; each must still be what was hashed.
    fn copy(
        &self,
        placed: &Path,
        verified: &VerifiedManifest,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), ImportError> {
        let file = &verified.manifest.files[0];
        let target = WeightFile::create(placed, file.bytes).map_err(|e| StoreError::io("create", placed, e))?;
        let mut whole = blake3::Hasher::new();
        let mut buffer = vec![0; limits::CHUNK_BYTES_MAX as usize];
        for chunk in &file.chunks {
            let bytes = &mut buffer[..chunk.bytes as usize];
            match self.source.read_exact_at(bytes, chunk.offset) {
                Ok(()) if Digest::of(bytes) == chunk.digest => {}
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(read_error("read", self.path, error));
                }
                _ => return Err(ImportError::Changed(self.path.to_owned())),
            }
            whole.update(bytes);
            target.write_at(chunk.offset, bytes).map_err(|e| StoreError::io("write", placed, e))?;
            progress(chunk.offset + u64::from(chunk.bytes));
        }
        if Digest(*whole.finalize().as_bytes()) != file.digest {
            return Err(ImportError::Changed(self.path.to_owned()));
        }
        Ok(())
    }

    /// A linked file stays the owner's: at least it must not have changed while it was hashed.
    fn check_unchanged(&self, verified: &VerifiedManifest) -> Result<(), ImportError> {
        let file = &verified.manifest.files[0];
        let sound = chunks::sound(&self.source, &file.chunks).map_err(|e| read_error("read", self.path, e))?;
        if sound.contains(&false) {
            return Err(ImportError::Changed(self.path.to_owned()));
        }
        Ok(())
    }
}

/// The name a file has in the store. Never the owner's: the same bytes are the same artifact wherever they came from.
fn file_name(kind: ArtifactKind) -> &'static str {
    match kind {
        ArtifactKind::Model => "model.gguf",
        ArtifactKind::Adapter => "adapter.gguf",
    }
}

/// The name of a model that states none.
fn stem(path: &Path) -> String {
    let stem = gguf::presentable(&path.file_stem().unwrap_or_default().to_string_lossy());
    if stem.is_empty() { "model".to_owned() } else { stem }
}

/// Does not wait on a pipe that nobody writes to; `gguf` then refuses what is not a regular file.
fn open_source(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)
}

fn create_files_folder(staging: &Path) -> Result<(), StoreError> {
    let folder = staging.join(FILES_FOLDER);
    fs::create_dir(&folder).map_err(|e| StoreError::io("create", &folder, e))
}

/// A file at `placed` that shares all blocks of `source`; `None` where the file system cannot.
#[cfg(target_os = "linux")]
fn reflink(source: &File, placed: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(placed).ok()?;
    if rustix::fs::ioctl_ficlone(&file, source).is_ok() {
        return Some(file);
    }
    // Nothing was written to it; the copy makes its own.
    let _ = fs::remove_file(placed);
    None
}

#[cfg(not(target_os = "linux"))]
fn reflink(_source: &File, _placed: &Path) -> Option<File> {
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

fn read_error(what: &'static str, path: &Path, source: io::Error) -> ImportError {
    ImportError::Read { what, path: path.to_owned(), source }
}
