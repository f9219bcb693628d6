//! A thousand hostile connections at once: silence, halves of handshakes, strangers with a key, noise, and a header of HTTP
//! that never ends. Whenever one is closed it comes again a second later, for as long as the flood lasts.
//!
//! The flood runs on one thread of the lowest priority. A real one comes from other machines, whose work is not the node's;
//! what it makes the node do is not lowered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use libp2p::identity::Keypair;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Security;
use crate::encrypted::{connect, encrypt};

/// What one connection of a flood does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Connects and says nothing.
    Silence,
    /// Agrees on TLS and sends the beginning of its first record.
    HalfHello,
    /// Proves who it is, which is nobody, and says nothing more.
    Stranger,
    /// Sends bytes that mean nothing.
    Noise,
    /// Sends a header of HTTP, one byte a second.
    SlowHttp,
}

const KINDS: [Kind; 5] = [Kind::Silence, Kind::HalfHello, Kind::Stranger, Kind::Noise, Kind::SlowHttp];

/// A connection that was closed comes again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Where a flood goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Targets {
    /// Where nodes listen for members.
    pub peers: Vec<SocketAddr>,
    /// Their HTTP APIs.
    pub apis: Vec<SocketAddr>,
}

/// How a flood is going.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Connections that were made.
    pub made: usize,
    /// Handshakes that came to their end.
    pub encrypted: usize,
    /// Connections that are open, or being made.
    pub open: usize,
}

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    encrypted: AtomicUsize,
    open: AtomicUsize,
    stop: AtomicBool,
}

/// A flood under way. Dropping it ends it.
pub struct Flood {
    counts: Arc<Counts>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Flood {
    /// `count` connections at once.
    pub fn start(targets: Targets, count: usize) -> io::Result<Flood> {
        allow_files();
        let counts = Arc::new(Counts::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&counts);
        let thread = std::thread::Builder::new().name("flood".to_owned()).spawn(move || {
            // On Linux this is the thread's own; elsewhere the flood only disturbs more.
            let _ = rustix::process::nice(19);
            runtime.block_on(flood(targets, count, shared));
        })?;
        Ok(Flood { counts, thread: Some(thread) })
    }

    /// How it is going.
    pub fn report(&self) -> Report {
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        Report {
            made: count(&self.counts.made),
            encrypted: count(&self.counts.encrypted),
            open: count(&self.counts.open),
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.counts.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A flood that panicked has ended too.
            let _ = thread.join();
        }
    }
}

/// A thousand sockets are more than a shell usually allows a program, and less than what it may ask for.
fn allow_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

async fn flood(targets: Targets, count: usize, counts: Arc<Counts>) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..count {
        let kind = KINDS[n % KINDS.len()];
        let goals = if kind == Kind::SlowHttp { &targets.apis } else { &targets.peers };
        let Some(&at) = goals.get((n / KINDS.len()) % goals.len().max(1)) else { continue };
        let counts = Arc::clone(&counts);
        tasks.spawn(async move {
            let keypair = Keypair::generate_ed25519();
            loop {
                counts.open.fetch_add(1, Ordering::Relaxed);
                // How it ended does not matter to somebody who comes again.
                let _ = one(kind, &keypair, at, source(n), &counts).await;
                counts.open.fetch_sub(1, Ordering::Relaxed);
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
    while !counts.stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tasks.shutdown().await;
}

/// Every second one comes from one address, the others from many. On Linux all of 127.0.0.0/8 is this machine.
fn source(n: usize) -> Option<IpAddr> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let [high, low] = u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    Some(IpAddr::V4(if n.is_multiple_of(2) {
        Ipv4Addr::new(127, 66, 0, 1)
    } else {
        Ipv4Addr::new(127, 67, high, low.max(1))
    }))
}

async fn one(kind: Kind, keypair: &Keypair, at: SocketAddr, from: Option<IpAddr>, counts: &Counts) -> io::Result<()> {
    if kind == Kind::Stranger {
        let (_, mut wire) = encrypt(keypair, at, from, Security::Tls).await?;
        counts.made.fetch_add(1, Ordering::Relaxed);
        counts.encrypted.fetch_add(1, Ordering::Relaxed);
        return futures::AsyncReadExt::read(&mut wire, &mut [0; 16]).await.map(drop);
    }
    let mut socket = connect(at, from).await?;
    counts.made.fetch_add(1, Ordering::Relaxed);
    match kind {
        Kind::HalfHello => {
            socket.write_all(b"\x13/multistream/1.0.0\n\x0b/tls/1.0.0\n\x16\x03\x01\x02\x00\x01\x00").await?;
        }
        Kind::Noise => socket.write_all(&[0xa5; 4096]).await?,
        Kind::SlowHttp => return slow_http(socket).await,
        Kind::Silence | Kind::Stranger => {}
    }
    // What a node says before the encryption is its list of encryptions.
    while socket.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

async fn slow_http(mut socket: TcpStream) -> io::Result<()> {
    socket.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ").await?;
    loop {
        socket.write_all(b"a").await?;
        match tokio::time::timeout(Duration::from_secs(1), socket.read(&mut [0; 1024])).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(read) => drop(read?),
            Err(_) => {}
        }
    }
}
