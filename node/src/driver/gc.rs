//! Garbage collection, node side: explains what may go and why the rest stays, and deletes it one by one, each only after
//! another member promised to hold its copy. By itself it begins when the store is over its budget or something had no room.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fednode_proto::v1;
use tonic::Status;

use crate::core::keeping::{Decision, Deletion, Kept, Need, Why, decide};
use crate::core::machine::Input;
use crate::core::reports::{GcEntry, GcReport};
use crate::core::types::{Digest, NodeId, human_bytes};
use crate::driver::event_loop::Event;
use crate::driver::keeping::{Granted, Keeper};
use crate::driver::node::{Node, ended, json};

/// How often the store is compared with its budget. A transfer that had no room tries again as often.
const BUDGET_PERIOD: Duration = Duration::from_secs(5);

/// After a collection that freed too little.
const VAIN_REST: Duration = Duration::from_secs(60);

/// Explains, and with `yes` carries out, a collection of everything that may go.
pub(super) async fn gc(node: &Node, request: v1::GcRequest) -> Result<Vec<u8>, Status> {
    let keeper =
        node.keeper.clone().ok_or_else(|| Status::failed_precondition("this node delegates: it stores nothing"))?;
    let forget = request.forget.iter().map(|text| text.parse::<Digest>());
    let forget: BTreeSet<Digest> = forget.collect::<Result<_, _>>().map_err(|_| {
        Status::invalid_argument("what is to be forgotten is named by an artifact's 64 hexadecimal digits")
    })?;
    let _turn = keeper.turn.lock().await;
    let snapshot = keeper.snapshot(node, forget.clone()).await.ok_or_else(ended)?;
    let decision = decide(&snapshot, Need::All);
    let name = Names { node, keeper: &keeper };
    let mut report = GcReport {
        used_bytes: keeper.store.used_bytes(),
        budget_bytes: keeper.store.budget_bytes(),
        would_free_bytes: decision.bytes(),
        delete: decision.delete.iter().map(|deletion| name.deletion(deletion, &deletion.ask)).collect(),
        keep: decision.keep.iter().map(|kept| name.kept(kept)).collect(),
        deleted: Vec::new(),
        freed_bytes: 0,
        carried_out: request.yes,
    };
    if request.yes {
        carry_out(node, &keeper, decision, &forget, &mut report).await;
    }
    json(&report)
}

/// What artifacts and members are called.
struct Names<'a> {
    node: &'a Node,
    keeper: &'a Keeper,
}

impl Names<'_> {
    fn member(&self, node: &NodeId) -> String {
        self.node.registry.roster().name_of(node)
    }

    fn artifact(&self, artifact: &Digest) -> String {
        let stored = self.keeper.store.manifest(artifact);
        stored.map_or_else(String::new, |stored| match stored.manifest.version.as_str() {
            "" => stored.manifest.name.clone(),
            version => format!("{} {version}", stored.manifest.name),
        })
    }

    fn entry(&self, artifact: &Digest, bytes: u64, why: String, holders: &[NodeId]) -> GcEntry {
        let holders = holders.iter().map(|node| self.member(node)).collect();
        GcEntry { artifact: artifact.to_string(), name: self.artifact(artifact), bytes, why, holders }
    }

    fn deletion(&self, deletion: &Deletion, holders: &[NodeId]) -> GcEntry {
        self.entry(&deletion.artifact, deletion.bytes, deletion.why.as_str().to_owned(), holders)
    }

    fn kept(&self, kept: &Kept) -> GcEntry {
        self.entry(&kept.artifact, kept.bytes, kept.why.sentence(|node| self.member(node)), &[])
    }
}

/// Deletes in order. What nobody promises to hold stays, with the reason.
async fn carry_out(node: &Node, keeper: &Keeper, decision: Decision, forget: &BTreeSet<Digest>, report: &mut GcReport) {
    let names = Names { node, keeper };
    for deletion in decision.delete {
        let mut entry = names.deletion(&deletion, &[]); // named while its manifest is here
        match delete(node, keeper, &deletion, forget).await {
            Ok(by) => {
                entry.holders = by.iter().map(|node| names.member(node)).collect();
                report.freed_bytes = report.freed_bytes.saturating_add(deletion.bytes);
                let held_by = by.map_or_else(|| "nobody".to_owned(), |by| names.member(&by));
                let (size, why) = (human_bytes(entry.bytes), entry.why.as_str());
                tracing::info!(artifact = %deletion.artifact.short(), name = entry.name, size, why, held_by, "deleted");
                report.deleted.push(entry);
            }
            Err(why) => {
                tracing::info!(artifact = %deletion.artifact.short(), name = entry.name, why, "not deleted");
                report.keep.push(GcEntry { why, ..entry });
            }
        }
    }
}

