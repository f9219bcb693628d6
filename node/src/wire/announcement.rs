//! What a node says on the local network so that members find it: one mDNS record, sealed so that strangers learn nothing.
//!
//! The packet is an unsolicited mDNS response with one TXT record of `_fednode._udp.local`. Its content is encrypted and
//! authenticated with a key that follows from the federation's public key, under a random nonce, and signed inside by its
//! author. So a stranger sees that some fednode speaks, and neither which machine nor whose, today or tomorrow; it cannot make
//! one that members would believe; and what it repeats names an address at which that member was.
//!
//! The federation's key stands in every ticket: who ever held one, or was a member once, can read these (not forge them).

use std::net::{IpAddr, Ipv6Addr};

use libp2p_identity::ed25519;

use crate::core::types::{FederationId, NodeId};
use crate::wire::sign::{self, Context};
use crate::wire::{WireError, field, ids};

/// One node at one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announcement {
    /// Who speaks.
    pub node: NodeId,
    /// Where it can be dialled.
    pub ip: IpAddr,
    /// The TCP port there.
    pub port: u16,
    /// It looks for members: answer.
    pub asks: bool,
    /// Its clock, milliseconds since the Unix epoch.
    pub sent_unix_ms: u64,
}

/// The random part of each announcement.
pub type Nonce = [u8; 24];

/// Header of an authoritative response with one answer; the name; type TXT, class IN; kept by caches for ten seconds. Read
/// as exactly these bytes: any other packet on the port is somebody else's.
const HEAD: &[u8] = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x08_fednode\x04_udp\x05local\0\0\x10\0\x01\0\0\0\x0a";
const VERSION: u8 = 1;
const ASKS: u8 = 1;
const BODY_BYTES: usize = 1 + 1 + 32 + 16 + 2 + 8;
const SIGNATURE_BYTES: usize = 64;
const SEALED_BYTES: usize = BODY_BYTES + SIGNATURE_BYTES;
const TAG_BYTES: usize = 32;
const TEXT_BYTES: usize = size_of::<Nonce>() + SEALED_BYTES + TAG_BYTES;

/// The keys of one federation's announcements.
#[derive(Clone)]
pub struct AnnouncementKeys {
    federation: FederationId,
    cipher: [u8; 32],
    tag: [u8; 32],
}

impl AnnouncementKeys {
    /// Of `federation`.
    pub fn new(federation: FederationId) -> AnnouncementKeys {
        let cipher = blake3::derive_key("fednode announcement cipher v1", &federation.0);
        let tag = blake3::derive_key("fednode announcement tag v1", &federation.0);
        AnnouncementKeys { federation, cipher, tag }
    }

    /// The packet. `nonce` must be random: BLAKE3 keyed with it makes the stream that hides the content.
    pub fn seal(&self, said: &Announcement, keypair: &ed25519::Keypair, nonce: &Nonce) -> Vec<u8> {
        let mut content = body(said);
        content.extend(sign::sign(keypair, Context::Announcement, &self.signed(&content)));
        self.stream(nonce, &mut content);
        let tag = self.tag(nonce, &content);
        let text = [nonce.as_slice(), &content, tag.as_bytes()].concat();
        // Both lengths fit in a byte: see `TEXT_BYTES`.
        let lengths = [0, TEXT_BYTES as u8 + 1, TEXT_BYTES as u8];
        [HEAD, &lengths, &text].concat()
    }

    /// Reads a packet; `Ok(None)`: it is none of this federation.
    pub fn open(&self, packet: &[u8]) -> Result<Option<Announcement>, WireError> {
        let Some(text) = text_of(packet) else { return Ok(None) };
        let (Some((nonce, rest)), true) = (text.split_first_chunk::<24>(), text.len() == TEXT_BYTES) else {
            return Ok(None);
        };
        let (content, tag) = rest.split_at(SEALED_BYTES);
        // `blake3::Hash` compares in constant time.
        if blake3::Hash::from_slice(tag).is_ok_and(|tag| tag != self.tag(nonce, content)) {
            return Ok(None);
        }
        let mut content = content.to_vec();
        self.stream(nonce, &mut content);
        let (body, signature) = content.split_at(BODY_BYTES);
        let said = read(body)?;
        sign::verify(&said.node, Context::Announcement, &self.signed(body), signature)?;
        Ok(Some(said))
    }

    fn signed(&self, body: &[u8]) -> Vec<u8> {
        [&self.federation.0, body].concat()
    }

