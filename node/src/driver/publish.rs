//! `fednode publish`, node side: check the slot and the file, import it, write it into the catalog. A refusal leaves nothing
//! behind.

use std::path::PathBuf;
use std::sync::Arc;

use fednode_proto::v1;
use fednode_proto::v1::publish_event::Event as Kind;
use tokio::sync::mpsc;
use tonic::Status;

use crate::core::artifact::{ArtifactKind, Shape};
use crate::core::catalog::{Entry, Publication};
use crate::core::fingerprint::Fingerprint;
use crate::core::machine::Input;
use crate::core::roster::SlotRoster;
use crate::core::types::{Digest, DomainName, SlotName};
use crate::driver::event_loop::Event;
use crate::driver::gc;
use crate::driver::node::Node;
use crate::driver::reading::{self, Published};
use crate::store::Store;
use crate::store::import::{ImportOptions, Imported};
use crate::store::source::Source;
use crate::wire;
use crate::wire::manifest::VerifiedManifest;

type Sender = mpsc::Sender<Result<v1::PublishEvent, Status>>;

/// Publishes a file into a slot, telling `events` how far it is and how it ended.
pub async fn publish(node: &Node, request: v1::PublishRequest, events: Sender) {
    let last = match publish_checked(node, request, &events).await {
        Ok(done) => Ok(v1::PublishEvent { event: Some(Kind::Done(done)) }),
        Err(status) => {
            tracing::info!(why = status.message(), "publication refused");
            Err(status)
        }
    };
    let _ = events.send(last).await;
}

async fn publish_checked(node: &Node, request: v1::PublishRequest, events: &Sender) -> Result<v1::PublishDone, Status> {
    let refused = |why: String| Status::failed_precondition(why);
    let store = node.store.clone().ok_or_else(|| {
        refused("this node is a delegate and stores nothing; publish on a full node of the federation".to_owned())
    })?;
    let roster = node.read(|machine| machine.config().catalog.roster().cloned()).await.flatten();
    let roster = roster.ok_or_else(|| refused("no roster of slots has reached this node yet; try again".to_owned()))?;
    let (slot, domain) = target(&roster, &request)?;
    let version =
        wire::catalog::version(&request.version).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let (wants_adapter, floor) = (domain.is_some(), roster.requires_f16());
    let base_slot = slot;
    let base = node.read(move |machine| {
        let publication = machine.config().catalog.publication(&base_slot, None);
        publication.map(|base| Base { artifact: base.artifact, name: base.name.clone(), shape: base.shape.clone() })
    });
    let base = base.await.flatten();
    if wants_adapter && base.is_none() {
        return Err(refused(format!("slot {slot} holds no model yet; publish the adapter's base into it first")));
    }
    let base = base.filter(|_| wants_adapter);
    let adapted = base.clone();
    let path = PathBuf::from(&request.path);
    let open =
        |path: PathBuf, base: Option<Base>| blocking(move || open_checked(path, wants_adapter, floor, base.as_ref()));
    let source = open(path.clone(), base.clone()).await?;
    let (name, options) = (source.name(), ImportOptions { link: request.link });
    let imported = match import(node, store.clone(), source, options.clone(), events).await {
        Err(refusal) => {
            // For want of room? Then what may go makes room, and it is tried once more.
            let short_bytes = refusal.short_bytes;
            if short_bytes == 0 || gc::make_room(node, short_bytes, false).await < short_bytes {
                return Err(refusal.status);
            }
            // Made already: the watch over the budget need not make it again.
            store.take_shortage();
            import(node, store, open(path, base).await?, options, events).await.map_err(|refusal| refusal.status)?
        }
        Ok(imported) => imported,
    };

    let verified = &imported.manifest;
    let manifest = &verified.manifest;
    let fingerprint = fingerprint(node, verified, adapted.as_ref(), events).await;
    let publication = Publication {
        slot,
        domain,
        artifact: verified.artifact,
        artifact_bytes: manifest.bytes(),
        chunks: manifest.chunk_count(),
        shape: manifest.shape.clone(),
        name: name.clone(),
        version,
        fingerprint: fingerprint.as_ref().ok().cloned(),
    };
    node.events.send(Event::Core(Input::Stored(verified.artifact))).await;
    node.write_catalog(Entry::Publication(publication)).await?;
    tracing::info!(slot = request.slot, domain = request.domain, artifact = %verified.artifact, "published");
    Ok(v1::PublishDone {
        artifact: verified.artifact.to_string(),
        bytes: manifest.bytes(),
        chunks: manifest.chunk_count(),
        precision: manifest.shape.precision.name().to_owned(),
        placed_by: imported.placed_by.as_str().to_owned(),
        files: manifest.files.len() as u32, // at most FILES_PER_ARTIFACT_MAX
        name,
        no_fingerprint: fingerprint.err().unwrap_or_default(),
    })
}

