//! Ed25519 signatures over bodies, each kind of body under a context of its own so that no signature serves twice.

use libp2p_identity::ed25519;

use crate::core::types::NodeId;
use crate::wire::WireError;

/// What a signature is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Context {
    /// The roster of members, by the owner.
    MemberRoster,
    /// The roster of members, by an admin.
    AdminRoster,
    /// Who may sign rosters, by the owner.
    Charter,
    /// A manifest, by its publisher.
    Manifest,
    /// A catalog record, by its author.
    Catalog,
    /// What a node says on the local network.
    Announcement,
}

impl Context {
    fn prefix(self) -> &'static [u8] {
        match self {
            Context::MemberRoster => b"fednode member roster v1\0",
            Context::AdminRoster => b"fednode member roster by admin v1\0",
            Context::Charter => b"fednode charter v1\0",
            Context::Manifest => b"fednode manifest v1\0",
            Context::Catalog => b"fednode catalog v1\0",
            Context::Announcement => b"fednode announcement v1\0",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Context::MemberRoster | Context::AdminRoster => "member roster",
            Context::Charter => "charter",
            Context::Manifest => "manifest",
            Context::Catalog => "catalog record",
            Context::Announcement => "announcement",
        }
    }

    fn message(self, body: &[u8]) -> Vec<u8> {
        [self.prefix(), body].concat()
    }
}

/// Signs `body`.
pub fn sign(keypair: &ed25519::Keypair, context: Context, body: &[u8]) -> Vec<u8> {
    keypair.sign(&context.message(body))
}

/// Is `signature` that of `signer` over `body`?
pub fn verify(signer: &NodeId, context: Context, body: &[u8], signature: &[u8]) -> Result<(), WireError> {
    let key = ed25519::PublicKey::try_from_bytes(&signer.0).map_err(|_| WireError::Signature(context.name()))?;
    if key.verify(&context.message(body), signature) { Ok(()) } else { Err(WireError::Signature(context.name())) }
}
