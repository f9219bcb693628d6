//! The pins of this node on disk: one small file, one pin a line, written whole or not at all. Called by `driver`.

use std::io;
use std::path::{Path, PathBuf};

use crate::core::pins::Pins;
use crate::store::datadir::{DataDir, read_small, write_atomic};

/// The file's name in the data directory.
const FILE: &str = "pins";

/// Why the pins cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// Not what this program wrote.
    #[error(
        "{path} line {line}: neither a slot nor an artifact; correct that line, or remove the file to begin without pins",
        path = .path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The system refused.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The pins kept in `dir`; none if there is no file.
pub fn read(dir: &DataDir) -> Result<Pins, PinsError> {
    let path = dir.path().join(FILE);
    let bytes = match read_small(&path) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(source) => return Err(PinsError::Io { what: "read", path, source }),
    };
    parse(&String::from_utf8_lossy(&bytes)).map_err(|line| PinsError::Line { path, line })
}

/// Keeps `pins`, durably.
pub fn write(folder: &Path, pins: &Pins) -> Result<(), PinsError> {
    let path = folder.join(FILE);
    let text: String = pins.iter().map(|pin| format!("{pin}\n")).collect();
    write_atomic(&path, text.as_bytes()).map_err(|source| PinsError::Io { what: "write", path, source })
}

fn parse(text: &str) -> Result<Pins, usize> {
    let mut pins = Pins::default();
    for (line, pin) in (1..).zip(text.lines()) {
        if !pins.add(pin.parse().map_err(|_| line)?) {
            return Err(line);
        }
    }
    Ok(pins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_what_was_not_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&base.path().join("node")).unwrap();
        assert_eq!(read(&dir).unwrap(), Pins::default());
        let mut pins = Pins::default();
        for text in ["UCM", "ULM:core", &"0f".repeat(32)] {
            assert!(pins.add(text.parse().unwrap()));
        }
        write(dir.path(), &pins).unwrap();
        assert_eq!(read(&dir).unwrap(), pins);
        std::fs::write(dir.path().join(FILE), "UCM\n../etc\n").unwrap();
        assert!(matches!(read(&dir), Err(PinsError::Line { line: 2, .. })));
    }
}
