//! The external engines of this node on disk: one small file in JSON, written whole or not at all. It holds their keys, so it is
//! readable by the owner alone (mode 0600), as every small file here. Called by `driver`.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::core::external::{EngineKey, Registration, Registrations, is_model_name};
use crate::core::types::SlotName;
use crate::store::datadir::{DataDir, read_small, write_atomic};

/// The file's name in the data directory.
const FILE: &str = "engines.json";

/// Why the external engines cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ExternalsError {
    /// Not what this program wrote.
    #[error(
        "{path} is damaged ({why}); correct it, or remove it and put the engines in again with `fednode engine add`",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, without what is in it.
        why: String,
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

#[derive(Serialize, Deserialize, Default)]
struct Stored {
    engines: Vec<StoredEngine>,
}

#[derive(Serialize, Deserialize)]
struct StoredEngine {
    slot: SlotName,
    url: String,
    model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    unverified: bool,
}

/// The engines kept in `dir`; none if there is no file.
pub fn read(dir: &DataDir) -> Result<Registrations, ExternalsError> {
    let path = dir.path().join(FILE);
    match read_small(&path) {
        Ok(None) => Ok(Registrations::default()),
        Ok(Some(bytes)) => parse(&bytes).map_err(|why| ExternalsError::Damaged { path, why }),
        Err(source) => Err(ExternalsError::Io { what: "read", path, source }),
    }
}

/// Keeps `engines`, durably.
pub fn write(folder: &Path, engines: &Registrations) -> Result<(), ExternalsError> {
    let path = folder.join(FILE);
    let stored = |(slot, there): (&SlotName, &Registration)| StoredEngine {
        slot: *slot,
        url: there.url.to_string(),
        model: there.model.clone(),
        key: there.key.as_ref().map(|key| key.secret().to_owned()),
        unverified: there.unverified,
    };
    let stored = Stored { engines: engines.iter().map(stored).collect() };
    let written = serde_json::to_vec_pretty(&stored).map_err(io::Error::other);
    let written = written.and_then(|bytes| write_atomic(&path, &bytes));
    written.map_err(|source| ExternalsError::Io { what: "write", path, source })
}

fn parse(bytes: &[u8]) -> Result<Registrations, String> {
    // serde_json says where, and for some mistakes what: what may be a key. The place is enough.
    let broken = |error: serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    let stored: Stored = serde_json::from_slice(bytes).map_err(broken)?;
    let mut engines = Registrations::default();
    for one in stored.engines {
        let key = one.key.map(|key| EngineKey::new(&key).ok_or("a key that cannot be one")).transpose()?;
        let url = one.url.parse().map_err(|error| format!("{}: {error}", one.slot))?;
        if !is_model_name(&one.model) {
            return Err(format!("{}: its model cannot be one", one.slot));
        }
        let registration = Registration { url, model: one.model, key, unverified: one.unverified };
        engines.add(one.slot, registration).map_err(|error| error.to_string())?;
    }
    Ok(engines)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn slot(name: &str) -> SlotName {
        SlotName::new(name).unwrap()
    }

    fn registration(key: Option<&str>) -> Registration {
        let key = key.map(|key| EngineKey::new(key).unwrap());
        Registration { url: "http://127.0.0.1:8080".parse().unwrap(), model: "llama".into(), key, unverified: true }
    }

    #[test]
    fn what_was_written_is_read_again_and_nobody_else_may_read_it() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&base.path().join("node")).unwrap();
        assert_eq!(read(&dir).unwrap(), Registrations::default());
        let mut engines = Registrations::default();
        engines.add(slot("UCM"), registration(Some("sk-secret"))).unwrap();
        engines.add(slot("ULM"), registration(None)).unwrap();
        write(dir.path(), &engines).unwrap();
        assert_eq!(read(&dir).unwrap(), engines);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_repeats_no_secret() {
        let one = r#"{"slot":"UCM","url":"http://127.0.0.1:1","model":"m","key":"sk-secret","unverified":true}"#;
        let damaged = [
            String::new(),
            "[]".to_owned(),
            format!("{{\"engines\":[{one}"),
            format!("{{\"engines\":[{one},{one}]}}"),
            format!("{{\"engines\":[{}]}}", one.replace("http", "ftp")),
            format!("{{\"engines\":[{}]}}", one.replace("127.0.0.1", "8.8.8.8")),
            format!("{{\"engines\":[{}]}}", one.replace("UCM", "../UCM")),
            format!("{{\"engines\":[{}]}}", one.replace("sk-secret", "sk secret")),
            format!("{{\"engines\":[{}]}}", one.replace("true", "\"sk-secret\"")),
        ];
        for text in damaged {
            let why = parse(text.as_bytes()).expect_err(&text);
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
