//! From the command line to the end of the process: logging, the runtime, one command, its output and its exit code.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::engine::EngineArgs;
use super::exit::Failure;
use super::{
    Cli, Command, Global, admin, assess, bench, chat, child, dashboard, doctor, engine, fit, gc, invite, keys, members,
    owner, parse, pin, placing, plan, publish, roster, routes, scrub, service, table, transfers, up, verify, view,
};

/// Threads for tasks: half of the cores, for the other half is the engines', and fewer threads wake each other less often.
/// Nothing that runs on them waits for a disk.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// Parses the command line, carries it out and says how the process ends.
pub fn main() -> ExitCode {
    let Cli { global, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error),
    };
    log_to_stderr(&global, matches!(command, Command::Up(_) | Command::Join(_)));
    let json = global.json;
    match carry_out(global, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // What was found is a document already.
            if json && !failure.is_told() {
                Out { json }.json(&failure.json());
            }
            eprintln!("{}", failure.sentence());
            failure.exit_code()
        }
    }
}

/// Help and version are answers; the rest is wrong use, said as JSON too where that was asked for.
fn not_understood(error: &clap::Error) -> ExitCode {
    let wanted_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && wanted_json {
        let text = error.render().to_string();
        // Up to the usage: clap names what is missing on lines of their own.
        let lines = text.lines().take_while(|line| !line.starts_with("Usage")).map(str::trim);
        let sentence = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        Out { json: true }.json(&Failure::wrong_use(sentence.trim_start_matches("error: ")).json());
    }
    // A closed standard output or error cannot be told to anyone.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}

/// Where commands print; standard output closed by a reader such as `head` is no error.
#[derive(Clone, Copy)]
pub(super) struct Out {
    /// Print JSON?
    pub json: bool,
}

impl Out {
    /// `text` as it is, at once.
    pub(super) fn text(self, text: &str) {
        let mut stdout = std::io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    }

    /// Sentences, broken where a terminal would break them within a word.
    pub(super) fn prose(self, text: &str) {
        self.text(&fitted(text, std::io::stdout().is_terminal()));
    }

    /// A document for scripts.
    pub(super) fn json(self, value: &Value) {
        self.text(&format!("{value:#}\n"));
    }

    /// A document on one line, for commands that print several.
    pub(super) fn line(self, value: &Value) {
        self.text(&format!("{value}\n"));
    }

    /// A document, or sentences.
    pub(super) fn say(self, value: &Value, text: impl FnOnce() -> String) {
        match self.json {
            true => self.json(value),
            false => self.prose(&text()),
        }
    }

    /// A document, or a table.
    pub(super) fn either(self, value: &Value, text: impl FnOnce() -> String) {
        match self.json {
            true => self.json(value),
            false => self.text(&text()),
        }
    }
}

/// Sentences beside what was asked for.
pub(super) fn remark(text: &str) {
    let text = fitted(text, std::io::stderr().is_terminal());
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn fitted(text: &str, on_terminal: bool) -> Cow<'_, str> {
    match on_terminal {
        true => table::prose(text, table::columns()).into(),
        false => text.into(),
    }
}

fn log_to_stderr(global: &Global, node: bool) {
    let by_flags = match (global.verbose, node) {
        (0, false) => "warn",
        (0, true) => "warn,fednode=info",
        (1, _) => "info,fednode=debug",
        (_, _) => "debug,fednode=trace",
    };
    // A flag is stronger than the environment; a filter that cannot be read is as good as none.
    let environment = std::env::var("FEDNODE_LOG").ok().filter(|_| global.verbose == 0);
    let filter = environment.and_then(|text| text.parse().ok()).unwrap_or_else(|| EnvFilter::new(by_flags));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match global.log_json {
        true => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        false => log.with_ansi(colours).init(),
    }
}

fn carry_out(global: Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::Engine(EngineArgs { socket: Some(socket), .. }) => child::engine(socket),
        Command::Engine(EngineArgs { devices: true, .. }) => child::devices(),
        Command::Dev(args) => child::dev(args),
        Command::Bench(args) if let Some(done) = bench::without_runtime(&args) => done,
        command => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime = builder.worker_threads(workers()).enable_all().build();
            let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start threads: {error}")))?;
            let done = runtime.block_on(with_runtime(global, command));
            // A thread that still reads the terminal must not hold the process.
            runtime.shutdown_background();
            done
        }
    }
}

