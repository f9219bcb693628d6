//! The command line: what `fednode` accepts and prints. It parses, asks the running node over the admin socket (or, for
//! `chat`, over its HTTP API) and prints; it decides nothing. `main.rs` calls [`main`].

mod admin;
mod api_args;
mod assess;
mod bench;
mod chat;
mod child;
mod dashboard;
mod doctor;
mod engine;
mod engine_tools;
mod exit;
mod fit;
mod gc;
#[cfg(test)]
mod golden;
mod invite;
mod invite_wait;
mod join;
mod keys;
mod manual;
mod members;
mod owner;
mod parse;
mod pin;
mod placing;
mod plan;
mod publish;
mod qr;
mod roster;
mod routes;
mod run;
#[cfg(test)]
mod sample;
mod scrub;
mod service;
mod table;
#[cfg(test)]
mod tests;
mod transfers;
pub mod up;
mod verify;
mod view;
mod watch;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

pub use exit::Failure;
pub use run::main;

/// A personal federation of machines that hosts large language models at full FP16
#[derive(Parser, Debug)]
#[command(name = "fednode", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Debug)]
struct Global {
    /// Where this node keeps its data; the platform's data directory if not given
    #[arg(long, global = true, env = "FEDNODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON, errors included
    #[arg(long, global = true)]
    json: bool,
    /// Log more (twice: all); FEDNODE_LOG chooses in detail
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Log one JSON object a line
    #[arg(long, global = true, env = "FEDNODE_LOG_JSON", value_parser = clap::builder::FalseyValueParser::new())]
    log_json: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run this machine's node; the first time it creates a federation
    Up(up::UpArgs),
    /// Make a one-use invitation for another machine
    Invite(invite::InviteArgs),
    /// Join a federation with a ticket, then run this machine's node
    Join(up::JoinArgs),
    /// List the machines of the federation, or revoke, rename or trust one
    Members {
        #[command(subcommand)]
        command: Option<members::MembersCommand>,
    },
    /// Keep the owner's key in a recovery file, or take it from one
    Owner {
        #[command(subcommand)]
        command: owner::OwnerCommand,
    },
    /// Make, list and remove keys of this node's API
    Keys {
        #[command(subcommand)]
        command: Option<keys::KeysCommand>,
    },
    /// Publish a model, or an adapter, into a manager slot
    Publish(publish::PublishArgs),
    /// Keep a manager, or one artifact, on this machine's disk, or a manager resident on a member; without a name, list
    Pin(pin::PinArgs),
    /// No longer keep it
    Unpin(pin::UnpinArgs),
    /// Make a manager resident somewhere, without asking it anything
    Load(placing::LoadArgs),
    /// Put a manager out of this machine's memory until it is asked for again
    Evict(placing::EvictArgs),
    /// Let a machine hold no managers: those it has move elsewhere first
    Drain(placing::DrainArgs),
    /// List the managers
    Managers,
    /// Show or replace the roster of slots
    Roster {
        #[command(subcommand)]
        command: Option<roster::RosterCommand>,
    },
    /// Show by which rules the model auto chooses a manager
    Routes,
    /// Show the federation as this node sees it
    Status(view::StatusArgs),
    /// Print the dashboard's address, with the right to invite and revoke machines in it
    Dashboard,
    /// Show which machine holds which manager, and why
    Plan(plan::PlanArgs),
    /// Say what this machine has, what it could hold, and about how fast it would be
    Assess(assess::AssessArgs),
    /// Say what a model needs and where it fits, before it is downloaded or a machine is bought
    Fit(fit::FitArgs),
    /// Say what keeps this machine from finding members and working with them, and what to do
    Doctor,
    /// Make fednode a service of this machine, which starts with it
    Service {
        #[command(subcommand)]
        command: service::ServiceCommand,
    },
    /// Talk to a manager
    Chat(chat::ChatArgs),
    /// List the transfers of weights into this node
    Transfers(transfers::TransfersArgs),
    /// Measure this machine
    Bench(bench::BenchArgs),
    /// Show what may be deleted from this machine's disk and why the rest stays; with --yes, delete it
    Gc(gc::GcArgs),
    /// Show how the check of stored weights stands; with --now, check and repair at once
    Scrub(scrub::ScrubArgs),
    /// Check on every machine that what lies there and answers there is what was published into a slot
    Verify(verify::VerifyArgs),
    /// Let servers that you run already (llama-server, vLLM, Ollama) answer for slots; without a command, list them
    Engine(engine::EngineArgs),
    /// Tools for developers
    #[command(hide = true)]
    Dev(child::DevArgs),
}
