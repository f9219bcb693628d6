//! Damage and budgets against real files: what rots is found past the page cache, is no longer served, and is repaired
//! without touching the owner's own file.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::store::scrub::{ScrubBuffer, Verdict};

fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
}

fn verdicts(store: &Store, artifact: &Digest) -> Vec<u32> {
    let mut buffer = ScrubBuffer::default();
    let chunks = store.manifest(artifact).unwrap().manifest.chunk_count();
    let damaged = |index: &u32| store.verify_chunk(artifact, *index, &mut buffer).unwrap() == Verdict::Damaged;
    (0..chunks).filter(damaged).collect()
}

/// A copy of `from`'s only artifact on a new machine.
fn copy_of(from: &Machine, verified: &VerifiedManifest) -> Machine {
    let to = Machine::new();
    to.store().begin(verified.clone()).unwrap();
    send(from.store(), to.store(), &verified.artifact, |_| true);
    to.store().finish(&verified.artifact).unwrap();
    to
}

#[test]
fn a_flipped_bit_is_found_no_longer_served_and_repaired() {
    let ours = Machine::new();
    let sample = big();
    let verified = ours.import(&sample).manifest;
    let artifact = verified.artifact;
    let mut theirs = copy_of(&ours, &verified);
    let path = theirs.store().model_path(&artifact).unwrap();
    assert!(verdicts(theirs.store(), &artifact).is_empty());
    let (file, chunk) = verified.manifest.chunk(7).unwrap();
    assert_eq!(file, 0);
    flip(&path, chunk.offset + u64::from(chunk.bytes) - 1);
    assert_eq!(verdicts(theirs.store(), &artifact), [7]);
    assert!(theirs.store().is_sound(&artifact), "lengths are right and nobody has said anything yet");

    let left = theirs.store().demote(&artifact, &[7]).unwrap();
    assert_eq!((left.count(), left.has(7)), (left.len() - 1, false));
    assert_eq!(theirs.store().complete(), []);
    assert_eq!(theirs.store().model_path(&artifact), None);
    assert!(matches!(theirs.store().read_chunk(&artifact, 7), Err(StoreError::Missing { .. })));
    assert!(theirs.store().read_chunk(&artifact, 8).is_ok(), "sound chunks are served on");
    assert_eq!(theirs.store().verify_chunk(&artifact, 7, &mut ScrubBuffer::default()).unwrap(), Verdict::Gone);
    theirs.restart(); // and that is remembered
    assert_eq!(theirs.store().partial(), [(artifact, left)]);

    send(ours.store(), theirs.store(), &artifact, |index| index == 7);
    theirs.store().finish(&artifact).unwrap();
    assert_eq!(fs::read(theirs.store().model_path(&artifact).unwrap()).unwrap(), sample.bytes());
    theirs.assert_tidy();
}

#[test]
fn repairing_a_linked_file_leaves_the_owners_alone() {
    let ours = Machine::new();
    let sample = big();
    let path = ours.folder.path().join("owners.gguf");
    fs::write(&path, sample.bytes()).unwrap();
    let imported = ours.try_import(&path, &ImportOptions { link: true }).unwrap();
    let artifact = imported.manifest.artifact;
    assert_eq!(imported.placed_by, Placement::Linked);
    flip(&path, 5_000_000);
    let rotten = fs::read(&path).unwrap();
    let damaged = verdicts(ours.store(), &artifact);
    assert_eq!(damaged.len(), 1);
    ours.store().demote(&artifact, &damaged).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 1, "the store has a file of its own now");
    let (_, chunk) = imported.manifest.manifest.chunk(damaged[0]).unwrap();
    let whole = sample.bytes();
    let bytes = &whole[chunk.offset as usize..][..chunk.bytes as usize];
    assert!(ours.store().write_chunk(&artifact, damaged[0], bytes).unwrap());
    ours.store().finish(&artifact).unwrap();
    assert_eq!(fs::read(ours.store().model_path(&artifact).unwrap()).unwrap(), whole);
    assert_eq!(fs::read(&path).unwrap(), rotten, "his file is his");
}

#[test]
fn a_file_that_is_short_or_gone_is_damage_and_repaired_too() {
    let ours = Machine::new();
    let sample = big();
    let verified = ours.import(&sample).manifest;
    let artifact = verified.artifact;
    for vanish in [false, true] {
        let theirs = copy_of(&ours, &verified);
        let path = theirs.store().model_path(&artifact).unwrap();
        match vanish {
            true => fs::remove_file(&path).unwrap(),
            false => fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100_000).unwrap(),
        }
        assert!(!theirs.store().is_sound(&artifact));
        let damaged = verdicts(theirs.store(), &artifact);
        assert!(damaged.len() > 3);
        let left = theirs.store().demote(&artifact, &damaged).unwrap();
        assert_eq!(left.count() == 0, vanish);
        send(ours.store(), theirs.store(), &artifact, |index| !left.has(index));
        theirs.store().finish(&artifact).unwrap();
        assert_eq!(fs::read(theirs.store().model_path(&artifact).unwrap()).unwrap(), sample.bytes());
    }
}

