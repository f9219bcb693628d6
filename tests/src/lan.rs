//! A small local network of its own: machines as network namespaces of Linux, joined by a bridge, each with one address of
//! each family and a way out that leads nowhere. It needs root, or `unshare -Ur`; namespaces end with the processes in them,
//! so nothing is left behind.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Client, Error, Output, binary, cleanup, process, wait};

/// Starting programs and links takes milliseconds.
const SETUP_LIMIT: Duration = Duration::from_secs(10);
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Where a node's API listens unless it is told otherwise, in a namespace of its own.
const API: &str = "http://127.0.0.1:7717";
/// Nobody has this hardware address: what is sent beyond the network is seen on it and goes nowhere.
const NOBODY: &str = "02:00:00:00:00:fe";

/// A namespace, held by a process that sleeps.
#[derive(Debug)]
struct Namespace(Child);

impl Namespace {
    fn new() -> Result<Namespace, Error> {
        let mut line = Command::new("unshare");
        // The interfaces that /sys shows are those of the namespace it was mounted in.
        line.args(["--net", "--mount", "sh", "-c", "mount -t sysfs sysfs /sys && exec sleep infinity"]);
        line.stdin(Stdio::null()).stdout(Stdio::null());
        let child = line.spawn().map_err(Error::io("start unshare (package util-linux)"))?;
        cleanup::started(child.id());
        let namespace = Namespace(child);
        let ours = std::fs::read_link("/proc/self/ns/net").map_err(Error::io("read /proc/self/ns/net"))?;
        wait::until("a network namespace (needs root, or `unshare -Ur`)", SETUP_LIMIT, || {
            // `sleep` is the last thing that is started.
            let runs = std::fs::read_to_string(format!("/proc/{}/comm", namespace.0.id()));
            match (std::fs::read_link(namespace.path()), runs) {
                (Ok(theirs), Ok(comm)) if theirs != ours && comm.trim() == "sleep" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
        Ok(namespace)
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    /// A command line that runs `program` inside; its process id is the program's.
    fn command(&self, program: &Path) -> Command {
        let mut line = Command::new("nsenter");
        line.args(["--target", &self.0.id().to_string(), "--net", "--mount"]).arg(program).stdin(Stdio::null());
        line
    }

    fn run(&self, line: &str) -> Result<(), Error> {
        let mut words = line.split_whitespace();
        let output = self.command(Path::new(words.next().unwrap_or_default())).args(words).output();
        let output = output.map_err(Error::io(format!("run `{line}`")))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Error::Wrong(format!("`{line}`: {}", String::from_utf8_lossy(&output.stderr)))),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
        cleanup::ended(self.0.id());
    }
}

/// The network. Drop the machines first.
#[derive(Debug)]
pub struct Lan {
    switch: Namespace,
    folder: TempDir,
    binary: PathBuf,
}

impl Lan {
    /// Nobody on it yet.
    pub fn new() -> Result<Lan, Error> {
        cleanup::watch();
        let folder = tempfile::Builder::new().prefix("fednode-").tempdir();
        let folder = folder.map_err(Error::io("make a temporary directory"))?;
        cleanup::made(folder.path().to_owned());
        let switch = Namespace::new()?;
        switch.run("ip link add br0 type bridge mcast_snooping 0")?;
        switch.run("ip link set br0 up")?;
        Ok(Lan { switch, folder, binary: binary::fednode()? })
    }

    /// Where all that passes can be seen.
    pub fn namespace(&self) -> PathBuf {
        self.switch.path()
    }

    /// One more machine, without an address.
    pub fn machine(&self, name: &str) -> Result<Machine, Error> {
        let namespace = Namespace::new()?;
        let (inside, switch) = (namespace.0.id(), self.switch.0.id());
        self.switch.run(&format!("ip link add eth0 netns {inside} type veth peer name {name} netns {switch}"))?;
        self.switch.run(&format!("ip link set {name} master br0 up"))?;
        for line in ["ip link set lo up", "ip link set eth0 up"] {
            namespace.run(line)?;
        }
        let (data_dir, log) = (self.folder.path().join(name), self.folder.path().join(format!("{name}.log")));
        Ok(Machine { name: name.to_owned(), namespace, binary: self.binary.clone(), data_dir, log, node: None })
    }

    /// From now on a machine's line carries so many bytes a second each way, as `tc` counts them: whole frames of 1514 bytes.
    /// What it sends is held back at its own end, what it receives at the switch's.
    pub fn shape(&self, machine: &Machine, bytes_per_s: u64) -> Result<(), Error> {
        let shape = format!("root tbf rate {}bit burst 256kb latency 20ms", bytes_per_s * 8);
        machine.namespace.run(&format!("tc qdisc add dev eth0 {shape}"))?;
        self.switch.run(&format!("tc qdisc add dev {} {shape}", machine.name))
    }

    /// Where its machines keep everything.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Pulls a machine's cable: nothing reaches it or leaves it, and no program on any machine is told.
    pub fn unplug(&self, machine: &Machine) -> Result<(), Error> {
        self.switch.run(&format!("ip link set {} down", machine.name))
    }

    /// Plugs it in again.
    pub fn plug(&self, machine: &Machine) -> Result<(), Error> {
        self.switch.run(&format!("ip link set {} up", machine.name))
    }

    /// These machines reach each other no more, but all the others, as on a Wi-Fi that keeps its guests apart; or do again.
    pub fn set_apart(&self, machines: &[&Machine], apart: bool) -> Result<(), Error> {
        let word = if apart { "on" } else { "off" };
        machines.iter().try_for_each(|machine| {
            self.switch.run(&format!("ip link set dev {} type bridge_slave isolated {word}", machine.name))
        })
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        cleanup::gone(&self.folder.path().to_owned());
    }
}

/// One machine and, when it runs, its node.
#[derive(Debug)]
pub struct Machine {
    name: String,
    namespace: Namespace,
    binary: PathBuf,
    data_dir: PathBuf,
    log: PathBuf,
    node: Option<Child>,
}

impl Machine {
    /// Has these addresses, such as `10.77.0.1/24` and `fd77::1/64`, and no other. The way out goes to nobody at 10.77.0.254
    /// and fd77::fe.
    pub fn set_addresses(&self, addresses: &[&str]) -> Result<(), Error> {
        self.namespace.run("ip address flush dev eth0 scope global")?;
        for address in addresses {
            let (family, gateway, dad) = match address.contains(':') {
                true => ("-6", "fd77::fe", " nodad"),
                false => ("-4", "10.77.0.254", ""),
            };
            self.namespace.run(&format!("ip address add {address} dev eth0{dad}"))?;
            let neighbour = format!("ip {family} neighbour replace {gateway} lladdr {NOBODY} nud permanent dev eth0");
            self.namespace.run(&neighbour)?;
            self.namespace.run(&format!("ip {family} route replace default via {gateway} dev eth0"))?;
        }
        Ok(())
    }

    /// Its network namespace, to [`enter`].
    pub fn namespace(&self) -> PathBuf {
        self.namespace.path()
    }

    /// The client of its node's API, for a thread that has [`enter`]ed its namespace.
    pub fn client(&self) -> Client {
        Client::new(API)
    }

    /// Runs any other program there, words apart.
    pub fn run(&self, line: &str) -> Result<(), Error> {
        self.namespace.run(line)
    }

    /// Sends one UDP packet from there.
    pub fn send_udp(&self, to: &str, bytes: &[u8]) -> Result<(), Error> {
        let namespace = self.namespace.path();
        let (to, bytes) = (to.to_owned(), bytes.to_vec());
        // A thread of its own, which ends in that namespace.
        let sent = std::thread::spawn(move || {
            enter(&namespace)?;
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").map_err(Error::io("bind a UDP socket"))?;
            socket.send_to(&bytes, &to).map_err(Error::io(format!("send to {to}")))
        });
        sent.join().map_err(|_| Error::Wrong("the sender panicked".to_owned()))?.map(|_| ())
    }

    /// Starts the node with `args` (`up` or `join`) and waits until it answers.
    pub fn start(&mut self, args: &[&str]) -> Result<(), Error> {
        assert!(self.node.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).map_err(Error::io("open a log"))?;
        let errors = log.try_clone().map_err(Error::io("share a log file"))?;
        let mut line = self.namespace.command(&self.binary);
        line.arg("--data-dir").arg(&self.data_dir).args(args).args(["--name", &self.name, "--threads", "1"]);
        let child = line.stdout(log).stderr(errors).spawn().map_err(Error::io("start a node"))?;
        cleanup::started(child.id());
        self.node = Some(child);
        let what = format!("{} answering", self.name);
        wait::until(&what, READY_LIMIT, || match self.state() {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error}; its log ends:\n{}", self.log())),
        })
    }

    /// Ends the node.
    pub fn stop(&mut self) -> Result<(), Error> {
        let Some(mut node) = self.node.take() else { return Ok(()) };
        process::signal(node.id(), Signal::TERM)?;
        let ended = wait::until("the node's end", SETUP_LIMIT, || match node.try_wait() {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        drop(node.kill());
        drop(node.wait());
        cleanup::ended(node.id());
        ended
    }

    /// Runs `fednode ARGS` against its node, whatever comes of it.
    pub fn cli(&self, args: &[&str]) -> Result<Output, Error> {
        let mut line = self.namespace.command(&self.binary);
        let output =
            line.arg("--data-dir").arg(&self.data_dir).args(args).output().map_err(Error::io("run fednode"))?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The node's whole view.
    pub fn state(&self) -> Result<Value, Error> {
        let output = self.cli(&["status", "--json"])?;
        match output.code {
            0 => Ok(output.json()),
            _ => Err(Error::Wrong(output.stderr)),
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node's process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.node.as_ref().map(Child::id)
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the log of {} ends:\n{}", self.name, lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        if let Some(mut node) = self.node.take() {
            drop(node.kill());
            drop(node.wait());
            cleanup::ended(node.id());
        }
    }
}

/// Brings the calling thread, and it alone, into a network namespace.
pub fn enter(namespace: &Path) -> Result<(), Error> {
    use std::os::fd::AsFd;
    let file = std::fs::File::open(namespace).map_err(Error::io(format!("open {}", namespace.display())))?;
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    let entered = rustix::thread::move_into_link_name_space(file.as_fd(), kind);
    entered.map_err(|error| Error::Io { attempt: "enter a network namespace".to_owned(), source: error.into() })
}
