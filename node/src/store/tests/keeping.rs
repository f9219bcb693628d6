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
    let path = theirs.store().path_to_load(&artifact).unwrap();
    assert!(verdicts(theirs.store(), &artifact).is_empty());
    let (file, chunk) = verified.manifest.chunk(7).unwrap();
    assert_eq!(file, 0);
    flip(&path, chunk.offset + u64::from(chunk.bytes) - 1);
    assert_eq!(verdicts(theirs.store(), &artifact), [7]);
    assert!(theirs.store().is_sound(&artifact), "lengths are right and nobody has said anything yet");

    let left = theirs.store().demote(&artifact, &[7]).unwrap();
    assert_eq!((left.count(), left.has(7)), (left.len() - 1, false));
    assert_eq!(theirs.store().complete(), []);
    assert!(theirs.store().path_to_load(&artifact).is_err());
    assert!(matches!(theirs.store().read_chunk(&artifact, 7), Err(StoreError::Missing { .. })));
    assert!(theirs.store().read_chunk(&artifact, 8).is_ok(), "sound chunks are served on");
    assert_eq!(theirs.store().verify_chunk(&artifact, 7, &mut ScrubBuffer::default()).unwrap(), Verdict::Gone);
    theirs.restart(); // and that is remembered
    assert_eq!(theirs.store().partial(), [(artifact, left)]);

    send(ours.store(), theirs.store(), &artifact, |index| index == 7);
    theirs.store().finish(&artifact).unwrap();
    assert_eq!(fs::read(theirs.store().path_to_load(&artifact).unwrap()).unwrap(), sample.bytes());
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
    assert_eq!(fs::read(ours.store().path_to_load(&artifact).unwrap()).unwrap(), whole);
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
        let path = theirs.store().path_to_load(&artifact).unwrap();
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
        assert_eq!(fs::read(theirs.store().path_to_load(&artifact).unwrap()).unwrap(), sample.bytes());
    }
}

