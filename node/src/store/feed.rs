//! Bytes on their way into the store: read at any offset by several threads at once, whether they come straight from a file
//! or are made on the way (a Hugging Face folder that becomes GGUF). Called by `chunks` and `import`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes that can be read at any offset, by several threads at once.
pub trait Feed: Sync {
    /// Fills `buffer` with what stands at `offset`, or fails. Reading past the end is `UnexpectedEof`.
    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Feed for File {
    fn fill_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }
}
