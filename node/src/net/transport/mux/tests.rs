//! Streams between two of our own connections and between ours and the common implementation, over pipes that take a few
//! bytes at a time; and peers that do not keep to the protocol. A deadline only ends a test that failed.

use std::time::Duration;

use futures::future::{join_all, poll_fn};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::StreamMuxerExt;
use tokio::io::DuplexStream;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::frame::{FIN, HEADER_BYTES, Header, Kind, SYN};
use super::*;

type Pipe = Compat<DuplexStream>;

const DEADLINE: Duration = Duration::from_secs(30);

fn pipe(bytes: usize) -> (Pipe, Pipe) {
    let (one, other) = tokio::io::duplex(bytes);
    (one.compat(), other.compat())
}

/// Bytes that differ from stream to stream.
fn bytes_of(stream: usize, length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 251 + stream * 31) as u8).collect()
}

/// A length for each stream: none, a few, a window and more.
fn length_of(stream: usize) -> usize {
    [0, 1, 11, 4096, 256 << 10, (256 << 10) + 1, 1_500_000][stream % 7]
}

async fn accept(muxer: &mut Muxer<Pipe>) -> io::Result<Substream<Pipe>> {
    poll_fn(|cx| match Pin::new(&mut *muxer).poll_inbound(cx) {
        Poll::Pending => match Pin::new(&mut *muxer).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Pin::new(&mut *muxer).poll_inbound(cx),
        },
        ready => ready,
    })
    .await
}

async fn drive(mut muxer: Muxer<Pipe>) -> io::Error {
    loop {
        if let Err(error) = poll_fn(|cx| muxer.poll_unpin(cx)).await {
            return error;
        }
    }
}

/// Sends what belongs to the stream, closes it, and reads it back.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: S, n: usize) {
    let sent = bytes_of(n, length_of(n));
    let (mut reading, mut writing) = stream.split();
    let write = async {
        writing.write_all(&(sent.len() as u32).to_be_bytes()).await.expect("how much");
        writing.write_all(&sent).await.expect("written");
        writing.close().await.expect("closed");
    };
    let read = async {
        assert!(all_of(&mut reading, sent.len()).await == sent, "stream {n}");
    };
    futures::join!(write, read);
}

/// So many bytes, and then the end.
async fn all_of<S: AsyncRead + Unpin>(stream: &mut S, length: usize) -> Vec<u8> {
    let mut came = vec![0; length];
    stream.read_exact(&mut came).await.expect("read");
    assert_eq!(stream.read(&mut [0]).await.expect("read"), 0, "more came");
    came
}

/// Sends everything back, and closes when the other side did.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await.expect("how much");
    let came = all_of(&mut stream, u32::from_be_bytes(length) as usize).await;
    stream.write_all(&came).await.expect("written");
    stream.close().await.expect("closed");
}

async fn serve_ours(mut muxer: Muxer<Pipe>) {
    let mut serving = tokio::task::JoinSet::new();
    while let Ok(stream) = accept(&mut muxer).await {
        serving.spawn(echo(stream));
    }
    while serving.join_next().await.is_some() {}
}

async fn serve_theirs(mut connection: yamux::Connection<Pipe>) {
    while let Some(Ok(stream)) = poll_fn(|cx| connection.poll_next_inbound(cx)).await {
        tokio::spawn(echo(stream));
    }
}

/// Forty streams at once through a connection of ours.
async fn ask_ours(mut muxer: Muxer<Pipe>) {
    let streams: Vec<_> = (0..40).map(|_| open(&mut muxer)).collect();
    let driving = tokio::spawn(drive(muxer));
    let asking = streams.into_iter().enumerate().map(|(n, stream)| tokio::spawn(ask(stream, n)));
    join_all(asking).await.into_iter().for_each(|asked| asked.expect("answered"));
    driving.abort();
}

