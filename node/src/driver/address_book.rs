//! Where members were last reachable: a small file, so that a restarted node finds the others without a new invitation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    /// The first of each was dialled with success, if any was.
    known: BTreeMap<String, Vec<String>>,
}

/// Writes down where `node` is, at once: for a machine that has just become a member and has no book yet.
pub(super) fn remember(folder: &Path, node: NodeId, addresses: &[String]) {
    let path = folder.join(FILE);
    let mut known = read(&path);
    known.entry(node.to_string()).or_insert_with(|| addresses.iter().take(limits::ADDRESSES_MAX).cloned().collect());
    write(&path, &serde_json::to_vec_pretty(&known).unwrap_or_default());
}

fn read(path: &Path) -> BTreeMap<String, Vec<String>> {
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write(path: &Path, bytes: &[u8]) {
    if let Err(error) = write_atomic(path, bytes) {
        tracing::warn!(%error, "the address book could not be written");
    }
}

impl AddressBook {
    /// Reads the file; one that is damaged or missing is an empty book, for the members' own words fill it again.
    pub fn open(folder: &Path, writer: Writer) -> AddressBook {
        let path = folder.join(FILE);
        let known = read(&path);
        AddressBook { path, writer, known }
    }

    /// All members with addresses.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, Vec<String>)> + '_ {
        self.known.iter().filter_map(|(node, addresses)| Some((node.parse().ok()?, addresses.clone())))
    }

    /// Learns `addresses` of `node`, as it tells them; true if they are news. Where it was reached last stays, and first: a
    /// forwarded port, or a name that the user gave, is known to nobody else.
    pub fn learn(&mut self, node: NodeId, addresses: &[String]) -> bool {
        let last_good = self.known.get(&node.to_string()).and_then(|known| known.first()).cloned();
        !addresses.is_empty() && self.put(node, last_good.iter().chain(addresses))
    }

    /// `node` was dialled at `address` with success.
    pub fn reached(&mut self, node: NodeId, address: String) {
        let known = self.known.get(&node.to_string()).cloned().unwrap_or_default();
        self.put(node, std::iter::once(&address).chain(&known));
    }

    fn put<'a>(&mut self, node: NodeId, addresses: impl Iterator<Item = &'a String>) -> bool {
        let mut merged: Vec<String> = Vec::new();
        for address in addresses {
            if merged.len() < limits::ADDRESSES_MAX && !merged.contains(address) {
                merged.push(address.clone());
            }
        }
        let key = node.to_string();
        let news = self.known.get(&key).is_none_or(|known| *known != merged);
        if news {
            self.known.insert(key, merged);
            let bytes = serde_json::to_vec_pretty(&self.known).unwrap_or_default();
            let path = self.path.clone();
            self.writer.run(move || write(&path, &bytes));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn where_a_member_was_reached_stays_first_whatever_it_tells() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = Writer::start().expect("a thread");
        let mut book = AddressBook::open(folder.path(), writer);
        let node = NodeId([1; 32]);
        assert!(book.learn(node, &texts(&["/ip4/10.0.0.1/tcp/1"])));
        book.reached(node, "/dns/den/tcp/9".to_owned());
        assert!(book.learn(node, &texts(&["/ip4/10.0.0.2/tcp/1"])));
        assert!(!book.learn(node, &texts(&["/ip4/10.0.0.2/tcp/1"])), "no news");
        let expect = texts(&["/dns/den/tcp/9", "/ip4/10.0.0.2/tcp/1"]);
        assert_eq!(book.iter().collect::<Vec<_>>(), vec![(node, expect)]);
    }

    #[test]
    fn what_a_new_member_writes_down_is_there_when_it_is_killed_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (inviter, addresses) = (NodeId([2; 32]), texts(&["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"]));
        remember(folder.path(), inviter, &addresses);
        let book = AddressBook::open(folder.path(), Writer::start().expect("a thread"));
        assert_eq!(book.iter().collect::<Vec<_>>(), vec![(inviter, addresses)]);
    }
}
