//! The nodes of a bench: this very binary as `fednode up` and `fednode join`, each with a folder of its own, told what to do
//! through its admin socket as a person would tell it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fednode_proto::v1;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::cli::admin;
use crate::cli::exit::Failure;
use crate::core::view::State;

/// Whatever a node should do soon, it does by then: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that takes seconds.
const GLANCE: Duration = Duration::from_millis(50);
/// A node that was asked to end is killed after this.
const STOP: Duration = Duration::from_secs(10);
/// What a node may hold in memory: so little that it never loads what it stores.
const MEMORY: &str = "1MiB";

/// Those that run.
#[derive(Default)]
pub(super) struct Nodes(Vec<Node>);

/// One of them. Dropping it kills the process.
pub(super) struct Node {
    name: String,
    data_dir: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Nodes {
    /// Starts the node `name` below `folder` and waits until it answers. `first`: `up`, or `join` with a ticket.
    pub(super) async fn start(&mut self, folder: &Path, name: &str, first: &[&str]) -> Result<(), Failure> {
        let (data_dir, log) = (folder.join(name), folder.join(format!("{name}.log")));
        let output = File::options().create(true).append(true).open(&log);
        let output = output.map_err(|error| Failure::failed(format!("cannot write {}: {error}", log.display())))?;
        let mut command = Command::new(binary()?);
        command.arg("--data-dir").arg(&data_dir).args(first);
        command.args(["--name", name, "--role", "full", "--memory", MEMORY, "--threads", "1"]);
        command.args(["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"]);
        command.env_remove("FEDNODE_TICKET").stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = command.kill_on_drop(true).spawn();
        let child = child.map_err(|error| Failure::failed(format!("cannot start a node: {error}")))?;
        self.0.push(Node { name: name.to_owned(), data_dir, log, child });
        let node = self.last();
        let deadline = Instant::now() + PATIENCE;
        while admin::connect(&node.data_dir).await.is_err() {
            node.check(deadline, "did not start")?;
            tokio::time::sleep(GLANCE).await;
        }
        Ok(())
    }

    fn last(&mut self) -> &mut Node {
        self.0.last_mut().expect("a node was just started")
    }

    /// The node `name`.
    pub(super) fn get(&mut self, name: &str) -> &mut Node {
        self.0.iter_mut().find(|node| node.name == name).expect("a node that was started")
    }

    /// Ends the node `name`.
    pub(super) async fn end(&mut self, name: &str) {
        if let Some(place) = self.0.iter().position(|node| node.name == name) {
            self.0.remove(place).end().await;
        }
    }

    /// Ends all of them.
    pub(super) async fn stop(self) {
        futures::future::join_all(self.0.into_iter().map(Node::end)).await;
    }
}

impl Node {
    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Where it keeps everything.
    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    async fn end(mut self) {
        // Asked first: a node that leaves tells the others.
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    /// Fails when it has ended, or when it is late.
    pub(super) fn check(&mut self, deadline: Instant, what: &str) -> Result<(), Failure> {
        let ended = self.child.try_wait().ok().flatten();
        let why = match ended {
            Some(status) => format!("ended ({status})"),
            None if Instant::now() > deadline => what.to_owned(),
            None => return Ok(()),
        };
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join("\n  ");
        Err(Failure::failed(format!("node {} {why}; the end of its log:\n  {last}", self.name)))
    }

    /// Runs `fednode` with `arguments` against it; what it printed.
    pub(super) async fn command(&mut self, arguments: &[&str]) -> Result<Value, Failure> {
        let mut command = Command::new(binary()?);
        command.arg("--data-dir").arg(&self.data_dir).arg("--json").args(arguments);
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output().await;
        let output = output.map_err(|error| Failure::failed(format!("cannot run a command: {error}")))?;
        let value: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        match output.status.success() {
            true => Ok(value),
            false => {
                let why = value["error"]["message"].as_str().unwrap_or("it printed no reason");
                Err(Failure::failed(format!("fednode {} failed: {why}", arguments.join(" "))))
            }
        }
    }

    /// Pins an artifact to this node, or lets it go.
    pub(super) async fn pin(&self, artifact: &str, remove: bool) -> Result<(), Failure> {
        let request = v1::PinRequest { pin: artifact.to_owned(), remove, on: String::new() };
        admin::connect(&self.data_dir).await?.pin(request).await?;
        Ok(())
    }

    /// Waits until its view of the federation is as `ready` wants it.
    pub(super) async fn wait_for(&mut self, what: &str, ready: impl Fn(&State) -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok((_, state)) = admin::state(&self.data_dir).await
                && ready(&state)
            {
                return Ok(());
            }
            self.check(deadline, &format!("did not see {what} in time"))?;
            tokio::time::sleep(GLANCE).await;
        }
    }
}

/// This binary: the nodes are what is measured, so they are what was built.
pub(super) fn binary() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::failed(format!("this binary cannot be found again: {error}")))
}
