//! From what the owner points at to an artifact of the federation: cut, hashed, signed, and placed in the store by sharing
//! blocks where the file system can, by copying where it must. What is placed is what was hashed, whatever happens to the
//! owner's files meanwhile. Called by `driver` for `fednode publish`.
//!
//! An artifact is named by its bytes alone: neither the file's name nor the slot, the version or the publisher take part, so
//! the same bytes are stored once however often and wherever they are published.

mod share;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libp2p_identity::ed25519;
use tracing::warn;

use crate::core::artifact::{ArtifactFile, Chunk, Manifest};
use crate::core::limits;
use crate::core::types::Digest;
use crate::store::chunks::{self, Cut};
use crate::store::error::StoreError;
use crate::store::feed::Feed;
use crate::store::gguf::{self, FileTable};
use crate::store::import::share::Shared;
use crate::store::source::{Origin, Source, SourceError};
use crate::store::weightfile::WeightFile;
use crate::store::{
    FILES_FOLDER, Held, MANIFEST_FILE, PARTIAL_FOLDER, Store, disk, linked, move_folder, partial, place,
};
use crate::wire::WireError;
use crate::wire::manifest::{self, VerifiedManifest};

/// How the publisher wants it done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImportOptions {
    /// Share the files themselves (hard links) where blocks cannot be shared. They become read-only, and the owner must
    /// never change them in place.
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
    /// They were made from a folder of another format.
    Converted,
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
            Placement::Converted => "converted",
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

/// Why something was not imported. Nothing of it is left in the store.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not a model this program takes.
    #[error(transparent)]
    Source(#[from] SourceError),
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
    #[error("cannot import {path}: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said, or why the bytes cannot be converted.
        source: io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    /// How much had to go for the import to have room; 0 if it was refused for another reason.
    pub fn shortage_bytes(&self) -> u64 {
        match self {
            ImportError::Store(error) => error.shortage_bytes(),
            _ => 0,
        }
    }
}

/// One import under way.
struct Import<'a> {
    store: &'a Store,
    source: &'a Source,
    publisher: &'a ed25519::Keypair,
    /// Where the artifact is put together.
    staging: tempfile::TempDir,
    cuts: Vec<Vec<Cut>>,
}

impl Store {
    /// Imports `source`, signed by `publisher`. `progress` hears bytes done and bytes in all.
    pub fn import(
        &self,
        source: &Source,
        options: &ImportOptions,
        publisher: &ed25519::Keypair,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Imported, ImportError> {
        let cuts: Vec<Vec<Cut>> = source.model.files.iter().map(chunks::cut).collect();
        let found = cuts.iter().map(Vec::len).sum();
        if found > limits::CHUNKS_PER_ARTIFACT_MAX as usize {
            return Err(ImportError::TooManyChunks { path: source.path.clone(), found });
        }
        let staging = self.staging()?;
        let folder = staging.path().join(FILES_FOLDER);
        fs::create_dir(&folder).map_err(|e| StoreError::io("create", &folder, e))?;
        Import { store: self, source, publisher, staging, cuts }.run(options, progress)
    }

    /// The artifact, if it is here whole and sound.
    fn stored(&self, artifact: &Digest) -> Option<Arc<VerifiedManifest>> {
        self.is_sound(artifact).then(|| self.manifest(artifact)).flatten()
    }

    /// Gives a staged folder its place. One that is there already, of the same artifact and known to be damaged, makes way.
    fn replace(&self, staging: tempfile::TempDir, folder: &Path) -> Result<(), StoreError> {
        if !folder.exists() {
            return place(staging, folder);
        }
        let grave = self.staging()?;
        let old = grave.path().join("replaced");
        move_folder(folder, &old)?;
        place(staging, folder).inspect_err(|_| {
            let _ = fs::rename(&old, folder);
        })
    }
}

impl Import<'_> {
    fn run(self, options: &ImportOptions, progress: &mut dyn FnMut(u64, u64)) -> Result<Imported, ImportError> {
        if let Some(clones) = self.reflink() {
            // The store's own files are hashed: nobody else can change them. What was parsed must still be in them.
            self.check_tables(&clones)?;
            let feeds: Vec<&dyn Feed> = clones.iter().map(|file| file as &dyn Feed).collect();
            let verified = self.describe(&feeds, &[], progress)?;
            return self.adopt(verified, Placement::Reflinked, None);
        }
        let feeds: Vec<&dyn Feed> = self.source.files.iter().map(|file| file.bytes.feed()).collect();
        if self.looks_stored(&feeds)? {
            let verified = self.describe(&feeds, &[], progress)?;
            if let Some(stored) = self.store.stored(&verified.artifact) {
                return Ok(Imported { manifest: stored, placed_by: Placement::AlreadyStored });
            }
        }
        if let Some(shared) = options.link.then(|| self.link()).flatten() {
            let verified = self.describe(&feeds, &[], progress)?;
            self.check_unchanged()?;
            return self.adopt(verified, Placement::Linked, Some(shared));
        }
        self.copy(&feeds, progress)
    }