#[test]
fn what_cannot_be_read_or_copied_locally_becomes_a_suspect() {
    let ours = Machine::new();
    let verified = ours.import(&big()).manifest;
    let artifact = verified.artifact;
    let path = ours.store().path_to_load(&artifact).unwrap();
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

#[test]
fn a_chunk_that_only_the_page_cache_still_has_is_written_again() {
    let ours = Machine::new();
    let verified = ours.import(&big()).manifest;
    let artifact = verified.artifact;
    let mut theirs = copy_of(&ours, &verified);
    // The disk lost chunk 7; whoever reads through the cache still finds it whole.
    theirs.store().demote(&artifact, &[7]).unwrap();
    for _ in 0..2 {
        let (_, bitmap) = theirs.store().partial().remove(0);
        assert_eq!((bitmap.count(), bitmap.has(7)), (bitmap.len() - 1, false));
        assert_eq!(theirs.store().under_repair(), [artifact], "after a restart too");
        theirs.restart();
    }
    send(ours.store(), theirs.store(), &artifact, |index| index == 7);
    theirs.store().finish(&artifact).unwrap();
    assert!(theirs.store().under_repair().is_empty());
    let folder = theirs.store().complete_folder(&artifact);
    assert!(!folder.join(REPAIR_FILE).exists());
    // What was short when the node started is under repair as well.
    let path = theirs.store().path_to_load(&artifact).unwrap();
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(10).unwrap();
    theirs.restart();
    assert_eq!(theirs.store().under_repair(), [artifact]);
}

#[test]
fn a_linked_file_that_only_the_store_has_any_more_is_repaired() {
    use std::os::unix::fs::PermissionsExt;
    for restart in [false, true] {
        let mut ours = Machine::new();
        let sample = big();
        let path = ours.folder.path().join("owners.gguf");
        fs::write(&path, sample.bytes()).unwrap();
        let imported = ours.try_import(&path, &ImportOptions { link: true }).unwrap();
        let artifact = imported.manifest.artifact;
        let placed = ours.store().path_to_load(&artifact).unwrap();
        fs::remove_file(&path).unwrap();
        if restart {
            fs::set_permissions(&placed, fs::Permissions::from_mode(0o600)).unwrap();
            fs::OpenOptions::new().write(true).open(&placed).unwrap().set_len(5_000_000).unwrap();
            fs::set_permissions(&placed, fs::Permissions::from_mode(0o444)).unwrap();
            ours.restart();
        } else {
            ours.store().demote(&artifact, &[3]).unwrap();
        }
        let placed = ours.path().join(PARTIAL_FOLDER).join(artifact.to_string()).join("files/model.gguf");
        assert_eq!(fs::metadata(placed).unwrap().mode() & 0o777, 0o600, "else only root may write to it");
        let left = ours.store().partial().remove(0).1;
        assert!(left.count() > 0 && !left.is_full());
    }
}

/// Marks a chunk as bad without putting its artifact back, as a repair that has no room does.
fn mark_bad(store: &Store, artifact: &Digest, chunk: u32) {
    store.watch().mark_bad(*artifact, chunk);
}

#[test]
fn what_is_known_to_be_bad_is_neither_loaded_nor_promised_and_forgotten_with_its_bytes() {
    let ours = Machine::new();
    let sample = big();
    let verified = ours.import(&sample).manifest;
    let artifact = verified.artifact;
    let theirs = copy_of(&ours, &verified);
    let store = theirs.store();
    let refused = || {
        mark_bad(store, &artifact, 4);
        assert!(!store.is_sound(&artifact));
        assert!(matches!(store.path_to_load(&artifact), Err(StoreError::Damaged { chunks, .. }) if chunks == [4]));
        assert!(store.read_chunk(&artifact, 4).is_err());
    };
    // Read from the disk again and found sound.
    refused();
    assert!(verdicts(store, &artifact).is_empty());
    assert!(store.is_sound(&artifact));
    // Deleted and fetched again.
    refused();
    store.discard(&artifact).unwrap();
    store.begin((*verified).clone()).unwrap();
    send(ours.store(), store, &artifact, |_| true);
    store.finish(&artifact).unwrap();
    assert!(store.is_sound(&artifact) && store.path_to_load(&artifact).is_ok());
    // Published again: the bytes in the store are replaced.
    refused();
    let inode = || fs::metadata(store.complete_folder(&artifact).join("files/model.gguf")).unwrap().ino();
    let before = inode();
    assert_ne!(theirs.import(&sample).placed_by, Placement::AlreadyStored);
    assert!(store.is_sound(&artifact) && store.path_to_load(&artifact).is_ok());
    assert_ne!(inode(), before);
    assert_eq!(theirs.import(&sample).placed_by, Placement::AlreadyStored);
    theirs.assert_tidy();
}

#[test]
fn what_was_begun_anew_meanwhile_is_not_taken_for_what_was_verified() {
    let ours = Machine::new();
    let verified = ours.import(&big()).manifest;
    let artifact = verified.artifact;
    let theirs = Machine::new();
    let store = theirs.store();
    store.begin((*verified).clone()).unwrap();
    send(ours.store(), store, &artifact, |_| true);
    let Held::Partial(old) = store.lookup(&artifact).unwrap() else { panic!("it is not whole yet") };
    store.discard(&artifact).unwrap();
    store.begin((*verified).clone()).unwrap();
    assert!(matches!(store.accept(&old), Err(StoreError::Unknown(_))));
    assert!(store.complete().is_empty());
    send(ours.store(), store, &artifact, |_| true);
    store.finish(&artifact).unwrap();
}

#[test]
fn a_touch_or_a_second_name_is_no_change_once_the_bytes_were_looked_at() {
    let ours = Machine::new();
    let sample = big();
    let path = ours.folder.path().join("owners.gguf");
    fs::write(&path, sample.bytes()).unwrap();
    let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 32);
    File::open(&path).unwrap().set_modified(later).unwrap();
    let imported = ours.try_import(&path, &ImportOptions { link: true }).unwrap();
    let (store, artifact) = (ours.store(), imported.manifest.artifact);
    assert!(store.is_sound(&artifact), "whatever the time of the file was");
    if imported.placed_by == Placement::Linked {
        let later = later + std::time::Duration::from_secs(1);
        File::open(&path).unwrap().set_modified(later).unwrap();
        assert!(!store.is_sound(&artifact), "not served, so not promised either");
        assert_eq!(store.take_suspect(), Some((artifact, None)), "and looked at");
        assert!(matches!(store.path_to_load(&artifact), Err(StoreError::LinkChanged(_))));
        let seen = store.newest_change(&artifact).unwrap();
        assert!(verdicts(store, &artifact).is_empty());
        store.vouch(&artifact, seen).unwrap();
        assert!(store.is_sound(&artifact) && store.path_to_load(&artifact).is_ok());
        File::open(&path).unwrap().set_modified(later + std::time::Duration::from_secs(1)).unwrap();
        assert!(!store.is_sound(&artifact), "each change is looked at anew");
    }
    // One that was transferred has a manifest older than its bytes; a backup links to them.
    let theirs = Machine::new();
    let verified = ours.import(&Sample::model()).manifest;
    theirs.store().begin((*verified).clone()).unwrap();
    let manifest = theirs.path().join(PARTIAL_FOLDER).join(verified.artifact.to_string()).join(MANIFEST_FILE);
    File::open(manifest).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    send(ours.store(), theirs.store(), &verified.artifact, |_| true);
    theirs.store().finish(&verified.artifact).unwrap();
    let path = theirs.store().path_to_load(&verified.artifact).unwrap();
    fs::hard_link(path, theirs.folder.path().join("backup")).unwrap();
    assert!(theirs.store().is_sound(&verified.artifact));
}
