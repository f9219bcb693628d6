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

/// What the system said, under all the layers that wrapped it: the kind of the innermost I/O error.
pub(super) fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let io = error.downcast_ref::<io::Error>();
    // `source()` of a wrapping `io::Error` skips the very error it wraps.
    let inner = match io.and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as &(dyn Error + 'static)),
        None => error.source(),
    };
    inner.and_then(io_kind).or_else(|| io.map(io::Error::kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_word_is_found_under_its_wrappings() {
        let check = |error: io::Error, expect| assert_eq!(io_kind(&error), Some(expect), "{error}");
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        check(refused(), io::ErrorKind::ConnectionRefused);
        check(io::Error::other(io::Error::other(refused())), io::ErrorKind::ConnectionRefused);
        check(io::Error::other("words"), io::ErrorKind::Other);
    }
}
