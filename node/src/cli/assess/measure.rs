//! The short measurement of `assess`: a file written to the data directory's disk and read back, and an answer of this build's engine with
//! a small model made for it. What cannot be measured becomes a note.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::bench::{ask, raw_read};
use crate::cli::engine_tools::{spec, start};
use crate::cli::exit::Failure;
use crate::core::assess::{Facts, SpeedFacts};
use crate::core::membership::advert::DomainKind;
use crate::core::types::human_bytes;
use crate::engine::ChildEngine;
use crate::hardware::Hardware;
use crate::store::make_model::{MakeModel, ModelDtype, make_model};

/// What is written and read: longer than what a disk takes into its own cache at once.
const FILE_BYTES: u64 = 512 << 20;
const BLOCK_BYTES: usize = 4 << 20;
/// Free disk below which nothing is measured.
const FREE_BYTES_MIN: u64 = 4 << 30;
/// Tokens of the prompt, and of the answer.
const PROMPT_TOKENS: u32 = 128;
const ANSWER_TOKENS: u32 = 16;
/// Questions; the quickest counts, for other programs make none quicker.
const QUESTIONS: u8 = 3;

/// Measures what can be measured.
pub(super) async fn all(facts: &mut Facts, hardware: &Hardware, data_dir: &Path) {
    if hardware.disk_free_bytes < FREE_BYTES_MIN {
        facts.notes.push(format!(
            "nothing was measured: that needs {} of free disk for some seconds",
            human_bytes(FREE_BYTES_MIN)
        ));
        return;
    }
    let folder = match folder(data_dir) {
        Ok(folder) => folder,
        Err(why) => return facts.notes.push(format!("nothing was measured: {why}")),
    };
    if let Some(load) = load_hundredths().filter(|load| *load > 50 * u64::from(hardware.cores)) {
        facts.notes.push(format!(
            "other programs kept the processor busy while it was measured (a load of {}.{:02} on {} threads): what is measured is less \
             than it could be",
            load / 100,
            load % 100,
            hardware.cores
        ));
    }
    let file = folder.path().join("disk");
    let measured = tokio::task::spawn_blocking(move || disk(&file)).await;
    match measured.map_err(|error| error.to_string()).and_then(|measured| measured.map_err(|why| why.to_string())) {
        Ok((write, read)) => {
            facts.disk.write_bytes_per_s = Some(write);
            facts.disk.read_bytes_per_s = Some(read);
        }
        Err(why) => facts.notes.push(format!("the disk was not measured: {why}")),
    }
    match engine(hardware, folder.path()).await {
        Ok(speed) => facts.speed = speed,
        Err(why) => facts.notes.push(format!("the engine was not measured: {why}")),
    }
}

/// Programs that wanted to compute in the last minute, hundredths; `None` where the system does not say.
fn load_hundredths() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let (whole, part) = text.split_whitespace().next()?.split_once('.')?;
    Some(whole.parse::<u64>().ok()?.checked_mul(100)? + part.parse::<u64>().ok()?)
}

/// A folder on the disk of the data directory, which may not be there yet.
fn folder(data_dir: &Path) -> std::io::Result<tempfile::TempDir> {
    let there = data_dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    tempfile::Builder::new().prefix("fednode-assess-").tempdir_in(there)
}

/// Bytes per second written and synced, and read back from the disk itself.
fn disk(path: &Path) -> Result<(u64, u64), Failure> {
    let failed = |error: std::io::Error| Failure::failed(error.to_string());
    // Not zeros: some disks store none.
    let block: Vec<u8> =
        (0..BLOCK_BYTES as u64).map(|byte| (byte.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let begun = Instant::now();
    let mut file = File::create(path).map_err(failed)?;
    for _ in 0..FILE_BYTES / BLOCK_BYTES as u64 {
        file.write_all(&block).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let wrote = begun.elapsed();
    drop(file);
    let read = raw_read(path)?;
    std::fs::remove_file(path).map_err(failed)?;
    Ok((rate(FILE_BYTES, wrote), rate(FILE_BYTES, read)))
}

fn rate(bytes: u64, time: Duration) -> u64 {
    let per_second = u128::from(bytes) * 1_000_000_000 / time.as_nanos().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

/// Asks the engine once in each memory that can host.
async fn engine(hardware: &Hardware, folder: &Path) -> Result<Vec<SpeedFacts>, Failure> {
    let model = folder.join("model.gguf");
    let make = shape(model.clone());
    let made = tokio::task::spawn_blocking(move || make_model(&make)).await;
    let made = made.map_err(|error| Failure::failed(error.to_string()))?;
    let made = made.map_err(|error| Failure::failed(error.to_string()))?;
    let mut speeds = Vec::new();
    for domain in hardware.domains.iter().filter(|domain| domain.hosts) {
        let device = hardware.devices.get(&domain.name).cloned();
        if domain.kind == DomainKind::Vram && device.is_none() {
            continue;
        }
        let mut load = spec(&model, PROMPT_TOKENS + ANSWER_TOKENS + 64, 1, hardware.cores);
        load.device = device;
        let (engine, loaded) = start(&load).await?;
        let quickest = quickest(&engine).await;
        engine.stop().await;
        let (prompt, decode) = quickest?;
        speeds.push(SpeedFacts {
            domain: domain.name.clone(),
            threads: hardware.cores,
            bytes_per_token: made.weights_bytes,
            millitokens_per_s: rate(u64::from(ANSWER_TOKENS) * 1000, decode),
            prompt_millitokens_per_s: rate(u64::from(PROMPT_TOKENS) * 1000, prompt),
            load_ms: u64::from(loaded.load_ms),
        });
    }
    Ok(speeds)
}

/// The least that a prompt and an answer took, after one that warms up.
async fn quickest(engine: &ChildEngine) -> Result<(Duration, Duration), Failure> {
    ask(engine, "a".repeat(8), 2).await?;
    let mut least = (Duration::MAX, Duration::MAX);
    for letter in (b'b'..).take(usize::from(QUESTIONS)) {
        let prompt = char::from(letter).to_string().repeat(PROMPT_TOKENS as usize);
        let one = ask(engine, prompt, ANSWER_TOKENS).await?;
        least = (least.0.min(one.prompt), least.1.min(one.decode));
    }
    Ok(least)
}

/// 163 million parameters in blocks of usual proportions, 326 MB: more than processors keep close, read whole for each token. Its
/// vocabulary is small, for the rows of an embedding are not read whole.
fn shape(out: PathBuf) -> MakeModel {
    MakeModel {
        out,
        layers: 8,
        hidden: 1280,
        heads: 20,
        kv_heads: None,
        ffn: 3584,
        vocab: 512,
        context: 2048,
        seed: 0,
        dtype: ModelDtype::F16,
    }
}
