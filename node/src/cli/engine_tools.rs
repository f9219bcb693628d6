//! Developers' tools around one engine process, without a node: `fednode dev score` and `fednode dev tokenize`, and what the
//! benches of engines share.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use fednode_proto::v1;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::Failure;
use crate::engine::{ChildEngine, Engine as _, LoadSpec, Loaded};

/// What is read from standard input.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// `fednode dev score`.
#[derive(Args, Debug)]
pub(super) struct ScoreArgs {
    /// The GGUF file
    #[arg(long, value_name = "GGUF")]
    model: PathBuf,
    /// An adapter, for the sequences of its domain
    #[arg(long, value_name = "DOMAIN=GGUF", value_parser = adapter)]
    adapter: Vec<(String, PathBuf)>,
    /// Tokens of context of one sequence
    #[arg(long, default_value_t = 512)]
    context: u32,
    /// Sequences at once
    #[arg(long, default_value_t = 1)]
    parallel: u32,
    /// Compute threads
    #[arg(long, default_value_t = 1)]
    threads: u32,
    /// The GPU to compute on, as `fednode engine --devices` names it
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
}

fn adapter(text: &str) -> Result<(String, PathBuf), String> {
    let (domain, path) = text.split_once('=').ok_or("expected DOMAIN=GGUF")?;
    Ok((domain.to_owned(), PathBuf::from(path)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sequences: Vec<AskedSequence>,
    #[serde(default)]
    greedy: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedSequence {
    #[serde(default)]
    domain: String,
    tokens: Vec<u32>,
    /// "all" or a number.
    wanted: Value,
}

/// `fednode dev tokenize`.
#[derive(Args, Debug)]
pub(super) struct TokenizeArgs {
    /// The GGUF file
    #[arg(long, value_name = "GGUF")]
    model: PathBuf,
}

/// Tokenizes the list of texts that stands in standard input as JSON, and prints a list for each.
pub(super) fn tokenize(args: &TokenizeArgs) -> Result<(), Failure> {
    let texts: Vec<String> = asked()?;
    let spec = spec(&args.model, 64, 1, 1); // nothing is computed, so the context does not matter
    let tokens = runtime()?.block_on(async {
        let (engine, _) = start(&spec).await?;
        let mut tokens = Vec::new();
        for text in texts {
            tokens.push(engine.tokenize(text).await.map_err(|error| Failure::failed(error.to_string()))?);
        }
        engine.stop().await;
        Ok::<_, Failure>(json!(tokens))
    })?;
    println!("{tokens}");
    Ok(())
}

/// What standard input asks for.
fn asked<T: for<'de> Deserialize<'de>>() -> Result<T, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::failed(format!("cannot read standard input: {error}")))?;
    serde_json::from_str(&text).map_err(|error| Failure::failed(format!("standard input: {error}")))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))
}

/// Scores what standard input asks for, as JSON, and prints JSON.
pub(super) fn score(args: &ScoreArgs) -> Result<(), Failure> {
    let asked: Asked = asked()?;
    let runtime = runtime()?;
    let mut spec = spec(&args.model, args.context, args.parallel, args.threads);
    spec.adapters.clone_from(&args.adapter);
    spec.device.clone_from(&args.device);
    let scored = runtime.block_on(async {
        let (engine, _) = start(&spec).await?;
        let mut scored = Vec::new();
        for sequence in &asked.sequences {
            scored.push(score_one(&engine, sequence, asked.greedy).await?);
        }
        engine.stop().await;
        Ok::<_, Failure>(json!({ "sequences": scored }))
    })?;
    println!("{scored}");
    Ok(())
}

async fn score_one(engine: &ChildEngine, asked: &AskedSequence, greedy: usize) -> Result<Value, Failure> {
    let each = match &asked.wanted {
        Value::String(all) if all == "all" => None,
        wanted => Some(
            wanted
                .as_u64()
                .and_then(|each| u32::try_from(each).ok())
                .ok_or_else(|| Failure::failed("wanted is \"all\" or a number of tokens".to_owned()))?,
        ),
    };
    let likeliest = ask(engine, &asked.domain, &asked.tokens, each.unwrap_or(u32::MAX)).await?;
    let positions = asked.tokens.len().saturating_sub(1).max(1);
    let each_got = (likeliest.tokens.len() / positions).max(1);
    let (mut tokens, mut logprobs) = (Vec::new(), Vec::new());
    for (ids, values) in likeliest.tokens.chunks(each_got).zip(likeliest.logprobs.chunks(each_got)) {
        let mut pairs: Vec<(u32, f32)> = ids.iter().copied().zip(values.iter().copied()).collect();
        if each.is_none() {
            pairs.sort_by_key(|(id, _)| *id);
        }
        tokens.push(pairs.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        logprobs.push(pairs.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    }
    let mut all = asked.tokens.clone();
    for _ in 0..greedy {
        // The token at the end is not computed: what comes before it is what counts.
        let open = [all.as_slice(), &[0]].concat();
        all.push(ask(engine, &asked.domain, &open, 1).await?.tokens.last().copied().unwrap_or(0));
    }
    let continued = &all[asked.tokens.len()..];
    Ok(json!({"tokens": tokens, "logprobs": logprobs, "greedy": continued}))
}

async fn ask(engine: &ChildEngine, domain: &str, tokens: &[u32], each: u32) -> Result<v1::SequenceScore, Failure> {
    let sequence = v1::ScoreSequence { tokens: tokens.to_vec(), wanted: Vec::new(), wanted_each: each };
    let request = v1::ScoreRequest { slot: String::new(), domain: domain.to_owned(), sequences: vec![sequence] };
    let reply = engine.score(request).await.map_err(|error| Failure::failed(error.to_string()))?;
    reply.sequences.into_iter().next().ok_or_else(|| Failure::failed("the engine scored nothing".to_owned()))
}

/// An engine process of this program, alone.
pub(super) async fn start(spec: &LoadSpec) -> Result<(ChildEngine, Loaded), Failure> {
    let failed = |error: String| Failure::failed(error);
    let exe = std::env::current_exe().map_err(|error| failed(format!("cannot find this program: {error}")))?;
    let folder = std::env::temp_dir();
    ChildEngine::start(&exe, &folder, spec, |_| {}).await.map_err(|error| failed(error.to_string()))
}

/// Loads a file as it is, without a cap, computing whenever it likes.
pub(super) fn spec(model: &Path, context: u32, parallel: u32, threads: u32) -> LoadSpec {
    LoadSpec {
        path: model.to_owned(),
        adapters: Vec::new(),
        context,
        parallel,
        threads,
        private_bytes_max: None,
        turn_folder: None,
        lock: false,
        device: None,
    }
}

/// The middle one of some.
pub(super) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
