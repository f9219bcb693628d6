//! What `fednode fit` reads: the tables of models, precisions and machines that come with the program, and a `config.json` that the
//! user points at. What they mean is decided in `core::fit`.

use crate::core::fit::config::Config;
use crate::core::fit::study::Study;
use crate::core::fit::{Known, Model};
use crate::core::limits;

const MODELS: &str = include_str!("../../fit/models.json");
const PRECISIONS: &str = include_str!("../../fit/precisions.json");
const STUDY: &str = include_str!("../../fit/study.json");
const MACHINES: &str = include_str!("../../fit/machines.json");

/// Why a text is no model's settings.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Longer than its bound.
    #[error("{bytes} bytes exceed the limit of {max}; is it the right file?", max = limits::SETTINGS_BYTES_MAX)]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Not the JSON it should be.
    #[error("it is not the config.json of a model: {0}")]
    Json(#[from] serde_json::Error),
    /// It describes no model.
    #[error(transparent)]
    Config(#[from] crate::core::fit::config::ConfigError),
}

/// What comes with the program.
pub fn known() -> Known {
    // The tests read them: a program whose tables are damaged is never built.
    let sound = "the tables that come with the program are sound";
    Known {
        presets: serde_json::from_str(MODELS).expect(sound),
        precisions: serde_json::from_str(PRECISIONS).expect(sound),
        machines: serde_json::from_str(MACHINES).expect(sound),
    }
}

/// The storage study, as it was written.
pub fn study() -> Study {
    serde_json::from_str(STUDY).expect("the tables that come with the program are sound")
}

/// The model whose `config.json` is `text`; `name` is what people call it.
pub fn parse_config(text: &str, name: &str) -> Result<Model, ReadError> {
    if text.len() as u64 > limits::SETTINGS_BYTES_MAX {
        return Err(ReadError::TooLong { bytes: text.len() });
    }
    let config: Config = serde_json::from_str(text)?;
    let counted = config.count(None)?;
    Ok(Model {
        name: name.to_owned(),
        title: name.to_owned(),
        shape: counted.shape,
        active_parameters: counted.active_parameters,
        stored: None,
        notes: [counted.estimate].into_iter().filter(|note| !note.is_empty()).collect(),
    })
}
