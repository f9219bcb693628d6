//! What would bring a slot into memory that is resident nowhere: the context at which it would fit beside what is planned
//! there, or the memory that is lacking. Candidates are the places that the plan refused for want of memory alone, so that
//! the rules of who may host what stand in the solver only.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::core::limits;
use crate::core::placement::document::{Names, RemedyDocument};
use crate::core::placement::inventory::Inventory;
use crate::core::placement::plan::{Plan, Refusal, Strategy};
use crate::core::placement::problem::{Problem, SlotInput};
use crate::core::placement::solve::solve;
use crate::core::roster::SlotPolicy;
use crate::core::types::{Digest, NodeId, SlotName, human_bytes};

/// What a replica needs at any context.
struct Scale {
    base: Digest,
    weights_bytes: u64,
    /// Without weights and without what grows with the context.
    fixed_bytes: u64,
    per_token_bytes: u64,
    context: u32,
}

/// Everything remedies are worked out from.
pub(super) struct Remedies<'a, N: Names> {
    inventory: &'a Inventory,
    problem: &'a Problem,
    plan: &'a Plan,
    names: &'a N,
    scales: BTreeMap<&'a SlotName, Scale>,
    budgets: BTreeMap<(NodeId, &'a str), u64>,
    placed: BTreeMap<(NodeId, &'a str), Vec<&'a SlotName>>,
}

/// One place that lacks memory for one slot.
struct Candidate<'a> {
    refusal: &'a Refusal,
    beside: Vec<&'a SlotName>,
    budget_bytes: u64,
    together_bytes: u64,
    context: Option<u32>,
}

impl Candidate<'_> {
    fn bytes_short(&self) -> u64 {
        self.together_bytes.saturating_sub(self.budget_bytes)
    }
}

impl<'a, N: Names> Remedies<'a, N> {
    pub(super) fn new(inventory: &'a Inventory, problem: &'a Problem, plan: &'a Plan, names: &'a N) -> Self {
        let per_token: BTreeMap<&SlotName, u64> =
            inventory.roster.slots.iter().map(|slot| (&slot.name, slot.bytes_per_token())).collect();
        let scales = problem.slots.iter().map(|slot| {
            let per_token_bytes = per_token.get(&slot.name).copied().unwrap_or(0);
            (&slot.name, scale(slot, per_token_bytes))
        });
        let domains = problem.nodes.iter().flat_map(|node| node.domains.iter().map(move |domain| (node.id, domain)));
        let mut placed: BTreeMap<(NodeId, &str), Vec<&SlotName>> = BTreeMap::new();
        for replica in &plan.replicas {
            placed.entry((replica.node, &replica.memory_domain)).or_default().push(&replica.slot);
        }
        Remedies {
            scales: scales.collect(),
            budgets: domains.map(|(node, domain)| ((node, domain.name.as_str()), domain.budget_bytes)).collect(),
            placed,
            inventory,
            problem,
            plan,
            names,
        }
    }

    /// One for each slot that should be resident, or might be, and is nowhere; in the order of the problem's slots.
    pub(super) fn each(&self) -> Vec<RemedyDocument> {
        let mut refused: BTreeMap<&SlotName, Vec<&Refusal>> = BTreeMap::new();
        for refusal in &self.plan.refused {
            refused.entry(&refusal.slot).or_default().push(refusal);
        }
        let missing = self.missing();
        missing
            .iter()
            .filter_map(|slot| self.remedy(slot, refused.get(&slot.name).map_or(&[], Vec::as_slice)))
            .collect()
    }

