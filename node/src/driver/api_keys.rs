//! `fednode keys`, without a node: the keys are a file of the data directory, which a running node reads again by itself.

use std::collections::BTreeSet;
use std::path::Path;

use crate::core::api_keys::{ApiKey, ApiKeys, KeyName};
use crate::core::types::SlotName;
use crate::driver::api::now_unix_s;
use crate::driver::error::RunError;
use crate::store::api_keys::{self, KeysError};
use crate::store::datadir::{DataDir, DataDirError};
use crate::wire::api_key::SecretKey;

/// Makes a key and keeps its digest; the key itself is in the answer and nowhere else. `life_s`: `None` for ever.
pub fn add(
    data_dir: &Path,
    name: KeyName,
    slots: BTreeSet<SlotName>,
    life_s: Option<u64>,
) -> Result<(SecretKey, ApiKey), RunError> {
    prepare(data_dir)?;
    let secret = SecretKey::new(rand::random());
    let created_unix_s = now_unix_s();
    let expires_unix_s = life_s.map(|life_s| created_unix_s.saturating_add(life_s));
    let key = ApiKey { name, digest: secret.digest(), slots, created_unix_s, expires_unix_s };
    let added = key.clone();
    api_keys::change(data_dir, |keys| Ok(keys.add(added)?))?;
    Ok((secret, key))
}

/// The keys, and the time against which they expire.
pub fn list(data_dir: &Path) -> Result<(ApiKeys, u64), RunError> {
    Ok((api_keys::read(DataDir::peek(data_dir)?.path())?, now_unix_s()))
}

/// Removes a key: it is refused from the next request on, and answers that run under it end within a second.
pub fn remove(data_dir: &Path, name: KeyName) -> Result<(), RunError> {
    let view = DataDir::peek(data_dir)?;
    Ok(api_keys::change(view.path(), |keys| if keys.remove(&name) { Ok(()) } else { Err(KeysError::Unknown(name)) })?)
}

/// A first key may be made before the first start, so that this start may listen for others.
fn prepare(data_dir: &Path) -> Result<(), RunError> {
    match DataDir::peek(data_dir) {
        Ok(_) => return Ok(()),
        Err(DataDirError::Absent(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match DataDir::open(data_dir) {
        // Somebody starts a node there at this moment; the directory is what was wanted.
        Ok(_) | Err(DataDirError::Busy { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