async fn with_runtime(global: Global, command: Command) -> Result<(), Failure> {
    let out = Out { json: global.json };
    match command {
        Command::Up(args) => up::run_node(args.options(data_dir(global)?)?).await,
        Command::Join(args) => up::run_node(args.options(data_dir(global)?)?).await,
        // It asks no node when it reads an inventory, and must work where no home directory is.
        Command::Plan(args) => plan::run(out, move || data_dir(global), args).await,
        Command::Assess(args) => assess::run(out, &data_dir(global)?, &args).await,
        Command::Fit(args) => fit::run(out, &args),
        Command::Invite(args) => invite::run(out, &data_dir(global)?, args).await,
        Command::Keys { command } => keys::run(out, &data_dir(global)?, command),
        Command::Publish(args) => publish::run(out, &data_dir(global)?, args).await,
        Command::Pin(args) => pin::pin(out, &data_dir(global)?, args).await,
        Command::Unpin(args) => pin::unpin(out, &data_dir(global)?, args).await,
        Command::Load(args) => placing::load(out, &data_dir(global)?, args).await,
        Command::Evict(args) => placing::evict(out, &data_dir(global)?, args).await,
        Command::Drain(args) => placing::drain(out, &data_dir(global)?, args).await,
        Command::Routes => routes::run(out, &data_dir(global)?),
        Command::Roster { command } => roster::run(out, &data_dir(global)?, command).await,
        Command::Dashboard => dashboard::run(out, &data_dir(global)?).await,
        Command::Doctor => doctor::run(out, &data_dir(global)?).await,
        Command::Gc(args) => gc::run(out, &data_dir(global)?, args).await,
        Command::Scrub(args) => scrub::run(out, &data_dir(global)?, args).await,
        Command::Service { command } => service::run(out, global.data_dir, command),
        Command::Chat(args) => chat::run(out, &data_dir(global)?, args).await,
        Command::Status(args) => view::run(out, &data_dir(global)?, args).await,
        Command::Members { command } => members::run(out, &data_dir(global)?, command).await,
        Command::Owner { command } => owner::run(out, &data_dir(global)?, command).await,
        Command::Managers => {
            let (value, state) = admin::state(&data_dir(global)?).await?;
            out.either(&json!({"slots": value["slots"]}), || view::managers(&state, table::columns()));
            Ok(())
        }
        Command::Transfers(args) => transfers::run(out, &data_dir(global)?, args).await,
        Command::Verify(args) => verify::run(out, &data_dir(global)?, args).await,
        Command::Bench(args) => bench::run(out, args).await,
        Command::Engine(args) => engine::run(out, &data_dir(global)?, args).await,
        Command::Dev(_) => unreachable!("carried out without a runtime"),
    }
}

fn data_dir(global: Global) -> Result<PathBuf, Failure> {
    let named = global.data_dir.filter(|path| !path.as_os_str().is_empty());
    let macos = cfg!(target_os = "macos");
    let path = named.or_else(|| parse::default_data_dir(|name| std::env::var_os(name), macos)).ok_or_else(|| {
        Failure::wrong_use("no home directory is known to keep data in; give --data-dir or set FEDNODE_DATA_DIR")
    })?;
    let absolute = std::path::absolute(&path);
    absolute.map_err(|error| Failure::wrong_use(format!("{} cannot be a data directory: {error}", path.display())))
}
