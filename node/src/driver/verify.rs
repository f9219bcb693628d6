//! `fednode verify SLOT`, node side: every holder of the slot reads and hashes its files again, reads their tensor tables, and
//! compares the fingerprint of what is resident. What is found damaged is put back for repair, as a scrub would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fednode_proto::v1;
use fednode_proto::v1::verify_event::Event as Told;
use fednode_proto::v1::verify_slot_event::Event as ToldAll;
use serde::Serialize;
use tokio::sync::mpsc;
use tonic::Status;

use crate::core::fingerprint::Fingerprint;
use crate::core::machine::Machine;
use crate::core::membership::advert::{Advert, ReplicaState};
use crate::core::types::{Digest, DomainName, NodeId, SlotName};
use crate::driver::fingerprint;
use crate::driver::node::{Node, ended, json};
use crate::driver::scrub::Scrubber;
use crate::driver::seats;
use crate::store::gguf;
use crate::wire::ids::peer_id_text;

/// How often it is told how far all machines are.
const TELL: Duration = Duration::from_millis(500);

/// One artifact that is published into the slot.
#[derive(Clone)]
struct Published {
    domain: Option<DomainName>,
    artifact: Digest,
    fingerprint: Option<Arc<Fingerprint>>,
    /// A replica here has it in memory.
    resident: bool,
}

/// Verifies what lies here, telling `events` how far it is and what it found.
pub(super) async fn verify(
    node: &Node,
    request: v1::VerifyRequest,
    events: mpsc::Sender<Result<v1::VerifyEvent, Status>>,
) {
    let to = events.clone();
    let tell = move |done_bytes, total_bytes| {
        let progress = Told::Progress(v1::VerifyProgress { done_bytes, total_bytes });
        // Progress that nobody reads fast enough is left out.
        let _ = to.try_send(Ok(v1::VerifyEvent { event: Some(progress) }));
    };
    let report = here(node, &request.slot, tell).await;
    let last = report.map(|report| v1::VerifyEvent { event: Some(Told::Report(report)) });
    let _ = events.send(last).await;
}

async fn here(
    node: &Node,
    slot: &str,
    tell: impl Fn(u64, u64) + Clone + Send + 'static,
) -> Result<v1::VerifyReport, Status> {
    let slot = SlotName::new(slot).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let scrubber =
        node.scrubber.clone().ok_or_else(|| Status::failed_precondition("it delegates: it stores nothing"))?;
    let busy = || Status::failed_precondition("it verifies for somebody else just now; try again in a minute");
    let _turn = node.verifying.try_lock().map_err(|_| busy())?;
    let asked = slot;
    let read = move |machine: &Machine| published(machine, &asked);
    let published = node.read(read).await.ok_or_else(ended)?;
    if published.is_empty() {
        let early = format!("it has not heard yet what is published in {slot}; try again in a moment");
        return Err(Status::failed_precondition(early));
    }
    let size = |artifact: &Digest| scrubber.store.manifest(artifact).map_or(0, |stored| stored.manifest.bytes());
    let total_bytes: u64 = published.iter().map(|one| size(&one.artifact)).sum();
    let (mut done_bytes, mut artifacts) = (0, Vec::new());
    for one in published {
        let bytes = size(&one.artifact);
        let (before, tell) = (done_bytes, tell.clone());
        let mut read_bytes = 0;
        let progress = move |more: u64| {
            read_bytes += more;
            tell(before + read_bytes, total_bytes);
        };
        artifacts.push(one_here(node, &scrubber, &slot, &one, bytes, progress).await);
        done_bytes += bytes;
    }
    Ok(v1::VerifyReport { artifacts })
}

fn published(machine: &Machine, slot: &SlotName) -> Vec<Published> {
    let catalog = &machine.config().catalog;
    let advert = machine.own_advert();
    let ready = advert.replicas.iter().find(|held| &held.slot == slot && held.state == ReplicaState::Ready);
    let all = catalog.publication(slot, None).into_iter().chain(catalog.adapters(slot));
    let base = catalog.publication(slot, None).map(|base| base.artifact);
    let of = all.map(|publication| Published {
        domain: publication.domain,
        artifact: publication.artifact,
        fingerprint: catalog.fingerprint(slot, publication.domain.as_ref()).map(|(_, known)| known),
        resident: ready.is_some_and(|held| {
            let attached = |domain: &DomainName| held.domains.contains(domain);
            Some(held.artifact) == base && publication.domain.as_ref().is_none_or(attached)
        }),
    });
    of.collect()
}

