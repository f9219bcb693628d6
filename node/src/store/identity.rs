//! What a node is and must never forget, as small files of the data directory, each written whole or not at all: its
//! key, the owner's key where this is the owner's machine, who belongs to the federation and which invitations are open,
//! how often it started, and the highest epoch it has seen. Called by `driver`; `cli` reads through a view.

use std::io;
use std::path::PathBuf;

use fednode_proto::v1;
use libp2p_identity::ed25519;
use prost::Message;

use crate::core::limits;
use crate::core::membership::change::Change;
use crate::core::types::{FederationId, NodeId};
use crate::store::datadir::{DataDir, DataDirView, read_small, write_atomic};
use crate::store::framed::{self, FrameError};
use crate::store::tickets::{StoredTicket, TicketRecord};
use crate::wire::{change, ids};

const IDENTITY_FILE: &str = "identity";
const OWNER_FILE: &str = "owner";
const MEMBERSHIP_FILE: &str = "membership";
const INCARNATION_FILE: &str = "incarnation";
const EPOCH_FILE: &str = "epoch";
/// Version of what is inside each of the files.
const RECORD_VERSION: u8 = 1;

/// Why a small file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not what was written.
    #[error("{path} is damaged ({why}). {remedy}", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// What the owner can do.
        remedy: &'static str,
    },
    /// The key is gone, and others know this machine by it.
    #[error(
        "{path} is missing, but this machine belongs to a federation under that key. Restore the file from a backup, or move the data directory away and join again with a new invitation",
        path = .0.display()
    )]
    KeyMissing(PathBuf),
    /// There is an owner's key already.
    #[error("{path} exists: this machine owns a federation already", path = .0.display())]
    OwnerExists(PathBuf),
    /// A burnt, expired or unknown invitation.
    #[error("this invitation is unknown, or was used before; ask for a new one with `fednode invite`")]
    TicketSpent,
    /// Too many at once.
    #[error("{max} invitations are open; wait until some expire", max = limits::TICKETS_MAX)]
    TooManyTickets,
    /// The system refused.
    #[error("cannot {what} {path}: {source}", path = .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The federation this node belongs to. One file, so that one durable write admits a member and burns its ticket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The owner's public key.
    pub federation: FederationId,
    /// An encoded `SignedMemberRoster`; `wire::members::open` checks it.
    pub signed_roster: Vec<u8>,
    /// Invitations given out by this node.
    pub tickets: Vec<StoredTicket>,
    /// Changes of the roster that this machine signed, numbered, the newest last.
    pub acts: Vec<(u64, Change)>,
}

impl Membership {
    /// What a machine has that joined, or made a federation, just now.
    pub fn new(federation: FederationId, signed_roster: Vec<u8>) -> Membership {
        Membership { federation, signed_roster, tickets: Vec::new(), acts: Vec::new() }
    }

    /// Remembers a change of its own, and forgets the oldest of too many.
    pub fn note(&mut self, number: u64, change: Change) {
        self.acts.push((number, change));
        let surplus = self.acts.len().saturating_sub(limits::CHANGES_KEPT_MAX);
        self.acts.drain(..surplus);
    }
}

impl DataDirView {
    /// This node's key; `None` if none was made yet.
    pub fn node_key(&self) -> Result<Option<ed25519::Keypair>, IdentityError> {
        self.keypair(IDENTITY_FILE, "Restore it from a backup, or move the data directory away and join again")
    }

    /// The owner's key; `None` on every machine but the owner's.
    pub fn owner_key(&self) -> Result<Option<ed25519::Keypair>, IdentityError> {
        self.keypair(OWNER_FILE, "Restore it from a backup: without it no machine can be admitted or revoked")
    }

    /// The federation this node belongs to; `None` before it created or joined one.
    pub fn membership(&self) -> Result<Option<Membership>, IdentityError> {
        let remedy = "Restore it from a backup, or remove it and join again with a new invitation";
        let Some(body) = self.record(MEMBERSHIP_FILE, remedy)? else { return Ok(None) };
        let path = self.path().join(MEMBERSHIP_FILE);
        let damaged = |why: &str| IdentityError::Damaged { path: path.clone(), why: why.to_owned(), remedy };
        let stored = StoredMembership::decode(&body[..]).map_err(|_| damaged("not a valid encoding"))?;
        stored.into_membership().map(Some).ok_or_else(|| damaged("a field has the wrong length"))
    }

    /// The highest epoch seen; zero before the first.
    pub fn epoch(&self) -> Result<u64, IdentityError> {
        self.number(EPOCH_FILE, "Remove it; the epoch is learnt again from the other members")
    }

