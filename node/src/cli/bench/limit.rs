//! The practical limit: what this machine can do at best with the means that a transfer needs. Two processes of one thread
//! each, one TCP connection with the node's own TLS, chunks of 4 MiB that are hashed and compared, and written where they
//! belong the way the store writes them. No discovery, no multiplexing, no scheduling, no resume.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use libp2p::identity::Keypair;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection, StreamOwned};
use serde::{Deserialize, Serialize};

use super::proc;
use crate::core::limits;
use crate::core::types::Digest;
use crate::net::tls_configs;
use crate::store::weightfile::WeightFile;

const CHUNK: usize = limits::CHUNK_BYTES_MAX as usize;
const BLOCK_BYTES: usize = 4096;

/// What the sender prints before it waits.
#[derive(Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) address: SocketAddr,
}

/// What each side prints at its end.
#[derive(Serialize, Deserialize)]
pub(super) struct Side {
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: Option<f64>,
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

fn print(value: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(value).map_err(invalid)?)?;
    stdout.flush()
}

/// Sends `file` to the first who connects, once it has hashed it.
pub(super) fn send(file: &Path) -> io::Result<()> {
    let file = File::open(file)?;
    let bytes = file.metadata()?.len();
    let mut buffer = vec![0; CHUNK];
    let lengths =
        move || (0..bytes.div_ceil(CHUNK as u64)).map(move |n| (bytes - n * CHUNK as u64).min(CHUNK as u64) as usize);
    let mut digests = Vec::new();
    for (n, length) in (0u64..).zip(lengths()) {
        file.read_exact_at(&mut buffer[..length], n * CHUNK as u64)?;
        digests.push(Digest::of(&buffer[..length]));
    }
    let (server, _) = tls_configs(&Keypair::generate_ed25519()).map_err(invalid)?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    print(&Listening { address: listener.local_addr()? })?;
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut connection = ServerConnection::new(server).map_err(invalid)?;
    connection.set_buffer_limit(Some(limits::TLS_BUFFER_BYTES));
    let mut stream = StreamOwned::new(connection, socket);
    let mut go = [0];
    stream.read_exact(&mut go)?;
    let (started, cpu) = (Instant::now(), proc::cpu_seconds(std::process::id()));
    stream.write_all(&bytes.to_le_bytes())?;
    for (n, (digest, length)) in (0u64..).zip(digests.iter().zip(lengths())) {
        stream.write_all(&digest.0)?;
        // Read in pieces that stay in the processor's cache until they are encrypted.
        for start in (0..length).step_by(limits::FRAME_BYTES) {
            let piece = &mut buffer[..limits::FRAME_BYTES.min(length - start)];
            file.read_exact_at(piece, n * CHUNK as u64 + start as u64)?;
            stream.write_all(piece)?;
        }
    }
    stream.flush()?;
    finish(bytes, started, cpu)
}

/// Receives what `from` sends into the new `file`.
pub(super) fn receive(from: SocketAddr, file: &Path) -> io::Result<()> {
    let (_, client) = tls_configs(&Keypair::generate_ed25519()).map_err(invalid)?;
    let socket = TcpStream::connect(from)?;
    socket.set_nodelay(true)?;
    let nobody = ServerName::IpAddress(from.ip().into());
    let connection = ClientConnection::new(client, nobody).map_err(invalid)?;
    let mut stream =
        StreamOwned::new(connection, ReadAhead(BufReader::with_capacity(limits::SOCKET_READ_BYTES, socket)));
    let mut room = vec![0; CHUNK + BLOCK_BYTES];
    let aligned = room.as_ptr().align_offset(BLOCK_BYTES);
    let buffer = &mut room[aligned..aligned + CHUNK];
    let (started, cpu) = (Instant::now(), proc::cpu_seconds(std::process::id()));
    stream.write_all(b"g")?;
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes)?;
    let bytes = u64::from_le_bytes(bytes);
    let written = WeightFile::create(file, bytes)?;
    let mut offset = 0;
    while offset < bytes {
        let mut digest = Digest::default();
        stream.read_exact(&mut digest.0)?;
        let chunk = &mut buffer[..(bytes - offset).min(CHUNK as u64) as usize];
        let mut hasher = blake3::Hasher::new();
        // In pieces that are hashed while they lie in the processor's cache.
        for piece in chunk.chunks_mut(limits::FRAME_BYTES) {
            stream.read_exact(piece)?;
            hasher.update(piece);
        }
        if hasher.finalize().as_bytes() != &digest.0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk came damaged"));
        }
        written.write_at(offset, chunk)?;
        offset += chunk.len() as u64;
    }
    written.sync()?;
    finish(bytes, started, cpu)
}

fn finish(bytes: u64, started: Instant, cpu: Option<f64>) -> io::Result<()> {
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = proc::cpu_seconds(std::process::id()).zip(cpu).map(|(end, start)| end - start);
    print(&Side { bytes, seconds, cpu_seconds })
}

/// Reads from the socket in large pieces, as the node does.
struct ReadAhead(BufReader<TcpStream>);

impl Read for ReadAhead {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for ReadAhead {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
    }
}
