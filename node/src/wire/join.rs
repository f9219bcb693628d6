//! Tickets and the proofs of the joining protocol. The secret never travels: both sides prove it with keyed BLAKE3 over
//! both identities and both nonces, inside the encrypted channel.

use fednode_proto::v1;
use prost::Message;

use crate::core::limits;
use crate::core::membership::roster::Role;
use crate::core::types::{FederationId, NodeId, hex};
use crate::wire::members::{addresses, role_from_proto, role_to_proto};
use crate::wire::{WireError, array32, decode, field, ids};

/// What a ticket's text begins with.
const PREFIX: &str = "fednode1:";

/// A one-use, expiring invitation.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The federation to join.
    pub federation: FederationId,
    /// Who invited.
    pub inviter: NodeId,
    /// Where the inviter can be dialled.
    pub addresses: Vec<String>,
    /// 256 random bits.
    pub secret: [u8; 32],
    /// Seconds since the Unix epoch.
    pub expires_unix_s: u64,
    /// The role it grants at most.
    pub role: Role,
}

impl std::fmt::Debug for Ticket {
    /// Without the secret: tickets must not leak into logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("inviter", &self.inviter).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Ticket {
    /// As one word of text: the prefix and the message in hexadecimal with a checksum of four bytes.
    pub fn to_text(&self) -> String {
        let message = v1::Ticket {
            federation: self.federation.0.to_vec(),
            inviter: self.inviter.0.to_vec(),
            addresses: self.addresses.clone(),
            secret: self.secret.to_vec(),
            expires_unix_s: self.expires_unix_s,
            role: role_to_proto(self.role).into(),
        };
        let mut bytes = message.encode_to_vec();
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(&checksum.as_bytes()[..4]);
        format!("{PREFIX}{}", hex(&bytes))
    }

    /// From text. White space is forgiven anywhere, for terminals and mail wrap long lines, and so are capitals, which make
    /// smaller QR codes; nothing else is.
    pub fn from_text(text: &str) -> Result<Ticket, WireError> {
        let what = "this ticket is not usable";
        let bytes = bytes_of(text).map_err(|why| field(what, why))?;
        let proto: v1::Ticket = decode(what, &bytes, limits::JOIN_MESSAGE_BYTES_MAX)?;
        Ok(Ticket {
            federation: ids::federation(what, &proto.federation)?,
            inviter: ids::node(what, &proto.inviter)?,
            addresses: addresses(&proto.addresses)?,
            secret: array32(what, &proto.secret)?,
            expires_unix_s: proto.expires_unix_s,
            role: role_from_proto(proto.role)?,
        })
    }

    /// Names the ticket without giving its secret away.
    pub fn id(&self) -> TicketId {
        ticket_id(&self.secret)
    }
}

/// First 16 bytes of BLAKE3(secret).
pub type TicketId = [u8; 16];

/// The id of the ticket with this secret.
pub fn ticket_id(secret: &[u8; 32]) -> TicketId {
    let mut id = [0u8; 16];
    id.copy_from_slice(&blake3::hash(secret).as_bytes()[..16]);
    id
}

/// The message in a ticket's text, without its checksum, or what is wrong with the text.
fn bytes_of(text: &str) -> Result<Vec<u8>, &'static str> {
    if text.len() > 2 * PREFIX.len() + 4 * limits::JOIN_MESSAGE_BYTES_MAX {
        return Err("it is longer than any ticket");
    }
    let text: String = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
    let digits = text.strip_prefix(PREFIX).ok_or("it does not begin with fednode1:")?;
    let digit = |byte: &u8| (*byte as char).to_digit(16).map(|digit| digit as u8);
    let digits: Option<Vec<u8>> = digits.as_bytes().iter().map(digit).collect();
    let digits = digits.ok_or("it is mistyped: after fednode1: it has only the digits 0 to 9 and a to f")?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high * 16 + low).collect();
    let (message, checksum) = bytes.split_last_chunk::<4>().ok_or("it is cut short")?;
    // Half of a byte too many can only be a slip: the checksum stands in whole bytes.
    match rest.is_empty() && &blake3::hash(message).as_bytes()[..4] == checksum {
        true => Ok(message.to_vec()),
        false => Err("its checksum does not fit: it is mistyped or cut short"),
    }
}

