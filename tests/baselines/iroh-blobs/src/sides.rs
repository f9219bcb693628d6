//! The two processes of the bench: a provider and a receiver. Each is a plain user of iroh-blobs, with iroh's own defaults
//! except that it knows no relay, no discovery and no port mapping, and listens on loopback alone.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use iroh::endpoint::{Endpoint, PortmapperConfig, RelayMode, presets};
use iroh::protocol::Router;
use iroh::{EndpointAddr, TransportAddr};
use iroh_blobs::BlobsProtocol;
use iroh_blobs::api::blobs::BlobStatus;
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::ticket::BlobTicket;
use tokio::io::AsyncReadExt;

/// Of one write of the payload: large, so that making it takes little time.
const PAYLOAD_WRITE_BYTES: usize = 4 << 20;

/// Imports `size` random bytes into a new store in `folder`, prints the ticket, and serves until standard input ends: then
/// the bench is over, or gone.
pub(crate) async fn provide(folder: &Path, size: u64) -> Result<()> {
    let store = FsStore::load(folder.join("store")).await?;
    let payload = folder.join("payload");
    make_payload(&payload, size).with_context(|| format!("cannot write {}", payload.display()))?;
    let tag = store.add_path(&payload).await?;
    // The store has a copy of its own.
    std::fs::remove_file(&payload)?;

    let endpoint = endpoint().await?;
    let listens = endpoint.bound_sockets().into_iter().map(TransportAddr::Ip);
    let address = EndpointAddr::from_parts(endpoint.id(), listens);
    let router = Router::builder(endpoint).accept(iroh_blobs::ALPN, BlobsProtocol::new(&store, None)).spawn();
    println!("{}", BlobTicket::new(address, tag.hash, tag.format));

    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    router.shutdown().await?;
    Ok(())
}

/// Fetches what the ticket names into a new store in `folder` and prints how many seconds passed from the request until the
/// store had all of it. iroh-blobs verifies each block before it writes it. The connection is open before the request, as it
/// is between nodes of fednode.
pub(crate) async fn receive(folder: &Path, ticket: &str, size: u64) -> Result<()> {
    let ticket: BlobTicket = ticket.parse()?;
    let store = FsStore::load(folder).await?;
    let endpoint = endpoint().await?;
    let connection = endpoint.connect(ticket.addr().clone(), iroh_blobs::ALPN).await?;

    let started = Instant::now();
    let stats = store.remote().fetch(connection, ticket.hash_and_format()).complete().await?;
    store.observe(ticket.hash()).await_completion().await?;
    let seconds = started.elapsed().as_secs_f64();

    ensure!(stats.payload_bytes_read == size, "{} bytes came of {size}", stats.payload_bytes_read);
    store.sync_db().await?;
    let status = store.status(ticket.hash()).await?;
    ensure!(matches!(status, BlobStatus::Complete { size: stored } if stored == size), "the store has {status:?}");
    endpoint.close().await;
    store.shutdown().await?;
    println!("{seconds}");
    Ok(())
}

async fn endpoint() -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports()
        .bind_addr((Ipv4Addr::LOCALHOST, 0))?;
    Ok(builder.bind().await?)
}

/// The same bytes for each bench; nothing compresses or repeats in them.
fn make_payload(path: &Path, size: u64) -> std::io::Result<()> {
    let mut random = blake3::Hasher::new().update(b"fednode baseline").finalize_xof();
    let mut file = File::create(path)?;
    let mut buffer = vec![0; PAYLOAD_WRITE_BYTES];
    let mut left = size;
    while left > 0 {
        let now = left.min(PAYLOAD_WRITE_BYTES as u64) as usize;
        random.read_exact(&mut buffer[..now])?;
        file.write_all(&buffer[..now])?;
        left -= now as u64;
    }
    Ok(())
}
