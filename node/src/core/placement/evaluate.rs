//! Any plan, from anybody, measured against an inventory: may it be carried out, and what is it worth by the same objective?
//! What is checked: that slots, machines and domains exist; one replica of a slot on a machine; budgets of memory; roles;
//! room on disks; artifacts on the disk of their replicas; pinned slots placed or reported. Not checked: how a federation
//! would get there.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::limits;
use crate::core::placement::inventory::{Inventory, answer, artifact_id};
use crate::core::placement::plan::{Plan, PlannedReplica, PlannedStore, Shortfall, Strategy};
use crate::core::placement::problem::{DomainInput, NodeInput, Problem, RoleWanted, SlotInput};
use crate::core::placement::space::footprint_together;
use crate::core::placement::{Violation, check, score};
use crate::core::roster::SlotPolicy;
use crate::core::types::{Digest, NodeId, SlotName, human_bytes};

/// A plan as somebody claims it: what `fednode plan --json` prints, or its `replicas` alone. Other fields are not looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Claim {
    /// What would be resident where.
    pub replicas: Vec<ClaimedReplica>,
    /// What would be stored where; without it, what the replicas need.
    #[serde(default)]
    pub stored: Option<Vec<ClaimedStore>>,
    /// What is said to fall short; without it, pinned slots may be missing without a word.
    #[serde(default)]
    pub shortfalls: Option<Vec<ClaimedShortfall>>,
}

/// One replica of a claim.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ClaimedReplica {
    /// Slot.
    pub slot: String,
    /// Machine.
    pub node: String,
    /// Memory domain.
    pub domain: String,
}

/// One artifact on one disk.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ClaimedStore {
    /// Artifact.
    pub artifact: String,
    /// Machine.
    pub node: String,
}

/// A slot that is said to fall short.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct ClaimedShortfall {
    /// Slot.
    pub slot: String,
}

/// The verdict.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EvaluationDocument {
    /// Nothing speaks against it.
    pub feasible: bool,
    /// What it is worth, see `core::placement::objective`.
    pub score: u64,
    /// What the plan is worth that fednode makes for the same inventory.
    pub best_score: u64,
    /// What speaks against it, each with its place and the arithmetic.
    pub violations: Vec<String>,
}

/// Measures `claim` against `inventory`, which has been checked. An error is a bug of ours.
pub fn evaluate(inventory: &Inventory, claim: &Claim) -> Result<EvaluationDocument, Violation> {
    let best = answer(inventory)?;
    let best_score = best.document.score;
    let mut evaluation = Evaluation::new(inventory, &best.problem);
    evaluation.take_replicas(claim);
    evaluation.take_stored(claim);
    evaluation.look_at_memory();
    evaluation.look_at_disks();
    evaluation.look_at_pinned(claim);
    let plan = evaluation.plan(&best.plan);
    let score = score(&best.problem, &plan);
    if evaluation.violations.is_empty()
        && let Err(violation) = check(&best.problem, &plan)
    {
        let why = evaluation.named(violation.to_string());
        evaluation.violations.push(why);
    }
    let mut violations = evaluation.violations;
    let more = violations.len().saturating_sub(limits::VIOLATIONS_TOLD_MAX);
    violations.truncate(limits::VIOLATIONS_TOLD_MAX);
    if more > 0 {
        violations.push(format!("and {more} more"));
    }
    Ok(EvaluationDocument { feasible: violations.is_empty(), score, best_score, violations })
}

struct Evaluation<'a> {
    problem: &'a Problem,
    nodes: BTreeMap<&'a str, &'a NodeInput>,
    slots: BTreeMap<&'a str, &'a SlotInput>,
    replicas: BTreeMap<(&'a SlotName, NodeId), (&'a SlotInput, &'a NodeInput, &'a DomainInput)>,
    stored: BTreeSet<(NodeId, Digest)>,
    short: Vec<&'a SlotInput>,
    violations: Vec<String>,
}