/// Who proves what to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The inviter's proof, sent first.
    Inviter,
    /// The joiner's proof.
    Joiner,
}

/// Everything both sides know before a proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transcript {
    /// The inviter.
    pub inviter: NodeId,
    /// The joiner.
    pub joiner: NodeId,
    /// Chosen by the joiner.
    pub joiner_nonce: [u8; 32],
    /// Chosen by the inviter.
    pub inviter_nonce: [u8; 32],
}

impl Transcript {
    /// Keyed BLAKE3 over the transcript, one for each side.
    pub fn proof(&self, secret: &[u8; 32], side: Side) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        hasher.update(match side {
            Side::Inviter => b"fednode join v1: inviter",
            Side::Joiner => b"fednode join v1: joiner.",
        });
        for part in [&self.inviter.0, &self.joiner.0, &self.joiner_nonce, &self.inviter_nonce] {
            hasher.update(part);
        }
        hasher.finalize()
    }

    /// Does `proof` hold? In constant time.
    pub fn holds(&self, secret: &[u8; 32], side: Side, proof: &[u8]) -> bool {
        <[u8; 32]>::try_from(proof).is_ok_and(|proof| self.proof(secret, side) == blake3::Hash::from(proof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p_identity::ed25519;

    fn ticket() -> Ticket {
        let key = |seed: u8| {
            let pair = ed25519::Keypair::from(ed25519::SecretKey::try_from_bytes([seed; 32]).expect("32 bytes"));
            pair.public().to_bytes()
        };
        Ticket {
            federation: FederationId(key(1)),
            inviter: NodeId(key(2)),
            addresses: vec!["/ip4/192.168.1.2/tcp/7718".into()],
            secret: [3; 32],
            expires_unix_s: 5,
            role: Role::Delegate,
        }
    }

    #[test]
    fn a_ticket_survives_text_and_no_slip_of_the_hand_does() {
        let text = ticket().to_text();
        assert_eq!(Ticket::from_text(&format!("  {text}\n")), Ok(ticket()));
        for cut in 0..text.len() {
            assert!(Ticket::from_text(&text[..cut]).is_err(), "cut at {cut}");
        }
        let (capitals, wrapped) = (text.to_uppercase(), text.replace("00", "0\r\n 0"));
        assert!(wrapped != text, "the text has somewhere to break");
        for forgiven in [capitals, wrapped] {
            assert_eq!(Ticket::from_text(&forgiven), Ok(ticket()));
        }
        let swapped: String = text.chars().map(|c| if c == '3' { '4' } else { c }).collect();
        assert!(Ticket::from_text(&swapped).is_err());
    }

    #[test]
    fn a_mistyped_ticket_says_what_is_wrong_with_it() {
        let text = ticket().to_text();
        let cases = [
            ("hello", "does not begin with fednode1:"),
            ("fednode1:12", "is cut short"),
            (&text.replace('0', "o"), "only the digits 0 to 9 and a to f"),
            (&text[..text.len() - 1], "its checksum does not fit"),
            (&text.replace('3', "4"), "its checksum does not fit"),
        ];
        for (text, why) in cases {
            let error = Ticket::from_text(text).expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_proof_serves_one_side_and_one_transcript() {
        let transcript = Transcript {
            inviter: NodeId([1; 32]),
            joiner: NodeId([2; 32]),
            joiner_nonce: [3; 32],
            inviter_nonce: [4; 32],
        };
        let proof = transcript.proof(&[9; 32], Side::Joiner);
        assert!(transcript.holds(&[9; 32], Side::Joiner, proof.as_bytes()));
        assert!(!transcript.holds(&[9; 32], Side::Inviter, proof.as_bytes()));
        assert!(!transcript.holds(&[8; 32], Side::Joiner, proof.as_bytes()));
        let replayed = Transcript { inviter_nonce: [5; 32], ..transcript };
        assert!(!replayed.holds(&[9; 32], Side::Joiner, proof.as_bytes()));
    }

    #[test]
    fn a_ticket_does_not_print_its_secret() {
        assert!(!format!("{:?}", ticket()).contains("03, 03"));
    }
}
