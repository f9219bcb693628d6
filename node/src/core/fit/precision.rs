//! Precisions: how many bits a parameter takes, and what that makes of a model's weights.

use serde::{Deserialize, Serialize};

use crate::core::artifact::{Precision, Shape};

/// A precision that weights are stored in; a line of `fit/precisions.json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Such as `Q4_K_M`.
    pub name: String,
    /// Other names that people use.
    pub aliases: Vec<String>,
    /// Thousandths of a bit for each parameter, scales included.
    pub millibits: u32,
    /// Where the figure is from.
    pub note: String,
}

impl Stored {
    /// Weights of `parameters`, bytes, rounded up.
    pub fn weights_bytes(&self, parameters: u64) -> u64 {
        let bytes = (u128::from(parameters) * u128::from(self.millibits)).div_ceil(8000);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Is it called so? Upper and lower case are alike.
    pub fn is_called(&self, name: &str) -> bool {
        std::iter::once(&self.name).chain(&self.aliases).any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Does it satisfy a roster whose floor is `f16`?
    pub fn meets_f16_floor(&self) -> bool {
        self.precision().meets_f16_floor()
    }

    fn precision(&self) -> Precision {
        Precision::from_name(&self.name)
    }

    /// The same model with its weights in this precision.
    pub fn of(&self, shape: &Shape) -> Shape {
        let weights_bytes = self.weights_bytes(shape.parameters);
        Shape { weights_bytes, precision: self.precision(), ..shape.clone() }
    }
}
