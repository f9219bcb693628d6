//! The commands that run without the asynchronous runtime: the engine's child process and the tools for developers.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::engine_tools::{self, ScoreArgs, TokenizeArgs};
use super::exit::Failure;
use super::manual::{self, ManualArgs};
use crate::store::make_model::{MakeModel, make_model};

/// `fednode dev …`.
#[derive(Args, Debug)]
pub(super) struct DevArgs {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Subcommand, Debug)]
enum Tool {
    /// Write a GGUF model of any shape with random weights
    MakeModel(MakeModel),
    /// Score tokens with an engine alone: JSON from standard input to JSON
    Score(ScoreArgs),
    /// Write man pages and the completions of shells
    Manual(ManualArgs),
    /// Tokenize texts with an engine alone: JSON from standard input to JSON
    Tokenize(TokenizeArgs),
}

/// Serves one replica on `socket` until the node hangs up.
pub(super) fn engine(socket: PathBuf) -> Result<(), Failure> {
    crate::engine::run_child(socket).map_err(|error| Failure::failed(error.to_string()))
}

/// Prints the GPUs that the engine can compute on. The node runs it too, for a driver can hang whoever starts it.
pub(super) fn devices() -> Result<(), Failure> {
    let text = serde_json::to_string(&crate::engine::devices()).map_err(|error| Failure::failed(error.to_string()))?;
    println!("{text}");
    Ok(())
}

/// Runs one tool.
pub(super) fn dev(args: DevArgs) -> Result<(), Failure> {
    match args.tool {
        Tool::Score(args) => engine_tools::score(&args),
        Tool::Tokenize(args) => engine_tools::tokenize(&args),
        Tool::Manual(args) => manual::write(&args),
        Tool::MakeModel(make) => {
            let made = make_model(&make).map_err(|error| Failure::failed(error.to_string()))?;
            println!("{}: {} bytes, {} parameters", made.path.display(), made.file_bytes, made.parameters);
            Ok(())
        }
    }
}