fn open(muxer: &mut Muxer<Pipe>) -> Substream<Pipe> {
    match Pin::new(muxer).poll_outbound(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(Ok(stream)) => stream,
        other => panic!("no stream: {:?}", other.map_ok(|_| ())),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn many_streams_at_once_bring_every_byte_over_narrow_and_wide_pipes() {
    for room in [1009, 64 << 10, 1 << 20] {
        let (one, other) = pipe(room);
        let served = tokio::spawn(serve_ours(Muxer::new(other, Role::Listener)));
        tokio::time::timeout(DEADLINE, ask_ours(Muxer::new(one, Role::Dialer))).await.expect("in time");
        tokio::time::timeout(DEADLINE, served).await.expect("ended with the connection").expect("served");
    }
}

#[tokio::test]
async fn one_thread_is_enough() {
    let (one, other) = pipe(64 << 10);
    let served = tokio::spawn(serve_ours(Muxer::new(other, Role::Listener)));
    tokio::time::timeout(DEADLINE, ask_ours(Muxer::new(one, Role::Dialer))).await.expect("in time");
    tokio::time::timeout(DEADLINE, served).await.expect("in time").expect("served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_common_implementation_is_understood_whoever_dials() {
    let config = yamux::Config::default;
    let (one, other) = pipe(8 << 10);
    let theirs = yamux::Connection::new(other, config(), yamux::Mode::Server);
    let served = tokio::spawn(serve_theirs(theirs));
    tokio::time::timeout(DEADLINE, ask_ours(Muxer::new(one, Role::Dialer))).await.expect("in time");
    served.abort();

    let (one, other) = pipe(8 << 10);
    let served = tokio::spawn(serve_ours(Muxer::new(other, Role::Listener)));
    let mut theirs = yamux::Connection::new(one, config(), yamux::Mode::Client);
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(poll_fn(|cx| theirs.poll_new_outbound(cx)).await.expect("a stream"));
    }
    let driving = tokio::spawn(serve_theirs(theirs));
    let asking = streams.into_iter().enumerate().map(|(n, stream)| tokio::spawn(ask(stream, n)));
    let asked = tokio::time::timeout(DEADLINE, join_all(asking)).await.expect("in time");
    asked.into_iter().for_each(|asked| asked.expect("answered"));
    driving.abort();
    served.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_send_more_than_fits_at_the_same_time() {
    let (one, other) = pipe(1024);
    let (mut one, mut other) = (Muxer::new(one, Role::Dialer), Muxer::new(other, Role::Listener));
    let (out, back) = (open(&mut one), open(&mut other));
    let exchange = async {
        let (accepted, taken) = futures::join!(accept(&mut other), accept(&mut one));
        (accepted.expect("a stream"), taken.expect("a stream"), one, other)
    };
    let send = |mut stream: Substream<Pipe>| async move {
        stream.write_all(&bytes_of(1, 3_000_000)).await.expect("sent");
        stream.close().await.expect("closed");
    };
    let receive = |mut stream: Substream<Pipe>| async move {
        assert!(all_of(&mut stream, 3_000_000).await == bytes_of(1, 3_000_000));
    };
    let sending = (tokio::spawn(send(out)), tokio::spawn(send(back)));
    let (accepted, taken, one, other) = tokio::time::timeout(DEADLINE, exchange).await.expect("in time");
    let driving = (tokio::spawn(drive(one)), tokio::spawn(drive(other)));
    let all = async {
        futures::try_join!(sending.0, sending.1, tokio::spawn(receive(accepted)), tokio::spawn(receive(taken)))
    };
    tokio::time::timeout(DEADLINE, all).await.expect("in time").expect("all of it");
    driving.0.abort();
    driving.1.abort();
}

#[tokio::test]
async fn a_reader_that_lost_interest_holds_nobody_up() {
    let (one, other) = pipe(64 << 10);
    let (mut one, mut other) = (Muxer::new(one, Role::Dialer), Muxer::new(other, Role::Listener));
    let (mut idle, mut busy) = (open(&mut one), open(&mut one));
    idle.write_all(b"i").await.expect("written");
    busy.write_all(b"b").await.expect("written");
    let mut waits = accept(&mut other).await.expect("a stream");
    let mut reads = accept(&mut other).await.expect("another");
    let driving = (tokio::spawn(drive(one)), tokio::spawn(drive(other)));
    let mut byte = [0];
    waits.read_exact(&mut byte).await.expect("its byte");
    reads.read_exact(&mut byte).await.expect("its byte");
    // Asks once for more and never again, as whoever waits for several things at once may do.
    let asked = futures::poll!(Pin::new(&mut waits).read(&mut byte));
    assert!(asked.is_pending());
    let work = async {
        idle.write_all(&bytes_of(2, 100_000)).await.expect("written");
        busy.write_all(&bytes_of(3, 100_000)).await.expect("written");
        let mut came = vec![0; 100_000];
        reads.read_exact(&mut came).await.expect("read");
        assert!(came == bytes_of(3, 100_000));
        waits.read_exact(&mut came).await.expect("kept for it");
        assert!(came == bytes_of(2, 100_000));
    };
    tokio::time::timeout(DEADLINE, work).await.expect("in time");
    driving.0.abort();
    driving.1.abort();
}

#[tokio::test]
async fn a_dropped_stream_resets_the_other_end_and_a_lost_connection_ends_all() {
    let (one, other) = pipe(64 << 10);
    let (mut one, mut other) = (Muxer::new(one, Role::Dialer), Muxer::new(other, Role::Listener));
    let (mut dropped, mut kept) = (open(&mut one), open(&mut one));
    dropped.write_all(b"d").await.expect("written");
    kept.write_all(b"k").await.expect("written");
    let mut first = accept(&mut other).await.expect("a stream");
    let mut second = accept(&mut other).await.expect("another");
    let driving = tokio::spawn(drive(other));
    drop(dropped);
    let mut bytes = [0; 2];
    assert_eq!(first.read(&mut bytes).await.expect("what came before"), 1);
    assert_eq!(first.read(&mut bytes).await.expect_err("reset").kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(second.read(&mut bytes).await.expect("what came"), 1);
    drop((one, kept));
    assert!(second.read(&mut bytes).await.is_err());
    driving.await.expect("ended by itself");
}

/// What a connection of ours says to a peer that sent `bytes`, until it ends it or falls silent.
async fn hostile(bytes: Vec<u8>) -> (Option<io::Error>, usize) {
    let (mut peer, ours) = pipe(1 << 20);
    let mut muxer = Muxer::new(ours, Role::Listener);
    let sending = async {
        let _ = peer.write_all(&bytes).await;
        let mut said = vec![0; 1 << 16];
        let mut total = 0;
        while let Ok(Ok(read)) = tokio::time::timeout(Duration::from_millis(200), peer.read(&mut said)).await {
            total += read;
            if read == 0 {
                break;
            }
        }
        total
    };
    let mut streams = Vec::new();
    let serving = async {
        loop {
            match accept(&mut muxer).await {
                Ok(stream) => streams.push(stream),
                Err(error) => return error,
            }
        }
    };
    tokio::select! {
        error = serving => (Some(error), 0),
        said = sending => (None, said),
    }
}

fn frames(headers: impl IntoIterator<Item = Header>) -> Vec<u8> {
    headers.into_iter().flat_map(Header::encode).collect()
}

#[tokio::test]
async fn a_peer_that_does_not_keep_to_the_protocol_is_cut_off() {
    let data = |flags, stream, length| Header::new(Kind::Data, flags, stream, length);
    let window = |flags, stream, length| Header::new(Kind::WindowUpdate, flags, stream, length);
    let cases = [
        ("no frame", vec![0xff; 64]),
        ("a stream with our number", frames([data(SYN, 2, 0)])),
        ("a stream twice", frames([data(SYN, 1, 0), data(SYN, 1, 0)])),
        ("more than the window", frames([data(SYN, 1, (256 << 10) + 1)])),
        ("credit that overflows", frames([window(SYN, 1, 1), window(0, 1, u32::MAX)])),
        ("data after the end", [frames([data(SYN | FIN, 1, 0), data(0, 1, 1)]), vec![1]].concat()),
        ("the end", frames([Header::new(Kind::GoAway, 0, 0, 0)])),
    ];
    for (what, bytes) in cases {
        let (ended, _) = tokio::time::timeout(DEADLINE, hostile(bytes)).await.expect("in time");
        assert!(ended.is_some(), "{what} was taken");
    }
}

#[tokio::test]
async fn too_many_streams_are_reset_and_the_others_live() {
    let most = limits::STREAMS_PER_CONNECTION_MAX as u32;
    let bytes = frames((0..most + 50).map(|n| Header::new(Kind::Data, SYN, 2 * n + 1, 0)));
    let (ended, said) = tokio::time::timeout(DEADLINE, hostile(bytes)).await.expect("in time");
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(said, 50 * HEADER_BYTES, "a reset for each that is too many");
}

#[tokio::test]
async fn a_peer_that_asks_without_reading_is_not_read_for_ever() {
    let (mut peer, ours) = pipe(4096);
    let mut muxer = Muxer::new(ours, Role::Listener);
    let pings = frames((0..100_000).map(|n| Header::new(Kind::Ping, SYN, 0, n)));
    let flood = tokio::time::timeout(Duration::from_millis(300), peer.write_all(&pings));
    let (flooded, _) = futures::join!(flood, tokio::time::timeout(Duration::from_millis(400), accept(&mut muxer)));
    assert!(flooded.is_err(), "all of it was taken, and the answers lie in memory");
    // Once it reads, it is answered.
    let mut answers = vec![0; 1000 * HEADER_BYTES];
    let reading = peer.read_exact(&mut answers);
    let answered = async {
        tokio::select! {
            read = reading => read,
            _ = accept(&mut muxer) => panic!("a stream or an end"),
        }
    };
    tokio::time::timeout(DEADLINE, answered).await.expect("in time").expect("answers");
}

/// A socket whose peer takes nothing in.
struct Deaf;

impl AsyncRead for Deaf {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_peer_that_reads_nothing_does_not_keep_its_connection() {
    let mut muxer = Muxer::new(Deaf, Role::Dialer);
    let closed = poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx));
    tokio::time::timeout(DEADLINE, closed).await.expect("it ends").expect("without a fault");
}
