//! The catalog once more, as one small file beside the metadata store: written whole after every change, read only when
//! the store had to be given up. Called by `meta`.

use std::io;
use std::path::Path;

use prost::Message;
use tracing::warn;

use crate::store::datadir::{read_small, write_atomic};
use crate::store::framed;
use crate::store::meta::MetaError;

const RECORD_VERSION: u8 = 1;

#[derive(Clone, PartialEq, Message)]
struct Copy {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(bytes = "vec", tag = "2")]
    signed: Vec<u8>,
}

/// Replaces the copy.
pub(super) fn write(path: &Path, records: &[(String, Vec<u8>)]) -> Result<(), MetaError> {
    let record = |(key, signed): &(String, Vec<u8>)| Record { key: key.clone(), signed: signed.clone() };
    let copy = Copy { records: records.iter().map(record).collect() };
    let bytes = framed::wrap(RECORD_VERSION, &copy.encode_to_vec());
    write_atomic(path, &bytes).map_err(|source| io_error("write", path, source))
}

/// The copied records; none if there is no copy, or one that cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Vec<u8>)>, MetaError> {
    let Some(bytes) = read_small(path).map_err(|source| io_error("read", path, source))? else { return Ok(Vec::new()) };
    let copy = framed::unwrap(RECORD_VERSION, &bytes).ok().and_then(|body| Copy::decode(body).ok());
    if copy.is_none() {
        warn!(path = %path.display(), "the catalog's copy is damaged; other members send the catalog again");
    }
    Ok(copy.unwrap_or_default().records.into_iter().map(|record| (record.key, record.signed)).collect())
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> MetaError {
    MetaError::Io { what, path: path.to_owned(), source }
}
