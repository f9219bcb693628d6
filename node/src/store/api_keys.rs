//! The keys of the HTTP API on disk: one small file, written whole or not at all, with digests only. The command line changes
//! it whether a node runs or not, one change at a time; the node reads it again for each request that needs a key (a few KiB
//! from the page cache), so that a removed key is refused from the next request on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;

use crate::core::api_keys::{ApiKey, ApiKeys, KeyName, KeyRefusal};
use crate::core::types::SlotName;
use crate::store::datadir::{read_small, write_atomic};
use crate::store::framed;

/// The file's name in the data directory.
const FILE: &str = "api-keys";
/// Held while the file is changed; a file of its own, because the other is replaced by each change.
const LOCK_FILE: &str = "api-keys.lock";
const RECORD_VERSION: u8 = 1;

/// Why the keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Not what this program wrote.
    #[error(
        "{path} is damaged ({why}). Restore it from a backup, or remove it and make new keys with `fednode keys add`",
        path = .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The change may not be.
    #[error(transparent)]
    Refused(#[from] KeyRefusal),
    /// Nothing of this name to remove.
    #[error("no key is called {0}; `fednode keys list` lists those there are")]
    Unknown(KeyName),
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

/// The keys kept in the data directory `folder`; none if there is no file.
pub fn read(folder: &Path) -> Result<ApiKeys, KeysError> {
    parse(folder, &bytes(folder)?)
}

/// Changes the keys, durably, one change at a time among all processes; a refusal changes nothing.
pub fn change(folder: &Path, change: impl FnOnce(&mut ApiKeys) -> Result<(), KeysError>) -> Result<(), KeysError> {
    let _lock = lock(folder)?;
    let mut keys = read(folder)?;
    change(&mut keys)?;
    let path = folder.join(FILE);
    let stored = StoredKeys { keys: keys.iter().map(StoredKey::new).collect() };
    write_atomic(&path, &framed::wrap(RECORD_VERSION, &stored.encode_to_vec())).map_err(failed("write", path))
}

/// The keys as a running node sees them: always those on disk, parsed again only when the file changed.
pub struct KeyFile {
    folder: PathBuf,
    last: Mutex<(Vec<u8>, Arc<ApiKeys>)>,
}

impl KeyFile {
    /// The keys of the data directory `folder`.
    pub fn new(folder: &Path) -> KeyFile {
        KeyFile { folder: folder.to_owned(), last: Mutex::default() }
    }

    /// The keys now. A damaged file is an error: whoever asks must let nobody pass.
    pub fn now(&self) -> Result<Arc<ApiKeys>, KeysError> {
        let bytes = bytes(&self.folder)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != bytes {
            let keys = parse(&self.folder, &bytes)?;
            *last = (bytes, Arc::new(keys));
        }
        Ok(Arc::clone(&last.1))
    }
}

/// Nothing if there is no file.
fn bytes(folder: &Path) -> Result<Vec<u8>, KeysError> {
    let path = folder.join(FILE);
    match read_small(&path) {
        // A file that is there but empty is damage, and must not look like no file.
        Ok(Some(bytes)) if bytes.is_empty() => Err(KeysError::Damaged { path, why: "it is empty".to_owned() }),
        Ok(bytes) => Ok(bytes.unwrap_or_default()),
        Err(source) => Err(failed("read", path)(source)),
    }
}

fn lock(folder: &Path) -> Result<File, KeysError> {
    let path = folder.join(LOCK_FILE);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let locked = opened.and_then(|file| file.lock().map(|()| file));
    locked.map_err(failed("lock", path))
}

fn failed(what: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> KeysError {
    move |source| KeysError::Io { what, path, source }
}

fn parse(folder: &Path, bytes: &[u8]) -> Result<ApiKeys, KeysError> {
    if bytes.is_empty() {
        return Ok(ApiKeys::default());
    }
    let damaged = |why: &dyn std::fmt::Display| KeysError::Damaged { path: folder.join(FILE), why: why.to_string() };
    let body = framed::unwrap(RECORD_VERSION, bytes).map_err(|error| damaged(&error))?;
    let stored = StoredKeys::decode(body).map_err(|_| damaged(&"not a valid encoding"))?;
    let mut keys = ApiKeys::default();
    for key in stored.keys {
        let key = key.into_key().ok_or_else(|| damaged(&"a field cannot be meant"))?;
        keys.add(key).map_err(|error| damaged(&error))?;
    }
    Ok(keys)
}

/// [`ApiKeys`] on disk.
#[derive(Clone, PartialEq, prost::Message)]
struct StoredKeys {
    #[prost(message, repeated, tag = "1")]
    keys: Vec<StoredKey>,
}

/// [`ApiKey`] on disk.
#[derive(Clone, PartialEq, prost::Message)]
struct StoredKey {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    digest: Vec<u8>,
    #[prost(string, repeated, tag = "3")]
    slots: Vec<String>,
    #[prost(uint64, tag = "4")]
    created_unix_s: u64,
    #[prost(uint64, optional, tag = "5")]
    expires_unix_s: Option<u64>,
}

impl StoredKey {
    fn new(key: &ApiKey) -> StoredKey {
        StoredKey {
            name: key.name.to_string(),
            digest: key.digest.as_bytes().to_vec(),
            slots: key.slots.iter().map(SlotName::to_string).collect(),
            created_unix_s: key.created_unix_s,
            expires_unix_s: key.expires_unix_s,
        }
    }

    fn into_key(self) -> Option<ApiKey> {
        Some(ApiKey {
            name: KeyName::new(&self.name).ok()?,
            digest: blake3::Hash::from_bytes(self.digest.try_into().ok()?),
            slots: self.slots.iter().map(|slot| SlotName::new(slot).ok()).collect::<Option<_>>()?,
            created_unix_s: self.created_unix_s,
            expires_unix_s: self.expires_unix_s,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(name: &str) -> ApiKey {
        ApiKey {
            name: KeyName::new(name).unwrap(),
            digest: blake3::hash(name.as_bytes()),
            slots: ["UCM", "ULM"].into_iter().map(|slot| SlotName::new(slot).unwrap()).collect(),
            created_unix_s: 5,
            expires_unix_s: Some(9),
        }
    }

    fn add(folder: &Path, name: &str) {
        change(folder, |keys| Ok(keys.add(key(name))?)).unwrap();
    }

    #[test]
    fn what_was_added_is_read_again_and_only_its_owner_may_read_it() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(read(base.path()).unwrap(), ApiKeys::default());
        let file = KeyFile::new(base.path());
        assert_eq!(file.now().unwrap().iter().count(), 0);
        add(base.path(), "laptop");
        assert_eq!(file.now().unwrap().iter().collect::<Vec<_>>(), [&key("laptop")]);
        assert!(matches!(
            change(base.path(), |keys| Ok(keys.add(key("laptop"))?)),
            Err(KeysError::Refused(KeyRefusal::NameTaken(_)))
        ));
        for name in [FILE, LOCK_FILE] {
            let mode = std::fs::metadata(base.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        change(base.path(), |keys| {
            keys.remove(&KeyName::new("laptop").unwrap());
            Ok(())
        })
        .unwrap();
        assert_eq!(file.now().unwrap().iter().count(), 0);
    }

    #[test]
    fn damage_lets_nobody_pass() {
        let base = tempfile::tempdir().unwrap();
        add(base.path(), "laptop");
        let file = KeyFile::new(base.path());
        file.now().unwrap();
        let path = base.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bytes in [&b""[..], &whole[..whole.len() - 1], &flipped] {
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(file.now(), Err(KeysError::Damaged { .. })), "{} bytes", bytes.len());
            assert!(change(base.path(), |_| Ok(())).is_err());
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "damage must not be overwritten");
        }
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let base = tempfile::tempdir().unwrap();
        let adders: Vec<_> = (0..8)
            .map(|number| {
                let folder = base.path().to_owned();
                std::thread::spawn(move || add(&folder, &format!("k{number}")))
            })
            .collect();
        adders.into_iter().for_each(|adder| adder.join().unwrap());
        assert_eq!(read(base.path()).unwrap().iter().count(), 8);
    }
}
