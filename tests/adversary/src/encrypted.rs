//! Connections up to their encryption, and what is said on them behind it, byte by byte.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::upgrade::OutboundConnectionUpgrade;
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise};
use multistream_select::{Version, dialer_select_proto};
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::Security;

/// An answer begins by then, and a node has hung up, however busy the machine.
const FIRST: Duration = Duration::from_secs(5);
/// An answer that has begun goes on by then.
const NEXT: Duration = Duration::from_millis(400);
/// A handshake on one machine, however busy.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// An encrypted connection.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// The encryption was agreed on and the node proved who it is.
    pub encrypted: bool,
    /// Bytes behind the encryption.
    pub bytes: Vec<u8>,
    /// The node closed the connection.
    pub closed: bool,
}

pub(crate) async fn connect(at: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Encrypts a connection as any libp2p peer does.
pub(crate) async fn encrypt(
    keypair: &Keypair,
    at: SocketAddr,
    from: Option<IpAddr>,
    security: Security,
) -> io::Result<(PeerId, Box<dyn Wire>)> {
    let handshake = async {
        let socket = connect(at, from).await?.compat();
        let (name, socket) =
            dialer_select_proto(socket, [security.name()], Version::V1).await.map_err(io::Error::other)?;
        let (peer, wire): (PeerId, Box<dyn Wire>) = match security {
            Security::Tls => {
                let config = libp2p_tls::Config::new(keypair).map_err(io::Error::other)?;
                let (peer, wire) = config.upgrade_outbound(socket, name).await.map_err(io::Error::other)?;
                (peer, Box::new(wire))
            }
            Security::Noise => {
                let config = noise::Config::new(keypair).map_err(io::Error::other)?;
                let (peer, wire) = config.upgrade_outbound(socket, name).await.map_err(io::Error::other)?;
                (peer, Box::new(wire))
            }
        };
        Ok((peer, wire))
    };
    tokio::time::timeout(HANDSHAKE, handshake).await.map_err(|_| io::ErrorKind::TimedOut)?
}

pub(crate) async fn knock(
    keypair: &Keypair,
    at: SocketAddr,
    from: Option<IpAddr>,
    security: Security,
    words: &[u8],
) -> Heard {
    let Ok((_, mut wire)) = encrypt(keypair, at, from, security).await else { return Heard::default() };
    // A node that has hung up already is what is hoped for.
    if wire.write_all(words).await.is_ok() {
        let _ = wire.flush().await;
    }
    let (bytes, closed) = read_all(&mut wire).await;
    Heard { encrypted: true, bytes, closed }
}

/// Everything that comes until the end, or until nothing comes any more; whether it ended.
pub(crate) async fn read_all(wire: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, bool) {
    let (mut bytes, mut piece) = (Vec::new(), [0u8; 4096]);
    loop {
        let patience = if bytes.is_empty() { FIRST } else { NEXT };
        match tokio::time::timeout(patience, wire.read(&mut piece)).await {
            Err(_) => return (bytes, false),
            Ok(Ok(0) | Err(_)) => return (bytes, true),
            Ok(Ok(read)) => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