impl<'a> Evaluation<'a> {
    fn new(inventory: &'a Inventory, problem: &'a Problem) -> Self {
        let by_id: BTreeMap<NodeId, &NodeInput> = problem.nodes.iter().map(|node| (node.id, node)).collect();
        let nodes = inventory.nodes.iter().filter_map(|node| Some((node.name.as_str(), *by_id.get(&node.id())?)));
        Evaluation {
            problem,
            nodes: nodes.collect(),
            slots: problem.slots.iter().map(|slot| (slot.name.as_str(), slot)).collect(),
            replicas: BTreeMap::new(),
            stored: BTreeSet::new(),
            short: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Keeps the replicas that are somewhere, once for each machine; the others are violations.
    fn take_replicas(&mut self, claim: &Claim) {
        for replica in &claim.replicas {
            match self.place(replica) {
                Ok((slot, node, domain)) => {
                    if let Some(why) = role_forbids(node, slot, self.problem.strategy) {
                        self.violations.push(why);
                    }
                    if self.replicas.insert((&slot.name, node.id), (slot, node, domain)).is_some() {
                        let why = format!("{} is on {} twice; a machine has one replica of it", slot.name, node.name);
                        self.violations.push(why);
                    }
                }
                Err(why) => self.violations.push(why),
            }
        }
    }

    fn place(&self, replica: &ClaimedReplica) -> Result<(&'a SlotInput, &'a NodeInput, &'a DomainInput), String> {
        let slot = self.slot(&replica.slot)?;
        let node = self.node(&replica.node)?;
        let domain = node.domains.iter().find(|domain| domain.name == replica.domain);
        let domain = domain.ok_or_else(|| format!("{} has no memory domain {}", node.name, said(&replica.domain)))?;
        Ok((slot, node, domain))
    }

    fn slot(&self, name: &str) -> Result<&'a SlotInput, String> {
        self.slots.get(name).copied().ok_or_else(|| format!("the inventory has no manager {}", said(name)))
    }

    fn node(&self, name: &str) -> Result<&'a NodeInput, String> {
        self.nodes.get(name).copied().ok_or_else(|| format!("the inventory has no machine {}", said(name)))
    }

    /// What is stored where; a replica needs all its artifacts on the disk of its machine.
    fn take_stored(&mut self, claim: &Claim) {
        let needed =
            self.replicas.values().flat_map(|(slot, node, _)| artifacts(slot).map(|artifact| (*slot, *node, artifact)));
        let needed: Vec<_> = needed.collect();
        match &claim.stored {
            None => self.stored = needed.iter().map(|(_, node, (artifact, _))| (node.id, *artifact)).collect(),
            Some(stored) => {
                for store in stored {
                    match self.node(&store.node) {
                        Ok(node) => {
                            self.stored.insert((node.id, artifact_id(&store.artifact)));
                        }
                        Err(why) => self.violations.push(why),
                    }
                }
                for (slot, node, (artifact, _)) in needed {
                    if !self.stored.contains(&(node.id, artifact)) {
                        let why =
                            format!("{} is planned on {}, which does not store what it needs", slot.name, node.name);
                        self.violations.push(why);
                    }
                }
            }
        }
    }

    fn look_at_memory(&mut self) {
        let mut domains: BTreeMap<(NodeId, &str), (&NodeInput, &DomainInput, Vec<&SlotInput>)> = BTreeMap::new();
        for (slot, node, domain) in self.replicas.values().copied() {
            domains.entry((node.id, &domain.name)).or_insert((node, domain, Vec::new())).2.push(slot);
        }
        for (node, domain, slots) in domains.into_values() {
            let (bytes, budget_bytes) = (footprint_together(slots.iter().copied()), domain.budget_bytes);
            if bytes > budget_bytes {
                let names: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
                self.violations.push(format!(
                    "{} {}: {} needs {} ({bytes} bytes), {} may be used, {} over",
                    node.name,
                    domain.name,
                    names.join(" "),
                    human_bytes(bytes),
                    human_bytes(budget_bytes),
                    human_bytes(bytes - budget_bytes)
                ));
            }
        }
    }