    /// Under `swapping`, slots that nobody needs now are not resident on purpose.
    fn missing(&self) -> Vec<&'a SlotInput> {
        let resident: BTreeSet<&SlotName> = self.plan.replicas.iter().map(|replica| &replica.slot).collect();
        let short: BTreeSet<&SlotName> = self.plan.shortfalls.iter().map(|shortfall| &shortfall.slot).collect();
        let due = |slot: &SlotInput| {
            self.problem.strategy != Strategy::Swapping
                || slot.policy == SlotPolicy::Pinned
                || short.contains(&slot.name)
        };
        self.problem.slots.iter().filter(|slot| !resident.contains(&slot.name) && due(slot)).collect()
    }

    fn remedy(&self, slot: &'a SlotInput, refused: &[&'a Refusal]) -> Option<RemedyDocument> {
        let candidates = refused.iter().filter(|refusal| refusal.bytes_short > 0);
        let best = candidates
            .filter_map(|refusal| self.candidate(slot, refusal))
            .min_by_key(|it| (Reverse(it.context), it.bytes_short(), it.refusal.node, &it.refusal.memory_domain));
        if let Some(best) = best {
            return Some(self.document(slot, &best));
        }
        let usable = self.budgets.values().any(|budget_bytes| *budget_bytes > 0);
        let needs = human_bytes(slot.footprint.total_bytes());
        let why = match refused.iter().find(|refusal| refusal.bytes_short == 0) {
            _ if !usable => format!("no machine has memory that managers may use; one with {needs} for them would do"),
            Some(refusal) => format!("memory alone does not help: {}", refusal.why),
            None => return None,
        };
        let (node, domain, beside, context) = (None, None, Vec::new(), None);
        let bytes_short = slot.footprint.total_bytes();
        Some(RemedyDocument { slot: slot.name.to_string(), node, domain, beside, bytes_short, context, why })
    }

    fn candidate(&self, slot: &'a SlotInput, refusal: &'a Refusal) -> Option<Candidate<'a>> {
        let place = (refusal.node, refusal.memory_domain.as_str());
        // A place that managers may not use at all is no place with too little memory.
        let budget_bytes = self.budgets.get(&place).copied().filter(|bytes| *bytes > 0)?;
        let beside: Vec<&SlotName> = self.placed.get(&place).cloned().unwrap_or_default();
        let scales: Vec<&Scale> =
            beside.iter().copied().chain([&slot.name]).filter_map(|name| self.scales.get(name)).collect();
        let together_bytes = needed_bytes(&scales, u32::MAX);
        let context = largest_context(&scales, budget_bytes);
        Some(Candidate { refusal, beside, budget_bytes, together_bytes, context })
    }

    fn document(&self, slot: &SlotInput, best: &Candidate) -> RemedyDocument {
        let place = format!("{} {}", self.names.node(best.refusal.node), best.refusal.memory_domain);
        let beside: Vec<String> = best.beside.iter().map(ToString::to_string).collect();
        let short = human_bytes(best.bytes_short());
        let (together, budget) = (human_bytes(best.together_bytes), human_bytes(best.budget_bytes));
        let (they, sum) = match beside.is_empty() {
            true => ("it fits", format!("needs {together} at context {}", slot.context)),
            false => (
                "they fit together",
                format!("needs {together} together with {} at context {}", listed(&beside), slot.context),
            ),
        };
        let remedy = match best.context {
            Some(context) => format!("{they} at context {context}, or with {short} more memory"),
            None => format!("{they} at no context of {} or more, but with {short} more memory", CONTEXT_MIN),
        };
        RemedyDocument {
            slot: slot.name.to_string(),
            node: Some(self.names.node(best.refusal.node)),
            domain: Some(best.refusal.memory_domain.clone()),
            beside,
            bytes_short: best.bytes_short(),
            context: best.context,
            why: format!("on {place} it {sum}, {budget} may be used, short {short}; {remedy}"),
        }
    }

    /// The largest context at which a plan leaves no slot out, as far as trial plans are worth their time.
    pub(super) fn context_for_all(&self) -> Option<u32> {
        let places: usize = self.problem.nodes.iter().map(|node| node.domains.len()).sum();
        if self.missing().is_empty() || places.saturating_mul(self.problem.slots.len()) > limits::TRIAL_PLACES_MAX {
            return None;
        }
        let highest = self.problem.slots.iter().map(|slot| slot.context).max().unwrap_or(0);
        largest(highest, |context| {
            let slots = self.inventory.slot_inputs(context);
            let trial = Problem { slots, ..self.problem.clone() }.sorted();
            let plan = solve(&trial);
            trial.slots.iter().all(|slot| plan.replicas.iter().any(|replica| replica.slot == slot.name))
        })
    }
}

const CONTEXT_MIN: u32 = limits::CONTEXT_PROPOSED_MIN;

fn scale(slot: &SlotInput, per_token_bytes: u64) -> Scale {
    let growing = per_token_bytes.saturating_mul(u64::from(slot.context));
    Scale {
        base: slot.base.artifact,
        weights_bytes: slot.footprint.weights_bytes,
        fixed_bytes: slot.footprint.own_bytes().saturating_sub(growing),
        per_token_bytes,
        context: slot.context,
    }
}

/// What they need on one domain with at most `context` tokens each: Σ distinct bases + Σ what each needs of its own.
fn needed_bytes(scales: &[&Scale], context: u32) -> u64 {
    let mut bases = BTreeSet::new();
    let mut sum = 0u64;
    for scale in scales {
        if bases.insert(scale.base) {
            sum = sum.saturating_add(scale.weights_bytes);
        }
        let growing = scale.per_token_bytes.saturating_mul(u64::from(scale.context.min(context)));
        sum = sum.saturating_add(scale.fixed_bytes).saturating_add(growing);
    }
    sum
}

fn largest_context(scales: &[&Scale], budget_bytes: u64) -> Option<u32> {
    let highest = scales.iter().map(|scale| scale.context).max().unwrap_or(0);
    largest(highest, |context| needed_bytes(scales, context) <= budget_bytes)
}

/// The largest context below `highest` that may be proposed and for which `fits`, which says no from some context upwards.
fn largest(highest: u32, fits: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut low, mut high) = (CONTEXT_MIN / limits::CONTEXT_STEP, highest / limits::CONTEXT_STEP);
    if high < low || !fits(CONTEXT_MIN) {
        return None;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match fits(middle * limits::CONTEXT_STEP) {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    Some(low * limits::CONTEXT_STEP)
}

/// "UFM", "UFM and UCM", "UFM, UCM and URM".
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
