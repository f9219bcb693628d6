//! `fednode bench fingerprint`: how far honest ways of running one model are apart, beside how far its quantised copy is. What
//! the thresholds of fingerprints rest on.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::engine_tools::{spec, start};
use crate::cli::exit::Failure;
use crate::cli::run::Out;
use crate::cli::table::table;
use crate::core::fingerprint::{Fingerprint, MicroNats};
use crate::core::limits;
use crate::core::types::{Digest, SlotName};
use crate::driver::fingerprint::{self, Known};
use crate::engine::LoadSpec;
use crate::store::make_model::{MakeModel, ModelDtype, make_model};

/// `fednode bench fingerprint`.
#[derive(Args, Debug)]
pub(super) struct FingerprintArgs {
    /// A model instead of the generated ones, with --quantised
    #[arg(value_name = "GGUF", requires = "quantised")]
    model: Option<PathBuf>,
    /// The same model with its weights quantised
    #[arg(long, value_name = "GGUF", requires = "model")]
    quantised: Option<PathBuf>,
    /// Where generated models lie meanwhile; the system's folder for temporary files if not given
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,
    /// Let this GPU answer too, as `fednode engine --devices` names it
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

/// Three shapes: a small one, a deep one, and one with the reference models' vocabulary.
const SHAPES: [Shape; 3] = [
    Shape { hidden: 512, layers: 8, vocab: 8_192, seed: 1 },
    Shape { hidden: 768, layers: 12, vocab: 16_384, seed: 2 },
    Shape { hidden: 1024, layers: 8, vocab: 32_256, seed: 3 },
];

#[derive(Clone, Copy)]
struct Shape {
    hidden: u32,
    layers: u32,
    vocab: u32,
    seed: u64,
}

/// Compute threads and sequences at once that honest machines differ by.
const WAYS: [(u32, u32); 4] = [(1, 1), (2, 1), (1, 4), (2, 4)];

struct Measured {
    name: String,
    threshold: MicroNats,
    /// The largest of any honest way.
    honest: MicroNats,
    quantised: MicroNats,
    /// The larger of a GPU's two ways.
    device: Option<MicroNats>,
}

/// Measures and prints.
pub(super) async fn run(out: Out, args: &FingerprintArgs) -> Result<(), Failure> {
    let mut all = Vec::new();
    if let (Some(model), Some(quantised)) = (&args.model, &args.quantised) {
        let name = model.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        all.push(measure(name, model, quantised, args.device.as_deref()).await?);
    } else {
        let folder = super::folder(args.dir.as_deref())?;
        for shape in SHAPES {
            let (model, quantised) = made(folder.path(), shape).await?;
            let name = format!("{} x {} layers, {} tokens", shape.hidden, shape.layers, shape.vocab);
            all.push(measure(name, &model, &quantised, args.device.as_deref()).await?);
            let _ = (std::fs::remove_file(model), std::fs::remove_file(quantised)); // the folder goes with the bench
        }
    }
    out.either(&document(&all), || text(&all));
    match all.iter().all(Measured::separates) {
        true => Ok(()),
        false => Err(Failure::failed("a threshold does not lie between what is honest and what is quantised")),
    }
}

impl Measured {
    fn separates(&self) -> bool {
        let honest = self.honest.max(self.device.unwrap_or_default());
        honest <= self.threshold && self.threshold < self.quantised
    }