    fn look_at_disks(&mut self) {
        let sizes: BTreeMap<Digest, u64> = self.problem.slots.iter().flat_map(artifacts).collect();
        for node in &self.problem.nodes {
            let here = self.stored.range((node.id, Digest([0; 32]))..=(node.id, Digest([255; 32])));
            let missing =
                here.filter(|(_, artifact)| !node.holds.contains(artifact) && !node.claimed.contains(artifact));
            let bytes =
                missing.filter_map(|(_, artifact)| sizes.get(artifact)).fold(0, |sum: u64, it| sum.saturating_add(*it));
            if bytes > node.disk_free_bytes {
                let (bytes, free) = (human_bytes(bytes), human_bytes(node.disk_free_bytes));
                self.violations.push(format!("{}: {bytes} would be stored, its disk has {free} free", node.name));
            }
        }
    }

    /// A pinned slot is planned, or said to fall short; a claim that speaks of no shortfalls is not held to it.
    fn look_at_pinned(&mut self, claim: &Claim) {
        let said: Option<BTreeSet<&str>> =
            claim.shortfalls.as_ref().map(|short| short.iter().map(|it| it.slot.as_str()).collect());
        let placed: BTreeSet<&SlotName> = self.replicas.keys().map(|(slot, _)| *slot).collect();
        let pinned = self.problem.slots.iter().filter(|slot| slot.policy == SlotPolicy::Pinned);
        let missing: Vec<&SlotInput> = pinned.filter(|slot| !placed.contains(&slot.name)).collect();
        for slot in missing {
            if said.as_ref().is_some_and(|said| !said.contains(slot.name.as_str())) {
                let why = format!("{} is pinned, but neither planned nor reported as a shortfall", slot.name);
                self.violations.push(why);
            }
            self.short.push(slot);
        }
    }

    /// `text` with names in the place of ids.
    fn named(&self, text: String) -> String {
        self.problem.nodes.iter().fold(text, |text, node| text.replace(&node.id.to_string(), &node.name))
    }

    /// The claim as the solver would have written it.
    fn plan(&self, like: &Plan) -> Plan {
        let replicas = self.replicas.values().map(|(slot, node, domain)| slot.planned_on(node.id, &domain.name));
        let mut replicas: Vec<PlannedReplica> = replicas.collect();
        replicas.sort();
        let shortfalls = self.short.iter().map(|slot| Shortfall {
            slot: slot.name,
            bytes_short: 0,
            why: "so the plan says".to_owned(),
        });
        Plan {
            replicas,
            stored: self.stored.iter().map(|&(node, artifact)| PlannedStore { artifact, node }).collect(),
            shortfalls: shortfalls.collect(),
            ..like.clone()
        }
    }
}

/// What the owner wants the machine to be, if that forbids `slot`.
fn role_forbids(node: &NodeInput, slot: &SlotInput, strategy: Strategy) -> Option<String> {
    let stays = strategy == Strategy::Specialised || slot.policy == SlotPolicy::Pinned;
    let only = match node.role {
        RoleWanted::Delegate => "nothing",
        RoleWanted::Specialised if !stays => "what stays resident",
        RoleWanted::Swapping if stays => "what may be evicted",
        _ => return None,
    };
    Some(format!("{} is on {}, which hosts {only} by its role", slot.name, node.name))
}

fn artifacts(slot: &SlotInput) -> impl Iterator<Item = (Digest, u64)> + '_ {
    let adapters = slot.adapters.iter().map(|(adapter, bytes)| (adapter.artifact, *bytes));
    std::iter::once((slot.base.artifact, slot.base.bytes)).chain(adapters)
}

/// A name from outside, in quotes, short and without tricks.
fn said(name: &str) -> String {
    format!("{:?}", name.chars().take(40).collect::<String>())
}