/// One deletion; who holds the artifact instead, or why it stays.
async fn delete(
    node: &Node,
    keeper: &Keeper,
    deletion: &Deletion,
    forget: &BTreeSet<Digest>,
) -> Result<Option<NodeId>, String> {
    let artifact = deletion.artifact;
    let granted: Granted = keeper.ask(artifact, &deletion.ask).await.map_err(|error| error.to_string())?;
    // Looked at again: it may have been pinned, published again or planned here while the promise was asked for.
    let snapshot = keeper.snapshot(node, forget.clone()).await.ok_or("the node is ending")?;
    let decision = decide(&snapshot, Need::All);
    let Some(still) = decision.delete.iter().find(|still| still.artifact == artifact) else {
        let kept = decision.keep.iter().find(|kept| kept.artifact == artifact);
        let name = |member: &NodeId| node.registry.roster().name_of(member);
        return Err(kept.map_or_else(|| "it is gone already".to_owned(), |kept| kept.why.sentence(name)));
    };
    // It was to be forgotten when nobody was asked; published again since, it may go only like any other.
    if granted.by.is_none() && still.why != Why::Forgotten {
        return Err("nobody has promised to hold it".to_owned());
    }
    let store = keeper.store.clone();
    let discard = move || {
        // This machine may have slept since the promise was got.
        if !granted.is_in_force() {
            return Err("the promise to hold it may have expired meanwhile".to_owned());
        }
        store.discard(&artifact).map(|()| granted.by).map_err(|error| error.to_string())
    };
    let by = tokio::task::spawn_blocking(discard).await.map_err(|error| error.to_string())??;
    node.events.send(Event::Core(Input::Dropped(artifact))).await;
    Ok(by)
}

/// Frees at least `bytes` if that can be done, or (`partly`) what can be; what was freed.
pub(super) async fn make_room(node: &Node, bytes: u64, partly: bool) -> u64 {
    let Some(keeper) = node.keeper.clone() else { return 0 };
    let _turn = keeper.turn.lock().await;
    let Some(snapshot) = keeper.snapshot(node, BTreeSet::new()).await else { return 0 };
    let decision = decide(&snapshot, Need::Bytes(bytes));
    if decision.bytes() < bytes {
        tracing::warn!(
            needed = human_bytes(bytes),
            could_free = human_bytes(decision.bytes()),
            "the store needs more room than can be freed; `fednode gc` explains what stays and why"
        );
        if !partly {
            return 0; // half of what is needed would be deleted for nothing
        }
    }
    let mut freed = 0;
    for deletion in &decision.delete {
        let name = Names { node, keeper: &keeper }.artifact(&deletion.artifact);
        match delete(node, &keeper, deletion, &BTreeSet::new()).await {
            Ok(_) => {
                freed += deletion.bytes;
                let (size, why) = (human_bytes(deletion.bytes), deletion.why.as_str());
                tracing::info!(artifact = %deletion.artifact.short(), name, size, why, "deleted to make room");
            }
            Err(why) => tracing::info!(artifact = %deletion.artifact.short(), name, why, "not deleted"),
        }
    }
    freed
}

/// Looks after the budget as long as the node runs.
pub(super) fn watch_budget(node: Node) {
    let Some(keeper) = node.keeper.clone() else { return };
    tokio::spawn(async move {
        // What could not be freed is tried, and said, again only when it changed or after a while.
        let mut in_vain: Option<(u64, Instant)> = None;
        loop {
            tokio::time::sleep(BUDGET_PERIOD).await;
            let over = keeper.store.over_budget_bytes();
            let bytes = over.max(keeper.store.take_shortage());
            let rests = in_vain.is_some_and(|(before, since)| before == bytes && since.elapsed() < VAIN_REST);
            if bytes > 0 && !rests {
                let freed = make_room(&node, bytes, over > 0).await;
                in_vain = (freed < bytes).then(|| (bytes, Instant::now()));
            }
        }
    });
}
