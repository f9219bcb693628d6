//! A disk of known speed: what a process and its children read is held to so many bytes a second by the kernel (the block
//! controller of cgroups, version 1 or 2), and what was read before can be forgotten. It needs root.

use std::fs::{self, File};
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::Error;

/// Where cgroups of both versions are found.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A machine's processes, which read slowly. Drop it after they ended.
#[derive(Debug)]
pub struct SlowDisk {
    group: PathBuf,
}

impl SlowDisk {
    /// What the machine of this name reads from the disk that `folder` lies on is held to `bytes_per_s`, in all. An error where
    /// the system cannot do that: no block controller, or a folder that lies on no disk.
    pub fn new(machine: &str, folder: &Path, bytes_per_s: u64) -> Result<SlowDisk, Error> {
        let device = device_of(folder)?;
        let name = format!("fednode-{}-{machine}", std::process::id());
        let old = Path::new(CGROUPS).join("blkio");
        let (group, file, limit) = match old.is_dir() {
            true => (old.join(name), "blkio.throttle.read_bps_device", format!("{device} {bytes_per_s}")),
            false => {
                write(&Path::new(CGROUPS).join("cgroup.subtree_control"), "+io")?;
                (Path::new(CGROUPS).join(name), "io.max", format!("{device} rbps={bytes_per_s}"))
            }
        };
        fs::create_dir(&group).map_err(Error::io(format!("make the cgroup {}", group.display())))?;
        let disk = SlowDisk { group };
        write(&disk.group.join(file), &limit)?;
        Ok(disk)
    }

    /// From now on this process reads slowly, and whatever it starts.
    pub fn hold(&self, pid: u32) -> Result<(), Error> {
        write(&self.group.join("cgroup.procs"), &pid.to_string())
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.group));
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::io(format!("write {text:?} to {}", path.display())))
}

/// Major and minor number of the whole disk under `folder`.
fn device_of(folder: &Path) -> Result<String, Error> {
    let device = fs::metadata(folder).map_err(Error::io(format!("look at {}", folder.display())))?.st_dev();
    let numbers = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let known = fs::canonicalize(format!("/sys/dev/block/{numbers}"));
    let known = known.map_err(Error::io(format!("find the disk {numbers} of {}", folder.display())))?;
    // Limits are set on disks, not on their partitions.
    let disk = if known.join("partition").exists() { known.parent().unwrap_or(&known) } else { &known };
    let numbers = fs::read_to_string(disk.join("dev")).map_err(Error::io(format!("read {}/dev", disk.display())))?;
    Ok(numbers.trim().to_owned())
}

/// Takes what was read of the files below `folder` out of the page cache, but what some process has mapped: as on a machine
/// whose memory is full.
pub fn forget(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => forget(&path),
            Ok(kind) if kind.is_file() => {
                if let Ok(file) = File::open(&path) {
                    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
                }
            }
            _ => {}
        }
    }
}
