//! What fits where, before anything is bought or downloaded: `fednode fit`, and the part of `fednode assess` that is no measurement.
//! Pure: models, precisions and machines come in as data (`wire::fit` reads the files under `node/fit`), documents go out. The
//! footprint itself is `sizing`'s, the one of admission and placement.

pub mod config;
pub mod guide;
pub mod place;
pub mod precision;
pub mod roster;
pub mod study;

#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::core::artifact::Shape;
use crate::core::sizing::footprint;
use config::{Config, ConfigError};
use place::{Load, Machines, Place, PlaceVerdict};
use precision::Stored;

/// Contexts that a model is shown at, tokens, as far as it goes.
const CONTEXTS: [u32; 6] = [2048, 4096, 8192, 16_384, 32_768, 131_072];

/// A model by name; a line of `fit/models.json`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What people type.
    pub name: String,
    /// In words.
    pub title: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What is special about it.
    #[serde(default)]
    pub note: String,
    /// Parameters, where the settings do not say them all.
    #[serde(default)]
    pub parameters: Option<u64>,
    /// The settings, as in its `config.json`.
    pub config: Config,
}

impl Preset {
    /// Is it called so? Upper and lower case are alike.
    pub fn is_called(&self, name: &str) -> bool {
        std::iter::once(&self.name).chain(&self.aliases).any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The model it stands for.
    pub fn model(&self) -> Result<Model, ConfigError> {
        let counted = self.config.count(self.parameters)?;
        Ok(Model {
            name: self.name.clone(),
            title: self.title.clone(),
            shape: counted.shape,
            active_parameters: counted.active_parameters,
            stored: None,
            notes: [self.note.clone(), counted.estimate].into_iter().filter(|note| !note.is_empty()).collect(),
        })
    }
}

/// All that `fit` knows by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Models.
    pub presets: Vec<Preset>,
    /// Precisions.
    pub precisions: Vec<Stored>,
    /// GPUs and machines.
    pub machines: Machines,
}

impl Known {
    /// The precision of this name.
    pub fn precision(&self, name: &str) -> Option<&Stored> {
        self.precisions.iter().find(|stored| stored.is_called(name))
    }

    /// The model of this name.
    pub fn preset(&self, name: &str) -> Option<&Preset> {
        self.presets.iter().find(|preset| preset.is_called(name))
    }
}

/// A model that is asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    /// What it is called.
    pub name: String,
    /// In words.
    pub title: String,
    /// Its shape; `weights_bytes` counts where `stored` says so.
    pub shape: Shape,
    /// Parameters that a token is computed with.
    pub active_parameters: u64,
    /// The precision that its files have, where files were read: their tensor table is then taken as it is.
    pub stored: Option<String>,
    /// What people should know.
    pub notes: Vec<String>,
}

impl Model {
    /// Its shape in the precision of this name: the files' own, or what it would be.
    pub fn shape_in(&self, precision: &Stored) -> Shape {
        match self.stored.as_deref() {
            Some(own) if precision.is_called(own) => self.shape.clone(),
            _ => precision.of(&self.shape),
        }
    }
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a Model,
    /// The precision; `None`: its files' own, of a kind that no line of the table has.
    pub precision: Option<&'a Stored>,
    /// Tokens for each sequence; the model's own maximum caps them.
    pub context: u32,
    /// Sequences at once.
    pub parallel: u32,
    /// Where it might live.
    pub places: &'a [Place],
    /// Precisions to show beside it.
    pub precisions: &'a [Stored],
}

/// The answer: what `fednode fit MODEL --json` prints. The first eight names are a contract (DESIGN 13).
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct FitDocument {
    /// Weights, bytes.
    pub weights_bytes: u64,
    /// Keys and values, bytes.
    pub kv_bytes: u64,
    /// Activations and logits, bytes.
    pub compute_bytes: u64,
    /// The process itself, bytes.
    pub overhead_bytes: u64,
    /// All of it, bytes.
    pub total_bytes: u64,
    /// Tokens for each sequence.
    pub context: u32,
    /// Sequences at once.
    pub parallel: u32,
    /// Of the weights.
    pub precision: String,
    /// The model.
    pub model: String,
    /// In words.
    pub title: String,
    /// Of its architecture.
    pub architecture: String,
    /// All parameters.
    pub parameters: u64,
    /// Those that a token is computed with.
    pub active_parameters: u64,
    /// Keys and values of one token, bytes.
    pub kv_bytes_per_token: u64,
    /// The longest context it was made for.
    pub context_max: u32,
    /// May it be a manager of a roster whose floor is f16?
    pub meets_f16_floor: bool,
    /// Totals for each precision and context.
    pub grid: Vec<GridRow>,
    /// The places.
    pub places: Vec<PlaceVerdict>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// What the model would need in one precision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GridRow {
    /// Which.
    pub precision: String,
    /// Weights, bytes.
    pub weights_bytes: u64,
    /// Total at each context.
    pub totals: Vec<GridCell>,
}

/// What it would need in all at one context.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GridCell {
    /// Tokens for each sequence.
    pub context: u32,
    /// Bytes.
    pub total_bytes: u64,
}

/// Answers.
pub fn fit(question: &Question<'_>) -> FitDocument {
    let model = question.model;
    let shape = question.precision.map_or_else(|| model.shape.clone(), |precision| model.shape_in(precision));
    let context = question.context.min(shape.context_max.max(1));
    let parallel = question.parallel;
    let load = Load { shape: &shape, active_parameters: model.active_parameters, context, parallel };
    let needed = load.footprint();
    let mut notes = model.notes.clone();
    if context < question.context {
        notes.push(format!("it was made for {context} tokens of context, which is taken for {}", question.context));
    }
    let contexts: Vec<u32> = CONTEXTS.into_iter().filter(|context| *context <= shape.context_max).collect();
    let row = |precision: &Stored| {
        let shape = model.shape_in(precision);
        let cell = |context: &u32| GridCell {
            context: *context,
            total_bytes: footprint(&shape, *context, parallel, 0).total_bytes(),
        };
        GridRow {
            precision: precision.name.clone(),
            weights_bytes: shape.weights_bytes,
            totals: contexts.iter().map(cell).collect(),
        }
    };
    FitDocument {
        weights_bytes: needed.weights_bytes,
        kv_bytes: needed.kv_bytes,
        compute_bytes: needed.compute_bytes,
        overhead_bytes: needed.overhead_bytes,
        total_bytes: needed.total_bytes(),
        context,
        parallel,
        precision: shape.precision.name().to_owned(),
        model: model.name.clone(),
        title: model.title.clone(),
        architecture: shape.architecture.clone(),
        parameters: shape.parameters,
        active_parameters: model.active_parameters,
        kv_bytes_per_token: crate::core::sizing::kv_bytes_per_token(&shape),
        context_max: shape.context_max,
        meets_f16_floor: shape.precision.meets_f16_floor(),
        grid: question.precisions.iter().map(row).collect(),
        places: question.places.iter().map(|place| load.on(place)).collect(),
        notes,
    }
}
