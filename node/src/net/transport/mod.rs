//! How bytes reach a peer: TCP without Nagle's delay, TLS 1.3 or Noise for encryption and identity, yamux for streams. All
//! of it is tuned for weights (DESIGN 16); everything above this folder sees streams only.

mod cipher;
mod gate;
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
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, dns, relay, tcp};
use rustls::{ClientConfig, ServerConfig};

use crate::core::limits;
use crate::net::admission::{Admission, Standing};
use crate::net::door::Door;
use crate::net::transport::gate::Gate;
use crate::net::transport::mux::Multiplex;
use crate::net::transport::read_ahead::ReadAhead;
use crate::net::transport::security::{Security, SecurityError};
use crate::net::transport::tls::Tls;
use crate::net::{NetError, std_duration};

/// The transport of the node whose identity is `keypair`; with `relayed`, also through members that relay. Who dials it passes
/// the door, and has no connection before `admission` knows it.
pub(super) fn build(
    keypair: &Keypair,
    admission: Arc<Admission>,
    relayed: Option<relay::client::Transport>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetError> {
    let security = Security::new(keypair)?.admitting(admission);
    let direct = direct(security.clone());
    let Some(relayed) = relayed else { return Ok(direct) };
    // The same encryption end to end: whoever relays sees nothing but its bytes. It is a member, relays for members only, and
    // has passed the door itself; behind it there is no address to tell callers apart.
    let relayed = secure(relayed, security, None);
    Ok(relayed.or_transport(direct).map(|either, _| either.into_inner()).boxed())
}

fn direct(security: Security) -> Boxed<(PeerId, StreamMuxerBox)> {
    let door = security.admission().map(|admission| admission.door().clone());
    match dns::tokio::Transport::system(tcp()) {
        Ok(with_names) => secure(with_names, security, door),
        Err(error) => {
            // A machine without a resolver still has addresses; only names in addresses will fail.
            tracing::warn!(%error, "no system resolver: host names in addresses cannot be dialled");
            secure(tcp(), security, door)
        }
    }
}

fn tcp() -> tcp::tokio::Transport {
    tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
}

fn secure<T>(transport: T, security: Security, door: Option<Door>) -> Boxed<(PeerId, StreamMuxerBox)>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    let admission = security.admission();
    let multiplexed = transport
        .map(|socket, _| ReadAhead::new(socket))
        .upgrade(Version::V1)
        .authenticate(security)
        .multiplex_ext(move |peer, end| match &admission {
            Some(admission) if end.is_listener() && admission.standing(peer) != Standing::Member => Multiplex::GUEST,
            _ => Multiplex::MEMBER,
        })
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let timed = TransportTimeout::with_outgoing_timeout(multiplexed, std_duration(limits::HANDSHAKE));
    match door {
        Some(door) => Gate::new(timed, door, std_duration(limits::HANDSHAKE_IN)).boxed(),
        None => timed.boxed(),
    }
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

/// Does another machine than the one that was meant live where we dialled?
pub(super) fn is_stranger(error: &(dyn Error + 'static)) -> bool {
    // `source()` of a wrapping `io::Error` skips the very error it wraps.
    let inner = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner as &(dyn Error + 'static)),
        None => error.source(),
    };
    matches!(error.downcast_ref(), Some(SecurityError::Stranger(_))) || inner.is_some_and(is_stranger)
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
