//! The course of `bench transfer`: a payload, the sources, and then in each repetition a receiver that pins the model, and the
//! practical limit. What is measured is the whole way that a model takes in earnest, from the pin to the rename that puts
//! the verified artifact in place.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::Instant;

use super::nodes::{Nodes, binary};
use super::report::{Report, Run, Side, Transfer};
use super::{TransferArgs, limit, payload, proc};
use crate::cli::exit::Failure;
use crate::core::sizing;
use crate::core::types::human_bytes;
use crate::store::disk;

/// The slot of the reference roster that the model is published into.
const SLOT: &str = "ULM";
/// A transfer slower than this has stalled.
const BYTES_PER_SECOND_MIN: u64 = 10 << 20;
/// Nodes are left alone this long before they are measured, so that what they do on arrival is over.
const QUIET: Duration = Duration::from_secs(2);
/// Between two looks whether the artifact is in place: a thousandth of a transfer, and one system call.
const GLANCE: Duration = Duration::from_millis(2);
const RECEIVER: &str = "in";

fn source(n: u32) -> String {
    format!("out{n}")
}

/// Says what is going on.
fn tell(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    } else {
        eprintln!("{what}");
    }
}

/// Measures it all in `folder`.
pub(super) async fn transfer(args: &TransferArgs, folder: &Path, nodes: &mut Nodes) -> Result<Report, Failure> {
    if args.size < payload::BYTES_MIN {
        let least = human_bytes(payload::BYTES_MIN);
        return Err(Failure::wrong_use(format!("--size must be at least {least}: a model has a vocabulary")));
    }
    check_room(args, folder)?;
    let (payload, size) = (folder.join("payload.gguf"), args.size);
    tell(&format!("making a model of about {}", human_bytes(size)));
    let made = payload.clone();
    let bytes = tokio::task::spawn_blocking(move || payload::make(size, &made)).await;
    let bytes = bytes.map_err(|error| Failure::failed(error.to_string()))??;

    tell("publishing it");
    nodes.start(folder, &source(1), &["up"]).await?;
    // The file is our own: the source may have it as it is.
    let publish = ["publish", &payload.to_string_lossy(), "--as", SLOT, "--link"];
    let published = nodes.get(&source(1)).command(&publish).await?;
    let artifact = published["artifact"].as_str().unwrap_or_default().to_owned();
    nodes.get(&source(1)).pin(&artifact, false).await?;
    replace(folder, nodes).await?;
    let mut bench = Bench { folder, nodes, artifact, bytes, sources: args.sources };
    for n in 2..=args.sources {
        tell(&format!("bringing it to source {n}"));
        bench.join(&source(n)).await?;
        bench.fetch(&source(n)).await?;
    }
    bench.join(RECEIVER).await?;
    let mut runs = Vec::new();
    for n in 0..args.runs {
        tell(&format!("run {} of {}", n + 1, args.runs));
        // In turn first and second, so that neither always finds the machine as the other left it.
        let run = if n % 2 == 0 {
            let nodes = bench.nodes_once().await?;
            Run { nodes, limit: bench.limit_once(&payload).await? }
        } else {
            let limit = bench.limit_once(&payload).await?;
            Run { nodes: bench.nodes_once().await?, limit }
        };
        runs.push(run);
    }
    tell("");
    let dir = folder.parent().unwrap_or(folder).display().to_string();
    Ok(Report { bytes, sources: args.sources, dir, cipher: crate::net::preferred_cipher(), runs })
}

/// Publishes a small model over the payload: what a slot held before is no longer planned onto every disk with room for it,
/// so that it moves when a receiver pins it and not before.
async fn replace(folder: &Path, nodes: &mut Nodes) -> Result<(), Failure> {
    let small = folder.join("small.gguf");
    let made = small.clone();
    let made = tokio::task::spawn_blocking(move || payload::make(payload::BYTES_MIN, &made)).await;
    made.map_err(|error| Failure::failed(error.to_string()))??;
    let publish = ["publish", &small.to_string_lossy(), "--as", SLOT];
    nodes.get(&source(1)).command(&publish).await.map(|_| ())
}

/// The payload, its copies at the other sources, and one at the receiver with the margin that a node keeps.
fn check_room(args: &TransferArgs, folder: &Path) -> Result<(), Failure> {
    let needed = args.size.saturating_mul(u64::from(args.sources)).saturating_add(sizing::disk_needed_bytes(args.size));
    let free = disk::free_bytes(folder);
    let free = free.map_err(|error| Failure::failed(format!("cannot measure {}: {error}", folder.display())))?;
    if needed > free {
        let parent = folder.parent().unwrap_or(folder).display();
        let [needed, free] = [needed, free].map(human_bytes);
        let message = format!("the bench needs {needed} in {parent}, {free} are free; give --dir or a smaller --size");
        return Err(Failure::refused(message));
    }
    Ok(())
}

struct Bench<'a> {
    folder: &'a Path,
    nodes: &'a mut Nodes,
    artifact: String,
    bytes: u64,
    sources: u32,
}

