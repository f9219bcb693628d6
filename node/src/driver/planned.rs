//! The plan as `fednode plan` shows it, and what it is made from. The machine is only read on the event loop; what takes longer
//! (the trial plans behind a proposed context) is worked out elsewhere, so that the loop never waits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::machine::Machine;
use crate::core::placement::document::{Names, PlanDocument};
use crate::core::placement::inventory::Inventory;
use crate::core::placement::plan::{Plan, PlannedReplica};
use crate::core::placement::{expected_waits, score};
use crate::core::types::{Digest, NodeId};
use crate::driver::node::Node;
use crate::driver::owner_session;
use crate::driver::view::Facts;
use crate::http::ApiError;
use crate::rpc::admin::AdminBackend;

/// What machines are called: no two the same.
#[derive(Clone, Debug)]
pub struct Called {
    names: BTreeMap<NodeId, String>,
    facts: Facts,
}

impl Called {
    /// Names of `facts`, with a part of its key where two machines have one name.
    pub fn new(facts: Facts) -> Called {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        facts.names.values().for_each(|name| *times.entry(name).or_default() += 1);
        let named = facts.names.iter().map(|(node, name)| match times[name.as_str()] {
            1 => (*node, name.clone()),
            _ => (*node, format!("{name} {}", Digest(node.0).short())),
        });
        Called { names: named.collect(), facts }
    }
}

impl Names for Called {
    fn node(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| self.facts.node(node))
    }
    fn artifact(&self, artifact: Digest) -> String {
        self.facts.artifact(artifact)
    }
}

/// What was read from the machine.
#[derive(Debug)]
pub struct Planned {
    plan: Option<Plan>,
    /// What a plan would be made from now.
    pub inventory: Inventory,
    there: Vec<PlannedReplica>,
}

/// Reads the machine.
pub fn read(machine: &Machine, called: &Called) -> Planned {
    Planned {
        plan: machine.plan().cloned(),
        inventory: machine.inventory(|node| called.node(node)),
        there: machine.replicas_there(),
    }
}

impl Planned {
    /// The plan as a document, its moves counted from what is there now; `None` before the first plan.
    pub fn document(&self, called: &Called) -> Option<PlanDocument> {
        let plan = self.plan.as_ref()?;
        let (problem, _) = self.inventory.problem();
        let document = PlanDocument::new(plan, score(&problem, plan), &self.there, called);
        let mut document = document.with_waits(expected_waits(&problem, plan));
        self.inventory.say_more(&mut document, &problem, plan, called);
        Some(document)
    }
}

/// The plan as HTTP is told it. Trial plans take a while, so that one look serves all who come within a moment.
#[derive(Clone, Default)]
pub struct Told(Arc<tokio::sync::Mutex<Option<(Instant, serde_json::Value)>>>);

/// A plan told is as good as new for so long.
const FRESH: Duration = Duration::from_secs(2);

impl Told {
    /// The plan of now, or of a moment ago. Those who come while it is worked out wait for it.
    pub async fn now(&self, node: &Node) -> Result<serde_json::Value, ApiError> {
        let mut last = self.0.lock().await;
        if let Some((_, told)) = last.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(told.clone());
        }
        let document = AdminBackend::plan(node).await.map_err(owner_session::said)?;
        let document: serde_json::Value =
            serde_json::from_slice(&document).map_err(|error| ApiError::from_code("internal", error.to_string()))?;
        *last = Some((Instant::now(), document.clone()));
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::sizing::Tier;
    use crate::driver::clock::Clock;
    use crate::driver::loading::Loading;
    use crate::driver::throttle::Throttle;

    #[test]
    fn two_machines_of_one_name_are_told_apart() {
        let node = |id: u8| NodeId([id; 32]);
        let names = [(1, "desk"), (2, "desk"), (3, "den")];
        let called = Called::new(Facts {
            api: String::new(),
            listen: Vec::new(),
            tier: Tier::Standard,
            names: names.into_iter().map(|(id, name)| (node(id), name.to_owned())).collect(),
            clock: Clock::new(),
            up: Throttle::new(None),
            down: Throttle::new(None),
            loading: Loading::new(node(1)),
        });
        let found: Vec<String> = (1..=3).map(|id| called.node(node(id))).collect();
        assert_eq!(found, ["desk 01010101", "desk 02020202", "den"]);
    }
}
