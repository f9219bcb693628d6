//! A federation at work, as several texts show it. For tests alone.

use crate::core::view::{
    CoordinatorView, DamageView, DomainView, ExternalView, LoadView, MemberView, NodeView, PlanSummary, ReplicaView,
    ScrubView, SlotDomainView, SlotView, SourceView, State, StoreView, TransferView,
};

fn text(text: &str) -> String {
    text.to_owned()
}

/// A copy of a slot.
pub(super) fn replica(node: &str, state: &str) -> ReplicaView {
    ReplicaView { node: text(node), state: text(state), memory_domain: text("ram"), ..ReplicaView::default() }
}

fn domain(name: &str, ours_gib: u64, free_gib: u64, total_gib: u64, hosts: bool) -> DomainView {
    let reserve_bytes = (total_gib << 30) / 10;
    let (ours_bytes, free_bytes, total_bytes) = (ours_gib << 30, free_gib << 30, total_gib << 30);
    DomainView { name: text(name), ours_bytes, free_bytes, total_bytes, reserve_bytes, hosts, ..DomainView::default() }
}

/// A published slot.
pub(super) fn slot(name: &str, state: &str) -> SlotView {
    SlotView {
        name: name.to_owned(),
        state: text(state),
        artifact: "9f8e7d6c".repeat(8),
        precision: text("F16"),
        fingerprint: true,
        version: text("1.2"),
        bytes: 13_481_025_536,
        ..SlotView::default()
    }
}

fn some_members() -> Vec<MemberView> {
    let desk = MemberView {
        name: text("desk"),
        peer_id: text("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"),
        role: text("full"),
        admin: true,
        owner: true,
        state: text("alive"),
        seen_s_ago: Some(0),
        plan_role: text("mixed"),
        domains: vec![domain("ram", 15, 29, 64, true), domain("gpu0", 0, 20, 24, false)],
        disk_free_bytes: 500 << 30,
        resident: vec![text("UFM"), text("UCM")],
        ..MemberView::default()
    };
    let griffith = MemberView {
        name: text("griffith-in-the-cellar"),
        peer_id: text("12D3KooWQ1xnL7sHuaULTGg9vQnWkbCSJXmVJGpqtZyxLhHNrT3w"),
        admin: true,
        expires_unix_s: 1_800_000_000 + 89 * 86_400,
        plan_role: text("specialised"),
        domains: vec![
            domain("ram", 103, 12, 128, true),
            domain("gpu0", 14, 1, 24, true),
            domain("gpu1", 0, 21, 24, true),
        ],
        resident: vec![text("UFM"), text("URM")],
        ..desk.clone()
    };
    let griffith = MemberView { owner: false, ..griffith };
    let laptop = MemberView {
        name: text("laptop"),
        peer_id: text("12D3KooWHv8d9mfGf1iG1Qj6yGG1n3pYJmZJt4mLz5s9UuR4y2aX"),
        role: text("delegate"),
        state: text("alive"),
        seen_s_ago: Some(1),
        expires_unix_s: 1_800_000_000 + 3600,
        plan_role: text("delegate"),
        domains: vec![domain("ram", 0, 10, 16, true)],
        disk_free_bytes: 20 << 30,
        ..MemberView::default()
    };
    let nas = MemberView {
        name: text("nas"),
        peer_id: text("12D3KooWBmwkaF1AgxbPZ8gyqGqHwGL2B8XZmgZmj9RkV4GzRgCe"),
        role: text("full"),
        state: text("suspect"),
        seen_s_ago: Some(95),
        domains: vec![domain("ram", 0, 20, 32, true)],
        ..MemberView::default()
    };
    vec![desk, griffith, laptop, nas]
}