impl Bench<'_> {
    /// Enrols a node with the first source and waits until it knows that all sources have the artifact.
    async fn join(&mut self, name: &str) -> Result<(), Failure> {
        let invited = self.nodes.get(&source(1)).command(&["invite"]).await?;
        let ticket = invited["ticket"].as_str().unwrap_or_default().to_owned();
        self.nodes.start(self.folder, name, &["join", &ticket]).await?;
        self.wait_for_sources(name).await
    }

    async fn wait_for_sources(&mut self, name: &str) -> Result<(), Failure> {
        let (artifact, own) = (self.artifact.clone(), name.to_owned());
        let mut wanted: Vec<String> = (1..=self.sources).map(source).collect();
        // While the sources themselves are made, those before this one.
        if let Some(place) = wanted.iter().position(|source| *source == own) {
            wanted.truncate(place);
        }
        let holds = move |state: &crate::core::view::State| {
            wanted.iter().all(|source| {
                let is_holder = |m: &&crate::core::view::MemberView| m.name == *source && m.state == "alive";
                state.members.iter().find(is_holder).is_some_and(|member| member.stored.contains(&artifact))
            })
        };
        self.nodes.get(name).wait_for("the model at all sources", holds).await
    }

    /// Lets the node `name` fetch the artifact; how long it took until it was verified and in place.
    async fn fetch(&mut self, name: &str) -> Result<Duration, Failure> {
        let node = self.nodes.get(name);
        let in_place = node.data_dir().join("artifacts").join(&self.artifact).join("manifest");
        let longest = PATIENCE_MIN + Duration::from_secs(self.bytes / BYTES_PER_SECOND_MIN);
        let started = Instant::now();
        node.pin(&self.artifact, false).await?;
        while !in_place.exists() {
            node.check(started + longest, "did not get the model in time")?;
            tokio::time::sleep(GLANCE).await;
        }
        Ok(started.elapsed())
    }

    /// One transfer between nodes. Afterwards the receiver is as it was before.
    async fn nodes_once(&mut self) -> Result<Transfer, Failure> {
        self.wait_for_sources(RECEIVER).await?;
        tokio::time::sleep(QUIET).await;
        let names: Vec<String> = (1..=self.sources).map(source).collect();
        let receiver = Watched::begin(RECEIVER, self.nodes.get(RECEIVER).pid());
        let senders: Vec<Watched> = names.iter().map(|name| Watched::begin(name, self.nodes.get(name).pid())).collect();
        let took = self.fetch(RECEIVER).await?;
        let (receiver, senders) = (receiver.end(), senders.into_iter().map(Watched::end).collect());
        self.forget().await?;
        Ok(Transfer { seconds: took.as_secs_f64(), receiver, senders })
    }

    /// Takes the artifact from the receiver again.
    async fn forget(&mut self) -> Result<(), Failure> {
        let node = self.nodes.get(RECEIVER);
        node.pin(&self.artifact, true).await?;
        let stored = node.data_dir().join("artifacts").join(&self.artifact);
        self.nodes.end(RECEIVER).await;
        tokio::fs::remove_dir_all(&stored)
            .await
            .map_err(|error| Failure::failed(format!("cannot remove {}: {error}", stored.display())))?;
        self.nodes.start(self.folder, RECEIVER, &["up"]).await
    }

    /// One transfer without nodes.
    async fn limit_once(&mut self, payload: &Path) -> Result<Transfer, Failure> {
        tokio::time::sleep(QUIET).await;
        let (mut sender, mut sent) = limit_side(&["bench", "limit-send", &payload.to_string_lossy()])?;
        let listening: limit::Listening = answer(&mut sent).await?;
        let file = self.folder.join("limit.gguf");
        let address = listening.address.to_string();
        let (mut receiver, mut received) = limit_side(&["bench", "limit-receive", &address, &file.to_string_lossy()])?;
        let received: limit::Side = answer(&mut received).await?;
        let sent: limit::Side = answer(&mut sent).await?;
        let _ = (sender.wait().await, receiver.wait().await);
        let removed = tokio::fs::remove_file(&file).await;
        removed.map_err(|error| Failure::failed(format!("cannot remove {}: {error}", file.display())))?;
        if received.bytes != self.bytes {
            return Err(Failure::failed("the practical limit was measured with another payload"));
        }
        let side = |name: &str, side: &limit::Side| Side {
            name: name.to_owned(),
            cpu_seconds: side.cpu_seconds,
            peak_bytes: None,
            memory_bytes: None,
        };
        Ok(Transfer {
            seconds: received.seconds,
            receiver: side("receiver", &received),
            senders: vec![side("sender", &sent)],
        })
    }
}

/// Even a small model takes a while on a busy machine.
const PATIENCE_MIN: Duration = Duration::from_secs(60);

fn limit_side(arguments: &[&str]) -> Result<(Child, Lines<BufReader<ChildStdout>>), Failure> {
    let mut command = Command::new(binary()?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let failed = |error: std::io::Error| Failure::failed(format!("cannot measure the practical limit: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child.stdout.take().ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
    Ok((child, BufReader::new(stdout).lines()))
}

/// The next line that one side printed.
async fn answer<T: serde::de::DeserializeOwned>(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<T, Failure> {
    let line = lines.next_line().await.ok().flatten();
    let value = line.and_then(|line| serde_json::from_str(&line).ok());
    value.ok_or_else(|| Failure::failed("one side of the practical limit ended early; its reason stands above"))
}

/// A process while it is measured.
struct Watched {
    name: String,
    pid: u32,
    cpu_seconds: Option<f64>,
    resident_bytes: Option<u64>,
}

impl Watched {
    fn begin(name: &str, pid: u32) -> Watched {
        proc::forget_peak(pid);
        let resident_bytes = proc::memory(pid).map(|memory| memory.resident_bytes);
        Watched { name: name.to_owned(), pid, cpu_seconds: proc::cpu_seconds(pid), resident_bytes }
    }

    fn end(self) -> Side {
        let cpu_seconds = proc::cpu_seconds(self.pid).zip(self.cpu_seconds).map(|(end, start)| end - start);
        let peak = proc::memory(self.pid).map(|memory| memory.peak_bytes);
        let memory_bytes = peak.zip(self.resident_bytes).map(|(peak, idle)| peak.saturating_sub(idle));
        Side { name: self.name, cpu_seconds, peak_bytes: peak, memory_bytes }
    }
}