async fn one_here(
    node: &Node,
    scrubber: &Scrubber,
    slot: &SlotName,
    one: &Published,
    bytes: u64,
    progress: impl FnMut(u64) + Send + 'static,
) -> v1::VerifiedArtifact {
    let artifact = one.artifact;
    let mut verified = v1::VerifiedArtifact {
        domain: one.domain.as_ref().map(DomainName::to_string).unwrap_or_default(),
        artifact: artifact.0.to_vec(),
        bytes,
        stored: scrubber.store.complete().contains(&artifact),
        resident: one.resident,
        ..v1::VerifiedArtifact::default()
    };
    if verified.stored {
        let store = scrubber.store.clone();
        let table = move || Some(gguf::inspect(&store.path_to_load(&artifact).ok()?).ok()?.shape.precision);
        if let Some(precision) = tokio::task::spawn_blocking(table).await.ok().flatten() {
            verified.dtype = precision.name().to_owned();
            verified.dtype_meets_floor = precision.meets_f16_floor();
        }
    }
    // Before the hashes: what is put back for repair ends the replica.
    match (&one.fingerprint, one.resident) {
        (None, _) => "no fingerprint was recorded".clone_into(&mut verified.why_not),
        (Some(_), false) => "not resident here".clone_into(&mut verified.why_not),
        (Some(known), true) => {
            let reply = node.replicas.score(fingerprint::request(known, slot, one.domain.as_ref())).await;
            match reply.and_then(|reply| fingerprint::judge(known, &reply).map_err(|error| error.to_string())) {
                Ok(judged) => {
                    verified.compared = true;
                    verified.distance_micronats = u32::try_from(judged.distance.0).unwrap_or(u32::MAX);
                    verified.threshold_micronats = u32::try_from(judged.threshold.0).unwrap_or(0);
                }
                Err(why) => verified.why_not = why,
            }
        }
    }
    if verified.stored {
        let damaged = scrubber.damaged_chunks(artifact, progress).await;
        verified.chunks_damaged = u32::try_from(damaged.len()).unwrap_or(u32::MAX);
        scrubber.put_back(node, artifact, &damaged).await;
    }
    verified
}

/// What `fednode verify` prints.
#[derive(Serialize)]
struct Report {
    slot: String,
    /// Nothing differs, and every holder answered.
    ok: bool,
    nodes: Vec<NodeReport>,
}

#[derive(Serialize)]
struct NodeReport {
    node: String,
    peer_id: String,
    /// Why it verified nothing, or empty.
    error: String,
    artifacts: Vec<ArtifactReport>,
}

#[derive(Serialize)]
struct ArtifactReport {
    domain: String,
    artifact: String,
    bytes: u64,
    /// ok | damaged | absent
    file: &'static str,
    chunks_damaged: u32,
    /// Empty: not stored, or not readable.
    dtype: String,
    dtype_meets_floor: bool,
    resident: bool,
    /// ok | differs | not compared
    fingerprint: &'static str,
    /// Nats; null: not compared.
    distance: Option<f64>,
    threshold: Option<f64>,
    /// Why it was not compared, or empty.
    why_not: String,
}

impl ArtifactReport {
    fn of(proto: v1::VerifiedArtifact) -> ArtifactReport {
        let nats = |micro: u32| proto.compared.then(|| f64::from(micro) / 1e6);
        let artifact = crate::wire::array32("artifact", &proto.artifact).map(Digest).unwrap_or_default();
        ArtifactReport {
            file: match (proto.stored, proto.chunks_damaged) {
                (false, _) => "absent",
                (true, 0) => "ok",
                (true, _) => "damaged",
            },
            fingerprint: match proto.compared {
                false => "not compared",
                true if proto.distance_micronats <= proto.threshold_micronats => "ok",
                true => "differs",
            },
            distance: nats(proto.distance_micronats),
            threshold: nats(proto.threshold_micronats),
            domain: proto.domain,
            artifact: artifact.to_string(),
            bytes: proto.bytes,
            chunks_damaged: proto.chunks_damaged,
            dtype: proto.dtype,
            dtype_meets_floor: proto.dtype_meets_floor,
            resident: proto.resident,
            why_not: proto.why_not,
        }
    }

    fn differs(&self, floor_f16: bool) -> bool {
        let below = self.file != "absent" && floor_f16 && !self.dtype_meets_floor;
        self.file == "damaged" || below || self.fingerprint == "differs"
    }
}

/// How far each machine is.
type Progress = Arc<Mutex<BTreeMap<NodeId, (u64, u64)>>>;

/// Has every holder verify, telling `events` how far they are and what they found.
pub(super) async fn verify_slot(
    node: &Node,
    request: v1::VerifySlotRequest,
    events: mpsc::Sender<Result<v1::VerifySlotEvent, Status>>,
) {
    let progress = Progress::default();
    let all = verify_all(node, &request.slot, &progress);
    tokio::pin!(all);
    let report = loop {
        tokio::select! {
            report = &mut all => break report,
            () = tokio::time::sleep(TELL) => {
                let far = progress.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect::<Vec<_>>();
                let (done_bytes, total_bytes) = far.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
                let event = ToldAll::Progress(v1::VerifySlotProgress { done_bytes, total_bytes });
                let _ = events.try_send(Ok(v1::VerifySlotEvent { event: Some(event) }));
            }
        }
    };
    let last =
        report.and_then(|report| json(&report)).map(|json| v1::VerifySlotEvent { event: Some(ToldAll::Json(json)) });
    let _ = events.send(last).await;
}

