//! What can be wrong with the machine itself: its disk, its memory and what was promised of it, its GPUs, what starts fednode, and
//! how old this fednode is beside the others.

use std::collections::BTreeMap;

use super::judge::{check, named, ok, unknown, without_node};
use super::{Check, MachineFacts, NodeFacts, ServiceFacts, Verdict};
use crate::core::limits;
use crate::core::types::human_bytes;
use crate::core::view::{DomainView, MemberView, State};

/// Less than this share of what was promised is noise: programs come and go.
const PROMISE_SLACK_DIVISOR: u64 = 20;
/// A certificate is renewed well before; one that ends sooner than this was not.
const CERTIFICATE_SOON_S: u64 = 14 * 86_400;
const DAY_S: u64 = 86_400;

/// Room, and a file system that keeps what it was told to keep.
pub(super) fn disk(machine: &MachineFacts) -> Check {
    const NAME: &str = "disk";
    let needed = limits::DISK_MARGIN_BYTES;
    match (machine.disk_free_bytes, machine.poor_disk.as_str()) {
        (None, _) => unknown(NAME, "the file system of the data directory cannot be read", "check --data-dir"),
        (Some(free), _) if free < needed => {
            let found =
                format!("{} free, less than the {} that always stay free", human_bytes(free), human_bytes(needed));
            check(NAME, Verdict::Blocked, found, "free some space; `fednode gc` shows what of the store may go")
        }
        (Some(free), "") => ok(NAME, format!("{} free", human_bytes(free))),
        (Some(_), kind) => {
            let found = format!("the data directory lies on {kind}, which does not keep files as a local disk does");
            check(NAME, Verdict::Warning, found, "give --data-dir a folder on a local disk, an SSD if there is one")
        }
    }
}

/// What lies in the store, as the node found it.
pub(super) fn store(state: Option<&State>) -> Check {
    const NAME: &str = "store";
    let Some(state) = state else { return without_node(NAME) };
    let Some(store) = &state.store else { return ok(NAME, "a delegate stores nothing") };
    if let Some(damage) = store.damaged.first() {
        let found = format!("{} is damaged on this disk: {}", damage.slot, damage.reason);
        let remedy =
            "look at the disk's health (`smartctl -a`); `fednode scrub --now` reads and repairs all that is stored";
        return check(NAME, Verdict::Warning, found, remedy);
    }
    if let Some(transfer) = state.transfers.iter().find(|transfer| transfer.state == "paused") {
        let found = format!("the transfer of {} waits: {}", transfer.slot, transfer.reason);
        return check(
            NAME,
            Verdict::Warning,
            found,
            "`fednode gc` shows what may go; it goes on by itself once there is room",
        );
    }
    match store.budget_bytes {
        Some(budget) if store.used_bytes > budget => {
            let (used, budget) = (human_bytes(store.used_bytes), human_bytes(budget));
            let found = format!("{used} stored, more than the budget of {budget}");
            check(
                NAME,
                Verdict::Warning,
                found,
                "`fednode gc` explains why it stays; raise --disk-budget, or unpin something",
            )
        }
        _ => ok(NAME, format!("{} stored, nothing damaged", human_bytes(store.used_bytes))),
    }
}

/// Whether what managers were promised is there beside other programs.
pub(super) fn memory(machine: &MachineFacts, state: Option<&State>) -> Check {
    const NAME: &str = "memory";
    let Some(host) = machine.memory else {
        return unknown(
            NAME,
            "this system does not tell how much memory there is",
            "state it with `fednode up --memory`",
        );
    };
    if machine.stalled_of_60_s.is_some_and(|share| share >= limits::PRESSURE_BEGINS) {
        let found = "programs on this machine have to wait for memory";
        let remedy = "end what is not needed; nothing more is loaded, and idle managers leave, until that is over";
        return check(NAME, Verdict::Warning, found, remedy);
    }
    let promised = state.and_then(own).and_then(host_domain);
    let Some(domain) = promised else {
        let free = human_bytes(host.free_bytes);
        return ok(NAME, format!("{free} of {} are free for managers", human_bytes(host.total_bytes)));
    };
    let usable = domain.usable_bytes();
    // Part of what managers hold is mapped and counts as free; then the promise is kept all the more.
    let missing = usable.saturating_sub(domain.ours_bytes).saturating_sub(host.free_bytes);
    let (promise, ours) = (human_bytes(usable), human_bytes(domain.ours_bytes));
    if missing <= usable / PROMISE_SLACK_DIVISOR {
        return ok(NAME, format!("managers may use {promise} and hold {ours}; other programs leave the rest"));
    }
    let left = domain.ours_bytes.saturating_add(host.free_bytes);
    let found = format!(
        "managers were promised {promise} and hold {ours}, but other programs leave them {} less",
        human_bytes(missing)
    );
    let remedy = format!("end other programs, or start the node with `--memory {}GiB`", left >> 30);
    check(NAME, Verdict::Warning, found, remedy)
}

fn own(state: &State) -> Option<&MemberView> {
    state.members.iter().find(|member| member.peer_id == state.node.peer_id)
}

fn host_domain(member: &MemberView) -> Option<&DomainView> {
    member.domains.iter().find(|domain| domain.kind != "vram" && domain.hosts).filter(|_| member.role != "delegate")
}

