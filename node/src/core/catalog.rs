//! What has been published: the roster of slots and, per slot and domain, the artifact that fills it; and what the owner wishes
//! of a machine. A last-writer-wins map that every member holds and members bring into agreement pairwise; each record is
//! signed by its author (checked in `wire`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::core::artifact::Shape;
use crate::core::fingerprint::Fingerprint;
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
    /// What the unaltered artifact answers; `None`: its publisher could not read it, or was of before there were any.
    pub fingerprint: Option<Arc<Fingerprint>>,
}

/// What the owner wishes of one machine, whoever coordinates and whether the machine is up or not. Written whole: of two
/// changes made at once on both sides of a partition the later one stays.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wishes {
    /// The machine.
    pub node: NodeId,
    /// Slots that must be resident there, at most `PINNED_PER_NODE_MAX`.
    pub pinned: BTreeSet<SlotName>,
    /// It shall hold no replicas: those it has move elsewhere first.
    pub drained: bool,
}

impl Wishes {
    /// None.
    pub fn none(node: NodeId) -> Wishes {
        Wishes { node, pinned: BTreeSet::new(), drained: false }
    }
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The slots there are.
    Roster(SlotRoster),
    /// An artifact in a slot.
    Publication(Publication),
    /// What is wished of a machine.
    Wishes(Wishes),
}

impl Entry {
    /// Where it lives in the map.
    pub fn key(&self) -> Key {
        match self {
            Entry::Roster(_) => Key::Roster,
            Entry::Publication(publication) => Key::Slot(publication.slot, publication.domain),
            Entry::Wishes(wishes) => Key::Node(wishes.node),
        }
    }
}

/// Where an entry lives in the map.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Key {
    /// The one roster.
    Roster,
    /// A slot and, for adapters, a domain.
    Slot(SlotName, Option<DomainName>),
    /// The wishes of one machine.
    Node(NodeId),
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
        self.entry.key()
    }

    /// Is it a wish? Members of before there were wishes are not told of them, and their digest does not count them.
    pub fn is_wish(&self) -> bool {
        matches!(self.entry, Entry::Wishes(_))
    }
}

/// The whole map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Catalog {
    records: BTreeMap<Key, Record>,
    /// Kept, for every advertisement that comes is compared with it.
    digest: Digest,
    wishes_digest: Digest,
}

impl Default for Catalog {
    fn default() -> Catalog {
        let none = digest_of(std::iter::empty());
        Catalog { records: BTreeMap::new(), digest: none, wishes_digest: none }
    }
}

fn digest_of<'a>(records: impl Iterator<Item = &'a Record>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for record in records {
        hasher.update(&Digest::of(&record.signed).0);
    }
    Digest(*hasher.finalize().as_bytes())
}

