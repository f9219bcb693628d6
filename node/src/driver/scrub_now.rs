//! `fednode scrub --now`, node side: reads and hashes what was asked for at full speed, repairs what is damaged, and reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fednode_proto::v1;
use serde::Serialize;
use tokio::sync::mpsc;
use tonic::Status;

use crate::core::machine::Machine;
use crate::core::pins::Pin;
use crate::core::types::Digest;
use crate::driver::node::{Node, ended, json};
use crate::driver::scrub::{Scrubber, progress};

/// How often a repair is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// A repair that moves no byte for so long is left to the transfer, which goes on without the command.
const PATIENCE: Duration = Duration::from_secs(20);

type Sender = mpsc::Sender<Result<v1::ScrubEvent, Status>>;

/// What `fednode scrub --now` prints.
#[derive(Serialize)]
struct Report {
    bytes: u64,
    seconds: f64,
    damaged_chunks: usize,
    artifacts: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    artifact: String,
    name: String,
    bytes: u64,
    /// Chunks that did not hold.
    damaged: Vec<u32>,
    /// sound | repaired | damaged
    state: &'static str,
    /// Why it is still damaged, or empty.
    reason: String,
}

/// Scrubs, telling `events` how far it is and how it ended.
pub(super) async fn scrub(node: &Node, request: v1::ScrubRequest, events: Sender) {
    let last = match scrub_now(node, request, &events).await {
        Ok(document) => Ok(v1::ScrubEvent { event: Some(v1::scrub_event::Event::Json(document)) }),
        Err(status) => Err(status),
    };
    let _ = events.send(last).await;
}

async fn scrub_now(node: &Node, request: v1::ScrubRequest, events: &Sender) -> Result<Vec<u8>, Status> {
    let delegate = || Status::failed_precondition("this node delegates: it stores nothing");
    let scrubber = node.scrubber.clone().ok_or_else(delegate)?;
    let artifacts = wanted(node, &scrubber, &request.what).await?;
    let begin = Instant::now();
    let size = |artifact: &Digest| scrubber.store.manifest(artifact).map_or(0, |stored| stored.manifest.bytes());
    let total_bytes: u64 = artifacts.iter().map(size).sum();
    let done = Arc::new(AtomicU64::new(0));
    let mut entries = Vec::new();
    for artifact in artifacts {
        let stored = scrubber.store.manifest(&artifact);
        let name = stored.map_or_else(String::new, |stored| stored.manifest.name.clone());
        let (done, to, found) = (Arc::clone(&done), events.clone(), damaged_in(&entries));
        let tell = move |bytes: u64| {
            let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            // Progress that nobody reads fast enough is left out.
            let _ = to.try_send(Ok(progress(done, total_bytes, found, false)));
        };
        let bytes = size(&artifact);
        let damaged = scrubber.damaged_chunks(artifact, tell).await;
        // The background scrub may have found the damage first and put it back meanwhile.
        let whole = scrubber.store.complete().contains(&artifact);
        let (state, reason) = match damaged.is_empty() {
            true if whole => ("sound", String::new()),
            _ => repair(node, &scrubber, artifact, &damaged).await,
        };
        entries.push(Entry { artifact: artifact.to_string(), name, bytes, damaged, state, reason });
    }
    let damaged_chunks = entries.iter().map(|entry| entry.damaged.len()).sum();
    let bytes = done.load(Ordering::Relaxed);
    json(&Report { bytes, seconds: begin.elapsed().as_secs_f64(), damaged_chunks, artifacts: entries })
}

fn damaged_in(entries: &[Entry]) -> u32 {
    entries.iter().map(|entry| entry.damaged.len() as u32).sum()
}

/// The whole artifacts that `what` means here.
async fn wanted(node: &Node, scrubber: &Scrubber, what: &str) -> Result<Vec<Digest>, Status> {
    let here = scrubber.store.complete();
    if what.is_empty() {
        return Ok(here);
    }
    let pin: Pin = what.parse().map_err(|error| Status::invalid_argument(format!("{error}")))?;
    let meant = node.read(move |machine| pin.artifacts(&machine.config().catalog)).await.ok_or_else(ended)?;
    let found: Vec<Digest> = here.into_iter().filter(|artifact| meant.contains(artifact)).collect();
    if found.is_empty() {
        let message = format!("nothing of {what} lies whole on this machine; `fednode status` shows where it does");
        return Err(Status::failed_precondition(message));
    }
    Ok(found)
}

/// Puts the artifact back for repair and waits as long as the repair gets on.
async fn repair(node: &Node, scrubber: &Scrubber, artifact: Digest, damaged: &[u32]) -> (&'static str, String) {
    if !damaged.is_empty() && !scrubber.put_back(node, artifact, damaged).await {
        return ("damaged", "it cannot be put back for repair now; the node's log says why".to_owned());
    }
    let (mut seen, mut since) = (String::new(), Instant::now());
    loop {
        tokio::time::sleep(LOOK).await;
        let Some((whole, stands, reason)) = node.read(move |machine| stands(machine, &artifact)).await else {
            return ("damaged", "the node is ending".to_owned());
        };
        if whole {
            return ("repaired", String::new());
        }
        if stands != seen {
            (seen, since) = (stands, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            return ("damaged", if reason.is_empty() { "its repair goes on".to_owned() } else { reason });
        }
    }
}

/// Is it whole again; how far it is, for comparison; and what it waits for.
fn stands(machine: &Machine, artifact: &Digest) -> (bool, String, String) {
    let transfer = machine.transfers().iter().find(|(known, _)| *known == artifact).map(|(_, transfer)| transfer);
    let stands = transfer.map_or_else(String::new, |t| format!("{} {}", t.stage.as_str(), t.chunks_done()));
    let reason = transfer.map(|transfer| transfer.reason.clone()).unwrap_or_default();
    (machine.on_disk().contains(artifact), stands, reason)
}
