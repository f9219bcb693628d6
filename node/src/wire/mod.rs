//! Protobuf ⇄ core types. Pure. Every byte from a peer or from disk passes here once: sizes, names, counts and signatures
//! are checked, and what comes out cannot be wrong. Nothing behind this line checks again.

pub mod announcement;
pub mod api_key;
pub mod asking;
pub mod catalog;
pub mod change;
pub mod charter;
mod external;
pub mod fingerprint;
pub mod fit;
pub mod gossip;
pub mod ids;
pub mod inventory;
pub mod join;
pub mod manifest;
pub mod members;
pub mod openai;
pub mod owner_key;
pub mod plan;
pub mod sign;
pub mod sse;
pub mod traceparent;

use prost::Message;

/// Why bytes or text from outside were refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WireError {
    /// Longer than its bound.
    #[error("{what}: {bytes} bytes exceed the limit of {max}")]
    TooLong {
        /// What was read.
        what: &'static str,
        /// How long it was.
        bytes: usize,
        /// Its bound.
        max: usize,
    },
    /// Not the message it should be.
    #[error("{0}: not a valid encoding")]
    Encoding(&'static str),
    /// A field outside its range.
    #[error("{what}: {why}")]
    Field {
        /// Which message or field.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A signature that does not hold.
    #[error("{0}: the signature does not match")]
    Signature(&'static str),
    /// The speaker is not who the message says.
    #[error("{0}: the sender speaks for another node")]
    Impostor(&'static str),
}

/// A field's refusal.
pub(crate) fn field(what: &'static str, why: impl Into<String>) -> WireError {
    WireError::Field { what, why: why.into() }
}

/// Decodes `bytes` after checking their length.
pub(crate) fn decode<M: Message + Default>(what: &'static str, bytes: &[u8], max: usize) -> Result<M, WireError> {
    if bytes.len() > max {
        return Err(WireError::TooLong { what, bytes: bytes.len(), max });
    }
    M::decode(bytes).map_err(|_| WireError::Encoding(what))
}

/// Exactly 32 bytes.
pub(crate) fn array32(what: &'static str, bytes: &[u8]) -> Result<[u8; 32], WireError> {
    bytes.try_into().map_err(|_| field(what, format!("expected 32 bytes, found {}", bytes.len())))
}

/// At most `max` items.
pub(crate) fn at_most<T>(what: &'static str, items: &[T], max: usize) -> Result<(), WireError> {
    if items.len() > max {
        return Err(field(what, format!("{} items exceed the limit of {max}", items.len())));
    }
    Ok(())
}

/// Text for people from outside: bounded, and free of control characters that could play tricks on a terminal.
pub(crate) fn text(what: &'static str, text: &str, bytes_max: usize) -> Result<String, WireError> {
    if text.len() > bytes_max {
        return Err(WireError::TooLong { what, bytes: text.len(), max: bytes_max });
    }
    if text.chars().any(char::is_control) {
        return Err(field(what, "control characters are not allowed"));
    }
    Ok(text.to_owned())
}