/// What it answers, unaltered, or why that is not known.
async fn fingerprint(
    node: &Node,
    verified: &VerifiedManifest,
    base: Option<&Base>,
    events: &Sender,
) -> Result<Arc<Fingerprint>, String> {
    let doing = v1::PublishEvent { event: Some(Kind::Doing("reading its fingerprint".to_owned())) };
    // Progress that nobody reads fast enough is left out.
    let _ = events.try_send(Ok(doing));
    let artifact = verified.artifact;
    let published = match base {
        Some(base) => Published {
            artifact,
            base: base.artifact,
            shape: base.shape.clone(),
            adapter_bytes: verified.manifest.bytes(),
        },
        None => Published { artifact, base: artifact, shape: verified.manifest.shape.clone(), adapter_bytes: 0 },
    };
    let read = reading::read(node, &published).await;
    if let Err(why) = &read {
        tracing::warn!(artifact = %artifact.short(), why, "published without a fingerprint");
    }
    read
}

/// The slot and domain, if this roster has them.
fn target(roster: &SlotRoster, request: &v1::PublishRequest) -> Result<(SlotName, Option<DomainName>), Status> {
    let invalid = |error: crate::core::types::BadName| Status::invalid_argument(error.to_string());
    let slot = SlotName::new(&request.slot).map_err(invalid)?;
    let Some(known) = roster.slot(&slot) else {
        let slots: Vec<&str> = roster.slots.iter().map(|slot| slot.name.as_str()).collect();
        let message = format!("there is no slot {slot} in roster {}; it has {}", roster.name, slots.join(", "));
        return Err(Status::failed_precondition(message));
    };
    let domain = match request.domain.as_str() {
        "" => None,
        domain => Some(SlotName::new(domain).map_err(invalid)?),
    };
    let Some(seat) = roster.seat(&slot, domain.as_ref()) else {
        let domain = request.domain.as_str();
        let domains: Vec<&str> = known.domains.iter().map(SlotName::as_str).collect();
        let has = if domains.is_empty() { "no domains".to_owned() } else { domains.join(", ") };
        return Err(Status::failed_precondition(format!("slot {slot} has no domain {domain}; it has {has}")));
    };
    Ok((seat.slot, seat.domain))
}

/// The model in the slot, for an adapter that goes on top of it.
#[derive(Clone)]
struct Base {
    artifact: Digest,
    name: String,
    shape: Shape,
}

/// Reads the tensor table before anything is written: what may not be published is refused here.
fn open_checked(path: PathBuf, wants_adapter: bool, floor_f16: bool, base: Option<&Base>) -> Result<Source, String> {
    let source = Source::open(&path, base.map(|base| &base.shape)).map_err(|error| error.to_string())?;
    let parsed = source.model();
    match (parsed.kind, wants_adapter) {
        (ArtifactKind::Model, true) => {
            return Err(format!(
                "{} is a whole model, and a LoRA adapter goes there; leave out --domain, or publish into the slot of the base",
                path.display()
            ));
        }
        (ArtifactKind::Adapter, false) => {
            return Err(format!("{} is a LoRA adapter; say its domain with --domain NAME", path.display()));
        }
        _ => {}
    }
    if let Some(base) = base.filter(|base| !parsed.base_name.is_empty() && parsed.base_name != base.name) {
        // What PEFT writes down is where the base lay when the adapter was trained: its owner may know better.
        let hint = if path.is_dir() {
            format!(", or, if it was trained on this one, write {} into its adapter_config.json", base.name)
        } else {
            String::new()
        };
        return Err(format!(
            "{} is an adapter of {}, but the slot holds {}; publish it into the slot of its base{hint}",
            path.display(),
            parsed.base_name,
            base.name
        ));
    }
    let precision = &parsed.shape.precision;
    if floor_f16 && !precision.meets_f16_floor() {
        return Err(format!(
            "{} has tensors of type {}; managers are hosted at full F16 only, publish the unquantised model",
            path.display(),
            precision.name()
        ));
    }
    Ok(source)
}

/// Why an import was refused, and how much room it lacked, if it did.
struct Refusal {
    status: Status,
    short_bytes: u64,
}

async fn import(
    node: &Node,
    store: Arc<Store>,
    source: Source,
    options: ImportOptions,
    events: &Sender,
) -> Result<Imported, Refusal> {
    let (key, events) = (node.key.clone(), events.clone());
    let work = move || {
        let mut progress = |done_bytes, total_bytes| {
            let event =
                v1::PublishEvent { event: Some(Kind::Progress(v1::PublishProgress { done_bytes, total_bytes })) };
            // Progress that nobody reads fast enough is left out.
            let _ = events.try_send(Ok(event));
        };
        store.import(&source, &options, &key, &mut progress)
    };
    let ended = |error: tokio::task::JoinError| Refusal { status: Status::internal(error.to_string()), short_bytes: 0 };
    let imported = tokio::task::spawn_blocking(work).await.map_err(ended)?;
    imported.map_err(|error| Refusal {
        short_bytes: error.shortage_bytes(),
        status: Status::failed_precondition(error.to_string()),
    })
}

/// Runs what waits for a disk; its error is a refusal.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))?;
    done.map_err(Status::failed_precondition)
}