    fn number(&self, name: &'static str, remedy: &'static str) -> Result<u64, IdentityError> {
        let Some(body) = self.record(name, remedy)? else { return Ok(0) };
        let bytes = body.as_slice().try_into().map_err(|_| IdentityError::Damaged {
            path: self.path().join(name),
            why: "not a number".to_owned(),
            remedy,
        })?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn keypair(&self, name: &str, remedy: &'static str) -> Result<Option<ed25519::Keypair>, IdentityError> {
        let Some(body) = self.record(name, remedy)? else { return Ok(None) };
        let secret = ed25519::SecretKey::try_from_bytes(body).map_err(|error| IdentityError::Damaged {
            path: self.path().join(name),
            why: error.to_string(),
            remedy,
        })?;
        Ok(Some(secret.into()))
    }

    fn record(&self, name: &str, remedy: &'static str) -> Result<Option<Vec<u8>>, IdentityError> {
        let path = self.path().join(name);
        let bytes =
            read_small(&path).map_err(|source| IdentityError::Io { what: "read", path: path.clone(), source })?;
        let Some(bytes) = bytes else { return Ok(None) };
        match framed::unwrap(RECORD_VERSION, &bytes) {
            Ok(body) => Ok(Some(body.to_vec())),
            Err(error @ FrameError::Version { .. }) => {
                let remedy = "Install the newer fednode that wrote it";
                Err(IdentityError::Damaged { path, why: error.to_string(), remedy })
            }
            Err(error) => Err(IdentityError::Damaged { path, why: error.to_string(), remedy }),
        }
    }
}

impl DataDir {
    /// This node's key, made on first use. Never made anew while a membership exists that names the old one.
    pub fn node_key(&self) -> Result<ed25519::Keypair, IdentityError> {
        if let Some(key) = self.view().node_key()? {
            return Ok(key);
        }
        if self.view().membership()?.is_some() {
            return Err(IdentityError::KeyMissing(self.path().join(IDENTITY_FILE)));
        }
        let key = ed25519::Keypair::generate();
        self.write(IDENTITY_FILE, key.secret().as_ref())?;
        Ok(key)
    }

    /// This node's id.
    pub fn node_id(&self) -> Result<NodeId, IdentityError> {
        Ok(ids::node_of_key(&self.node_key()?.public()))
    }

    /// Makes and keeps a new owner's key: the birth of a federation.
    pub fn create_owner_key(&self) -> Result<ed25519::Keypair, IdentityError> {
        if self.view().owner_key()?.is_some() {
            return Err(IdentityError::OwnerExists(self.path().join(OWNER_FILE)));
        }
        let key = ed25519::Keypair::generate();
        self.write(OWNER_FILE, key.secret().as_ref())?;
        Ok(key)
    }

    /// Keeps the owner's key that came from a recovery file. The same key may come twice; another never replaces it.
    pub fn keep_owner_key(&self, key: &ed25519::Keypair) -> Result<(), IdentityError> {
        match self.view().owner_key()? {
            Some(known) if known.to_bytes() == key.to_bytes() => Ok(()),
            Some(_) => Err(IdentityError::OwnerExists(self.path().join(OWNER_FILE))),
            None => self.write(OWNER_FILE, key.secret().as_ref()),
        }
    }

    /// Keeps `membership`, durably and as a whole.
    pub fn save_membership(&self, membership: &Membership) -> Result<(), IdentityError> {
        self.write(MEMBERSHIP_FILE, &StoredMembership::from_membership(membership).encode_to_vec())
    }

    /// The number of this start: one more than the last, durable before it is returned. Call once per process.
    pub fn next_incarnation(&self) -> Result<u64, IdentityError> {
        let remedy =
            "Remove it after this machine was off for a minute: what it said before has then expired everywhere";
        let next = self.view().number(INCARNATION_FILE, remedy)? + 1;
        self.write(INCARNATION_FILE, &next.to_be_bytes())?;
        Ok(next)
    }

    /// Makes `epoch` the highest seen; a lower one than is known changes nothing.
    pub fn save_epoch(&self, epoch: u64) -> Result<(), IdentityError> {
        if epoch <= self.view().epoch()? {
            return Ok(());
        }
        self.write(EPOCH_FILE, &epoch.to_be_bytes())
    }

    fn write(&self, name: &str, body: &[u8]) -> Result<(), IdentityError> {
        let path = self.path().join(name);
        write_atomic(&path, &framed::wrap(RECORD_VERSION, body)).map_err(|source| IdentityError::Io {
            what: "write",
            path,
            source,
        })
    }
}

/// [`Membership`] on disk.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StoredMembership {
    #[prost(bytes = "vec", tag = "1")]
    federation: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    signed_roster: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    tickets: Vec<TicketRecord>,
    #[prost(message, repeated, tag = "4")]
    acts: Vec<v1::MemberChange>,
}

