//! How bytes reach a peer: TCP without Nagle's delay, Noise for encryption and identity, yamux for streams. Everything
//! above this file sees streams only, so that another encryption (TLS with AES-256-GCM first, DESIGN 16) can be put in
//! front of Noise here without a change anywhere else.

use std::error::Error;
use std::io;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, dns, noise, tcp, yamux};

use crate::core::limits;
use crate::net::{NetError, std_duration};

/// The transport of the node whose identity is `keypair`.
pub(super) fn build(keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    match dns::tokio::Transport::system(tcp()) {
        Ok(with_names) => secure(with_names, keypair),
        Err(error) => {
            // A machine without a resolver still has addresses; only names in addresses will fail.
            tracing::warn!(%error, "no system resolver: host names in addresses cannot be dialled");
            secure(tcp(), keypair)
        }
    }
}

fn tcp() -> tcp::tokio::Transport {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
}

fn secure<T>(transport: T, keypair: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    let noise =
        noise::Config::new(keypair).map_err(|error| NetError::Setup { what: "noise", why: error.to_string() })?;
    Ok(transport
        .upgrade(Version::V1)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .timeout(std_duration(limits::HANDSHAKE))
        .boxed())
}

/// Did the machine at the other end say that nobody listens there, or its network that it is not there?
///
/// A network unreachable from *here* is our own fault and proves nothing about the peer.
pub(super) fn says_gone(error: &(dyn Error + 'static)) -> bool {
    if let Some(io) = error.downcast_ref::<io::Error>() {
        if matches!(io.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable) {
            return true;
        }
        // `source()` of a wrapping `io::Error` skips the error it wraps.
        if let Some(inner) = io.get_ref() {
            let inner: &(dyn Error + 'static) = inner;
            return says_gone(inner);
        }
    }
    error.source().is_some_and(says_gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_says_that_nobody_is_there() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(says_gone(&refused()));
        assert!(says_gone(&io::Error::other(io::Error::other(refused()))));
        assert!(!says_gone(&io::Error::other(reset)));
        assert!(!says_gone(&io::Error::from(io::ErrorKind::NetworkUnreachable)));
        assert!(!says_gone(&io::Error::from(io::ErrorKind::TimedOut)));
    }
}
