//! Where members were last reachable: a small file, so that a restarted node finds the others without a new invitation.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::core::limits;
use crate::core::types::NodeId;
use crate::driver::writer::Writer;
use crate::store::datadir::write_atomic;

/// The file's name in the data directory.
const FILE: &str = "addresses.json";

/// Last known addresses by member.
pub struct AddressBook {
    path: PathBuf,
    writer: Writer,
    known: BTreeMap<String, Vec<String>>,
}

impl AddressBook {
    /// Reads the file; one that is damaged or missing is an empty book, for the members' own words fill it again.
    pub fn open(folder: &std::path::Path, writer: Writer) -> AddressBook {
        let path = folder.join(FILE);
        let known = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        AddressBook { path, writer, known: known.unwrap_or_default() }
    }

    /// All members with addresses.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, Vec<String>)> + '_ {
        self.known.iter().filter_map(|(node, addresses)| Some((node.parse().ok()?, addresses.clone())))
    }

    /// Learns `addresses` of `node`; true if they are news.
    pub fn learn(&mut self, node: NodeId, addresses: &[String]) -> bool {
        let addresses = &addresses[..addresses.len().min(limits::ADDRESSES_MAX)];
        let key = node.to_string();
        let news = !addresses.is_empty() && self.known.get(&key).is_none_or(|known| known != addresses);
        if news {
            self.known.insert(key, addresses.to_vec());
            let bytes = serde_json::to_vec_pretty(&self.known).unwrap_or_default();
            let path = self.path.clone();
            self.writer.run(move || {
                if let Err(error) = write_atomic(&path, &bytes) {
                    tracing::warn!(%error, "the address book could not be written");
                }
            });
        }
        news
    }
}