#[test]
fn what_cannot_be_read_or_copied_locally_becomes_a_suspect() {
    let ours = Machine::new();
    let verified = ours.import(&big()).manifest;
    let artifact = verified.artifact;
    let path = ours.store().model_path(&artifact).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    assert!(ours.store().read_chunk(&artifact, 3).is_err());
    assert_eq!(ours.store().take_suspect(), Some((artifact, Some(3))));
    assert_eq!(ours.store().take_suspect(), None);
    for n in 0..2 * limits::SUSPECTS_MAX as u32 {
        ours.store().suspect(artifact, Some(n));
    }
    assert_eq!(std::iter::from_fn(|| ours.store().take_suspect()).count(), limits::SUSPECTS_MAX);
}

#[test]
fn the_store_as_a_whole_stays_under_its_budget() {
    let ours = Machine::new();
    let (first, second) = (big(), Sample::model());
    let imported = ours.import(&first).manifest;
    let used = imported.manifest.bytes();
    assert_eq!(ours.store().used_bytes(), used);

    let theirs = Machine::new();
    let dir = DataDir::open(&theirs.folder.path().join("other")).unwrap();
    let store = Store::open(&dir).unwrap().with_budget(Some(used + 10));
    assert_eq!(store.disk_free(), used + 10);
    store.begin((*imported).clone()).unwrap();
    assert_eq!((store.used_bytes(), store.disk_free()), (used, 10), "what is under way has its room claimed");
    let path = theirs.folder.path().join("second.gguf");
    fs::write(&path, second.bytes()).unwrap();
    let refusal = store
        .import(&Source::open(&path, None).unwrap(), &ImportOptions::default(), &keypair(), &mut |_, _| {})
        .unwrap_err();
    let ImportError::Store(StoreError::BudgetShort(short)) = &refusal else { panic!("{refusal}") };
    assert_eq!(
        (short.used_bytes, short.budget_bytes, short.short_bytes()),
        (used, used + 10, second.bytes().len() as u64 - 10)
    );
    assert_eq!(fs::read_dir(dir.path().join(INCOMING_FOLDER)).unwrap().count(), 0, "nothing is left behind");
    let verified = ours.import(&second).manifest;
    assert!(matches!(store.begin((*verified).clone()), Err(StoreError::BudgetShort(_))));
    assert!(store.begin((*imported).clone()).is_ok(), "what has its room already goes on");
    let store = store.with_budget(Some(used - 1));
    assert_eq!((store.over_budget_bytes(), store.disk_free()), (1, 0));
}

/// A tmpfs of 100 MiB, which only root may mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", "size=100m", "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(folder));
        }
        println!("skipped: a small disk cannot be mounted here (that takes root)");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    /// To the last byte.
    fn fill(&self) {
        let file = File::create(self.filler()).unwrap();
        let free = disk::free_bytes(self.0.path()).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "the small disk stays mounted");
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_transfer_costs_only_time() {
    let Some(small) = SmallDisk::mount() else { return };
    let ours = Machine::new();
    let sample = big();
    let verified = ours.import(&sample).manifest;
    let (artifact, chunks) = (verified.artifact, verified.manifest.chunk_count());
    let path = small.0.path().join("data");
    let dir = DataDir::open(&path).unwrap();
    let store = Store::open(&dir).unwrap();
    store.begin((*verified).clone()).unwrap();
    send(ours.store(), &store, &artifact, |index| index < chunks / 2);
    store.checkpoint(&artifact).unwrap();

    small.fill();
    // The files have their room; what fails sooner or later is the database behind the bitmap.
    let bitmap = Bitmap::full(80_000);
    let full = (0..1000u32).find_map(|n| store.meta().put_bitmap(&Digest::of(&n.to_le_bytes()), &bitmap).err());
    let full = StoreError::from(full.expect("the database has no room"));
    assert!(matches!(full, StoreError::DiskFull { .. }), "{full}");
    for index in chunks / 2..chunks {
        let written = store.write_chunk(&artifact, index, &ours.store().read_chunk(&artifact, index).unwrap());
        assert!(matches!(written, Ok(true) | Err(StoreError::DiskFull { .. })), "{written:?}");
    }

    fs::remove_file(small.filler()).unwrap();
    send(ours.store(), &store, &artifact, |_| true);
    store.finish(&artifact).unwrap();
    assert_eq!(fs::read(store.model_path(&artifact).unwrap()).unwrap(), sample.bytes());
    drop(store);
    let store = Store::open(&dir).unwrap();
    assert_eq!((store.complete(), store.partial().len()), (vec![artifact], 0));
    assert_eq!(store.meta().recovery(), meta::Recovery::Intact);
    drop((store, dir));
}
