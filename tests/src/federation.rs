//! A federation of `fednode` processes on loopback, in one temporary directory. Dropping it, also in a panic, kills every
//! process and removes the directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Error, NodeProcess, NodeSpec, binary, cleanup, managers, wait};

/// The nodes, in the order they were added.
#[derive(Debug)]
pub struct Federation {
    // Nodes before the directory: they are dropped, and so killed, first.
    nodes: Vec<NodeProcess>,
    dir: Option<TempDir>,
    folder: PathBuf,
    binary: PathBuf,
    tickets: u32,
}

impl Federation {
    /// No node yet.
    pub fn new() -> Result<Federation, Error> {
        // A short name: sockets lie below it, and their paths may have about 100 bytes.
        let dir = tempfile::Builder::new().prefix("fednode-").tempdir();
        let dir = dir.map_err(Error::io("make a temporary directory"))?;
        let folder = dir.path().to_owned();
        cleanup::watch();
        cleanup::made(folder.clone());
        Ok(Federation { nodes: Vec::new(), dir: Some(dir), folder, binary: binary::fednode()?, tickets: 0 })
    }

    /// Starts the node that creates the federation.
    pub fn create(&mut self, spec: NodeSpec) -> Result<&NodeProcess, Error> {
        self.add(spec)?.up()?;
        self.last()
    }

    /// Invites on the node `inviter` and joins a new node with the ticket.
    pub fn join(&mut self, spec: NodeSpec, inviter: &str) -> Result<&NodeProcess, Error> {
        let role = if spec.flags.iter().any(|flag| flag == "delegate") { "delegate" } else { "full" };
        let ticket = self.invite(inviter, role)?;
        self.add(spec)?.join(&ticket)?;
        self.last()
    }

    /// A ticket of the node `inviter`, as a file.
    pub fn invite(&mut self, inviter: &str, role: &str) -> Result<PathBuf, Error> {
        self.tickets += 1;
        let ticket = self.folder.join(format!("ticket-{}", self.tickets));
        self.node(inviter).command(&["invite", "--role", role, "--ticket-file", &ticket.to_string_lossy()])?;
        Ok(ticket)
    }

    /// A node that is not started yet.
    pub fn add(&mut self, spec: NodeSpec) -> Result<&mut NodeProcess, Error> {
        assert!(self.nodes.iter().all(|node| node.name() != spec.name), "two nodes called {}", spec.name);
        let node = NodeProcess::new(&self.binary, &self.folder, spec)?;
        self.nodes.push(node);
        Ok(self.nodes.last_mut().expect("a node was pushed just now"))
    }

    fn last(&self) -> Result<&NodeProcess, Error> {
        self.nodes.last().ok_or_else(|| Error::Wrong("the federation has no node".to_owned()))
    }

    /// All nodes.
    pub fn nodes(&self) -> &[NodeProcess] {
        &self.nodes
    }

    /// The node of this name; asking for another one is a fault of the test.
    pub fn node(&self, name: &str) -> &NodeProcess {
        self.nodes.iter().find(|node| node.name() == name).unwrap_or_else(|| panic!("no node is called {name}"))
    }

