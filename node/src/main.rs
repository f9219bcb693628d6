//! The least that the engine's tests need of the binary: `engine --socket PATH` and `dev make-model`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use fednode::engine::make_model::{MakeModel, make_model};

#[derive(Parser)]
enum Command {
    #[command(hide = true)]
    Engine {
        #[arg(long)]
        socket: PathBuf,
    },
    #[command(subcommand, hide = true)]
    Dev(Dev),
}

#[derive(Subcommand)]
enum Dev {
    MakeModel(MakeModel),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Command::parse() {
        Command::Engine { socket } => fednode::engine::run_child(socket)?,
        Command::Dev(Dev::MakeModel(make)) => println!("{:?}", make_model(&make)?),
    }
    Ok(())
}