    /// Reads, hashes and writes everything in one go.
    fn copy(self, feeds: &[&dyn Feed], progress: &mut dyn FnMut(u64, u64)) -> Result<Imported, ImportError> {
        self.store.check_room(self.bytes())?;
        let mut targets = Vec::new();
        for (file, table) in self.source.files.iter().zip(&self.source.model.files) {
            let path = self.staged(&file.name);
            let target = WeightFile::create(&path, table.file_bytes);
            targets.push(target.map_err(|e| StoreError::io("create", &path, e))?);
        }
        let verified = self.describe(feeds, &targets, progress)?;
        let files: Vec<&File> = targets.iter().map(WeightFile::file).collect();
        self.check_tables(&files)?;
        let converted = self.source.files.iter().any(|file| matches!(file.bytes, Origin::Converted(_)));
        if converted {
            self.check_unchanged()?;
        }
        self.adopt(verified, if converted { Placement::Converted } else { Placement::Copied }, None)
    }

    /// Hashes `feeds` by the cuts, into `targets` if there are any, and signs what was found.
    fn describe(
        &self,
        feeds: &[&dyn Feed],
        targets: &[WeightFile],
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<VerifiedManifest, ImportError> {
        let (model, total) = (&self.source.model, self.bytes());
        let mut before = 0;
        let mut files = Vec::new();
        for (index, table) in model.files.iter().enumerate() {
            let mut done = |bytes| progress(before + bytes, total);
            let hashed = chunks::hash(feeds[index], table.file_bytes, &self.cuts[index], targets.get(index), &mut done);
            let (chunks, digest): (Vec<Chunk>, Digest) = hashed.map_err(|error| self.read_error(error))?;
            let name = self.source.files[index].name.clone();
            files.push(ArtifactFile { name, bytes: table.file_bytes, digest, chunks });
            before += table.file_bytes;
        }
        let manifest = Manifest {
            kind: model.kind,
            name: self.source.manifest_name(),
            version: String::new(),
            shape: model.shape.clone(),
            files,
            base_name: model.base_name.clone(),
        };
        // Opened as every other member will open it: what they would refuse is refused here.
        let sealed = manifest::seal(manifest, self.publisher);
        manifest::open(&sealed.signed)
            .map_err(|source| ImportError::Manifest { path: self.source.path.clone(), source })
    }

    /// Is there an artifact with files of the same lengths and beginnings? Then it is hashed before it is copied: most
    /// likely it need not be, and a disk that is nearly full is no reason to refuse it.
    fn looks_stored(&self, feeds: &[&dyn Feed]) -> Result<bool, ImportError> {
        let lengths = |verified: &VerifiedManifest| -> Vec<u64> {
            verified.manifest.files.iter().map(|file| file.bytes).collect()
        };
        let ours: Vec<u64> = self.source.model.files.iter().map(|file| file.file_bytes).collect();
        let held: Vec<Held> = self.store.held().values().cloned().collect();
        let alike = held.iter().filter(|held| matches!(held, Held::Complete(_)) && lengths(held.verified()) == ours);
        let alike: Vec<Digest> = alike.filter_map(|held| Some(held.verified().manifest.chunk(0)?.1.digest)).collect();
        let Some(first) = self.cuts[0].first().filter(|_| !alike.is_empty()) else { return Ok(false) };
        let mut bytes = vec![0; first.bytes as usize];
        feeds[0].fill_at(&mut bytes, first.offset).map_err(|error| self.read_error(error))?;
        Ok(alike.contains(&Digest::of(&bytes)))
    }

    /// Makes the staged artifact durable and gives it its place. `owners` are his own files, if they are staged.
    fn adopt(
        self,
        verified: VerifiedManifest,
        placed_by: Placement,
        mut owners: Option<Shared>,
    ) -> Result<Imported, ImportError> {
        let shared = matches!(placed_by, Placement::Linked | Placement::Reflinked);
        // Copies were checked before they were made; a partial one has its room already.
        if shared && self.store.manifest(&verified.artifact).is_none() {
            self.store.check_budget(self.bytes())?;
        }
        for file in &self.source.files {
            let path = self.staged(&file.name);
            File::open(&path).and_then(|file| file.sync_all()).map_err(|e| StoreError::io("sync", &path, e))?;
        }
        partial::seal_folder(self.staging.path(), &verified)?;
        let store = self.store;
        let _structure = store.structure();
        if let Some(stored) = store.stored(&verified.artifact) {
            return Ok(Imported { manifest: stored, placed_by: Placement::AlreadyStored });
        }
        if let Some(shared) = &mut owners {
            // As late as possible: if this process is killed, nobody makes the owner's files writable again.
            shared.seal().map_err(|source| ImportError::Read { path: self.source.path.clone(), source })?;
            // A later change is known by the manifest's time, one before it is found here.
            let (files, sealed) = (self.staging.path().join(FILES_FOLDER), self.staging.path().join(MANIFEST_FILE));
            let seen = linked::newest_change(&files, &verified);
            self.check_unchanged()?;
            let vouched = seen.and_then(|seen| linked::vouch(&sealed, seen));
            vouched.map_err(|e| StoreError::io("stamp", &sealed, e))?;
        }
        store.replace(self.staging, &store.complete_folder(&verified.artifact))?;
        owners.iter_mut().for_each(Shared::keep);
        let manifest = Arc::new(verified);
        let before = store.held().insert(manifest.artifact, Held::Complete(manifest.clone()));
        store.trust(&manifest.artifact, 0..=u32::MAX);
        if matches!(before, Some(Held::Partial(_))) {
            // A transfer of the same artifact was under way; it has nothing left to bring.
            store.remove_folder(&store.root.join(PARTIAL_FOLDER).join(manifest.artifact.to_string()))?;
            store.forget_bitmap(&manifest.artifact);
        }
        let provenance = self.source.path.display().to_string();
        if let Err(error) = store.meta.put_provenance(&manifest.artifact, &provenance) {
            // The artifact is in its place; where it came from is only for people.
            warn!(%error, "the origin of an import was not kept");
        }
        Ok(Imported { manifest, placed_by })
    }

    /// The staged files, sharing all blocks of the owner's; `None` where the file system cannot.
    fn reflink(&self) -> Option<Vec<File>> {
        let clone = |file: &crate::store::source::SourceFile| match &file.bytes {
            Origin::File(source) => disk::reflink(source, &self.staged(&file.name)),
            Origin::Converted(_) => None,
        };
        let clones: Vec<File> = self.source.files.iter().map_while(clone).collect();
        if clones.len() == self.source.files.len() {
            return Some(clones);
        }
        self.clear();
        None
    }

    /// The staged files, being the owner's; `None` where the system does not let us.
    fn link(&self) -> Option<Shared> {
        let mut shared = Shared::default();
        for file in &self.source.files {
            let Origin::File(source) = &file.bytes else { return None };
            if !shared.add(source, &self.staged(&file.name)) {
                self.clear();
                return None;
            }
        }
        Some(shared)
    }

    /// Removes files that were staged in vain; what cannot be removed goes with the folder.
    fn clear(&self) {
        for file in &self.source.files {
            let _ = fs::remove_file(self.staged(&file.name));
        }
    }

    /// The tables the cuts were made by must be those of the files that stay.
    fn check_tables<F: std::borrow::Borrow<File>>(&self, files: &[F]) -> Result<(), ImportError> {
        let table = |file: &F| gguf::parse_file(file.borrow()).ok().map(|header| header.table);
        let same = |(file, expected): (&F, &FileTable)| table(file).as_ref() == Some(expected);
        let all = files.iter().zip(&self.source.model.files).all(same);
        if all { Ok(()) } else { Err(ImportError::Changed(self.source.path.clone())) }
    }

    fn check_unchanged(&self) -> Result<(), ImportError> {
        if self.source.is_unchanged() { Ok(()) } else { Err(ImportError::Changed(self.source.path.clone())) }
    }

    fn bytes(&self) -> u64 {
        self.source.model.files.iter().map(|file| file.file_bytes).sum()
    }

    fn staged(&self, name: &str) -> PathBuf {
        self.staging.path().join(FILES_FOLDER).join(name)
    }

    fn read_error(&self, source: io::Error) -> ImportError {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => ImportError::Changed(self.source.path.clone()),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                StoreError::io("write", self.staging.path(), source).into()
            }
            _ => ImportError::Read { path: self.source.path.clone(), source },
        }
    }
}
