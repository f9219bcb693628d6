//! What lies on disk, every byte of it, so that a test can say that nothing changed. All tests here take one before and
//! compare after.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fednode_tests::{Federation, until};

const QUIET_LIMIT: Duration = Duration::from_secs(20);
/// Longer than a node takes from one step of its plan to the next, where nothing is loaded or transferred.
const QUIET: Duration = Duration::from_millis(300);

/// One thing below the folder. Names of other kinds, such as sockets, count too; they have no content.
#[derive(Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    File(Vec<u8>),
    Link(PathBuf),
    Other,
}

/// Everything below a folder, by path relative to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    folder: PathBuf,
    except: Vec<PathBuf>,
    entries: BTreeMap<PathBuf, Entry>,
}

impl Snapshot {
    /// Everything below `folder` except these paths; empty if there is no such folder.
    pub fn of(folder: &Path, except: Vec<PathBuf>) -> Snapshot {
        let mut snapshot = Snapshot { folder: folder.to_owned(), except, entries: BTreeMap::new() };
        let mut open = vec![folder.to_owned()];
        while let Some(path) = open.pop() {
            if snapshot.except.contains(&path) {
                continue;
            }
            let Ok(about) = path.symlink_metadata() else { continue };
            let entry = match about.file_type() {
                kind if kind.is_dir() => {
                    open.extend(fs::read_dir(&path).expect("the folder can be listed").flatten().map(|at| at.path()));
                    Entry::Folder
                }
                kind if kind.is_file() => Entry::File(fs::read(&path).expect("the file can be read")),
                kind if kind.is_symlink() => Entry::Link(fs::read_link(&path).expect("the link can be read")),
                _ => Entry::Other,
            };
            snapshot.entries.insert(path, entry);
        }
        snapshot
    }

    /// The whole folder of a federation: data directories, and whatever a node might leave beside them. Left out are
    /// the logs, which the harness writes, and `meta/` of each node that runs now: sled writes it in the background,
    /// and what it holds can be rebuilt from the files that are compared. `lock` is compared although it holds the
    /// process id: no refused command may touch that of a running node.
    ///
    /// Taken once the plan is carried out and the disk has been still for a moment, so that what a node still does of
    /// its own accord after a good command is not taken for the work of a bad one.
    pub fn federation(federation: &Federation) -> Snapshot {
        if federation.nodes().iter().all(|node| !node.is_running()) {
            return Snapshot::now(federation);
        }
        federation.wait_carried_out(QUIET_LIMIT, |_| {}).expect("the plan is carried out");
        until("a still disk", QUIET_LIMIT, || {
            let snapshot = Snapshot::now(federation);
            std::thread::sleep(QUIET);
            let changes = snapshot.changes();
            if changes.is_empty() { Ok(snapshot) } else { Err(changes.join("; ")) }
        })
        .expect("a node without work writes nothing")
    }

    fn now(federation: &Federation) -> Snapshot {
        let logs = federation.nodes().iter().map(|node| node.log_path().to_owned());
        let running = federation.nodes().iter().filter(|node| node.is_running());
        let except = logs.chain(running.map(|node| node.data_dir().join("meta"))).collect();
        Snapshot::of(federation.folder(), except)
    }

    /// What is different now, one line each.
    pub fn changes(&self) -> Vec<String> {
        let now = Snapshot::of(&self.folder, self.except.clone());
        let gone = self.entries.keys().filter(|path| !now.entries.contains_key(*path));
        let gone = gone.map(|path| format!("{} is gone", path.display()));
        let differs = now.entries.iter().filter_map(|(path, entry)| match self.entries.get(path) {
            None => Some(format!("{} is new", path.display())),
            Some(before) if before != entry => Some(format!("{} changed", path.display())),
            Some(_) => None,
        });
        gone.chain(differs).collect()
    }
}

#[test]
fn a_snapshot_sees_a_new_a_changed_and_a_missing_file() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("sub")).expect("a folder is made");
    fs::write(at("sub/kept"), "1").expect("a file is written");
    fs::write(at("gone"), "1").expect("a file is written");
    fs::write(at("left-out"), "1").expect("a file is written");
    let before = Snapshot::of(folder.path(), vec![at("left-out")]);
    assert_eq!(before.changes(), Vec::<String>::new());
    fs::write(at("sub/kept"), "2").expect("a file is written");
    fs::write(at("left-out"), "2").expect("a file is written");
    fs::remove_file(at("gone")).expect("a file is removed");
    fs::write(at("new"), "1").expect("a file is written");
    let line = |name: &str, what: &str| format!("{} {what}", at(name).display());
    assert_eq!(before.changes(), [line("gone", "is gone"), line("new", "is new"), line("sub/kept", "changed")]);
    let absent = Snapshot::of(&at("absent"), Vec::new());
    fs::create_dir(at("absent")).expect("a folder is made");
    assert_eq!(absent.changes(), [line("absent", "is new")]);
}
