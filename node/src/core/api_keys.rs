//! The keys of this node's HTTP API: names, digests, which slots each may use, when it ends. Pure: `store` keeps them,
//! `http` asks about a digest, `wire::api_key` makes and reads the text that people copy. The key itself is nowhere here.

use std::collections::BTreeSet;

use crate::core::limits;
use crate::core::types::SlotName;

/// What a person calls a key, such as `laptop`.
pub type KeyName = SlotName;

/// One key, as far as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// Unique among the keys of a node.
    pub name: KeyName,
    /// A derived hash of the key (`wire::api_key`). Comparing two of these takes the same time wherever they differ.
    pub digest: blake3::Hash,
    /// What it may use; empty: everything.
    pub slots: BTreeSet<SlotName>,
    /// Seconds since the Unix epoch.
    pub created_unix_s: u64,
    /// From then on it is refused; `None`: never.
    pub expires_unix_s: Option<u64>,
}

/// Why a key cannot be added.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyRefusal {
    /// The name is in use.
    #[error("there is a key called {0} already; choose another name, or `fednode keys remove {0}` first")]
    NameTaken(KeyName),
    /// Too many at once.
    #[error("there are {max} keys, which is as many as there may be; remove one with `fednode keys remove`", max = limits::API_KEYS_MAX)]
    TooMany,
    /// More slots than a federation has.
    #[error("a key names at most {max} slots; without --slot it may use all", max = limits::SLOTS_MAX)]
    TooManySlots,
}

/// What is known about a digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// It may pass.
    Valid(&'a ApiKey),
    /// It was right once.
    Expired(&'a ApiKey),
    /// Never seen, or removed.
    Unknown,
}

/// The keys of one node, in the order they were added.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ApiKeys(Vec<ApiKey>);

impl ApiKey {
    /// Only some slots?
    pub fn is_scoped(&self) -> bool {
        !self.slots.is_empty()
    }

    /// May it use the slot of this name? A slot's domains are part of it.
    pub fn may_use(&self, slot: &str) -> bool {
        !self.is_scoped() || self.slots.iter().any(|allowed| allowed.as_str() == slot)
    }

    /// Has its time passed?
    pub fn is_expired(&self, now_unix_s: u64) -> bool {
        self.expires_unix_s.is_some_and(|expires| expires <= now_unix_s)
    }
}

impl ApiKeys {
    /// Adds `key`, or says why not and changes nothing.
    pub fn add(&mut self, key: ApiKey) -> Result<(), KeyRefusal> {
        if self.0.iter().any(|known| known.name == key.name) {
            return Err(KeyRefusal::NameTaken(key.name));
        }
        if self.0.len() >= limits::API_KEYS_MAX {
            return Err(KeyRefusal::TooMany);
        }
        if key.slots.len() > limits::SLOTS_MAX {
            return Err(KeyRefusal::TooManySlots);
        }
        self.0.push(key);
        Ok(())
    }

    /// Removes the key of this name; false if there is none.
    pub fn remove(&mut self, name: &KeyName) -> bool {
        let before = self.0.len();
        self.0.retain(|key| &key.name != name);
        self.0.len() < before
    }

    /// Who has this digest? Every key is compared, so that the time taken says nothing about which one it was.
    pub fn find(&self, digest: &blake3::Hash, now_unix_s: u64) -> Found<'_> {
        let mut found = None;
        for key in &self.0 {
            if &key.digest == digest {
                found = Some(key);
            }
        }
        match found {
            Some(key) if key.is_expired(now_unix_s) => Found::Expired(key),
            Some(key) => Found::Valid(key),
            None => Found::Unknown,
        }
    }

    /// Can anybody pass now?
    pub fn any_valid(&self, now_unix_s: u64) -> bool {
        self.0.iter().any(|key| !key.is_expired(now_unix_s))
    }

    /// In the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, seed: u8, slots: &[&str], expires_unix_s: Option<u64>) -> ApiKey {
        ApiKey {
            name: KeyName::new(name).unwrap(),
            digest: blake3::hash(&[seed]),
            slots: slots.iter().map(|slot| SlotName::new(slot).unwrap()).collect(),
            created_unix_s: 0,
            expires_unix_s,
        }
    }

    #[test]
    fn a_key_is_found_by_its_digest_until_it_ends_or_is_removed() {
        let mut keys = ApiKeys::default();
        assert!(!keys.any_valid(0));
        keys.add(key("a", 1, &[], None)).unwrap();
        keys.add(key("b", 2, &[], Some(10))).unwrap();
        let name = |found: Found<'_>| match found {
            Found::Valid(key) => format!("valid {}", key.name),
            Found::Expired(key) => format!("expired {}", key.name),
            Found::Unknown => "unknown".to_owned(),
        };
        let ask = |keys: &ApiKeys, seed: u8, now| name(keys.find(&blake3::hash(&[seed]), now));
        assert_eq!((ask(&keys, 1, 10), ask(&keys, 2, 9)), ("valid a".to_owned(), "valid b".to_owned()));
        assert_eq!((ask(&keys, 2, 10), ask(&keys, 3, 0)), ("expired b".to_owned(), "unknown".to_owned()));
        assert!(keys.remove(&KeyName::new("a").unwrap()) && !keys.remove(&KeyName::new("a").unwrap()));
        assert_eq!((ask(&keys, 1, 0), keys.any_valid(9), keys.any_valid(10)), ("unknown".to_owned(), true, false));
    }

    #[test]
    fn a_scope_is_a_list_of_whole_names() {
        let scoped = key("a", 1, &["ULM", "UCM"], None);
        assert!(scoped.may_use("ULM") && scoped.may_use("UCM"));
        for other in ["UL", "ULMX", "ulm", "", "ULM:core"] {
            assert!(!scoped.may_use(other), "{other}");
        }
        assert!(key("b", 2, &[], None).may_use("anything"));
    }

    #[test]
    fn names_are_unique_and_keys_are_bounded() {
        let mut keys = ApiKeys::default();
        for number in 0..limits::API_KEYS_MAX {
            keys.add(key(&format!("k{number}"), 1, &[], None)).unwrap();
        }
        assert_eq!(keys.add(key("k0", 9, &[], None)), Err(KeyRefusal::NameTaken(KeyName::new("k0").unwrap())));
        assert_eq!(keys.add(key("more", 9, &[], None)), Err(KeyRefusal::TooMany));
        let slots: Vec<String> = (0..=limits::SLOTS_MAX).map(|slot| format!("s{slot}")).collect();
        let slots: Vec<&str> = slots.iter().map(String::as_str).collect();
        assert_eq!(ApiKeys::default().add(key("wide", 9, &slots, None)), Err(KeyRefusal::TooManySlots));
    }
}
