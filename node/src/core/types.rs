//! The small types everything is said in: ids, digests, time. Pure values, no behaviour of their own.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Monotonic nanoseconds that the driver (or the simulator) supplies. Never read from a clock in `core`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time(pub u64);

impl Time {
    /// This instant plus `duration`, saturating.
    pub fn after(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(duration.0))
    }

    /// How long since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// A span of time in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Duration(pub u64);

impl Duration {
    /// `n` milliseconds.
    pub const fn from_millis(n: u64) -> Duration {
        Duration(n.saturating_mul(1_000_000))
    }

    /// `n` seconds.
    pub const fn from_secs(n: u64) -> Duration {
        Duration::from_millis(n.saturating_mul(1_000))
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This span `n` times, saturating.
    pub const fn times(self, n: u64) -> Duration {
        Duration(self.0.saturating_mul(n))
    }
}

/// A 32-byte BLAKE3 hash. Prints as 64 hex digits; no other form is ever accepted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The BLAKE3 hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The first eight hex digits, for people.
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

/// A node, named by its Ed25519 public key; its libp2p PeerId derives from it (see `wire::ids`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NodeId(pub [u8; 32]);

/// The order of the bytes. Hashes, keys and names nearly always differ in the first eight, and those are compared as one word: in a
/// large federation most of a machine's time would go into comparing names.
fn order(a: &[u8; 32], b: &[u8; 32]) -> Ordering {
    let head = |bytes: &[u8; 32]| bytes.first_chunk().map(|head| u64::from_be_bytes(*head));
    head(a).cmp(&head(b)).then_with(|| a.cmp(b))
}

macro_rules! ordered {
    ($name:ident) => {
        impl Ord for $name {
            fn cmp(&self, other: &$name) -> Ordering {
                order(&self.0, &other.0)
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &$name) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
    };
}

ordered!(Digest);
ordered!(NodeId);
ordered!(SlotName);

/// A federation, named by its owner's Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FederationId(pub [u8; 32]);

/// What was wrong with text that should have been 64 hex digits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NotHex;

/// Two lower-case digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

fn unhex(text: &str) -> Result<[u8; 32], NotHex> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return Err(NotHex);
    }
    let mut out = [0u8; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = (pair[0] as char).to_digit(16).ok_or(NotHex)?;
        let low = (pair[1] as char).to_digit(16).ok_or(NotHex)?;
        *byte = (high * 16 + low) as u8;
    }
    Ok(out)
}

/// Hex text, ordering and serde for a 32-byte newtype.
macro_rules! hex_newtype {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex(&self.0[..4]))
            }
        }
        impl FromStr for $name {
            type Err = NotHex;
            fn from_str(text: &str) -> Result<Self, NotHex> {
                unhex(text).map($name)
            }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

hex_newtype!(Digest);
hex_newtype!(NodeId);
hex_newtype!(FederationId);

/// A manager's place in the roster, such as `UFM`: 1 to 32 ASCII letters, digits, `-` or `_`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotName([u8; NAME_MAX]); // filled up with zeros, which sort before every letter

/// Longest name of a slot or a domain.
const NAME_MAX: usize = 32;

/// What was wrong with a slot's or a domain's name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a name is 1 to 32 ASCII letters, digits, '-' or '_', not {0:?}")]
pub struct BadName(pub String);

impl SlotName {
    /// Checks and wraps `text`.
    pub fn new(text: &str) -> Result<SlotName, BadName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(allowed) {
            return Err(BadName(text.chars().take(40).collect()));
        }
        let mut name = [0; NAME_MAX];
        name[..text.len()].copy_from_slice(text.as_bytes());
        Ok(SlotName(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(NAME_MAX);
        std::str::from_utf8(&self.0[..end]).expect("a name is ASCII")
    }
}

impl fmt::Debug for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SlotName").field(&self.as_str()).finish()
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for SlotName {
    type Error = BadName;
    fn try_from(text: String) -> Result<SlotName, BadName> {
        SlotName::new(&text)
    }
}

impl From<SlotName> for String {
    fn from(name: SlotName) -> String {
        name.as_str().to_owned()
    }
}

/// A slot's domain (an adapter's name within the slot); the same alphabet as a slot's name.
pub type DomainName = SlotName;

/// `bytes` for people, in binary units: "15.3 GiB".
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale = 1u64;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    if unit == 0 {
        return format!("{bytes} B");
    }
    // One decimal by integer arithmetic, rounded half up.
    let tenths = (u128::from(bytes) * 10 + u128::from(scale) / 2) / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_survive_text_and_refuse_everything_else() {
        let digest = Digest::of(b"weights");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32), "../../../../etc/passwd"] {
            assert_eq!(bad.parse::<Digest>(), Err(NotHex), "{bad:?}");
        }
    }

    #[test]
    fn slot_names_are_never_paths() {
        for bad in ["", "a/b", "..", "a b", "a:b", &"x".repeat(33), "é"] {
            assert!(SlotName::new(bad).is_err(), "{bad:?}");
        }
        assert!(SlotName::new("coding-specialist_2").is_ok());
    }

    #[test]
    fn names_are_what_they_were_made_of_and_sort_as_text() {
        let longest = "x".repeat(NAME_MAX);
        let mut names = ["UFM", "U", "UF", "ufm", "0", "long-name-a", "long-name-b", "long-name", &longest];
        let made = names.map(|name| SlotName::new(name).expect("a name"));
        assert_eq!(made.map(|name| name.to_string()), names.map(str::to_owned));
        let mut sorted = made;
        sorted.sort();
        names.sort_unstable();
        assert_eq!(sorted.map(|name| name.to_string()), names.map(str::to_owned));
    }

    #[test]
    fn bytes_read_well() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(13_481_025_536), "12.6 GiB");
    }
}
