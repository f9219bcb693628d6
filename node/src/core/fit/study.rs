//! The storage study that this project grew out of, three models × five GPUs × four precisions: its cases with footprints as engines
//! have them, in its layout, and (`doubts`) where its own figures cannot be right. The study's table is the file `fit/study.json`.

mod doubts;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::config::ConfigError;
use super::place::{Load, Place};
use super::{Known, Model};
use crate::core::sizing::Band;

pub use doubts::Doubt;
#[cfg(test)]
pub(super) use doubts::{milli_gib, percent_of, root_term};

/// The study as it was written.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// Context, tokens.
    pub tokens: u32,
    /// How many of its cases it says pass.
    pub stated_passing: usize,
    /// Its columns.
    pub gpus: Vec<StudyGpu>,
    /// Its tables.
    pub models: Vec<StudyModel>,
}

/// A GPU of the study.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyGpu {
    /// Its name among the machines.
    pub name: String,
    /// What the study heads its column with.
    pub column: String,
}

/// A model of the study.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyModel {
    /// Such as `7B`.
    pub label: String,
    /// What the study multiplied with.
    pub parameters: u64,
    /// A real model of that size, among the presets.
    pub preset: String,
    /// Its rows.
    pub rows: Vec<StudyRow>,
}

/// A row of the study: sizes in thousandths of a GiB.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudyRow {
    /// FP32, FP16, INT8 or INT4.
    pub precision: String,
    /// Weights.
    pub weights: u64,
    /// "Activation".
    pub activation: u64,
    /// "KV Cache".
    pub kv: u64,
    /// Their sum.
    pub total: u64,
    /// Of each GPU's memory.
    pub percent: Vec<u32>,
    /// With a tick in front of it?
    pub passes: Vec<bool>,
}

/// The study done again: what `fednode fit --matrix --json` prints.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct StudyDocument {
    /// Context, tokens.
    pub tokens: u32,
    /// The GPUs, as the study heads its columns.
    pub gpus: Vec<String>,
    /// What models may use of each, bytes.
    pub usable_bytes: Vec<u64>,
    /// The cases, a row for each model and precision.
    pub rows: Vec<Case>,
    /// How many of them fit.
    pub passing: usize,
    /// All of them.
    pub cases: usize,
    /// How many the study says pass, and how many ticks its tables have.
    pub stated: (usize, usize),
    /// Where the study cannot be right.
    pub doubts: Vec<Doubt>,
}

/// One model in one precision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Case {
    /// Such as `7B`.
    pub label: String,
    /// The model that was sized.
    pub model: String,
    /// Its precision, as the study calls it.
    pub precision: String,
    /// Weights, bytes.
    pub weights_bytes: u64,
    /// Activations, logits and the process itself, bytes.
    pub compute_bytes: u64,
    /// Keys and values, bytes.
    pub kv_bytes: u64,
    /// Their sum.
    pub total_bytes: u64,
    /// For each GPU.
    pub gpus: Vec<Cell>,
    /// What the study has here.
    pub study: StudyRow,
}

/// One case.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cell {
    /// Does it fit?
    pub fits: bool,
    /// Of what may be used, rounded.
    pub percent: u32,
    /// Headroom.
    pub band: Band,
}

/// Why the study cannot be done again: its file names what the others do not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StudyError {
    /// A name that is not there.
    #[error("the study names {0:?}, which is not among the models, precisions and machines")]
    Name(String),
    /// A model that cannot be counted.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Does it again.
pub fn again(study: &Study, known: &Known) -> Result<StudyDocument, StudyError> {
    let all = known.machines.places();
    let place = |gpu: &StudyGpu| {
        let found = all.iter().find(|place| place.name == gpu.name);
        found.cloned().ok_or_else(|| StudyError::Name(gpu.name.clone()))
    };
    let places: Vec<Place> = study.gpus.iter().map(place).collect::<Result<_, _>>()?;
    let mut rows = Vec::new();
    for entry in &study.models {
        let preset = known.preset(&entry.preset).ok_or_else(|| StudyError::Name(entry.preset.clone()))?;
        let model = preset.model()?;
        for row in &entry.rows {
            rows.push(case(study.tokens, entry, row, &model, known, &places)?);
        }
    }
    let ticks = study.models.iter().flat_map(|model| &model.rows).flat_map(|row| &row.passes);
    let cells = || rows.iter().flat_map(|row| &row.gpus);
    Ok(StudyDocument {
        tokens: study.tokens,
        gpus: study.gpus.iter().map(|gpu| gpu.column.clone()).collect(),
        usable_bytes: places.iter().map(Place::usable_bytes).collect(),
        passing: cells().filter(|cell| cell.fits).count(),
        cases: cells().count(),
        stated: (study.stated_passing, ticks.filter(|tick| **tick).count()),
        doubts: doubts::doubts(study, known)?,
        rows,
    })
}

fn case(
    tokens: u32,
    entry: &StudyModel,
    row: &StudyRow,
    model: &Model,
    known: &Known,
    places: &[Place],
) -> Result<Case, StudyError> {
    let precision = known.precision(&row.precision).ok_or_else(|| StudyError::Name(row.precision.clone()))?;
    let shape = precision.of(&model.shape);
    let load = Load { shape: &shape, active_parameters: model.active_parameters, context: tokens, parallel: 1 };
    let needed = load.footprint();
    let cell = |place: &Place| {
        let verdict = load.on(place);
        Cell { fits: verdict.fits, percent: verdict.percent, band: verdict.band }
    };
    Ok(Case {
        label: entry.label.clone(),
        model: model.name.clone(),
        precision: row.precision.clone(),
        weights_bytes: needed.weights_bytes,
        compute_bytes: needed.compute_bytes + needed.overhead_bytes,
        kv_bytes: needed.kv_bytes,
        total_bytes: needed.total_bytes(),
        gpus: places.iter().map(cell).collect(),
        study: row.clone(),
    })
}