impl Catalog {
    /// Takes `record` if it is newer than what its key holds: higher sequence, then higher author. True if taken.
    pub fn merge(&mut self, record: Record) -> bool {
        let key = record.key();
        let most = if record.is_wish() { limits::WISHES_MAX } else { limits::CATALOG_RECORDS_MAX };
        let alike = self.records.values().filter(|known| known.is_wish() == record.is_wish()).count();
        let full = alike >= most && !self.records.contains_key(&key);
        if full || record.sequence > limits::CATALOG_SEQUENCE_MAX {
            return false;
        }
        let newer = self
            .records
            .get(&key)
            .is_none_or(|known| (record.sequence, record.author) > (known.sequence, known.author));
        if newer {
            self.records.insert(key, record);
            self.digest = digest_of(self.records.values().filter(|record| !record.is_wish()));
            self.wishes_digest = digest_of(self.records.values().filter(|record| record.is_wish()));
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

    /// Is this very record in it?
    pub fn holds(&self, record: &Record) -> bool {
        self.records.get(&record.key()) == Some(record)
    }

    /// Digest over all records but wishes: equal on members that agree.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The same over the wishes.
    pub fn wishes_digest(&self) -> Digest {
        self.wishes_digest
    }

    /// What is wished of `node`, if anything ever was.
    pub fn wishes(&self, node: &NodeId) -> Option<&Wishes> {
        match &self.records.get(&Key::Node(*node))?.entry {
            Entry::Wishes(wishes) => Some(wishes),
            Entry::Roster(_) | Entry::Publication(_) => None,
        }
    }

    /// Shall `node` hold no replicas?
    pub fn is_drained(&self, node: &NodeId) -> bool {
        self.wishes(node).is_some_and(|wishes| wishes.drained)
    }

    /// Must `slot` be resident on `node`?
    pub fn is_pinned_on(&self, slot: &SlotName, node: &NodeId) -> bool {
        self.wishes(node).is_some_and(|wishes| wishes.pinned.contains(slot))
    }

    /// The machines on which `slot` must be resident, in order.
    pub fn pinned_on<'a>(&'a self, slot: &'a SlotName) -> impl Iterator<Item = NodeId> + 'a {
        let wishes = self.records.values().filter_map(|record| match &record.entry {
            Entry::Wishes(wishes) => Some(wishes),
            Entry::Roster(_) | Entry::Publication(_) => None,
        });
        wishes.filter(move |wishes| wishes.pinned.contains(slot)).map(|wishes| wishes.node)
    }

    /// The roster of slots, if one is known.
    pub fn roster(&self) -> Option<&SlotRoster> {
        match &self.records.get(&Key::Roster)?.entry {
            Entry::Roster(roster) => Some(roster),
            Entry::Publication(_) | Entry::Wishes(_) => None,
        }
    }

    /// What fills `slot` (`domain`: one of its adapters).
    pub fn publication(&self, slot: &SlotName, domain: Option<&DomainName>) -> Option<&Publication> {
        match &self.records.get(&Key::Slot(*slot, domain.cloned()))?.entry {
            Entry::Publication(publication) => Some(publication),
            Entry::Roster(_) | Entry::Wishes(_) => None,
        }
    }

    /// All publications, in order of slot and domain.
    pub fn publications(&self) -> impl Iterator<Item = &Publication> {
        self.records.values().filter_map(|record| match &record.entry {
            Entry::Publication(publication) => Some(publication),
            Entry::Roster(_) | Entry::Wishes(_) => None,
        })
    }

    /// The fingerprint of what fills `slot` (`domain`: one of its adapters, on the base that fills the slot now), with the artifact
    /// that it is of.
    pub fn fingerprint(&self, slot: &SlotName, domain: Option<&DomainName>) -> Option<(Digest, Arc<Fingerprint>)> {
        let base = self.publication(slot, None)?.artifact;
        let publication = self.publication(slot, domain)?;
        let fingerprint = publication.fingerprint.clone().filter(|fingerprint| fingerprint.base == base)?;
        Some((publication.artifact, fingerprint))
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
            fingerprint: None,
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

    fn wish(sequence: u64, node: u8, slots: &[&str], drained: bool) -> Record {
        let pinned = slots.iter().map(|slot| SlotName::new(slot).expect("name")).collect();
        let node = NodeId([node; 32]);
        let signed = format!("{sequence}{node}{slots:?}{drained}").into_bytes();
        let entry = Entry::Wishes(Wishes { node, pinned, drained });
        Record { sequence, author: NodeId([1; 32]), entry, signed }
    }

    #[test]
    fn a_wish_is_taken_back_by_a_later_one_and_leaves_the_publications_digest_alone() {
        let mut catalog = Catalog::default();
        catalog.merge(record(1, 1, 10));
        let (before, none) = (catalog.digest(), catalog.wishes_digest());
        let (slot, node) = (SlotName::new("UFM").expect("name"), NodeId([7; 32]));
        assert!(catalog.merge(wish(1, 7, &["UFM", "UCM"], true)));
        assert!(catalog.merge(wish(1, 8, &["UFM"], false)));
        assert!(catalog.is_pinned_on(&slot, &node) && catalog.is_drained(&node));
        assert_eq!(catalog.pinned_on(&slot).collect::<Vec<_>>(), [node, NodeId([8; 32])]);
        assert!(catalog.digest() == before && catalog.wishes_digest() != none);
        assert!(catalog.merge(wish(2, 7, &[], false)));
        assert!(!catalog.merge(wish(1, 7, &["UFM"], true)), "older");
        assert!(!catalog.is_pinned_on(&slot, &node) && !catalog.is_drained(&node));
    }

    #[test]
    fn wishes_have_a_bound_of_their_own() {
        let mut catalog = Catalog::default();
        let of = |index: usize| {
            let node = NodeId(Digest::of(&index.to_le_bytes()).0);
            let entry = Entry::Wishes(Wishes::none(node));
            Record { sequence: 1, author: node, entry, signed: index.to_le_bytes().to_vec() }
        };
        assert!((0..limits::WISHES_MAX).all(|index| catalog.merge(of(index))));
        assert!(!catalog.merge(of(limits::WISHES_MAX)));
        assert!(catalog.merge(record(1, 1, 10)), "publications have their own room");
        assert!(catalog.merge(Record { sequence: 2, ..of(0) }), "and what is known may change");
    }
}
