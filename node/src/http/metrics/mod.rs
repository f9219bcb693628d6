//! `GET /metrics`: this node's figures for Prometheus. METRICS.md lists every name; a test holds the two together. Labels are
//! bounded: closed sets of words, this machine's memory domains, and the roster's slots. Other machines are counted, not named:
//! each is asked for its own.

mod page;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use self::page::Page;
use super::{Backend, Edge};
use crate::core::view;

/// Version 0.0.4 of the text format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const MEMBER_STATES: [&str; 5] = ["alive", "suspect", "down", "unseen", "expired"];
const SLOT_STATES: [&str; 5] = ["resident", "loading", "stored", "missing", "external"];
const TRANSFER_STATES: [&str; 5] = ["manifest", "fetching", "finishing", "done", "paused"];
const ENGINE_STATES: [&str; 3] = ["ready", "away", "refused"];

pub(super) async fn serve<B: Backend>(State(edge): State<Edge<B>>) -> impl IntoResponse {
    let state = edge.backend.state().await;
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], render(&state))
}

fn render(state: &view::State) -> String {
    let mut page = Page::new();
    federation(&mut page, state);
    memory(&mut page, state);
    slots(&mut page, state);
    requests(&mut page, state);
    weights(&mut page, state);
    page.text()
}

fn federation(page: &mut Page, state: &view::State) {
    let node = &state.node;
    page.gauge("fednode_build_info", "Always 1; what runs here.").of(&[("version", &node.version)], 1);
    let mut members = page.gauge("fednode_members", "Enrolled machines by what this node knows of them.");
    for known in MEMBER_STATES {
        let count = state.members.iter().filter(|member| member.state == known).count();
        members.of(&[("state", known)], count as u64);
    }
    let coordinator = state.coordinator.as_ref();
    let me = coordinator.is_some_and(|seat| seat.peer_id == node.peer_id);
    page.gauge("fednode_coordinator_known", "1 while a coordinator is known.").is(u64::from(coordinator.is_some()));
    page.gauge("fednode_coordinator_here", "1 while this node coordinates.").is(u64::from(me));
    let epoch = coordinator.map_or(0, |seat| seat.epoch);
    page.gauge("fednode_coordinator_epoch", "The coordinator's epoch; 0 while none is known.").is(epoch);
    let plan = state.plan.as_ref();
    let revision = plan.map_or(0, |plan| plan.revision);
    page.gauge("fednode_plan_revision", "Revision of the plan within its epoch.").is(revision);
    let pending = plan.map_or(0, |plan| plan.pending.len());
    page.gauge("fednode_plan_pending", "Steps of the plan that are not carried out, in the whole federation.")
        .is(pending as u64);
}

fn memory(page: &mut Page, state: &view::State) {
    let domains = state.members.first().map(|me| me.domains.as_slice()).unwrap_or_default();
    let mut of_each = |name, help: &str, value: fn(&view::DomainView) -> u64| {
        let mut family = page.gauge(name, help);
        for domain in domains {
            family.of(&[("domain", &domain.name), ("kind", &domain.kind)], value(domain));
        }
    };
    of_each("fednode_memory_total_bytes", "All of a memory domain of this machine.", |domain| domain.total_bytes);
    of_each("fednode_memory_usable_bytes", "What managers may use of it: all but the reserve.", |domain| {
        domain.usable_bytes()
    });
    of_each("fednode_memory_used_bytes", "What of that is used, by managers or by programs beyond the reserve.", |d| {
        d.used_bytes()
    });
    of_each("fednode_memory_managers_bytes", "What managers hold of it.", |domain| domain.ours_bytes);
    of_each("fednode_memory_free_bytes", "What may still be given to managers.", |domain| domain.free_bytes);
    of_each("fednode_memory_hosts", "1 where this build can load managers.", |domain| u64::from(domain.hosts));
}

fn slots(page: &mut Page, state: &view::State) {
    let mut family = page.gauge("fednode_slot_state", "1 for the state that a slot is in, 0 for the others.");
    for slot in &state.slots {
        family.one_of(("slot", &slot.name), "state", &SLOT_STATES, &slot.state);
    }
    let mut of_each = |name, help: &str, value: fn(&view::SlotView) -> u64| {
        let mut family = page.gauge(name, help);
        for slot in &state.slots {
            family.of(&[("slot", &slot.name)], value(slot));
        }
    };
    of_each("fednode_slot_published", "1 where something is published.", |slot| u64::from(!slot.artifact.is_empty()));
    of_each("fednode_slot_replicas_ready", "Replicas that answer, in the whole federation.", |slot| {
        slot.replicas.iter().filter(|replica| replica.state == "ready").count() as u64
    });
    of_each(
        "fednode_slot_replicas_failed",
        "Replicas that failed or that nobody asks because of what they answer.",
        |s| {
            let bad = |state: &str| matches!(state, "failed" | "distrusted");
            s.replicas.iter().filter(|replica| bad(&replica.state)).count() as u64
        },
    );
    of_each("fednode_slot_requests_in_flight", "Requests in its replicas, as they were advertised.", |slot| {
        slot.replicas.iter().map(|replica| u64::from(replica.in_flight)).sum()
    });
    of_each("fednode_slot_shortfall", "1 where the plan has no room for a replica that should be.", |slot| {
        u64::from(!slot.shortfall.is_empty())
    });
    of_each("fednode_slot_holders", "Machines with its whole model on their disk.", |slot| slot.holders.len() as u64);
    let mut engines = page.gauge("fednode_external_engines", "Servers beside this node that stand in for slots.");
    for known in ENGINE_STATES {
        let count = state.engines.iter().filter(|engine| engine.state == known).count();
        engines.of(&[("state", known)], count as u64);
    }
}

