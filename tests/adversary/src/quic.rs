//! QUIC, which no node speaks: a real handshake, and a packet to which every QUIC server answers with its versions.

use std::net::SocketAddr;
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, PeerId};
use tokio::net::UdpSocket;

const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) async fn dial(keypair: &Keypair, at: SocketAddr) -> Vec<String> {
    let mut heard = Vec::new();
    let mut transport = libp2p_quic::tokio::Transport::new(libp2p_quic::Config::new(keypair));
    let address: Multiaddr = format!("/ip4/{}/udp/{}/quic-v1", at.ip(), at.port()).parse().expect("an address");
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    if let Ok(dial) = transport.dial(address, options)
        && let Ok(Ok((peer, _))) = tokio::time::timeout(PATIENCE, dial).await
    {
        heard.push(format!("a QUIC connection to {}", PeerId::to_string(&peer)));
    }
    heard.extend(versions(at).await);
    heard
}

/// RFC 9000, section 6: a server answers a long header of a version it does not know with the versions it knows.
async fn versions(at: SocketAddr) -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").await.ok()?;
    socket.connect(at).await.ok()?;
    let mut packet = vec![0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    packet.resize(1200, 0);
    socket.send(&packet).await.ok()?;
    let mut answer = [0u8; 1500];
    match tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await {
        Ok(Ok(bytes)) => Some(format!("{bytes} bytes from UDP port {}", at.port())),
        // Refused, or nobody there.
        Ok(Err(_)) | Err(_) => None,
    }
}