async fn verify_all(node: &Node, slot: &str, progress: &Progress) -> Result<Report, Status> {
    let name = seats::host(node, slot).await?;
    let asked = name;
    let read = node.read(move |machine| holders(machine, &asked)).await.ok_or_else(ended)?;
    let (holders, floor_f16) = read.map_err(Status::failed_precondition)?;
    let roster = node.registry.roster();
    let each = holders.into_iter().map(|holder| {
        let (progress, name) = (Arc::clone(progress), name.to_string());
        async move { (holder, of_holder(node, holder, name, progress).await) }
    });
    let nodes = futures::future::join_all(each).await.into_iter().map(|(holder, found)| {
        let (artifacts, error) = match found {
            Ok(report) => (report.artifacts.into_iter().map(ArtifactReport::of).collect(), String::new()),
            Err(status) => (Vec::new(), status.message().to_owned()),
        };
        NodeReport { node: roster.name_of(&holder), peer_id: peer_id_text(&holder), error, artifacts }
    });
    let nodes: Vec<NodeReport> = nodes.collect();
    let sound = |node: &NodeReport| node.error.is_empty() && !node.artifacts.iter().any(|one| one.differs(floor_f16));
    Ok(Report { slot: name.to_string(), ok: nodes.iter().all(sound), nodes })
}

/// Who has anything of the slot, this node first, and whether the roster wants F16.
fn holders(machine: &Machine, slot: &SlotName) -> Result<(Vec<NodeId>, bool), String> {
    let catalog = &machine.config().catalog;
    let artifacts: Vec<Digest> = catalog
        .publication(slot, None)
        .into_iter()
        .chain(catalog.adapters(slot))
        .map(|publication| publication.artifact)
        .collect();
    if artifacts.is_empty() {
        return Err(format!("nothing is published in {slot}; `fednode managers` lists what is"));
    }
    let holds = |advert: &Advert| {
        let stored = advert.holdings.iter().any(|held| artifacts.contains(&held.artifact));
        stored || advert.replicas.iter().any(|held| &held.slot == slot)
    };
    let mine = machine.own_advert();
    let others = machine.table().alive().filter(|advert| holds(advert)).map(|advert| advert.node);
    let holders: Vec<NodeId> = holds(&mine).then_some(mine.node).into_iter().chain(others).collect();
    match holders.is_empty() {
        true => Err(format!("no member that can be reached has anything of {slot}")),
        false => Ok((holders, catalog.roster().is_none_or(|roster| roster.requires_f16()))),
    }
}

async fn of_holder(node: &Node, holder: NodeId, slot: String, progress: Progress) -> Result<v1::VerifyReport, Status> {
    let tell = move |done_bytes, total_bytes| {
        progress.lock().unwrap_or_else(PoisonError::into_inner).insert(holder, (done_bytes, total_bytes));
    };
    if holder == node.me {
        return here(node, &slot, tell).await;
    }
    let unreachable = |error: crate::rpc::peers::PeerError| Status::unavailable(error.to_string());
    let mut events = node.peers.verify(holder, slot).await.map_err(unreachable)?;
    loop {
        match events.message().await?.and_then(|event| event.event) {
            Some(Told::Progress(progress)) => tell(progress.done_bytes, progress.total_bytes),
            Some(Told::Report(report)) => return Ok(report),
            None => return Err(Status::unavailable("it ended without a report")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_and_what_was_not_compared_is_not_held_against_anybody() {
        let sound = v1::VerifiedArtifact {
            stored: true,
            dtype: "F16".to_owned(),
            dtype_meets_floor: true,
            resident: true,
            compared: true,
            distance_micronats: 900,
            threshold_micronats: 1000,
            ..v1::VerifiedArtifact::default()
        };
        let check = |bend: &dyn Fn(&mut v1::VerifiedArtifact), file: &str, fingerprint: &str, differs: bool| {
            let mut bent = sound.clone();
            bend(&mut bent);
            let report = ArtifactReport::of(bent);
            assert_eq!((report.file, report.fingerprint, report.differs(true)), (file, fingerprint, differs));
        };
        check(&|_| {}, "ok", "ok", false);
        check(&|one| one.distance_micronats = 1001, "ok", "differs", true);
        check(&|one| one.chunks_damaged = 1, "damaged", "ok", true);
        check(&|one| one.dtype_meets_floor = false, "ok", "ok", true);
        check(&|one| one.compared = false, "ok", "not compared", false);
        check(&|one| *one = v1::VerifiedArtifact::default(), "absent", "not compared", false);
    }
}
