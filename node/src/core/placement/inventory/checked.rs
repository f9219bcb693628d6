//! What a type cannot express of an inventory: counts, ranges, names that stand twice, sums that cannot be. Each refusal names
//! the place and the remedy.

use std::collections::BTreeSet;

use super::{DomainEntry, Inventory, NodeEntry, SlotEntry};
use crate::core::limits;

/// Why an inventory is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InventoryError {
    /// Too many of something.
    #[error("{place} has {found} entries, at most {max} are allowed; describe a smaller federation")]
    TooMany {
        /// The list.
        place: String,
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// Two things of one name.
    #[error("{place} is called {name:?}, and so is another one before it; give each a name of its own")]
    Twice {
        /// The second of them.
        place: String,
        /// The name.
        name: String,
    },
    /// A name that is none.
    #[error("{place} is {name:?}, but must have 1 to {max} characters, none of them a control character")]
    Name {
        /// The field.
        place: String,
        /// What it says, shortened.
        name: String,
        /// Characters allowed.
        max: usize,
    },
    /// A number outside its range.
    #[error("{place} is {found}, but must be from {min} to {max}; sizes are bytes, and no machine or model is larger")]
    Range {
        /// The field.
        place: String,
        /// What it says.
        found: u64,
        /// The least value allowed.
        min: u64,
        /// The greatest value allowed.
        max: u64,
    },
    /// More free than there is.
    #[error("{place}.free_bytes is {free_bytes}, more than its total_bytes of {total_bytes}; correct one of them")]
    FreeBeyondTotal {
        /// The domain.
        place: String,
        /// What is said to be free.
        free_bytes: u64,
        /// All there is.
        total_bytes: u64,
    },
    /// An adapter of an adapter.
    #[error("{place}.base is {base:?}, which is itself an adapter of {model:?}; name the model that both stand on")]
    BaseIsAdapter {
        /// The slot.
        place: String,
        /// What it names.
        base: String,
        /// What that stands on.
        model: String,
    },
}

impl Inventory {
    /// Checks what serde cannot.
    pub fn check(&self) -> Result<(), InventoryError> {
        at_most("nodes", self.nodes.len(), limits::INVENTORY_NODES_MAX)?;
        at_most("roster.slots", self.roster.slots.len(), limits::SLOTS_MAX)?;
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let place = format!("nodes[{index}]");
            check_node(&place, node)?;
            once(&mut names, node.name.as_str(), || (place.clone(), node.name.clone()))?;
            once(&mut ids, node.id(), || (format!("{place}.id"), node.id().to_string()))?;
        }
        let mut names = BTreeSet::new();
        for (index, slot) in self.roster.slots.iter().enumerate() {
            let place = format!("roster.slots[{index}]");
            check_slot(&place, slot)?;
            once(&mut names, &slot.name, || (place.clone(), slot.name.to_string()))?;
            self.check_base(&place, slot)?;
        }
        for node in self.previous.iter().flat_map(|previous| previous.roles.keys()) {
            name("a name in previous.roles".to_owned(), node, limits::INVENTORY_NAME_CHARS_MAX)?;
        }
        let previous = self.previous.iter().flat_map(|previous| &previous.replicas);
        for (index, replica) in previous.enumerate() {
            name(format!("previous.replicas[{index}].node"), &replica.node, limits::INVENTORY_NAME_CHARS_MAX)?;
            name(format!("previous.replicas[{index}].domain"), &replica.domain, limits::INVENTORY_NAME_CHARS_MAX)?;
        }
        Ok(())
    }

    /// A base is a model: what stands on an adapter would be loaded on nothing.
    fn check_base(&self, place: &str, slot: &SlotEntry) -> Result<(), InventoryError> {
        let Some(base) = &slot.base else { return Ok(()) };
        let mut others = self.roster.slots.iter().filter(|other| other.artifact == *base);
        let model = others.find_map(|other| other.base.as_ref().filter(|model| *model != base));
        match model {
            Some(model) => {
                let (place, base, model) = (place.to_owned(), base.clone(), model.clone());
                Err(InventoryError::BaseIsAdapter { place, base, model })
            }
            None => Ok(()),
        }
    }
}

fn check_node(place: &str, node: &NodeEntry) -> Result<(), InventoryError> {
    name(format!("{place}.name"), &node.name, limits::INVENTORY_NAME_CHARS_MAX)?;
    size(place, "disk_free_bytes", node.disk_free_bytes.unwrap_or(0))?;
    size(place, "load_bytes_per_s", node.load_bytes_per_s)?;
    size(place, "link_bytes_per_s", node.link_bytes_per_s)?;
    at_most(&format!("{place}.domains"), node.domains.len(), limits::MEMORY_DOMAINS_MAX)?;
    let mut names = BTreeSet::new();
    for (index, domain) in node.domains.iter().enumerate() {
        let place = format!("{place}.domains[{index}]");
        check_domain(&place, domain)?;
        once(&mut names, domain.name.as_str(), || (place.clone(), domain.name.clone()))?;
    }
    for (list, artifacts) in [("holds", &node.holds), ("claimed", &node.claimed)] {
        at_most(&format!("{place}.{list}"), artifacts.len(), limits::INVENTORY_ARTIFACTS_MAX)?;
        for (index, artifact) in artifacts.iter().enumerate() {
            name(format!("{place}.{list}[{index}]"), artifact, limits::INVENTORY_ARTIFACT_CHARS_MAX)?;
        }
    }
    Ok(())
}

