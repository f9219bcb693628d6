//! Handshakes over pipes, and two transports over loopback. What is awaited is an event; a deadline only ends a test that failed.

use std::task::Poll;
use std::time::Duration;

use futures::future::{Either, poll_fn};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::Multiaddr;
use libp2p::core::muxing::{StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use libp2p::core::{Endpoint, UpgradeInfo};
use rustls::CipherSuite;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::security::{Encrypted, SecurityError};
use super::*;

type Pipe = Compat<tokio::io::DuplexStream>;
type Secured = Result<(PeerId, Encrypted<Pipe>), SecurityError>;
type Connection = (PeerId, StreamMuxerBox);

const DEADLINE: Duration = Duration::from_secs(30);

fn keypair(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).expect("any 32 bytes are a secret key")
}

fn peer(seed: u8) -> PeerId {
    keypair(seed).public().to_peer_id()
}

fn pipe() -> (Pipe, Pipe) {
    let (one, other) = tokio::io::duplex(64 << 10);
    (one.compat(), other.compat())
}

/// Both ends of a TLS handshake, the dialling one first.
async fn handshake(dialer: Security, listener: Security) -> (Secured, Secured) {
    let (out, into) = pipe();
    let name = dialer.protocol_info().next().expect("a name");
    futures::join!(dialer.upgrade_outbound(out, name), listener.upgrade_inbound(into, name))
}

#[tokio::test]
async fn both_sides_learn_whom_they_talk_to_and_bytes_pass() {
    let security = |seed| Security::new(&keypair(seed)).expect("security");
    let (one, two) = handshake(security(1), security(2)).await;
    let ((seen_by_one, mut one), (seen_by_two, mut two)) = (one.expect("client"), two.expect("server"));
    assert!(matches!((&one, &two), (Either::Left(_), Either::Left(_))), "TLS is what is offered first");
    assert_eq!((seen_by_one, seen_by_two), (peer(2), peer(1)));
    let sent = async {
        one.write_all(b"weights").await.expect("written");
        one.flush().await.expect("flushed");
    };
    let mut read = [0; 7];
    let (_, received) = futures::join!(sent, two.read_exact(&mut read));
    received.expect("read");
    assert_eq!(&read, b"weights");
}

#[tokio::test]
async fn the_cipher_follows_the_processors() {
    let chacha = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    let aes = CipherSuite::TLS13_AES_256_GCM_SHA384;
    let cases = [(true, true, aes), (true, false, chacha), (false, true, chacha), (false, false, chacha)];
    for (dialer, listener, expect) in cases {
        let security = |seed, has_aes| Security::on_processor(&keypair(seed), has_aes).expect("security");
        let (one, _two) = handshake(security(1, dialer), security(2, listener)).await;
        let Ok((_, Either::Left(stream))) = one else { panic!("no TLS for {dialer} and {listener}") };
        let chosen = stream.get_ref().1.negotiated_cipher_suite().map(|suite| suite.suite());
        assert_eq!(chosen, Some(expect), "AES in the dialer: {dialer}, in the listener: {listener}");
    }
}

#[test]
fn every_suite_of_tls_1_3_is_offered_whatever_the_processor() {
    for has_aes in [true, false] {
        let mut offered: Vec<String> = cipher::suites(has_aes).iter().map(|s| format!("{:?}", s.suite())).collect();
        offered.sort();
        let all = ["TLS13_AES_128_GCM_SHA256", "TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"];
        assert_eq!(offered, all);
    }
}

#[tokio::test]
async fn garbage_in_a_handshake_is_refused() {
    let security = Security::new(&keypair(1)).expect("security");
    let name = security.protocol_info().next().expect("a name");
    let (mut out, into) = pipe();
    out.write_all(&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8]).await.expect("written");
    let refused = security.clone().upgrade_inbound(into, name).await;
    assert!(matches!(refused, Err(SecurityError::Tls(_))), "{:?}", refused.err());
    let (out, mut into) = pipe();
    into.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
    let refused = security.upgrade_outbound(out, name).await;
    assert!(matches!(refused, Err(SecurityError::Tls(_))), "{:?}", refused.err());
}

fn tuned(security: Security) -> Boxed<Connection> {
    secure(tcp(), security, None)
}

/// Listens on a free port of loopback.
async fn listen(transport: &mut Boxed<Connection>) -> Multiaddr {
    transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0".parse().expect("address")).expect("a free port");
    loop {
        if let Some(TransportEvent::NewAddress { listen_addr, .. }) = transport.next().await {
            return listen_addr;
        }
    }
}

/// The next connection that the listener was offered, or why there is none.
async fn accept(transport: &mut Boxed<Connection>) -> io::Result<Connection> {
    loop {
        if let Some(TransportEvent::Incoming { upgrade, .. }) = transport.next().await {
            return upgrade.await;
        }
    }
}

async fn dial(transport: &mut Boxed<Connection>, address: &Multiaddr) -> io::Result<Connection> {
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    transport.dial(address.clone(), options).expect("a dial").await
}

async fn open(muxer: &mut StreamMuxerBox) -> SubstreamBox {
    poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.expect("a stream")
}

async fn accept_stream(muxer: &mut StreamMuxerBox) -> SubstreamBox {
    let next = poll_fn(|cx| {
        if let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx) {
            return Poll::Ready(stream);
        }
        match muxer.poll_unpin(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => muxer.poll_inbound_unpin(cx),
        }
    });
    next.await.expect("a stream")
}

