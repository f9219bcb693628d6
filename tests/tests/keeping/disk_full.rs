//! A disk that fills up: a transfer pauses with the reason and goes on when there is room again; a publication is refused and
//! leaves nothing behind. The disk is a small tmpfs, which only root may mount; without it the tests say so and pass.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use fednode_tests::{Federation, managers, until};

use super::{LIMIT, file_of, full, list, publish_as, wait_published, wait_stored};

/// A small disk, unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn new(bytes: &str) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = format!("size={bytes},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk { folder });
        }
        println!("skipped: a small disk cannot be mounted here (that takes root)");
        None
    }

    /// A data directory on it, at the place where the harness looks for one.
    fn lend(&self, at: &Path) -> PathBuf {
        let data = self.folder.path().join("data");
        std::fs::create_dir(&data).expect("a folder");
        std::os::unix::fs::symlink(&data, at).expect("a link");
        data
    }

    /// Fills it up to the last `leave` bytes.
    fn fill(&self, leave: u64) {
        let disk = rustix::fs::statvfs(self.folder.path()).expect("its size");
        let free = disk.f_bavail * disk.f_frsize;
        let file = File::create(self.folder.path().join("filler")).expect("a file");
        let flags = rustix::fs::FallocateFlags::empty();
        rustix::fs::fallocate(&file, flags, 0, free.saturating_sub(leave)).expect("room for the filler");
    }

    fn free(&self) {
        std::fs::remove_file(self.folder.path().join("filler")).expect("the filler");
        // A process that another test starts just now may hold the file open for a moment longer.
        let room = until("the filler's room", LIMIT, || match rustix::fs::statvfs(self.folder.path()) {
            Ok(disk) if disk.f_bavail * disk.f_frsize > 80 << 20 => Ok(()),
            Ok(disk) => Err(format!("{} blocks free", disk.f_bavail)),
            Err(error) => Err(error.to_string()),
        });
        room.expect("free again");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.folder.path().display());
        }
    }
}

#[test]
fn a_transfer_waits_for_room_and_then_arrives_bit_identical() {
    let Some(disk) = SmallDisk::new("100m") else { return };
    let mut federation = Federation::new().expect("a federation");
    federation.create(full("griffith")).expect("up");
    let ticket = federation.invite("griffith", "full").expect("a ticket");
    let desktop = federation.add(full("desktop")).expect("added");
    disk.lend(desktop.data_dir());
    desktop.join(&ticket).expect("joined");
    let (griffith, desktop) = (federation.node("griffith"), federation.node("desktop"));
    wait_published(desktop, "UCM", "");
    desktop.command(&["pin", "UCM"]).expect("pinned");

    disk.fill(64 << 10);
    let artifact = publish_as(griffith, "UCM", "UCM", "1");
    let paused = until("the transfer pausing", LIMIT, || {
        let transfers = desktop.command(&["transfers", "--json"]).map_err(|error| error.to_string())?.json();
        let transfer = list(&transfers["transfers"]).first().cloned().unwrap_or_default();
        if transfer["state"] == "paused" { Ok(transfer) } else { Err(transfer.to_string()) }
    });
    let reason = paused.expect("paused")["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("not enough disk") || reason.contains("the disk is full"), "{reason}");
    assert!(desktop.client().get("/health").is_ok_and(|reply| reply.status == 200), "the node lives on");

    disk.free();
    wait_stored(desktop, &artifact);
    let original = std::fs::read(managers::file("UCM")).expect("the published file");
    assert_eq!(std::fs::read(file_of(desktop, &artifact)).expect("stored"), original);
}

#[test]
fn publishing_onto_a_full_disk_is_refused_and_leaves_nothing() {
    let Some(disk) = SmallDisk::new("100m") else { return };
    let mut federation = Federation::new().expect("a federation");
    let node = federation.add(full("alone")).expect("added");
    let data = disk.lend(node.data_dir());
    node.up().expect("up");
    for leave in [1 << 20, 0] {
        disk.fill(leave);
        let file = managers::file("UCM");
        let refused = node.cli(&["publish", &file.to_string_lossy(), "--as", "UCM", "--json"]).expect("it runs");
        assert_eq!(refused.code, 3, "{}{}", refused.stdout, refused.stderr);
        let why = refused.json()["error"]["message"].as_str().expect("a reason").to_owned();
        assert!(why.contains("not enough disk") || why.contains("the disk is full"), "{why}");
        for folder in ["incoming", "partial", "artifacts"] {
            assert_eq!(std::fs::read_dir(data.join(folder)).expect("a folder").count(), 0, "{folder}, {leave} left");
        }
        disk.free();
    }
    publish_as(node, "UCM", "UCM", "1");
}