/// One under way and one that has ended.
pub(super) fn some_transfers() -> Vec<TransferView> {
    let transfer = TransferView {
        artifact: "9f8e7d6c".repeat(8),
        slot: text("UCM"),
        state: text("fetching"),
        total_bytes: 13_481_025_536,
        done_bytes: 5_796_840_980,
        chunks: 3300,
        chunks_done: 1419,
        chunks_local: 12,
        bytes_per_s: 98 << 20,
        eta_s: Some(74),
        sources: vec![
            SourceView { node: text("griffith"), bytes: 4 << 30, chunks: 1024, ..SourceView::default() },
            SourceView { node: text("laptop"), bytes: 1 << 30, chunks: 256, strikes: 1, ..SourceView::default() },
        ],
        ..TransferView::default()
    };
    let finished = TransferView {
        artifact: "0a1b2c3d".repeat(8),
        slot: text("UFM"),
        state: text("done"),
        verified: true,
        done_bytes: transfer.total_bytes,
        chunks_done: 3300,
        chunks_local: 0,
        bytes_per_s: 0,
        eta_s: None,
        ..transfer.clone()
    };
    let paused = TransferView {
        artifact: "4e5f6a7b".repeat(8),
        slot: text("ULM:personal"),
        state: text("paused"),
        reason: text("the disk is full; 1.2 GiB more are needed"),
        sources: Vec::new(),
        chunks_local: 0,
        ..transfer.clone()
    };
    vec![finished, transfer, paused]
}

fn some_slots() -> Vec<SlotView> {
    let (cellar, shared) = ("griffith-in-the-cellar", "9f8e7d6c");
    let ufm =
        SlotView { replicas: vec![replica("desk", "ready"), replica(cellar, "ready")], ..slot("UFM", "resident") };
    let load = LoadView { read_bytes: 5 << 30, total_bytes: 13_481_025_536, bytes_per_s: 1 << 30 };
    let loading = ReplicaView { load: Some(load), ..replica("desk", "loading") };
    let ucm = SlotView { replicas: vec![loading], ..slot("UCM", "loading") };
    let ulm = SlotView {
        holders: vec![text("desk")],
        shortfall: text("needs 15.3 GiB, 14.1 GiB free after reserve, short 1.2 GiB"),
        domains: vec![
            SlotDomainView { name: text("core"), artifact: "ab".repeat(32), fingerprint: true },
            SlotDomainView { name: text("personal"), artifact: text(""), fingerprint: false },
        ],
        ..slot("ULM", "stored")
    };
    let urm =
        SlotView { replicas: vec![replica(cellar, "ready"), replica("desk", "draining")], ..slot("URM", "resident") };
    let stands_in = ExternalView {
        node: text("laptop"),
        state: text("ready"),
        precision: text("unverified"),
        ..ExternalView::default()
    };
    let uam = SlotView {
        externals: vec![stands_in],
        fingerprint: false,
        artifact: shared.repeat(8),
        ..slot("UAM", "external")
    };
    let udm = SlotView { name: text("UDM"), state: text("missing"), ..SlotView::default() };
    vec![ufm, ucm, ulm, urm, uam, udm]
}

/// All of it.
pub(super) fn federation() -> State {
    let mut state = State {
        federation: "3f9a12bc".repeat(8),
        node: NodeView {
            name: text("desk"),
            role: text("full"),
            tier: text("high-end"),
            api: text("http://127.0.0.1:7717"),
            notice: text("the owner's key is on this machine alone; `fednode owner export` keeps a copy"),
            pid: 4711,
            ..NodeView::default()
        },
        coordinator: Some(CoordinatorView { name: text("desk"), epoch: 3, ..CoordinatorView::default() }),
        plan: Some(PlanSummary {
            epoch: 3,
            revision: 2,
            pending: vec![text(
                "UCM is being loaded on desk; 12.6 GiB have to be fetched from griffith and laptop first",
            )],
            ..PlanSummary::default()
        }),
        members: some_members(),
        slots: some_slots(),
        store: Some(StoreView {
            used_bytes: 88 << 30,
            budget_bytes: Some(80 << 30),
            damaged: vec![DamageView {
                slot: text("ULM"),
                reason: text("its damaged chunks are fetched from other members"),
                ..DamageView::default()
            }],
            scrub: ScrubView { state: text("idle"), days: 30, ..ScrubView::default() },
            ..StoreView::default()
        }),
        transfers: some_transfers(),
        ..State::default()
    };
    state.requests.in_flight = 2;
    state.requests.done = 1204;
    state.requests.failed = 3;
    state.traffic.served_bytes = 4 << 30;
    state.traffic.asked_bytes = 9 << 30;
    state.traffic.limit_down_bytes_per_s = Some(100 << 20);
    state
}
