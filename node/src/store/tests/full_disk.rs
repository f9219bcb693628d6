//! A disk without room: transfers wait, imports say what they lack, and nothing is given up for it.

use super::*;

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

    /// Up to the last `left` bytes.
    fn fill(&self, left: u64) {
        let file = File::create(self.filler()).unwrap();
        let free = disk::free_bytes(self.0.path()).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free - left).unwrap();
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

    small.fill(0);
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
    assert_eq!(fs::read(store.path_to_load(&artifact).unwrap()).unwrap(), sample.bytes());
    drop(store);
    let store = Store::open(&dir).unwrap();
    assert_eq!((store.complete(), store.partial().len()), (vec![artifact], 0));
    assert_eq!(store.meta().recovery(), meta::Recovery::Intact);
    drop((store, dir));
}

#[test]
fn a_full_disk_is_told_with_what_it_lacks_and_damages_nothing() {
    let Some(small) = SmallDisk::mount() else { return };
    let ours = Machine::new();
    let sample = big();
    let verified = ours.import(&sample).manifest;
    let artifact = verified.artifact;
    let dir = DataDir::open(&small.0.path().join("data")).unwrap();
    let store = Store::open(&dir).unwrap();
    store.begin((*verified).clone()).unwrap();
    send(ours.store(), &store, &artifact, |index| index < 3);
    store.checkpoint(&artifact).unwrap();
    let partial = dir.path().join(PARTIAL_FOLDER).join(artifact.to_string());
    fs::hard_link(partial.join("files/model.gguf"), small.0.path().join("backup")).unwrap();
    small.fill(2 << 20); // for the metadata, and not for a copy
    let path = ours.folder.path().join("other.gguf");
    fs::write(&path, Sample::model().bytes()).unwrap();
    let source = Source::open(&path, None).unwrap();
    let refusal = store.import(&source, &ImportOptions::default(), &keypair(), &mut |_, _| {}).unwrap_err();
    assert!(matches!(refusal, ImportError::Store(StoreError::DiskShort { .. })), "{refusal}");
    assert!(refusal.shortage_bytes() > 0);
    assert_eq!(store.take_shortage(), refusal.shortage_bytes(), "the garbage collection hears of it too");
    drop(store);
    // The file has two names and no room for a copy: it waits for the next start.
    let store = Store::open(&dir).unwrap();
    assert!(store.partial().is_empty() && !dir.path().join("damaged").exists());
    assert!(!partial.join("files/model.unshared").exists());
    drop(store);
    fs::remove_file(small.filler()).unwrap();
    let store = Store::open(&dir).unwrap();
    assert_eq!(store.partial()[0].1.count(), 3);
}
