//! The rules for the model `auto` on disk: `routes.toml` in the data directory, which its owner writes. A running node reads it
//! again for each request that needs it (some KiB from the page cache). Without a file the rules are those that fednode
//! brings.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use crate::core::limits::ROUTES_FILE_BYTES_MAX;
use crate::core::route::auto::{Routes, RoutesError};

/// The file's name in the data directory.
const FILE: &str = "routes.toml";
/// What fednode brings.
const BUILT_IN: &str = include_str!("../../rosters/routes.toml");

/// Why the rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RoutesFileError {
    /// The system refused.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no rules.
    #[error("{path}: {why}", path = .path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// A rule cannot be meant.
    #[error("{path}: {error}", path = .path.display())]
    Rules {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: RoutesError,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    routes: Routes,
}

/// The rules that hold in a data directory, and the file they are from, if they are from one.
pub fn read(folder: &Path) -> Result<(Routes, Option<PathBuf>), RoutesFileError> {
    let path = folder.join(FILE);
    match text(&path)? {
        Some(text) => Ok((parse(&path, &text)?, Some(path))),
        None => Ok((parse(Path::new("the rules that fednode brings"), BUILT_IN)?, None)),
    }
}

fn text(path: &Path) -> Result<Option<String>, RoutesFileError> {
    let failed = |source| RoutesFileError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut text = String::new();
    file.take(ROUTES_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > ROUTES_FILE_BYTES_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any rules")));
    }
    Ok(Some(text))
}

fn parse(path: &Path, text: &str) -> Result<Routes, RoutesFileError> {
    let document: Result<Document, toml::de::Error> = toml::from_str(text);
    let document = document.map_err(|error| RoutesFileError::Toml { path: path.to_owned(), why: error.to_string() })?;
    let Document { routes } = document;
    routes.check().map_err(|error| RoutesFileError::Rules { path: path.to_owned(), error })?;
    Ok(routes)
}

/// The rules as a running node sees them.
pub struct RoutesFile {
    path: PathBuf,
    last: Mutex<(Option<String>, Arc<Routes>)>,
}

impl RoutesFile {
    /// Those of a data directory; what is wrong with them is found here, before the node serves anybody.
    pub fn open(folder: &Path) -> Result<RoutesFile, RoutesFileError> {
        let path = folder.join(FILE);
        let (routes, _) = read(folder)?;
        Ok(RoutesFile { last: Mutex::new((text(&path)?, Arc::new(routes))), path })
    }

    /// The rules now. While the file is not what it should be, the last ones that were go on.
    pub fn now(&self) -> Arc<Routes> {
        let read = text(&self.path);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (changed, routes) = match read {
            Ok(text) if text == last.0 => return Arc::clone(&last.1),
            Ok(Some(text)) => (parse(&self.path, &text), Some(text)),
            Ok(None) => (parse(&self.path, BUILT_IN), None),
            Err(error) => {
                tracing::warn!(%error, "the rules for the model auto are not read again; the last ones hold");
                return Arc::clone(&last.1);
            }
        };
        match changed {
            Ok(fresh) => *last = (routes, Arc::new(fresh)),
            Err(error) => {
                tracing::warn!(%error, "the rules for the model auto are not taken; the last ones hold");
                // Said once for each text.
                last.0 = routes;
            }
        }
        Arc::clone(&last.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::roster::SlotRoster;

    fn write(folder: &Path, text: &str) {
        std::fs::write(folder.join(FILE), text).unwrap();
    }

    #[test]
    fn what_fednode_brings_is_sound_and_names_slots_of_the_reference_roster() {
        let folder = tempfile::tempdir().unwrap();
        let (routes, from) = read(folder.path()).unwrap();
        assert!(from.is_none() && routes.rules.len() > 5);
        let roster: SlotRoster = toml::from_str(include_str!("../../rosters/reference.toml")).unwrap();
        let named = routes.rules.iter().map(|rule| &rule.slot).chain(&routes.default);
        for target in named {
            assert!(roster.seat(&target.slot, target.domain.as_ref()).is_some(), "{target}");
        }
    }

    #[test]
    fn a_change_holds_at_once_and_a_mistake_leaves_the_last_rules() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "[routes]\ndefault = \"A\"\n");
        let file = RoutesFile::open(folder.path()).unwrap();
        let default = || file.now().default.as_ref().map(ToString::to_string);
        assert_eq!(default().as_deref(), Some("A"));
        write(folder.path(), "[routes]\ndefault = \"B:core\"\n");
        assert_eq!(default().as_deref(), Some("B:core"));
        write(folder.path(), "[routes]\ndefault = 7\n");
        assert_eq!(default().as_deref(), Some("B:core"));
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        assert_eq!(default().as_deref(), Some("UFM"));
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            "",
            "default = \"A\"",
            "[routes]\ndefualt = \"A\"",
            "[routes]\ndefault = \"../A\"",
            "[[routes.rule]]\ntask = \"t\"\nslot = \"A\"",
            "[[routes.rule]]\ntask = \"t\"\nslot = \"A\"\nwords = [\"two words\"]",
        ];
        for text in cases {
            write(folder.path(), text);
            let refused = read(folder.path()).map(|_| ()).expect_err(text);
            assert!(refused.to_string().contains(FILE), "{refused}");
        }
        write(folder.path(), &" ".repeat(ROUTES_FILE_BYTES_MAX as usize + 1));
        assert!(matches!(read(folder.path()), Err(RoutesFileError::Io { .. })));
    }
}