    /// Encrypts, or decrypts.
    fn stream(&self, nonce: &Nonce, content: &mut [u8]) {
        let mut stream = [0; SEALED_BYTES];
        blake3::Hasher::new_keyed(&self.cipher).update(nonce).finalize_xof().fill(&mut stream);
        content.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
    }

    fn tag(&self, nonce: &Nonce, content: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.tag, &[nonce, content].concat())
    }
}

/// Is this packet some fednode's, of whatever federation?
pub fn is_announcement(packet: &[u8]) -> bool {
    text_of(packet).is_some_and(|text| text.len() == TEXT_BYTES)
}

fn text_of(packet: &[u8]) -> Option<&[u8]> {
    let (lengths, text) = packet.strip_prefix(HEAD)?.split_first_chunk::<3>()?;
    let whole = usize::from(lengths[2]) == text.len() && usize::from(lengths[1]) == text.len() + 1 && lengths[0] == 0;
    whole.then_some(text)
}

fn body(said: &Announcement) -> Vec<u8> {
    let ip = match said.ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let flags = if said.asks { ASKS } else { 0 };
    let mut body = vec![VERSION, flags];
    body.extend(said.node.0);
    body.extend(ip.octets());
    body.extend(said.port.to_be_bytes());
    body.extend(said.sent_unix_ms.to_be_bytes());
    body
}

fn read(body: &[u8]) -> Result<Announcement, WireError> {
    const WHAT: &str = "announcement";
    let short = || field(WHAT, "too short");
    let (&[version, flags], rest) = body.split_first_chunk().ok_or_else(short)?;
    let (node, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    let (ip, rest) = rest.split_first_chunk::<16>().ok_or_else(short)?;
    let (port, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (sent, _) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    if version != VERSION {
        return Err(field(WHAT, format!("version {version} is not known")));
    }
    Ok(Announcement {
        node: ids::node(WHAT, node)?,
        ip: Ipv6Addr::from(*ip).to_canonical(),
        port: u16::from_be_bytes(*port),
        asks: flags & ASKS != 0,
        sent_unix_ms: u64::from_be_bytes(*sent),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keypair(seed: u8) -> ed25519::Keypair {
        ed25519::SecretKey::try_from_bytes([seed; 32]).expect("any 32 bytes are a secret key").into()
    }

    fn said(seed: u8, ip: &str) -> Announcement {
        let (node, ip) = (ids::node_of_key(&keypair(seed).public()), ip.parse().expect("an address"));
        Announcement { node, ip, port: 7718, asks: true, sent_unix_ms: 1_700_000_000_123 }
    }

    fn keys(federation: u8) -> AnnouncementKeys {
        AnnouncementKeys::new(FederationId([federation; 32]))
    }

    #[test]
    fn what_was_sealed_is_read_by_the_same_federation_alone() {
        for ip in ["192.168.1.9", "fd00::9"] {
            let packet = keys(1).seal(&said(5, ip), &keypair(5), &[9; 24]);
            assert_eq!(keys(1).open(&packet), Ok(Some(said(5, ip))));
            assert_eq!(keys(2).open(&packet), Ok(None), "a stranger reads nothing");
            assert!(is_announcement(&packet) && packet.len() < 512);
        }
    }

    #[test]
    fn nobody_speaks_for_another() {
        let packet = keys(1).seal(&said(5, "10.0.0.1"), &keypair(6), &[9; 24]);
        assert_eq!(keys(1).open(&packet), Err(WireError::Signature("announcement")));
    }

    #[test]
    fn a_packet_says_nothing_in_clear_and_two_have_nothing_in_common() {
        let (one, two) = ([1, 2]).map(|nonce| keys(1).seal(&said(5, "10.0.0.1"), &keypair(5), &[nonce; 24])).into();
        let varies = &one[HEAD.len() + 3..];
        for secret in [said(5, "10.0.0.1").node.0.as_slice(), &[1; 32], &7718u16.to_be_bytes()] {
            assert!(!varies.windows(secret.len()).any(|part| part == secret));
        }
        let two: &[u8] = &two;
        let equal = varies.iter().zip(&two[HEAD.len() + 3..]).filter(|(one, two)| one == two).count();
        assert!(equal < 8, "{equal} of {} bytes are equal", varies.len());
    }

    #[test]
    fn every_change_and_every_cut_is_refused() {
        let packet = keys(1).seal(&said(5, "10.0.0.1"), &keypair(5), &[9; 24]);
        for at in 0..packet.len() {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            assert_eq!(keys(1).open(&changed), Ok(None), "byte {at}");
            assert_eq!(keys(1).open(&packet[..at]), Ok(None), "cut at {at}");
        }
    }
}