fn check_domain(place: &str, domain: &DomainEntry) -> Result<(), InventoryError> {
    name(format!("{place}.name"), &domain.name, limits::INVENTORY_NAME_CHARS_MAX)?;
    size(place, "total_bytes", domain.total_bytes)?;
    size(place, "free_bytes", domain.free_bytes.unwrap_or(0))?;
    size(place, "reserve_bytes", domain.reserve_bytes)?;
    match domain.free_bytes {
        Some(free_bytes) if free_bytes > domain.total_bytes => {
            let (place, total_bytes) = (place.to_owned(), domain.total_bytes);
            Err(InventoryError::FreeBeyondTotal { place, free_bytes, total_bytes })
        }
        _ => Ok(()),
    }
}

fn check_slot(place: &str, slot: &SlotEntry) -> Result<(), InventoryError> {
    let artifact_max = limits::INVENTORY_ARTIFACT_CHARS_MAX;
    name(format!("{place}.artifact"), &slot.artifact, artifact_max)?;
    if let Some(base) = &slot.base {
        name(format!("{place}.base"), base, artifact_max)?;
    }
    size(place, "weights_bytes", slot.weights_bytes)?;
    size(place, "artifact_bytes", slot.artifact_bytes.unwrap_or(0))?;
    size(place, "adapter_bytes", slot.adapter_bytes)?;
    size(place, "overhead_bytes", slot.overhead_bytes)?;
    let token_max = limits::INVENTORY_TOKEN_BYTES_MAX;
    range(place, "kv_bytes_per_token", slot.kv_bytes_per_token, 0, token_max)?;
    range(place, "compute_bytes_per_token", slot.compute_bytes_per_token, 0, token_max)?;
    range(place, "context", slot.context.into(), 1, limits::CONTEXT_MAX.into())?;
    range(place, "context_max", slot.context_max.unwrap_or(1).into(), 1, limits::CONTEXT_MAX.into())?;
    range(place, "parallel", slot.parallel.into(), 1, limits::PARALLEL_MAX.into())?;
    range(place, "replicas", slot.replicas.into(), 1, limits::REPLICAS_MAX.into())?;
    at_most(&format!("{place}.pinned_on"), slot.pinned_on.len(), limits::INVENTORY_PINS_MAX)?;
    for (index, node) in slot.pinned_on.iter().enumerate() {
        name(format!("{place}.pinned_on[{index}]"), node, limits::INVENTORY_NAME_CHARS_MAX)?;
    }
    at_most(&format!("{place}.adapters"), slot.adapters.len(), limits::DOMAINS_PER_SLOT_MAX)?;
    let mut domains = BTreeSet::new();
    for (index, adapter) in slot.adapters.iter().enumerate() {
        let place = format!("{place}.adapters[{index}]");
        name(format!("{place}.artifact"), &adapter.artifact, artifact_max)?;
        size(&place, "bytes", adapter.bytes)?;
        once(&mut domains, &adapter.domain, || (place.clone(), adapter.domain.to_string()))?;
    }
    Ok(())
}

fn at_most(place: &str, found: usize, max: usize) -> Result<(), InventoryError> {
    match found > max {
        true => Err(InventoryError::TooMany { place: place.to_owned(), found, max }),
        false => Ok(()),
    }
}

fn once<T: Ord>(
    seen: &mut BTreeSet<T>,
    item: T,
    said: impl FnOnce() -> (String, String),
) -> Result<(), InventoryError> {
    if seen.insert(item) {
        return Ok(());
    }
    let (place, name) = said();
    Err(InventoryError::Twice { place, name })
}

fn name(place: String, name: &str, max: usize) -> Result<(), InventoryError> {
    if name.is_empty() || name.chars().nth(max).is_some() || name.chars().any(char::is_control) {
        return Err(InventoryError::Name { place, name: name.chars().take(40).collect(), max });
    }
    Ok(())
}

fn size(place: &str, field: &str, found: u64) -> Result<(), InventoryError> {
    range(place, field, found, 0, limits::INVENTORY_SIZE_BYTES_MAX)
}

fn range(place: &str, field: &str, found: u64, min: u64, max: u64) -> Result<(), InventoryError> {
    match (min..=max).contains(&found) {
        true => Ok(()),
        false => Err(InventoryError::Range { place: format!("{place}.{field}"), found, min, max }),
    }
}
