//! Frame headers of yamux (its specification, version 0): twelve bytes, big-endian.

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 12;

/// The first frame of a stream.
pub(super) const SYN: u16 = 1;
/// The other side's first frame of a stream.
pub(super) const ACK: u16 = 2;
/// Its sender will send no more on the stream.
pub(super) const FIN: u16 = 4;
/// The stream is over for both.
pub(super) const RST: u16 = 8;

/// What a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// `length` bytes of a stream follow.
    Data,
    /// The peer may send `length` bytes more on a stream.
    WindowUpdate,
    /// A question (SYN) or its answer (ACK) with `length` as token.
    Ping,
    /// The connection ends, with `length` as the reason.
    GoAway,
}

/// One header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: u16,
    /// Zero for the connection itself.
    pub(super) stream: u32,
    pub(super) length: u32,
}

/// The bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the peer sent what is no yamux frame")]
pub(super) struct Malformed;

impl Header {
    pub(super) fn new(kind: Kind, flags: u16, stream: u32, length: u32) -> Header {
        Header { kind, flags, stream, length }
    }

    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let kind = match self.kind {
            Kind::Data => 0,
            Kind::WindowUpdate => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        let [f0, f1] = self.flags.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        [0, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]
    }

    /// Unknown versions and kinds, and streams where the connection is meant or the other way round, are refused.
    pub(super) fn decode(bytes: [u8; HEADER_BYTES]) -> Result<Header, Malformed> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let kind = match (version, kind) {
            (0, 0) => Kind::Data,
            (0, 1) => Kind::WindowUpdate,
            (0, 2) => Kind::Ping,
            (0, 3) => Kind::GoAway,
            _ => return Err(Malformed),
        };
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        if (stream == 0) != matches!(kind, Kind::Ping | Kind::GoAway) {
            return Err(Malformed);
        }
        Ok(Header { kind, flags: u16::from_be_bytes([f0, f1]), stream, length: u32::from_be_bytes([l0, l1, l2, l3]) })
    }

    pub(super) fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_decoded_is_encoded_the_same(bytes: [u8; HEADER_BYTES]) {
            let mut bytes = bytes;
            bytes[0] %= 2;
            bytes[1] %= 5;
            if let Ok(header) = Header::decode(bytes) {
                prop_assert_eq!(header.encode(), bytes);
            }
        }
    }

    #[test]
    fn streams_and_the_connection_are_told_apart() {
        let frame = |kind, stream| Header::decode(Header::new(kind, 0, stream, 7).encode()).is_ok();
        let cases = [(Kind::Data, true), (Kind::WindowUpdate, true), (Kind::Ping, false), (Kind::GoAway, false)];
        for (kind, of_a_stream) in cases {
            assert_eq!((frame(kind, 3), frame(kind, 0)), (of_a_stream, !of_a_stream), "{kind:?}");
        }
    }
}