impl StoredMembership {
    fn from_membership(membership: &Membership) -> StoredMembership {
        StoredMembership {
            federation: membership.federation.0.to_vec(),
            signed_roster: membership.signed_roster.clone(),
            tickets: membership.tickets.iter().map(TicketRecord::from_ticket).collect(),
            acts: membership.acts.iter().map(|(number, made)| change::to_proto(*number, made)).collect(),
        }
    }

    pub(super) fn into_membership(self) -> Option<Membership> {
        Some(Membership {
            federation: FederationId(self.federation.try_into().ok()?),
            signed_roster: self.signed_roster,
            tickets: self.tickets.into_iter().map(TicketRecord::into_ticket).collect::<Option<Vec<_>>>()?,
            acts: self.acts.iter().map(|act| change::from_proto(act).ok()).collect::<Option<Vec<_>>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_numbers_only_rise() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(base.path()).unwrap();
        assert_eq!(dir.node_id().unwrap(), dir.node_id().unwrap());
        assert!(dir.view().owner_key().unwrap().is_none());
        let owner = dir.create_owner_key().unwrap();
        assert_eq!(dir.view().owner_key().unwrap().map(|key| key.to_bytes()), Some(owner.to_bytes()));
        assert!(matches!(dir.create_owner_key(), Err(IdentityError::OwnerExists(_))));
        assert_eq!((dir.next_incarnation().unwrap(), dir.next_incarnation().unwrap()), (1, 2));
        dir.save_epoch(7).unwrap();
        dir.save_epoch(3).unwrap();
        assert_eq!(dir.view().epoch().unwrap(), 7);
    }

    #[test]
    fn an_owners_key_is_never_replaced_by_another() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(base.path()).unwrap();
        let (one, two) = (ed25519::Keypair::generate(), ed25519::Keypair::generate());
        dir.keep_owner_key(&one).unwrap();
        dir.keep_owner_key(&one).unwrap();
        assert!(matches!(dir.keep_owner_key(&two), Err(IdentityError::OwnerExists(_))));
        assert_eq!(dir.view().owner_key().unwrap().map(|key| key.to_bytes()), Some(one.to_bytes()));
    }

    #[test]
    fn records_of_before_changes_were_kept_are_read_and_the_newest_changes_stay() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(base.path()).unwrap();
        let old = StoredMembership { federation: vec![9; 32], signed_roster: b"v1".to_vec(), ..Default::default() };
        dir.write(MEMBERSHIP_FILE, &old.encode_to_vec()).unwrap();
        let mut membership = dir.view().membership().unwrap().unwrap();
        assert_eq!(membership, Membership::new(FederationId([9; 32]), b"v1".to_vec()));
        let node = ids::node_of_key(&ed25519::Keypair::generate().public());
        for number in 1..=limits::CHANGES_KEPT_MAX as u64 + 5 {
            membership.note(number, Change::Revoke(node));
        }
        dir.save_membership(&membership).unwrap();
        let stored = dir.view().membership().unwrap().unwrap();
        assert_eq!(stored, membership);
        assert_eq!((stored.acts.len(), stored.acts[0].0), (limits::CHANGES_KEPT_MAX, 6));
    }

    #[test]
    fn damage_is_named_with_its_remedy_and_never_papered_over() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(base.path()).unwrap();
        dir.node_key().unwrap();
        dir.save_epoch(1).unwrap();
        for name in [IDENTITY_FILE, EPOCH_FILE, MEMBERSHIP_FILE, OWNER_FILE, INCARNATION_FILE] {
            std::fs::write(base.path().join(name), b"").unwrap();
        }
        assert!(dir.node_key().is_err());
        assert!(dir.view().owner_key().is_err());
        assert!(dir.view().membership().is_err());
        assert!(dir.next_incarnation().is_err());
        let error = dir.view().epoch().unwrap_err().to_string();
        assert!(error.contains("epoch is damaged") && error.contains("Remove it"), "{error}");
    }

    #[test]
    fn a_lost_key_is_not_replaced_behind_the_federations_back() {
        let base = tempfile::tempdir().unwrap();
        let dir = DataDir::open(base.path()).unwrap();
        let membership = Membership::new(FederationId([9; 32]), vec![1]);
        dir.save_membership(&membership).unwrap();
        assert!(matches!(dir.node_key(), Err(IdentityError::KeyMissing(_))));
    }
}