/// Whether the GPUs that are there can be used.
pub(super) fn gpu(machine: &MachineFacts) -> Check {
    const NAME: &str = "gpu";
    match (machine.gpus, machine.gpus_usable, machine.gpu_notes.is_empty()) {
        (0, _, true) => ok(NAME, "no GPU is here; managers are computed on the processor"),
        (gpus, usable, true) if usable == gpus => ok(NAME, format!("{usable} of {gpus} GPUs can be used")),
        (gpus, usable, _) => {
            let found = match machine.gpu_notes.join("; ") {
                notes if notes.is_empty() => format!("{usable} of {gpus} GPUs can be used"),
                notes => notes,
            };
            let remedy = "install the GPU maker's driver, and a fednode that was built for it (`--features cuda`, `vulkan` or \
                          `metal`); `fednode engine --devices` prints what this one can use";
            check(NAME, Verdict::Warning, found, remedy)
        }
    }
}

/// Whether fednode is there again after the machine was restarted.
pub(super) fn service(machine: &MachineFacts, node_runs: bool) -> Check {
    const NAME: &str = "service";
    const INSTALL: &str = "`sudo fednode service install` makes it a service of this machine";
    let ServiceFacts { manager, installed, enabled, active, state } = &machine.service;
    match (manager.as_str(), installed, enabled, active) {
        ("", ..) => {
            unknown(NAME, "neither systemd nor launchd runs here", "start `fednode up` by other means after a restart")
        }
        (_, false, ..) => check(NAME, Verdict::Warning, "nothing starts fednode when this machine starts", INSTALL),
        (manager, true, false, _) => {
            let found = format!("fednode is a service of {manager}, but not started with the machine");
            check(NAME, Verdict::Warning, found, INSTALL)
        }
        (manager, true, true, false) => {
            let found = format!("fednode's service of {manager} does not run: {state}");
            let verdict = if node_runs { Verdict::Warning } else { Verdict::Blocked };
            check(NAME, verdict, found, "`journalctl -u fednode` says why; `systemctl restart fednode` starts it again")
        }
        (manager, true, true, true) => ok(NAME, format!("{manager} starts fednode with the machine")),
    }
}

/// Whether the API answers where it says it does.
pub(super) fn api(machine: &MachineFacts, state: &State) -> Check {
    const NAME: &str = "api";
    match machine.api_error.as_str() {
        "" => ok(NAME, format!("the API answers at {}", state.node.api)),
        why => {
            let found = format!("the API does not answer at {}: {why}", state.node.api);
            check(
                NAME,
                Verdict::Blocked,
                found,
                "let no firewall close that port on this machine, or choose another with --api",
            )
        }
    }
}

/// Sockets and model files are open files.
pub(super) fn files(machine: &MachineFacts) -> Check {
    const NAME: &str = "files";
    match machine.open_files_max {
        None => unknown(NAME, "how many files a node may have open is not known", ""),
        Some(most) if most < limits::OPEN_FILES_WANTED => {
            let found = format!("the node may have {most} files open at once, connections included");
            let remedy =
                format!("start it with `ulimit -n {}`; the service does so by itself", limits::OPEN_FILES_WANTED);
            check(NAME, Verdict::Warning, found, remedy)
        }
        Some(most) => ok(NAME, format!("the node may have {most} files open at once")),
    }
}

/// How long this machine still belongs to the federation if nobody renews that.
pub(super) fn certificate(machine: &MachineFacts, state: Option<&State>) -> Check {
    const NAME: &str = "membership";
    let Some(state) = state else { return without_node(NAME) };
    let Some(own) = own(state) else { return unknown(NAME, "the node does not see itself among the members yet", "") };
    let left_s = own.expires_unix_s.saturating_sub(machine.now_unix_s);
    match own.expires_unix_s {
        0 => ok(NAME, "this machine's membership does not end"),
        _ if left_s < CERTIFICATE_SOON_S => {
            let found = match left_s {
                0 => "this machine's membership has ended".to_owned(),
                left_s => format!("this machine's membership ends in {} days", left_s / DAY_S),
            };
            let remedy = "it is renewed when the owner's machine or an admin's is seen: start that one, or invite this machine anew";
            check(NAME, if left_s == 0 { Verdict::Blocked } else { Verdict::Warning }, found, remedy)
        }
        _ => ok(NAME, format!("this machine's membership is good for {} days", left_s / DAY_S)),
    }
}

/// Neighbouring versions work together; who lags behind is named.
pub(super) fn versions(machine: &MachineFacts, node: Option<&NodeFacts>, state: Option<&State>) -> Check {
    const NAME: &str = "versions";
    let (Some(node), Some(state)) = (node, state) else { return without_node(NAME) };
    let ours = state.node.version.as_str();
    if !machine.version.is_empty() && machine.version != ours {
        let found = format!("the node that runs is fednode {ours}, this command is {}", machine.version);
        return check(
            NAME,
            Verdict::Warning,
            found,
            "restart the node: `systemctl restart fednode`, or end it and `fednode up`",
        );
    }
    let mut others: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for member in named(node).filter(|member| !member.version.is_empty()) {
        others.entry(member.version.as_str()).or_default().push(&member.name);
    }
    let asked: usize = others.values().map(Vec::len).sum();
    others.remove(ours);
    let differ: Vec<String> =
        others.iter().map(|(version, names)| format!("{version} on {}", names.join(", "))).collect();
    match (asked, differ.is_empty()) {
        (0, _) => ok(NAME, format!("fednode {ours}; no other member could be asked for its version")),
        (_, true) => ok(NAME, format!("fednode {ours}, as on the {asked} other members that could be asked")),
        (_, false) => {
            let found = format!("fednode {ours} here, {}", differ.join("; "));
            check(NAME, Verdict::Warning, found, "put the newest version on all of them, one machine after the other")
        }
    }
}