    /// How many times further away the quantised copy is; honest ways that agree to the bit count as one micro-nat.
    fn ratio(&self) -> i64 {
        self.quantised.0 / self.honest.0.max(1)
    }
}

async fn made(folder: &Path, shape: Shape) -> Result<(PathBuf, PathBuf), Failure> {
    let paths = (folder.join("f16.gguf"), folder.join("q8_0.gguf"));
    let make = |out: &Path, dtype| MakeModel {
        out: out.to_owned(),
        layers: shape.layers,
        hidden: shape.hidden,
        heads: shape.hidden / 64,
        kv_heads: None,
        ffn: shape.hidden * 11 / 4 / 64 * 64,
        vocab: shape.vocab,
        context: 2048,
        seed: shape.seed,
        dtype,
    };
    let both = [make(&paths.0, ModelDtype::F16), make(&paths.1, ModelDtype::Q8_0)];
    let making = tokio::task::spawn_blocking(move || both.iter().try_for_each(|make| make_model(make).map(drop)));
    let made = making.await.map_err(|error| Failure::failed(error.to_string()))?;
    made.map_err(|error| Failure::failed(error.to_string())).map(|()| paths)
}

async fn measure(name: String, model: &Path, quantised: &Path, device: Option<&str>) -> Result<Measured, Failure> {
    let on =
        |model: &Path, (threads, parallel): (u32, u32)| spec(model, limits::FINGERPRINT_CONTEXT, parallel, threads);
    let (recorded, _) = asked(&on(model, (1, 1)), None).await?;
    let mut honest = MicroNats(0);
    for way in WAYS {
        let (_, distances) = asked(&on(model, way), Some(&recorded)).await?;
        honest = distances.into_iter().fold(honest, MicroNats::max);
    }
    let (_, distances) = asked(&on(quantised, (1, 1)), Some(&recorded)).await?;
    let quantised = distances.into_iter().min().unwrap_or_default();
    let device = match device {
        Some(device) => {
            let spec = LoadSpec { device: Some(device.to_owned()), ..on(model, (1, 1)) };
            asked(&spec, Some(&recorded)).await?.1.into_iter().max()
        }
        None => None,
    };
    Ok(Measured { name, threshold: recorded.threshold, honest, quantised, device })
}

/// Runs one model: its fingerprint, recorded now unless there is one, and how far its answers are from that, computed in one go
/// and position by position.
async fn asked(spec: &LoadSpec, recorded: Option<&Fingerprint>) -> Result<(Fingerprint, Vec<MicroNats>), Failure> {
    let failed = |error: fingerprint::FingerprintError| Failure::failed(error.to_string());
    let (engine, _) = start(spec).await?;
    let recorded = match recorded {
        Some(recorded) => recorded.clone(),
        None => fingerprint::record(&engine, "", Digest::default()).await.map_err(failed)?,
    };
    let slot = SlotName::new("bench").map_err(|error| Failure::failed(error.to_string()))?;
    let known = Known { domain: None, artifact: Digest::default(), fingerprint: recorded.clone().into() };
    let at_once = fingerprint::compare(&engine, &slot, &known).await.map_err(failed)?.distance;
    let one_by_one = fingerprint::noise(&engine, "", &recorded).await.map_err(failed)?;
    engine.stop().await;
    Ok((recorded, vec![at_once, one_by_one]))
}

fn document(all: &[Measured]) -> Value {
    let nats = |value: MicroNats| value.0 as f64 / 1e6;
    let model = |one: &Measured| {
        json!({
            "model": one.name, "honest_max": nats(one.honest), "threshold": nats(one.threshold),
            "quantised": nats(one.quantised), "ratio": one.ratio(), "separates": one.separates(),
            "gpu": one.device.map(nats),
        })
    };
    json!({ "models": all.iter().map(model).collect::<Vec<_>>() })
}

fn text(all: &[Measured]) -> String {
    let row = |one: &Measured| {
        let numbers = [one.honest, one.threshold, one.quantised].map(MicroNats::text);
        let gpu = one.device.map_or_else(|| "-".to_owned(), MicroNats::text);
        [vec![one.name.clone()], numbers.to_vec(), vec![format!("{}", one.ratio()), gpu]].concat()
    };
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    table(&["MODEL", "HONEST MAX", "THRESHOLD", "Q8_0", "RATIO", "GPU"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn distances_stand_beside_their_threshold() {
        let one = |name: &str, device| Measured {
            name: name.to_owned(),
            threshold: MicroNats(1_000),
            honest: MicroNats(12),
            quantised: MicroNats(9_000),
            device,
        };
        let all = [one("UFM.gguf", None), one("ULM.gguf", Some(MicroNats(140)))];
        golden::check("bench-fingerprint", |_| text(&all));
    }
}
