//! Import: what is stored once, what is shared with its owner, and what a failure leaves behind.

use super::*;

#[test]
fn the_same_bytes_are_stored_once_and_bad_files_leave_nothing() {
    let machine = Machine::new();
    let first = machine.import(&big());
    let again = machine.import(&big());
    assert_eq!((again.manifest, again.placed_by), (first.manifest, Placement::AlreadyStored));
    let path = machine.folder.path().join("bad.gguf");
    let whole = big().bytes();
    for bad in [&b"PK not a model"[..], &whole[..whole.len() - 1], &whole[..100]] {
        fs::write(&path, bad).unwrap();
        let error = machine.try_import(&path, &ImportOptions::default()).unwrap_err();
        assert!(matches!(error, ImportError::Source(SourceError::Gguf { .. })), "{error}");
    }
    assert!(matches!(
        machine.try_import(&machine.folder.path().join("absent"), &ImportOptions::default()),
        Err(ImportError::Source(SourceError::Open { .. }))
    ));
    assert_eq!(machine.store().complete().len(), 1);
    machine.assert_tidy();
}

#[test]
fn an_import_ends_a_transfer_of_the_same_artifact() {
    let (ours, theirs) = (Machine::new(), Machine::new());
    let manifest = ours.import(&big()).manifest;
    theirs.store().begin((*manifest).clone()).unwrap();
    theirs.import(&big());
    assert_eq!(theirs.store().complete(), [manifest.artifact]);
    theirs.assert_tidy();
    theirs.store().finish(&manifest.artifact).unwrap();
}

#[test]
fn linking_is_done_only_when_asked_for() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let machine = Machine::new();
    let path = machine.folder.path().join("linked.gguf");
    fs::write(&path, big().bytes()).unwrap();
    let options = ImportOptions { link: true };
    let imported = machine.try_import(&path, &options).unwrap();
    if imported.placed_by == Placement::Reflinked {
        return; // where blocks are shared nothing else is
    }
    assert_eq!(imported.placed_by, Placement::Linked);
    let (store, artifact) = (machine.store(), imported.manifest.artifact);
    let placed = store.path_to_load(&artifact).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(fs::metadata(placed).unwrap().ino(), metadata.ino());
    assert_eq!(metadata.mode() & 0o222, 0);
    // Its owner makes it writable and writes to it after all: what was changed is neither served nor loaded.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let (_, chunk) = imported.manifest.manifest.chunk(2).unwrap();
    file.write_all_at(b"edited", chunk.offset).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 32)).unwrap();
    assert!(matches!(store.read_chunk(&artifact, 2), Err(StoreError::LinkChanged(_))));
    assert!(store.read_chunk(&artifact, 3).is_ok());
    assert!(matches!(store.path_to_load(&artifact), Err(StoreError::LinkChanged(_))));
    // Cut short, it is completed again in the store, and not in the owner's file.
    file.set_len(1000).unwrap();
    let mut machine = machine;
    machine.restart();
    assert_eq!(machine.store().partial().len(), 1);
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.nlink()), (1000, 1));
}

#[test]
fn a_split_model_is_one_artifact_whatever_its_files_are_called() {
    let machine = Machine::new();
    let mut imported = Vec::new();
    for prefix in ["one", "another name"] {
        let parts = gguf::sample::split(&big(), 3);
        let paths: Vec<PathBuf> =
            (1..=3).map(|number| machine.folder.path().join(gguf::split::part_name(prefix, number, 3))).collect();
        for (path, part) in paths.iter().zip(&parts) {
            fs::write(path, part.bytes()).unwrap();
        }
        imported.push(machine.try_import(&paths[0], &ImportOptions::default()).unwrap());
        let model = machine.store().model_path(&imported[0].manifest.artifact).unwrap();
        assert!(model.ends_with("model-00001-of-00003.gguf"), "{}", model.display());
        for (number, part) in parts.iter().enumerate() {
            let name = gguf::split::part_name("model", number + 1, 3);
            assert_eq!(fs::read(model.with_file_name(name)).unwrap(), part.bytes());
        }
    }
    assert_eq!(imported[0].manifest, imported[1].manifest);
    assert_eq!(imported[1].placed_by, Placement::AlreadyStored);
    assert_eq!(machine.store().complete().len(), 1);
    machine.assert_tidy();
}

#[test]
fn an_import_that_fails_gives_a_linked_file_back_as_it_was() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let machine = Machine::new();
    let path = machine.folder.path().join("linked.gguf");
    fs::write(&path, big().bytes()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let source = Source::open(&path, None).unwrap();
    // Changed after it was opened, in a way that only its stamp tells.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let options = ImportOptions { link: true };
    match machine.store().import(&source, &options, &keypair(), &mut |_, _| {}) {
        Err(error) => assert!(matches!(error, ImportError::Changed(_)), "{error}"),
        // Where blocks are shared the owner's file does not matter any more.
        Ok(imported) => assert_eq!(imported.placed_by, Placement::Reflinked),
    }
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
    machine.assert_tidy();
}
