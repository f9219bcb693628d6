//! Inventory files for `fednode plan --inventory FILE`, and plans for `--evaluate FILE`: JSON from people, scripts and other
//! nodes, read into types that cannot be wrong. What they mean is decided in `core::placement::inventory`.

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

use crate::core::limits;
use crate::core::placement::Violation;
use crate::core::placement::document::PlanDocument;
use crate::core::placement::evaluate::{Claim, EvaluationDocument, evaluate};
use crate::core::placement::inventory::{Inventory, InventoryError, answer};

/// The JSON Schema of inventories: every field with its unit.
pub const SCHEMA: &str = include_str!("../../../inventory.schema.json");

/// Why a text is no inventory, or no plan.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReadError {
    /// Longer than its bound.
    #[error("{bytes} bytes exceed the limit of {max}; is it the right file?", max = limits::INVENTORY_BYTES_MAX)]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Not the JSON it should be.
    #[error("{path}: {why}; {remedy}")]
    Json {
        /// Where, as `nodes[2].domains[0].kind`.
        path: String,
        /// What is wrong there, with line and column.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It says what cannot be.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// A bug of ours.
    #[error("the plan does not keep its own rules, which is a bug of fednode: {0}")]
    Plan(#[from] Violation),
}

/// The inventory in `text`.
pub fn parse(text: &str) -> Result<Inventory, ReadError> {
    let inventory: Inventory = read(text, "`fednode plan --schema` describes every field")?;
    inventory.check()?;
    Ok(inventory)
}

/// The plan in `text`, as `fednode plan --json` prints it; `{"replicas": [{"slot", "node", "domain"}]}` is enough.
pub fn parse_claim(text: &str) -> Result<Claim, ReadError> {
    read(text, "a plan is what `fednode plan --json` prints, or its replicas with slot, node and domain")
}

/// Plans the federation that `text` describes.
pub fn plan_text(text: &str) -> Result<PlanDocument, ReadError> {
    Ok(answer(&parse(text)?)?.document)
}

/// Measures the plan in `claim` against the inventory in `text`.
pub fn evaluate_text(text: &str, claim: &str) -> Result<EvaluationDocument, ReadError> {
    Ok(evaluate(&parse(text)?, &parse_claim(claim)?)?)
}

fn read<T: DeserializeOwned>(text: &str, remedy: &'static str) -> Result<T, ReadError> {
    if text.len() > limits::INVENTORY_BYTES_MAX {
        return Err(ReadError::TooLong { bytes: text.len() });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer);
    let value = value.map_err(|error| {
        let path = error.path().to_string();
        // At the top the path is a mere dot.
        let path = if path == "." { "the document".to_owned() } else { shortened(&path) };
        ReadError::Json { path, why: shortened(&error.inner().to_string()), remedy }
    })?;
    let end = deserializer.end();
    end.map_err(|error| ReadError::Json { path: "after the document".to_owned(), why: error.to_string(), remedy })?;
    Ok(value)
}

/// Names from outside come back in errors: not their whole length, and nothing that plays tricks on a terminal.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(CHARS_MAX).collect();
    if short.len() < text.len() && text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}
