//! What has been published: the roster of slots and, per slot and domain, the artifact that fills it. A last-writer-wins
//! map that every member holds and members bring into agreement pairwise; each record is signed by its author (checked
//! in `wire`).

use std::collections::BTreeMap;

use crate::core::artifact::Shape;
use crate::core::limits;
use crate::core::roster::SlotRoster;
use crate::core::types::{Digest, DomainName, NodeId, SlotName};

/// One artifact published into a slot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// The slot.
    pub slot: SlotName,
    /// The domain, for adapters.
    pub domain: Option<DomainName>,
    /// The artifact.
    pub artifact: Digest,
    /// Bytes on disk.
    pub artifact_bytes: u64,
    /// Chunks.
    pub chunks: u32,
    /// Hyperparameters and sizes, so that placement needs no manifest.
    pub shape: Shape,
    /// The model's own name.
    pub name: String,
    /// The publisher's version.
    pub version: String,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The slots there are.
    Roster(SlotRoster),
    /// An artifact in a slot.
    Publication(Publication),
}

/// Where an entry lives in the map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// The one roster.
    Roster,
    /// A slot and, for adapters, a domain.
    Slot(SlotName, Option<DomainName>),
}

/// A verified record, with the signed bytes it came from so that it can be passed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Rises with every write to the same key.
    pub sequence: u64,
    /// Who wrote it.
    pub author: NodeId,
    /// What it says.
    pub entry: Entry,
    /// The signed encoding (a `SignedCatalogRecord`).
    pub signed: Vec<u8>,
}

impl Record {
    /// The key this record writes.
    pub fn key(&self) -> Key {
        match &self.entry {
            Entry::Roster(_) => Key::Roster,
            Entry::Publication(publication) => Key::Slot(publication.slot.clone(), publication.domain.clone()),
        }
    }
}

/// The whole map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Catalog {
    records: BTreeMap<Key, Record>,
    /// Kept, for every advertisement that comes is compared with it.
    digest: Digest,
}

impl Default for Catalog {
    fn default() -> Catalog {
        let records = BTreeMap::new();
        Catalog { digest: digest_of(&records), records }
    }
}

fn digest_of(records: &BTreeMap<Key, Record>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for record in records.values() {
        hasher.update(&Digest::of(&record.signed).0);
    }
    Digest(*hasher.finalize().as_bytes())
}

impl Catalog {
    /// Takes `record` if it is newer than what its key holds: higher sequence, then higher author. True if taken.
    pub fn merge(&mut self, record: Record) -> bool {
        let key = record.key();
        let full = self.records.len() >= limits::CATALOG_RECORDS_MAX && !self.records.contains_key(&key);
        if full || record.sequence > limits::CATALOG_SEQUENCE_MAX {
            return false;
        }
        let newer = self
            .records
            .get(&key)
            .is_none_or(|known| (record.sequence, record.author) > (known.sequence, known.author));
        if newer {
            self.records.insert(key, record);
            self.digest = digest_of(&self.records);
        }
        newer
    }

    /// The sequence a new write to `key` needs.
    pub fn next_sequence(&self, key: &Key) -> u64 {
        self.records.get(key).map_or(1, |record| record.sequence + 1)
    }

    /// All records, in key order.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// Digest over all records: equal on members that agree.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The roster of slots, if one is known.
    pub fn roster(&self) -> Option<&SlotRoster> {
        match &self.records.get(&Key::Roster)?.entry {
            Entry::Roster(roster) => Some(roster),
            Entry::Publication(_) => None,
        }
    }

    /// What fills `slot` (`domain`: one of its adapters).
    pub fn publication(&self, slot: &SlotName, domain: Option<&DomainName>) -> Option<&Publication> {
        match &self.records.get(&Key::Slot(slot.clone(), domain.cloned()))?.entry {
            Entry::Publication(publication) => Some(publication),
            Entry::Roster(_) => None,
        }
    }

    /// All publications, in order of slot and domain.
    pub fn publications(&self) -> impl Iterator<Item = &Publication> {
        self.records.values().filter_map(|record| match &record.entry {
            Entry::Publication(publication) => Some(publication),
            Entry::Roster(_) => None,
        })
    }

    /// Adapters published for `slot`, in order of domain.
    pub fn adapters<'a>(&'a self, slot: &'a SlotName) -> impl Iterator<Item = &'a Publication> {
        self.publications().filter(move |publication| &publication.slot == slot && publication.domain.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, author: u8, artifact: u8) -> Record {
        let publication = Publication {
            slot: SlotName::new("UFM").expect("name"),
            domain: None,
            artifact: Digest([artifact; 32]),
            artifact_bytes: 1,
            chunks: 1,
            shape: Shape::default(),
            name: String::new(),
            version: String::new(),
        };
        Record {
            sequence,
            author: NodeId([author; 32]),
            entry: Entry::Publication(publication),
            signed: vec![sequence as u8, author, artifact],
        }
    }

    #[test]
    fn any_order_of_merging_ends_in_the_same_catalog() {
        let records = [record(1, 1, 10), record(2, 1, 11), record(2, 2, 12)];
        let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let digests: Vec<Digest> = orders
            .iter()
            .map(|order| {
                let mut catalog = Catalog::default();
                order.iter().for_each(|&index| {
                    catalog.merge(records[index].clone());
                });
                catalog.digest()
            })
            .collect();
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
