//! The store against real files: import on one machine, transfer by hand, finish on another.

mod importing;
mod keeping;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use libp2p_identity::ed25519;

use super::gguf::sample::Sample;
use super::import::{ImportError, ImportOptions, Imported, Placement};
use super::source::{Source, SourceError};
use super::*;
use crate::core::artifact::{ArtifactFile, ArtifactKind, Chunk, Manifest, Shape};
use crate::core::limits;
use crate::wire::manifest::seal;

/// One machine's data directory with its store.
struct Machine {
    folder: tempfile::TempDir,
    store: Option<(Store, DataDir)>,
}

impl Machine {
    fn new() -> Machine {
        let mut machine = Machine { folder: tempfile::tempdir().unwrap(), store: None };
        machine.start();
        machine
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn start(&mut self) {
        let dir = DataDir::open(&self.path()).unwrap();
        self.store = Some((Store::open(&dir).unwrap(), dir));
    }

    /// Ends without a checkpoint, as a crash does, and starts again.
    fn restart(&mut self) {
        self.store = None;
        self.start();
    }

    fn store(&self) -> &Store {
        &self.store.as_ref().unwrap().0
    }

    fn import(&self, sample: &Sample) -> Imported {
        let path = self.folder.path().join("source.gguf");
        fs::write(&path, sample.bytes()).unwrap();
        self.try_import(&path, &ImportOptions::default()).unwrap()
    }

    fn try_import(&self, path: &Path, options: &ImportOptions) -> Result<Imported, ImportError> {
        let source = Source::open(path, None)?;
        self.store().import(&source, options, &keypair(), &mut |_, _| {})
    }

    /// Nothing is left under way or half made.
    fn assert_tidy(&self) {
        for folder in [INCOMING_FOLDER, PARTIAL_FOLDER] {
            assert_eq!(fs::read_dir(self.path().join(folder)).unwrap().count(), 0, "{folder}");
        }
    }
}

fn keypair() -> ed25519::Keypair {
    ed25519::SecretKey::try_from_bytes([5u8; 32]).expect("any 32 bytes").into()
}

/// More chunks than one checkpoint, some over 4 MiB of one tensor.
fn big() -> Sample {
    let sample = Sample::model().tensor("big", &[1024, 1200], 0, 4);
    (0..20).fold(sample, |sample, n| sample.tensor(&format!("t{n}"), &[64, 64], 1, 100 + n))
}

/// Sends the chunks that `keep` wants from one store to another.
fn send(from: &Store, to: &Store, artifact: &Digest, keep: impl Fn(u32) -> bool) {
    let chunks = from.manifest(artifact).unwrap().manifest.chunk_count();
    for index in (0..chunks).filter(|&index| keep(index)) {
        assert!(to.write_chunk(artifact, index, &from.read_chunk(artifact, index).unwrap()).unwrap());
    }
}

#[test]
fn an_artifact_arrives_bit_identical() {
    let (ours, theirs) = (Machine::new(), Machine::new());
    let sample = big();
    let imported = ours.import(&sample);
    let artifact = imported.manifest.artifact;
    assert_eq!(ours.store().complete(), [artifact]);
    assert_ne!(imported.placed_by, Placement::AlreadyStored);
    ours.assert_tidy();
    let bitmap = theirs.store().begin((*imported.manifest).clone()).unwrap();
    assert_eq!((bitmap.count(), bitmap.len()), (0, imported.manifest.manifest.chunk_count()));
    assert!(matches!(theirs.store().finish(&artifact), Err(StoreError::Incomplete { .. })));
    assert!(matches!(theirs.store().read_chunk(&artifact, 0), Err(StoreError::Missing { .. })));
    assert_eq!(theirs.store().model_path(&artifact), None);
    send(ours.store(), theirs.store(), &artifact, |_| true);
    theirs.store().finish(&artifact).unwrap();
    assert_eq!(theirs.store().complete(), [artifact]);
    assert!(theirs.store().partial().is_empty());
    assert_eq!(fs::read(theirs.store().model_path(&artifact).unwrap()).unwrap(), sample.bytes());
    assert_eq!(theirs.store().damaged_chunks(&artifact).unwrap(), Vec::<u32>::new());
    theirs.assert_tidy();
    // And it is still there after a restart.
    let mut theirs = theirs;
    theirs.restart();
    assert_eq!(theirs.store().complete(), [artifact]);
    assert!(theirs.store().begin((*imported.manifest).clone()).unwrap().is_full());
    theirs.store().discard(&artifact).unwrap();
    theirs.assert_tidy();
    assert!(matches!(theirs.store().read_chunk(&artifact, 0), Err(StoreError::Unknown(_))));
}

#[test]
fn corrupt_and_unknown_chunks_are_not_written() {
    let (ours, theirs) = (Machine::new(), Machine::new());
    let manifest = ours.import(&big()).manifest;
    let artifact = manifest.artifact;
    theirs.store().begin((*manifest).clone()).unwrap();
    let good = ours.store().read_chunk(&artifact, 3).unwrap();
    let mut flipped = good.clone();
    flipped[7] ^= 1;
    let longer = [&good[..], b"x"].concat();
    for bad in [&flipped[..], &good[1..], &longer, b""] {
        assert!(!theirs.store().write_chunk(&artifact, 3, bad).unwrap());
    }
    assert_eq!(theirs.store().partial()[0].1.count(), 0);
    let beyond = manifest.manifest.chunk_count();
    assert!(matches!(theirs.store().write_chunk(&artifact, beyond, &good), Err(StoreError::Missing { .. })));
    assert!(matches!(theirs.store().write_chunk(&Digest([1; 32]), 0, &good), Err(StoreError::Unknown(_))));
    assert!(!theirs.store().write_hashed(&artifact, 3, &flipped, Digest::of(&flipped)).unwrap());
    assert!(theirs.store().write_hashed(&artifact, 3, &good, Digest::of(&good)).unwrap());
    assert_eq!(theirs.store().read_chunk(&artifact, 3).unwrap(), good);
}

#[test]
fn pieces_make_the_chunk_whether_the_artifact_is_whole_or_not() {
    let (ours, theirs) = (Machine::new(), Machine::new());
    let manifest = ours.import(&big()).manifest;
    let artifact = manifest.artifact;
    theirs.store().begin((*manifest).clone()).unwrap();
    send(ours.store(), theirs.store(), &artifact, |index| index == 3);
    for store in [ours.store(), theirs.store()] {
        let whole = store.read_chunk(&artifact, 3).unwrap();
        let (mut joined, mut piece) = (Vec::new(), Vec::new());
        while joined.len() < whole.len() {
            piece.resize(1000, 0);
            let length = store.read_piece(&artifact, 3, joined.len() as u32, &mut piece).unwrap();
            assert_eq!(length as usize, whole.len());
            joined.extend_from_slice(&piece);
        }
        assert_eq!(joined, whole);
        assert_eq!(store.read_piece(&artifact, 3, u32::MAX, &mut piece).unwrap() as usize, whole.len());
        assert!(piece.is_empty());
    }
    assert!(theirs.store().read_piece(&artifact, 4, 0, &mut Vec::new()).is_err());
}

#[test]
fn a_killed_process_loses_no_chunk_that_was_written() {
    let (ours, mut theirs) = (Machine::new(), Machine::new());
    let manifest = ours.import(&big()).manifest;
    let artifact = manifest.artifact;
    theirs.store().begin((*manifest).clone()).unwrap();
    let written = limits::CHUNKS_PER_CHECKPOINT + 3;
    send(ours.store(), theirs.store(), &artifact, |index| index < written);
    theirs.restart();
    let (found, bitmap) = theirs.store().partial().remove(0);
    assert_eq!((found, bitmap.count()), (artifact, written));
    let promised = theirs.store().meta().bitmap(&artifact, bitmap.len()).unwrap().expect("a promise");
    assert_eq!(promised.count(), limits::CHUNKS_PER_CHECKPOINT, "the rest was found by its hash");
    assert_eq!(theirs.store().begin((*manifest).clone()).unwrap(), bitmap);
    send(ours.store(), theirs.store(), &artifact, |index| !bitmap.has(index) && index < written);
    theirs.store().checkpoint(&artifact).unwrap();
    theirs.restart();
    assert_eq!(theirs.store().partial()[0].1.count(), written);
    send(ours.store(), theirs.store(), &artifact, |index| index >= written);
    theirs.store().finish(&artifact).unwrap();
}

#[test]
fn lost_metadata_is_rebuilt_from_the_files() {
    let (ours, mut theirs) = (Machine::new(), Machine::new());
    let manifest = ours.import(&big()).manifest;
    theirs.store().begin((*manifest).clone()).unwrap();
    send(ours.store(), theirs.store(), &manifest.artifact, |index| index % 2 == 0);
    let before = theirs.store().partial();
    theirs.store = None;
    fs::remove_dir_all(theirs.path().join(META_FOLDER)).unwrap();
    theirs.start();
    assert_eq!(theirs.store().partial(), before);
}

#[test]
fn damage_between_two_lives_is_found_at_the_end_and_costs_only_its_chunks() {
    let (ours, mut theirs) = (Machine::new(), Machine::new());
    let manifest = ours.import(&big()).manifest;
    let artifact = manifest.artifact;
    theirs.store().begin((*manifest).clone()).unwrap();
    send(ours.store(), theirs.store(), &artifact, |index| index != 7);
    theirs.store().checkpoint(&artifact).unwrap();
    theirs.restart();
    send(ours.store(), theirs.store(), &artifact, |index| index == 7);
    let path = theirs.path().join(PARTIAL_FOLDER).join(artifact.to_string()).join("files/model.gguf");
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let (_, chunk) = manifest.manifest.chunk(5).unwrap();
    file.write_all_at(b"rot", chunk.offset).unwrap();
    match theirs.store().finish(&artifact) {
        Err(StoreError::Damaged { chunks, .. }) => assert_eq!(chunks, [5]),
        other => panic!("{other:?}"),
    }
    send(ours.store(), theirs.store(), &artifact, |index| index == 5);
    theirs.store().finish(&artifact).unwrap();
}

#[test]
fn a_manifest_that_contradicts_itself_is_dropped() {
    let mut machine = Machine::new();
    let chunk = Chunk { offset: 0, bytes: 3, digest: Digest::of(b"abc") };
    let file = ArtifactFile { name: "m.gguf".into(), bytes: 3, digest: Digest::of(b"lie"), chunks: vec![chunk] };
    let shape = Shape::default();
    let (name, version, base_name) = ("m".into(), String::new(), String::new());
    let manifest = Manifest { kind: ArtifactKind::Model, name, version, shape, files: vec![file], base_name };
    let verified = seal(manifest, &keypair());
    let artifact = verified.artifact;
    machine.store().begin(verified).unwrap();
    assert!(machine.store().write_chunk(&artifact, 0, b"abc").unwrap());
    machine.store().checkpoint(&artifact).unwrap();
    machine.restart();
    assert!(matches!(machine.store().finish(&artifact), Err(StoreError::Inconsistent { .. })));
    assert!(machine.store().manifest(&artifact).is_none());
    machine.assert_tidy();
}

#[test]
fn chunks_that_are_here_already_are_copied_and_not_fetched() {
    let (ours, theirs) = (Machine::new(), Machine::new());
    let base = big();
    let tuned = big().text("general.description", "other header").tensor("lora", &[64, 64], 1, 999);
    theirs.import(&base);
    let manifest = ours.import(&tuned).manifest;
    theirs.store().begin((*manifest).clone()).unwrap();
    let copied = theirs.store().copy_local_chunks(&manifest.artifact).unwrap();
    assert_eq!(copied, manifest.manifest.chunk_count() - 2); // all but the header and the new tensor
    let (_, bitmap) = theirs.store().partial().remove(0);
    send(ours.store(), theirs.store(), &manifest.artifact, |index| !bitmap.has(index));
    theirs.store().finish(&manifest.artifact).unwrap();
    let path = theirs.store().model_path(&manifest.artifact).unwrap();
    assert_eq!(fs::read(path).unwrap(), tuned.bytes());
}

#[test]
fn what_rotted_while_the_node_was_off_is_repaired_or_put_aside() {
    let (ours, mut theirs) = (Machine::new(), Machine::new());
    let manifest = ours.import(&big()).manifest;
    theirs.import(&big());
    let folder = theirs.path().join(ARTIFACTS_FOLDER).join(manifest.artifact.to_string());
    theirs.store = None;
    let file = fs::OpenOptions::new().write(true).open(folder.join("files/model.gguf")).unwrap();
    file.set_len(manifest.manifest.bytes() - 1).unwrap();
    fs::create_dir(theirs.path().join("artifacts/nonsense")).unwrap();
    fs::create_dir(theirs.path().join("incoming/crashed")).unwrap();
    theirs.start();
    assert!(theirs.store().complete().is_empty());
    let (_, bitmap) = theirs.store().partial().remove(0);
    assert_eq!(bitmap.count(), bitmap.len() - 1);
    send(ours.store(), theirs.store(), &manifest.artifact, |index| !bitmap.has(index));
    theirs.store().finish(&manifest.artifact).unwrap();
    assert!(theirs.path().join("damaged/nonsense.1").exists());
    theirs.assert_tidy();
}

#[test]
fn two_threads_write_one_artifact() {
    let (ours, theirs) = (Machine::new(), Machine::new());
    let manifest = ours.import(&big()).manifest;
    theirs.store().begin((*manifest).clone()).unwrap();
    std::thread::scope(|scope| {
        for lane in 0..3 {
            let (ours, theirs, artifact) = (ours.store(), theirs.store(), &manifest.artifact);
            // Every chunk is sent by two of the three.
            scope.spawn(move || send(ours, theirs, artifact, |index| index % 3 != lane));
        }
    });
    theirs.store().finish(&manifest.artifact).unwrap();
}
