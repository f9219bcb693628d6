//! Length-delimited protobuf messages on a stream: a varint length, then the message. The bound is checked before a byte is
//! allocated.

use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prost::Message;

/// Why a message was not read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream ended, before a message or within it.
    #[error("the stream ended")]
    Ended,
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Broken(std::io::Error),
    /// Longer than its bound.
    #[error("a message exceeds the limit of {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// Not the message it should be.
    #[error("not a valid message")]
    Encoding,
    /// Not here in time.
    #[error("no answer in time")]
    TimedOut,
}

impl From<std::io::Error> for FrameError {
    fn from(error: std::io::Error) -> FrameError {
        if error.kind() == std::io::ErrorKind::UnexpectedEof { FrameError::Ended } else { FrameError::Broken(error) }
    }
}

/// Reads one message of at most `max` bytes.
pub(super) async fn read<M, S>(stream: &mut S, max: usize) -> Result<M, FrameError>
where
    M: Message + Default,
    S: AsyncRead + Unpin,
{
    let mut bytes = vec![0; read_length(stream, max).await?];
    stream.read_exact(&mut bytes).await?;
    M::decode(bytes.as_slice()).map_err(|_| FrameError::Encoding)
}

/// Writes one message and flushes it.
pub(super) async fn write<M, S>(stream: &mut S, message: &M) -> Result<(), FrameError>
where
    M: Message,
    S: AsyncWrite + Unpin,
{
    stream.write_all(&message.encode_length_delimited_to_vec()).await?;
    Ok(stream.flush().await?)
}

async fn read_length<S: AsyncRead + Unpin>(stream: &mut S, max: usize) -> Result<usize, FrameError> {
    let mut length = 0usize;
    // No message of ours has a length of more than 28 bits.
    for shift in [0, 7, 14, 21] {
        let mut byte = [0u8];
        stream.read_exact(&mut byte).await?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return if length > max { Err(FrameError::TooLong { max }) } else { Ok(length) };
        }
    }
    Err(FrameError::TooLong { max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fednode_proto::v1;

    #[tokio::test]
    async fn a_message_survives_and_a_longer_or_shorter_one_is_refused() {
        let message = v1::JoinRequest { ticket_id: vec![1; 16], nonce: vec![2; 300], name: "desk".into() };
        let mut bytes = Vec::new();
        write(&mut bytes, &message).await.expect("memory");
        let all: v1::JoinRequest = read(&mut bytes.as_slice(), 1000).await.expect("whole");
        assert_eq!(all, message);
        let long = read::<v1::JoinRequest, _>(&mut bytes.as_slice(), 100).await;
        assert!(matches!(long, Err(FrameError::TooLong { max: 100 })));
        let short = read::<v1::JoinRequest, _>(&mut &bytes[..20], 1000).await;
        assert!(matches!(short, Err(FrameError::Ended)));
        let endless = read::<v1::JoinRequest, _>(&mut [0xff; 9].as_slice(), 1000).await;
        assert!(matches!(endless, Err(FrameError::TooLong { .. })));
    }
}