    /// The same, to start, stop or kill it.
    pub fn node_mut(&mut self, name: &str) -> &mut NodeProcess {
        self.nodes.iter_mut().find(|node| node.name() == name).unwrap_or_else(|| panic!("no node is called {name}"))
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Publishes all seven managers and five adapters on the node `publisher`.
    pub fn publish_all(&self, publisher: &str) -> Result<(), Error> {
        for model in managers::models() {
            self.node(publisher).publish(&model)?;
        }
        Ok(())
    }

    /// Waits until every running node sees its plan carried out and the same plan, with every published slot resident
    /// somewhere. `note` is called with what is missing at each look.
    pub fn wait_carried_out(&self, limit: Duration, mut note: impl FnMut(&[String])) -> Result<(), Error> {
        wait::until("carrying out the plan", limit, || {
            let missing = self.missing();
            note(&missing);
            if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
        })
    }

    /// Waits until the node `name` answers for `slot`, wherever it is resident.
    pub fn wait_answered(&self, name: &str, slot: &str, limit: Duration) -> Result<(), Error> {
        wait::until(&format!("an answer of {slot} through {name}"), limit, || {
            match self.node(name).client().chat(slot, "Who are you?") {
                Ok(answer) if answer.is_complete() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
    }

    /// The same after `publish_all`, also before the last publication has reached every node.
    pub fn wait_published(&self, limit: Duration, mut note: impl FnMut(&[String])) -> Result<(), Error> {
        wait::until("carrying out the plan for all managers", limit, || {
            let mut missing = self.missing();
            for node in self.nodes.iter().filter(|node| node.is_running()) {
                missing.extend(node.state().map_or_else(|error| vec![error.to_string()], |state| unpublished(&state)));
            }
            note(&missing);
            if missing.is_empty() { Ok(()) } else { Err(missing.join("; ")) }
        })
    }

    /// What stands between the federation and its plan as the running nodes see it, one sentence each.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        let mut plans = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            match node.state() {
                Ok(state) => {
                    missing.extend(missing_at(node.name(), &state));
                    plans.push((state["plan"]["epoch"].as_u64(), state["plan"]["revision"].as_u64()));
                }
                Err(error) => missing.push(format!("{}: {error}", node.name())),
            }
        }
        if plans.windows(2).any(|pair| pair[0] != pair[1]) {
            missing.push("the nodes do not follow the same plan yet".to_owned());
        }
        missing
    }

    /// Lets the nodes run on and keeps the directory, whose path is returned.
    pub fn keep(mut self) -> PathBuf {
        self.nodes.iter_mut().for_each(NodeProcess::release);
        cleanup::gone(&self.folder);
        match self.dir.take() {
            Some(dir) => dir.keep(),
            None => self.folder.clone(),
        }
    }
}

fn missing_at(name: &str, state: &Value) -> Vec<String> {
    let plan = &state["plan"];
    let pending = plan["pending"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut missing: Vec<String> = pending.map(|sentence| format!("{name}: {sentence}")).collect();
    if plan.is_null() {
        missing.push(format!("{name}: knows no plan yet"));
    } else if plan["carried_out"] != true && missing.is_empty() {
        missing.push(format!("{name}: the plan is not carried out"));
    }
    for slot in state["slots"].as_array().into_iter().flatten() {
        if slot["artifact"] != "" && slot["state"] != "resident" {
            missing.push(format!("{name}: {} is {}", slot["name"], slot["state"]));
        }
    }
    missing
}

/// Managers and adapters that this node does not know of yet, and copies that are still on their way to it.
fn unpublished(state: &Value) -> Vec<String> {
    let name = &state["node"]["name"];
    let known = |model: &String| {
        let (slot, domain) =
            model.split_once(':').map_or((model.as_str(), None), |(slot, domain)| (slot, Some(domain)));
        let view = state["slots"].as_array().into_iter().flatten().find(|view| view["name"] == slot);
        let artifact = view.map(|view| match domain {
            None => view["artifact"].clone(),
            Some(domain) => {
                let domains = view["domains"].as_array().into_iter().flatten();
                domains.filter(|view| view["name"] == domain).map(|view| view["artifact"].clone()).collect()
            }
        });
        artifact.is_some_and(|artifact| artifact != "" && artifact != Value::Array(Vec::new()))
    };
    let unknown = managers::models().into_iter().filter(|model| !known(model));
    let mut missing: Vec<String> = unknown.map(|model| format!("{name}: does not know of {model} yet")).collect();
    let transfers = state["transfers"].as_array().into_iter().flatten();
    let running = transfers.filter(|transfer| transfer["state"] != "done");
    missing.extend(running.map(|transfer| format!("{name}: {} is {}", transfer["slot"], transfer["state"])));
    missing
}

impl Drop for Federation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("--- the log of {} ends:\n{}", node.name(), node.log_tail());
            }
        }
        self.nodes.clear();
        if self.dir.take().is_some_and(|dir| dir.close().is_err()) {
            eprintln!("{} could not be removed", self.folder.display());
        }
        cleanup::gone(&self.folder);
    }
}
