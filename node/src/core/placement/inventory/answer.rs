//! The answer to an inventory: its plan, and the document that says it. A pure function: the same inventory gives the same
//! bytes on every machine.

use std::collections::BTreeMap;

use super::{Inventory, InventoryNames};
use crate::core::placement::document::{Names, PlanDocument};
use crate::core::placement::memory::memory;
use crate::core::placement::plan::Plan;
use crate::core::placement::problem::Problem;
use crate::core::placement::remedy::Remedies;
use crate::core::placement::{Violation, check, expected_waits, score, solve};
use crate::core::types::NodeId;

/// What an inventory asks, and what is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The question as the solver had it.
    pub problem: Problem,
    /// What its ids are called.
    pub names: InventoryNames,
    /// The plan, which has passed its check.
    pub plan: Plan,
    /// The plan for people and scripts.
    pub document: PlanDocument,
}

/// Plans for `inventory`, which has been checked. An error is a bug of ours.
pub fn answer(inventory: &Inventory) -> Result<Answer, Violation> {
    let (problem, names) = inventory.problem();
    let plan = solve(&problem);
    check(&problem, &plan)?;
    let document = PlanDocument::new(&plan, score(&problem, &plan), &problem.previous, &names);
    let mut document = document.with_waits(expected_waits(&problem, &plan));
    inventory.say_more(&mut document, &problem, &plan, &names);
    Ok(Answer { problem, names, plan, document })
}

impl Inventory {
    /// Adds to the document of `plan` how full each domain is, and what would help where something is short.
    pub fn say_more(&self, document: &mut PlanDocument, problem: &Problem, plan: &Plan, names: &impl Names) {
        let domains = self.nodes.iter().flat_map(|node| node.domains.iter().map(move |domain| (node.id(), domain)));
        let totals: BTreeMap<(NodeId, &str), u64> =
            domains.map(|(node, domain)| ((node, domain.name.as_str()), domain.total_bytes)).collect();
        let total = |node: NodeId, domain: &str| totals.get(&(node, domain)).copied();
        document.memory = memory(problem, &plan.replicas, names, total);
        let remedies = Remedies::new(self, problem, plan, names);
        document.remedies = remedies.each();
        document.context_for_all = remedies.context_for_all();
    }
}
