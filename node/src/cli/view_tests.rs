//! Golden texts: what people see, at 80 columns.

use super::*;
use crate::core::view::{CoordinatorView, NodeView, ReplicaView, SlotDomainView, SourceView, TransferView};

fn text(text: &str) -> String {
    text.to_owned()
}

fn replica(node: &str, state: &str) -> ReplicaView {
    ReplicaView { node: text(node), state: text(state), ..ReplicaView::default() }
}

fn domain(name: &str, ours_gib: u64, total_gib: u64, hosts: bool) -> DomainView {
    let (ours_bytes, total_bytes) = (ours_gib << 30, total_gib << 30);
    DomainView { name: text(name), ours_bytes, total_bytes, hosts, ..DomainView::default() }
}

fn slot(name: &str, state: &str) -> SlotView {
    SlotView {
        name: text(name),
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
        state: text("alive"),
        plan_role: text("mixed"),
        domains: vec![domain("ram", 15, 64, true), domain("gpu0", 0, 24, false)],
        disk_free_bytes: 500 << 30,
        resident: vec![text("UFM"), text("UCM")],
        ..MemberView::default()
    };
    let laptop = MemberView {
        name: text("laptop"),
        peer_id: text("12D3KooWHv8d9mfGf1iG1Qj6yGG1n3pYJmZJt4mLz5s9UuR4y2aX"),
        role: text("delegate"),
        state: text("suspect"),
        plan_role: text("delegate"),
        domains: vec![domain("ram", 0, 16, true)],
        disk_free_bytes: 20 << 30,
        ..MemberView::default()
    };
    vec![desk, laptop]
}

fn some_transfers() -> Vec<TransferView> {
    let transfer = TransferView {
        artifact: "9f8e7d6c".repeat(8),
        slot: text("UCM"),
        state: text("fetching"),
        total_bytes: 13_481_025_536,
        done_bytes: 5_796_840_980,
        chunks: 3300,
        chunks_done: 1419,
        chunks_local: 12,
        sources: vec![
            SourceView { node: text("griffith"), bytes: 4 << 30, chunks: 1024, ..SourceView::default() },
            SourceView { node: text("laptop"), bytes: 1 << 30, chunks: 256, strikes: 1, ..SourceView::default() },
        ],
        ..TransferView::default()
    };
    let finished = TransferView { state: text("done"), verified: true, ..transfer.clone() };
    vec![finished, transfer]
}

fn federation() -> State {
    let ucm = SlotView { replicas: vec![replica("desk", "loading")], ..slot("UCM", "loading") };
    let ulm = SlotView {
        holders: vec![text("desk")],
        shortfall: text("needs 15.3 GiB, 14.1 GiB free after reserve, short 1.2 GiB"),
        domains: vec![
            SlotDomainView { name: text("core"), artifact: "ab".repeat(32), fingerprint: true },
            SlotDomainView { name: text("personal"), artifact: text(""), fingerprint: false },
        ],
        ..slot("ULM", "stored")
    };
    let udm = SlotView { name: text("UDM"), state: text("missing"), ..SlotView::default() };
    State {
        federation: "3f9a12bc".repeat(8),
        node: NodeView {
            name: text("desk"),
            role: text("full"),
            tier: text("high-end"),
            api: text("http://127.0.0.1:7717"),
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
        slots: vec![SlotView { replicas: vec![replica("desk", "ready")], ..slot("UFM", "resident") }, ucm, ulm, udm],
        transfers: some_transfers(),
        ..State::default()
    }
}

#[track_caller]
fn check(found: &str, expect: &str) {
    assert_eq!(found, expect, "\n{found}");
    assert!(found.lines().all(|line| line.chars().count() <= COLUMNS), "wider than {COLUMNS} columns:\n{found}");
}

#[test]
fn status_of_a_federation_at_work() {
    let expect = "\
federation   3f9a12bc
node         desk, full, tier high-end, API http://127.0.0.1:7717
coordinator  desk, epoch 3
plan         3.2, being carried out; still missing:
             - UCM is being loaded on desk; 12.6 GiB have to be fetched from
             griffith and laptop first

MEMBER  ROLE         STATE    MEMORY                     RESIDENT
desk    full, mixed  alive    ram 15.0 GiB of 64.0 GiB   UFM, UCM
                              gpu0 24.0 GiB, not usable
laptop  delegate     suspect  ram 0 B of 16.0 GiB        -

SLOT  STATE     PRECISION  WHERE
UFM   resident  F16        desk
UCM   loading   F16        desk (loading)
ULM   stored    F16        stored on desk; short: needs 15.3 GiB, 14.1 GiB free
                           after reserve, short 1.2 GiB
UDM   missing   -          nothing published

TRANSFER  ARTIFACT  STATE     DONE              CHUNKS     FROM
UCM       9f8e7d6c  fetching  42 % of 12.6 GiB  1419/3300  griffith 4.0 GiB,
                                                           laptop 1.0 GiB (1
                                                           strike), own disk 12
                                                           chunks
";
    check(&status(&federation()), expect);
}

#[test]
fn status_of_a_node_that_knows_nothing_yet() {
    let expect = "\
federation   unknown
node         unknown, unknown, tier unknown, API unknown
coordinator  none known yet
plan         none yet

MEMBER  ROLE  STATE  MEMORY  RESIDENT

SLOT  STATE  PRECISION  WHERE
";
    check(&status(&State::default()), expect);
}

#[test]
fn managers_with_versions_and_domains() {
    let expect = "\
SLOT  STATE     PRECISION  ARTIFACT  SIZE      VERSION  DOMAINS
UFM   resident  F16        9f8e7d6c  12.6 GiB  1.2
UCM   loading   F16        9f8e7d6c  12.6 GiB  1.2
ULM   stored    F16        9f8e7d6c  12.6 GiB  1.2      core, personal (empty)
UDM   missing   -          -         -         -
";
    check(&managers(&federation()), expect);
}

#[test]
fn transfers_finished_ones_included() {
    let text = transfers::transfers(&federation().transfers);
    assert!(text.contains("done, verified") && text.contains("fetching"), "{text}");
    check(&transfers::transfers(&[]), "no transfers into this node since it started\n");
}
