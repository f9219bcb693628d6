//! The commands that run without the asynchronous runtime: the engine's child process and the tools for developers.

use std::path::PathBuf;

use clap::Args;

use super::exit::Failure;

/// `fednode dev …`, as the tools themselves define it.
#[derive(Args, Debug)]
pub(super) struct DevArgs {
    /// The tool and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    tool: Vec<String>,
}

/// Serves one replica on `socket` until the node hangs up.
pub(super) fn engine(socket: PathBuf) -> Result<(), Failure> {
    Err(Failure::failed(format!("this build has no engine to serve {}", socket.display())))
}

/// Runs one tool.
pub(super) fn dev(args: DevArgs) -> Result<(), Failure> {
    Err(Failure::wrong_use(format!("this build has no tool {}", args.tool.join(" "))))
}
