//! One `fednode` process: how it is started, commanded, looked at, stopped and killed.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::{Client, Error, cleanup, managers, ports, process, wait};

/// Generous: a cold debug binary on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const LOG_LINES_SHOWN: usize = 60;
/// What nodes write down of themselves if nothing else is asked for: what a failed test needs, and not every input of the core.
const LOG: &str = "warn,fednode=info,fednode::net=debug,fednode::driver::effects=debug,fednode::driver::sync=debug";

/// What a node should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSpec {
    /// Its name, and that of its folder.
    pub name: String,
    /// Flags of `up` and `join`, addresses excepted.
    pub flags: Vec<String>,
    /// Where its API listens; this harness talks to it on loopback.
    pub api_ip: String,
    /// In a session of its own, so that it outlives its starter and its terminal.
    pub detached: bool,
}

impl NodeSpec {
    /// A node that hosts managers. One compute thread: tests share their cores.
    pub fn full(name: &str) -> NodeSpec {
        NodeSpec::new(name, "full")
    }

    /// A node that forwards.
    pub fn delegate(name: &str) -> NodeSpec {
        NodeSpec::new(name, "delegate")
    }

    fn new(name: &str, role: &str) -> NodeSpec {
        let flags = ["--role", role, "--threads", "1"].map(str::to_owned).to_vec();
        NodeSpec { name: name.to_owned(), flags, api_ip: "127.0.0.1".to_owned(), detached: false }
    }

    /// With `--memory SIZE`.
    pub fn memory(self, size: &str) -> NodeSpec {
        self.flag("--memory", size)
    }

    /// With the API on this address, all interfaces for example.
    pub fn api_ip(mut self, ip: &str) -> NodeSpec {
        self.api_ip = ip.to_owned();
        self
    }

    /// With one more flag.
    pub fn flag(mut self, flag: &str, value: &str) -> NodeSpec {
        self.flags.extend([flag.to_owned(), value.to_owned()]);
        self
    }

    /// In a session of its own.
    pub fn detached(mut self, detached: bool) -> NodeSpec {
        self.detached = detached;
        self
    }
}

/// What a command printed, and how it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Its exit code, or -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_default()
    }
}

/// A node of this harness, running or not. Dropping it kills it.
#[derive(Debug)]
pub struct NodeProcess {
    binary: PathBuf,
    spec: NodeSpec,
    data_dir: PathBuf,
    log: PathBuf,
    api_port: u16,
    peer_port: u16,
    client: Client,
    child: Option<Child>,
    ready_after: Option<Duration>,
}

impl NodeProcess {
    /// A node below `folder`, not started yet.
    pub fn new(binary: &Path, folder: &Path, spec: NodeSpec) -> Result<NodeProcess, Error> {
        let (api_port, peer_port) = (ports::free()?, ports::free()?);
        Ok(NodeProcess {
            binary: binary.to_owned(),
            data_dir: folder.join(&spec.name),
            log: folder.join(format!("{}.log", spec.name)),
            client: Client::new(format!("http://127.0.0.1:{api_port}")),
            spec,
            api_port,
            peer_port,
            child: None,
            ready_after: None,
        })
    }

    /// `fednode up`, also for a node that has joined before; waits until it answers.
    pub fn up(&mut self) -> Result<(), Error> {
        self.start(&["up"])
    }

    /// `fednode join` with a ticket file; waits until it answers.
    pub fn join(&mut self, ticket_file: &Path) -> Result<(), Error> {
        self.start(&["join", "--ticket-file", &ticket_file.to_string_lossy()])
    }

    /// Starts `fednode` with `command` and this node's flags and addresses; waits until it answers.
    pub fn start(&mut self, command: &[&str]) -> Result<(), Error> {
        self.spawn(command)?;
        self.wait_ready(READY_LIMIT)
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self, command: &[&str]) -> Result<(), Error> {
        assert!(!self.is_running(), "{} runs already", self.name());
        let log = self.open_log()?;
        let errors = log.try_clone().map_err(Error::io("share a log file"))?;
        let mut line = match self.spec.detached {
            true => own_session(&self.binary),
            false => Command::new(&self.binary),
        };
        line.arg("--data-dir").arg(&self.data_dir).args(command).args(&self.spec.flags);
        line.args(["--name", &self.spec.name]);
        line.args(["--listen", &format!("127.0.0.1:{}", self.peer_port)]);
        line.args(["--api", &format!("{}:{}", self.spec.api_ip, self.api_port)]);
        if std::env::var_os("FEDNODE_LOG").is_none() {
            line.env("FEDNODE_LOG", LOG);
        }
        line.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = line.spawn().map_err(Error::io(format!("start {}", self.binary.display())))?;
        cleanup::started(child.id());
        self.child = Some(child);
        self.ready_after = None;
        Ok(())
    }

    fn open_log(&self) -> Result<File, Error> {
        let opened = OpenOptions::new().create(true).append(true).open(&self.log);
        opened.map_err(Error::io(format!("open the log {}", self.log.display())))
    }

