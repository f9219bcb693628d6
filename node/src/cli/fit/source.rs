//! What the user names as a model: a preset, a GGUF file, a folder from Hugging Face, or its config.json. Headers are read by the
//! store's own parsers, weights never.

use std::path::Path;

use crate::cli::exit::Failure;
use crate::cli::up;
use crate::core::artifact::{ArtifactKind, Precision};
use crate::core::fit::{Known, Model};
use crate::core::limits;
use crate::store::gguf::{self, ParsedModel};
use crate::store::huggingface;
use crate::wire::fit::parse_config;

/// The model that `text` names. A preset's name is never a path: write ./NAME for a file of that name.
pub(super) fn model(known: &Known, text: &str) -> Result<Model, Failure> {
    if let Some(preset) = known.preset(text) {
        return preset.model().map_err(|error| Failure::failed(format!("{}: {error}", preset.name)));
    }
    let path = Path::new(text);
    let refused = |why: String| Failure::refused(format!("{}: {why}", path.display()));
    if !path.exists() {
        return Err(Failure::refused(format!(
            "no model is known as {text:?} and no file is there; `fednode fit --list` names the models"
        )));
    }
    if path.is_dir() {
        let measured = huggingface::measure(path).map_err(|error| refused(error.to_string()))?;
        return folder(measured, &name(path)).map_err(|error| refused(error.to_string()));
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        let text = up::read_file(path, limits::SETTINGS_BYTES_MAX)?;
        return parse_config(&text, &name(path)).map_err(|error| refused(error.to_string()));
    }
    let parsed = gguf::inspect(path).map_err(|error| refused(error.to_string()))?;
    match parsed.kind {
        ArtifactKind::Model => Ok(file(parsed, &name(path))),
        ArtifactKind::Adapter => Err(refused("this is an adapter; ask about the model that it goes on".to_owned())),
    }
}

/// What people call the file: its name, or its folder's where that says nothing.
fn name(path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let own = full.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let folder = full.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    let chosen = if own == "config.json" { folder.unwrap_or(own) } else { own };
    gguf::presentable(&chosen)
}

fn folder(measured: huggingface::Measured, name: &str) -> Result<Model, crate::wire::fit::ReadError> {
    let mut model = parse_config(&measured.config, name)?;
    let counted = model.shape.parameters;
    let packed = matches!(measured.precision, Precision::Quantised(_));
    match packed {
        // Several parameters are packed into one element: only the settings know how many there are.
        true => model.notes.push("its weights are packed: parameters are counted from its settings".to_owned()),
        false => {
            model.notes.clear();
            model.shape.parameters = measured.elements;
            if counted == model.active_parameters {
                model.active_parameters = measured.elements;
            }
        }
    }
    model.active_parameters = model.active_parameters.min(model.shape.parameters);
    model.shape.weights_bytes = measured.weights_bytes;
    model.shape.precision = match measured.precision {
        Precision::Bf16 => {
            model.notes.push("its weights are BF16: publishing makes F16 of them, of the same size".to_owned());
            Precision::F16
        }
        other => other,
    };
    model.stored = Some(model.shape.precision.name().to_owned());
    Ok(model)
}

fn file(parsed: ParsedModel, name: &str) -> Model {
    let shape = parsed.shape.clone();
    let number = |key: &str| parsed.metadata.number(&format!("{}.{key}", shape.architecture)).map(u64::from);
    let experts: u64 =
        parsed.tensors().filter(|tensor| tensor.name.contains("_exps")).map(|tensor| tensor.elements()).sum();
    let idle = match (number("expert_count"), number("expert_used_count")) {
        (Some(all), Some(used)) if used < all => {
            u64::try_from(u128::from(experts) * u128::from(all - used) / u128::from(all)).unwrap_or(0)
        }
        _ => 0,
    };
    Model {
        name: name.to_owned(),
        title: parsed.name.clone().unwrap_or_else(|| name.to_owned()),
        active_parameters: shape.parameters.saturating_sub(idle),
        stored: Some(shape.precision.name().to_owned()),
        notes: Vec::new(),
        shape,
    }
}
