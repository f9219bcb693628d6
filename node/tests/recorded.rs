//! What earlier versions said to each other, kept as they said it (`tests/recorded/messages-*`): this version understands all of
//! it, and says the same in the same bytes, so that members of two neighbouring versions work together. Its counterpart for what
//! lies on disks is `tests/tests/upgrade.rs`.

use std::path::{Path, PathBuf};

use fednode::core::pins::Pin;
use fednode::core::roster::SlotRoster;
use fednode::core::types::{Digest, FederationId, NodeId};
use fednode::wire::join::Ticket;
use fednode::wire::sign::{self, Context};
use fednode::wire::{catalog, gossip, ids, manifest, members, plan};
use fednode_proto::v1;
use libp2p_identity::ed25519::{Keypair, SecretKey};
use prost::Message;

/// The key of everything that was recorded.
fn key() -> Keypair {
    Keypair::from(SecretKey::try_from_bytes([7u8; 32]).expect("32 bytes are a key"))
}

fn author() -> NodeId {
    ids::node_of_key(&key().public())
}

/// Every message of one kind, of every version that was recorded.
fn recorded(kind: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recorded");
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let read = std::fs::read_dir(folder).into_iter().flatten();
        read.map(|entry| entry.expect("an entry").path()).collect()
    };
    let versions = entries(&folder).into_iter().filter(|path| path.to_string_lossy().contains("messages-"));
    let files: Vec<PathBuf> = versions.flat_map(|version| entries(&version.join(kind))).collect();
    assert!(!files.is_empty(), "no recorded {kind}");
    files.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a message"))).collect()
}

#[test]
fn advertisements_and_leases() {
    for (path, bytes) in recorded("gossip") {
        let said = gossip::decode_from(&author(), &bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(gossip::encode(&said), bytes, "{}", path.display());
    }
}

#[test]
fn plans() {
    for (path, bytes) in recorded("plan") {
        let proto = v1::Plan::decode(bytes.as_slice()).expect("a message");
        let known = plan::from_proto(&proto).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(plan::to_proto(&known).encode_to_vec(), bytes, "{}", path.display());
    }
}

#[test]
fn manifests() {
    for (path, body) in recorded("manifest") {
        let signature = sign::sign(&key(), Context::Manifest, &body);
        let signed = v1::SignedManifest { body: body.clone(), publisher: author().0.to_vec(), signature };
        let known =
            manifest::open(&signed.encode_to_vec()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let again = manifest::seal(known.manifest.clone(), &key());
        // An artifact's name is the hash of these bytes: a version that wrote others would know nothing that was published before.
        let body_again = v1::SignedManifest::decode(again.signed.as_slice()).expect("sealed here").body;
        assert_eq!(body_again, body, "{}", path.display());
    }
}

#[test]
fn catalog_records() {
    for (path, body) in recorded("catalog") {
        let signature = sign::sign(&key(), Context::Catalog, &body);
        let signed = v1::SignedCatalogRecord { body: body.clone(), author: author().0.to_vec(), signature };
        let known =
            catalog::open(&signed.encode_to_vec()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let again = catalog::seal(known.entry.clone(), known.sequence, &key());
        let body_again = v1::SignedCatalogRecord::decode(again.signed.as_slice()).expect("sealed here").body;
        assert_eq!(body_again, body, "{}", path.display());
    }
}

#[test]
fn rosters_of_members() {
    let federation = FederationId(key().public().to_bytes());
    for (path, body) in recorded("members") {
        let signature = sign::sign(&key(), Context::MemberRoster, &body);
        let signed = v1::SignedMemberRoster { body: body.clone(), signature, admin: Vec::new() };
        let known = members::open(&signed.encode_to_vec(), &federation);
        let known = known.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let again = members::seal(known.roster.clone(), &key());
        let body_again = v1::SignedMemberRoster::decode(again.signed.as_slice()).expect("sealed here").body;
        assert_eq!(body_again, body, "{}", path.display());
    }
}

#[test]
fn tickets_rosters_of_slots_and_pins() {
    for (path, bytes) in recorded("ticket") {
        let checksum = Digest::of(&bytes);
        let digits: String = bytes.iter().chain(&checksum.0[..4]).map(|byte| format!("{byte:02x}")).collect();
        let text = format!("fednode1:{digits}");
        let ticket = Ticket::from_text(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(ticket.to_text(), text);
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    for (path, bytes) in recorded("slot_roster") {
        let roster: Result<SlotRoster, _> = toml::from_str(&text(bytes));
        assert!(roster.is_ok_and(|roster| !roster.slots.is_empty()), "{}", path.display());
    }
    for (path, bytes) in recorded("pins") {
        let written = text(bytes);
        let pin: Result<Pin, _> = written.parse();
        assert_eq!(pin.map(|pin| pin.to_string()).ok(), Some(written), "{}", path.display());
    }
}