    /// Waits until both the HTTP API and the admin socket answer. Notes how long the API took after `spawn`.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<(), Error> {
        let begin = Instant::now();
        let what = format!("{} answering", self.name());
        loop {
            let why = match (self.client.get("/health"), self.data_dir.join("admin.sock").exists()) {
                (Ok(reply), true) if reply.status == 200 => {
                    self.ready_after.get_or_insert(begin.elapsed());
                    return Ok(());
                }
                (Ok(reply), _) => format!("GET /health: HTTP {}", reply.status),
                (Err(error), _) => error.to_string(),
            };
            self.check_running()?;
            if begin.elapsed() > limit {
                return Err(Error::Late { what, limit, seen: format!("{why}; its log ends:\n{}", self.log_tail()) });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// An error if the process has ended.
    pub fn check_running(&mut self) -> Result<(), Error> {
        let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        match ended {
            None => Ok(()),
            Some(status) => {
                drop(self.take_child());
                let (node, log) = (self.spec.name.clone(), self.log_tail());
                Err(Error::Ended { node, status: status.to_string(), log })
            }
        }
    }

    /// Started, and not known to have ended.
    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its log file, over all starts.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    /// Where it listens for members.
    pub fn peer_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.peer_port))
    }

    /// Where its HTTP API listens.
    pub fn api_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.api_port))
    }

    /// The client of its HTTP API.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// From the start of the process to the first answer of its API, at the last start.
    pub fn ready_after(&self) -> Option<Duration> {
        self.ready_after
    }

    /// The node's whole view, over HTTP.
    pub fn state(&self) -> Result<Value, Error> {
        let reply = self.client.get("/state")?;
        match reply.status {
            200 => Ok(reply.json()),
            status => Err(Error::Wrong(format!("{}: GET /state: HTTP {status}", self.name()))),
        }
    }

    /// Waits until no request is open here, and none in a replica that this node knows of.
    pub fn wait_idle(&self, limit: Duration) -> Result<(), Error> {
        wait::until("no request in flight", limit, || {
            let state = self.state().map_err(|error| error.to_string())?;
            let replicas = state["slots"].as_array().into_iter().flatten().flat_map(|slot| slot["replicas"].as_array());
            let running: u64 = replicas.flatten().filter_map(|replica| replica["in_flight"].as_u64()).sum();
            let open = state["requests"]["in_flight"].as_u64().unwrap_or(u64::MAX);
            if open + running == 0 { Ok(()) } else { Err(format!("{open} open, {running} in replicas")) }
        })
    }

    /// The names of the nodes with a ready replica of `slot`, as this node sees it.
    pub fn holders(&self, slot: &str) -> Result<Vec<String>, Error> {
        let state = self.state()?;
        let slots = state["slots"].as_array().into_iter().flatten();
        let replicas = slots.filter(|view| view["name"] == slot).flat_map(|view| view["replicas"].as_array());
        let ready = replicas.flatten().filter(|replica| replica["state"] == "ready");
        Ok(ready.filter_map(|replica| replica["node"].as_str().map(str::to_owned)).collect())
    }

    /// Runs `fednode ARGS` against this node, whatever comes of it.
    pub fn cli(&self, args: &[&str]) -> Result<Output, Error> {
        let mut line = Command::new(&self.binary);
        line.arg("--data-dir").arg(&self.data_dir).args(args).stdin(Stdio::null());
        let output = line.output().map_err(Error::io(format!("run {}", self.binary.display())))?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed.
    pub fn command(&self, args: &[&str]) -> Result<Output, Error> {
        let output = self.cli(args)?;
        if output.code == 0 {
            return Ok(output);
        }
        let (node, command) = (self.spec.name.clone(), args.join(" "));
        Err(Error::Command { node, command, code: output.code, stderr: output.stderr })
    }

    /// Publishes the tiny manager `UCM`, or the adapter `ULM:personal`, into the slot of its name.
    pub fn publish(&self, model: &str) -> Result<Value, Error> {
        let path = managers::file(model);
        let path = path.to_string_lossy();
        let mut args = vec!["publish", &path, "--json", "--as"];
        match model.split_once(':') {
            Some((slot, domain)) => args.extend([slot, "--domain", domain]),
            None => args.push(model),
        }
        Ok(self.command(&args)?.json())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.pid().map_or(Ok(()), |pid| process::signal(pid, signal))
    }

    /// Kills the process at once, as a power cut would, and waits for its end. Its engines are its own to look after.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.take_child() {
            // Both fail only if it has ended, which is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Asks the process to end (SIGTERM) and waits for it; kills it when it does not.
    pub fn stop(&mut self) -> Result<ExitStatus, Error> {
        let Some(mut child) = self.take_child() else {
            return Err(Error::Wrong(format!("{} does not run", self.name())));
        };
        process::signal(child.id(), Signal::TERM)?;
        let what = format!("{} stopping", self.name());
        let ended = wait::until(&what, STOP_LIMIT, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it still runs".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        if ended.is_err() {
            drop(child.kill());
            drop(child.wait());
        }
        ended
    }

    /// Lets the process run on; this harness forgets it.
    pub(crate) fn release(&mut self) {
        drop(self.take_child());
    }

    fn take_child(&mut self) -> Option<Child> {
        self.child.take().inspect(|child| cleanup::ended(child.id()))
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        let Some(pid) = self.pid() else { return };
        // Engines end with their node; this is for the node whose fault a test is about to show.
        let engines = process::engines_of(pid);
        self.kill9();
        for engine in engines {
            drop(process::signal(engine, Signal::KILL));
        }
    }
}

/// `setsid` starts a program in a session of its own; where it is missing, a process group of its own must do.
fn own_session(binary: &Path) -> Command {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let setsid = std::env::split_paths(&paths).map(|folder| folder.join("setsid")).find(|path| path.is_file());
    match setsid {
        Some(setsid) => {
            let mut command = Command::new(setsid);
            command.arg(binary);
            command
        }
        None => {
            let mut command = Command::new(binary);
            command.process_group(0);
            command
        }
    }
}
