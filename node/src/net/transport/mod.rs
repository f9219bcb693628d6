//! How bytes reach a peer: TCP without Nagle's delay, TLS 1.3 or Noise for encryption and identity, yamux for streams. All
//! of it is tuned for weights (DESIGN 16); everything above this folder sees streams only.

mod cipher;
mod mux;
mod read_ahead;
mod security;
#[cfg(test)]
mod tests;
mod tls;

use std::error::Error;
use std::io;
use std::sync::Arc;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, dns, relay, tcp};
use rustls::{ClientConfig, ServerConfig};

use crate::core::limits;
use crate::net::transport::mux::Multiplex;
use crate::net::transport::read_ahead::ReadAhead;
use crate::net::transport::security::Security;
use crate::net::transport::tls::Tls;
use crate::net::{NetError, std_duration};

/// The transport of the node whose identity is `keypair`; with `relayed`, also through members that relay.
pub(super) fn build(
    keypair: &Keypair,
    relayed: Option<relay::client::Transport>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let direct = direct(Security::new(keypair)?);
    let Some(relayed) = relayed else { return Ok(direct) };
    // The same encryption end to end: whoever relays sees nothing but its bytes.
    let relayed = secure(relayed, Security::new(keypair)?);
    Ok(relayed.or_transport(direct).map(|either, _| either.into_inner()).boxed())
}

fn direct(security: Security) -> Boxed<(PeerId, StreamMuxerBox)> {
    match dns::tokio::Transport::system(tcp()) {
        Ok(with_names) => secure(with_names, security),
        Err(error) => {
            // A machine without a resolver still has addresses; only names in addresses will fail.
            tracing::warn!(%error, "no system resolver: host names in addresses cannot be dialled");
            secure(tcp(), security)
        }
    }
}

fn tcp() -> tcp::tokio::Transport {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
}

fn secure<T>(transport: T, security: Security) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    transport
        .map(|socket, _| ReadAhead::new(socket))
        .upgrade(Version::V1)
        .authenticate(security)
        .multiplex(Multiplex)
        .timeout(std_duration(limits::HANDSHAKE))
        .boxed()
}

/// See `fuzzing`.
#[cfg(fuzzing)]
pub(super) fn fuzz_streams(bytes: &[u8]) {
    mux::fuzz(bytes);
}

/// See [`crate::net::tls_configs`].
pub(super) fn tls_configs(keypair: &Keypair) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), NetError> {
    Ok(Tls::new(keypair, cipher::has_aes())?.configs())
}

/// See [`crate::net::preferred_cipher`].
pub(super) fn preferred_cipher() -> &'static str {
    cipher::suites(cipher::has_aes()).first().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown")
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