fn requests(page: &mut Page, state: &view::State) {
    let requests = &state.requests;
    page.gauge("fednode_requests_in_flight", "Requests through this node that have not ended.").is(requests.in_flight);
    page.counter("fednode_requests_total", "Requests that ended, by how; members' that this node answered included.")
        .of(&[("outcome", "done")], requests.done)
        .of(&[("outcome", "failed")], requests.failed);
    page.counter("fednode_requests_retried_total", "Requests sent to another holder before their first token.")
        .is(requests.retried);
    page.histogram("fednode_request_first_token_seconds", "From a client's question at this node to its first token.")
        .spread(&requests.first_token);
    page.histogram("fednode_request_duration_seconds", "The same to the end of the answer.").spread(&requests.duration);
    page.counter("fednode_tokens_total", "Tokens of requests that clients asked of this node.")
        .of(&[("kind", "prompt")], requests.prompt_tokens)
        .of(&[("kind", "answer")], requests.answer_tokens);
    let loads = &state.loads;
    page.counter("fednode_loads_total", "Loads of managers into this node's memory, by how they ended.")
        .of(&[("outcome", "done")], loads.done)
        .of(&[("outcome", "failed")], loads.failed);
    page.counter("fednode_unloads_total", "Managers that left this node's memory, as planned or by themselves.")
        .of(&[("cause", "planned")], loads.unloaded)
        .of(&[("cause", "died")], loads.died);
}

fn weights(page: &mut Page, state: &view::State) {
    let traffic = &state.traffic;
    page.counter("fednode_transfer_bytes_total", "Bytes of weights to and from members.")
        .of(&[("direction", "sent")], traffic.served_bytes)
        .of(&[("direction", "received")], traffic.asked_bytes);
    let mut transfers = page.gauge("fednode_transfers", "Transfers into this node since it started, by state.");
    for known in TRANSFER_STATES {
        let count = state.transfers.iter().filter(|transfer| transfer.state == known).count();
        transfers.of(&[("state", known)], count as u64);
    }
    let rate = state.transfers.iter().map(|transfer| transfer.bytes_per_s).sum();
    page.gauge("fednode_transfer_bytes_per_second", "Verified bytes that come now.").is(rate);
    let corrupt = state.transfers.iter().map(|transfer| u64::from(transfer.chunks_corrupt)).sum();
    page.gauge("fednode_transfer_chunks_corrupt", "Chunks of these transfers that came corrupt.").is(corrupt);
    let disk = state.members.first().map_or(0, |me| me.disk_free_bytes);
    page.gauge("fednode_disk_free_bytes", "What may still be stored on this machine's disk.").is(disk);
    let store = state.store.clone().unwrap_or_default();
    page.gauge("fednode_store_used_bytes", "What stored weights take; 0 on a delegate.").is(store.used_bytes);
    let damaged = store.damaged.len() as u64;
    page.gauge("fednode_store_damaged", "Stored artifacts that are damaged and not whole again.").is(damaged);
    page.counter("fednode_scrub_damaged_chunks_total", "Damaged chunks that were found.")
        .is(store.scrub.damaged_chunks);
    page.gauge(
        "fednode_scrub_passed_timestamp_seconds",
        "When the last full check of the store ended; 0: none did yet.",
    )
    .is(store.scrub.passed_unix_s);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::view::{DomainView, MemberView, SlotView};

    /// METRICS.md, whose tables name each metric once in their first column.
    const DOCUMENTED: &str = include_str!("../../../../METRICS.md");

    fn federation() -> view::State {
        let domain = DomainView { name: "ram".to_owned(), total_bytes: 100, free_bytes: 20, ..DomainView::default() };
        let me = MemberView { state: "alive".to_owned(), domains: vec![domain], ..MemberView::default() };
        let slot = SlotView { name: "UCM".to_owned(), state: "resident".to_owned(), ..SlotView::default() };
        view::State { members: vec![me], slots: vec![slot], ..view::State::default() }
    }

    #[test]
    fn every_metric_is_documented_and_every_documented_one_is_there() {
        let page = render(&federation());
        let told: BTreeSet<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let rows = DOCUMENTED.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
        assert_eq!(told, rows.collect());
        assert!(told.len() > 30, "{told:?}");
    }

    #[test]
    fn a_slot_is_in_one_state_and_memory_is_told_for_each_domain() {
        let page = render(&federation());
        for line in [
            "fednode_slot_state{slot=\"UCM\",state=\"resident\"} 1",
            "fednode_slot_state{slot=\"UCM\",state=\"stored\"} 0",
            "fednode_memory_used_bytes{domain=\"ram\",kind=\"\"} 80",
            "fednode_members{state=\"alive\"} 1",
            "fednode_coordinator_known 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
    }
}