/// Lets the streams of a connection make progress; ends with the connection.
async fn drive(mut muxer: StreamMuxerBox) -> io::Error {
    loop {
        if let Err(error) = poll_fn(|cx| muxer.poll_unpin(cx)).await {
            return error;
        }
    }
}

/// Sends three megabytes on a stream from `from` to `to` and back the other way.
async fn exchange(mut from: StreamMuxerBox, mut to: StreamMuxerBox) {
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut stream = open(&mut from).await;
    let asking = async {
        stream.write_all(&bytes).await.expect("sent");
        stream.flush().await.expect("flushed");
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).await.expect("came back");
        assert!(back == bytes);
    };
    let echoing = async {
        // yamux tells of a stream with its first bytes.
        let mut stream = accept_stream(&mut to).await;
        let echo = async {
            let mut came = vec![0; bytes.len()];
            stream.read_exact(&mut came).await.expect("came");
            stream.write_all(&came).await.expect("echoed");
            stream.flush().await.expect("flushed");
            std::future::pending::<()>().await // until the other side has read it all
        };
        futures::future::select(Box::pin(echo), Box::pin(drive(to))).await;
    };
    tokio::select! {
        () = echoing => panic!("the echoing side ended first"),
        error = drive(from) => panic!("the connection ended: {error}"),
        () = asking => {}
    }
}

async fn connect_and_exchange(listener: Security, dialer: Security) {
    let (mut listener, mut dialer) = (tuned(listener), tuned(dialer));
    let address = listen(&mut listener).await;
    let both = futures::future::join(accept(&mut listener), dial(&mut dialer, &address));
    let (accepted, dialled) = tokio::time::timeout(DEADLINE, both).await.expect("in time");
    let ((from, accepted), (to, dialled)) = (accepted.expect("accepted"), dialled.expect("dialled"));
    assert_eq!((from, to), (peer(2), peer(1)));
    tokio::time::timeout(DEADLINE, exchange(dialled, accepted)).await.expect("in time");
}

#[tokio::test]
async fn streams_work_over_tls_and_over_noise_with_a_peer_that_has_nothing_else() {
    let tls = |seed| Security::new(&keypair(seed)).expect("security");
    let noise = |seed| Security::noise_only(&keypair(seed)).expect("security");
    connect_and_exchange(tls(1), tls(2)).await;
    connect_and_exchange(tls(1), noise(2)).await;
    connect_and_exchange(noise(1), tls(2)).await;
}

#[tokio::test]
async fn a_listener_outlives_garbage() {
    let security = |seed| Security::new(&keypair(seed)).expect("security");
    let mut listener = tuned(security(1));
    let address = listen(&mut listener).await;
    let port = address.iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port.expect("a port"))).await.expect("connected");
    let garbage = async {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, &[0xfe; 100_000]).await;
    };
    let (refused, ()) = tokio::time::timeout(DEADLINE, futures::future::join(accept(&mut listener), garbage))
        .await
        .expect("refused in time");
    assert!(refused.is_err());
    let mut dialer = tuned(security(2));
    let both = futures::future::join(accept(&mut listener), dial(&mut dialer, &address));
    let (accepted, dialled) = tokio::time::timeout(DEADLINE, both).await.expect("in time");
    assert!(accepted.is_ok() && dialled.is_ok());
}

#[test]
fn the_systems_word_is_found_under_its_wrappings() {
    let check = |error: io::Error, expect| assert_eq!(io_kind(&error), Some(expect), "{error}");
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    check(refused(), io::ErrorKind::ConnectionRefused);
    check(io::Error::other(io::Error::other(refused())), io::ErrorKind::ConnectionRefused);
    check(io::Error::other("words"), io::ErrorKind::Other);
}

#[tokio::test]
async fn a_silent_connection_makes_room_for_a_newer_one_from_its_address() {
    use tokio::io::AsyncReadExt as _;
    let nobody = Arc::new(Admission::new(std::collections::BTreeSet::new().into()));
    let mut transport = build(&keypair(1), nobody, None).expect("a transport");
    let address = listen(&mut transport).await.to_string();
    let port: u16 = address.rsplit('/').next().and_then(|port| port.parse().ok()).expect("a port");
    let serving = tokio::spawn(async move {
        while let Some(event) = transport.next().await {
            if let TransportEvent::Incoming { upgrade, .. } = event {
                tokio::spawn(async move { upgrade.await.map(drop) });
            }
        }
    });
    let mut silent = Vec::new();
    for _ in 0..=limits::HALF_OPEN_PER_STRANGER_MAX {
        // Slower than handshakes may begin, so that none is refused for coming too fast.
        tokio::time::sleep(Duration::from_millis(2000 / limits::HANDSHAKES_OF_STRANGERS.per_second)).await;
        silent.push(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("accepted"));
    }
    let ended = tokio::time::timeout(DEADLINE, silent[0].read(&mut [0; 16])).await.expect("in time");
    assert!(!matches!(ended, Ok(1..)), "the oldest is closed without a word");
    let newest = silent.last().expect("several").try_read(&mut [0; 16]);
    assert!(matches!(newest, Err(error) if error.kind() == io::ErrorKind::WouldBlock), "the newest may go on");
    serving.abort();
}
