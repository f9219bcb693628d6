//! A file mapped only to bring its pages into memory: nothing reads through the mapping. While it lives, the system keeps what
//! was brought in rather than pages that nobody has mapped.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// See the top of this file.
pub(in crate::engine) struct Mapping {
    start: NonNull<c_void>,
    bytes: usize,
}

impl Mapping {
    /// The whole file; it has at least one byte.
    pub(in crate::engine) fn of(file: &File, bytes: u64) -> io::Result<Mapping> {
        let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: a new mapping at a place that the system chooses; nothing is ever read through it, so that a file which
        // changes meanwhile harms nobody.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::SHARED, file, 0)? };
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mapped at address zero"))?;
        Ok(Mapping { start, bytes })
    }

    /// Brings in `len` bytes from `at`, a whole number of pages; waits for the disk. What lies beyond the file's end is an error.
    #[cfg(target_os = "linux")]
    pub(in crate::engine) fn bring_in(&self, at: usize, len: usize) -> io::Result<()> {
        let len = len.min(self.bytes.saturating_sub(at));
        // SAFETY: the range lies in the mapping, which lives as long as `self`; populating changes no memory.
        Ok(rustix::io::retry_on_intr(|| unsafe {
            madvise(self.start.as_ptr().byte_add(at), len, Advice::LinuxPopulateRead)
        })?)
    }

    /// Elsewhere nothing of the kind is known.
    #[cfg(not(target_os = "linux"))]
    pub(in crate::engine) fn bring_in(&self, _: usize, _: usize) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours alone, and nobody has a pointer into it.
        if let Err(error) = unsafe { munmap(self.start.as_ptr(), self.bytes) } {
            tracing::warn!(%error, "a mapping stays until this process ends");
        }
    }
}
