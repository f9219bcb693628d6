//! What discovery has seen, for `fednode doctor`. Bounded by interfaces and members.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::core::checkup::{DiscoveryReport, HeardMember, InterfaceReport};
use crate::core::types::NodeId;
use crate::net::discovery::interfaces::Interface;

struct Heard {
    ip: IpAddr,
    at: Instant,
    clock_ahead_ms: i64,
}

#[derive(Default)]
struct State {
    enabled: bool,
    interfaces: Vec<InterfaceReport>,
    heard: BTreeMap<NodeId, Heard>,
    strangers: u64,
}

/// Written by discovery, read by whoever asks.
#[derive(Clone, Default)]
pub(in crate::net) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(in crate::net) fn new(enabled: bool) -> Shared {
        let shared = Shared::default();
        shared.with(|state| state.enabled = enabled);
        shared
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn interfaces(&self, found: Vec<(Interface, Option<String>)>) {
        self.with(|state| {
            let old = std::mem::take(&mut state.interfaces);
            for (interface, error) in found {
                let ip = interface.ip.to_string();
                let known = old.iter().find(|known| known.ip == ip && known.name == interface.name).cloned();
                // An error of sending stays until something was sent.
                let kept = known.unwrap_or(InterfaceReport { name: interface.name, ip, ..Default::default() });
                let error = error.or_else(|| kept.error.clone());
                state.interfaces.push(InterfaceReport { error, ..kept });
            }
        });
    }

    pub(super) fn sent(&self, interface: &Interface, error: Option<String>) {
        self.change(&interface.ip, |report| {
            report.sent += u64::from(error.is_none());
            report.error = error;
        });
    }

    pub(super) fn heard_myself(&self, ip: &IpAddr) {
        self.change(ip, |report| report.echoed += 1);
    }

    fn change(&self, ip: &IpAddr, change: impl FnOnce(&mut InterfaceReport)) {
        let ip = ip.to_string();
        self.with(|state| {
            if let Some(report) = state.interfaces.iter_mut().find(|report| report.ip == ip) {
                change(report);
            }
        });
    }

    pub(super) fn heard_stranger(&self) {
        self.with(|state| state.strangers += 1);
    }

    pub(super) fn heard_member(&self, node: NodeId, ip: IpAddr, sent_ms: u64, now_ms: u64) {
        let clock_ahead_ms = i64::try_from(i128::from(sent_ms) - i128::from(now_ms)).unwrap_or(i64::MAX);
        self.with(|state| state.heard.insert(node, Heard { ip, at: Instant::now(), clock_ahead_ms }));
    }

    /// For `fednode doctor`.
    pub(in crate::net) fn report(&self) -> DiscoveryReport {
        self.with(|state| {
            let heard = state.heard.iter().map(|(node, heard)| {
                let seconds_ago = heard.at.elapsed().as_secs();
                let member =
                    HeardMember { ip: heard.ip.to_string(), seconds_ago, clock_ahead_ms: heard.clock_ahead_ms };
                (node.to_string(), member)
            });
            DiscoveryReport {
                enabled: state.enabled,
                interfaces: state.interfaces.clone(),
                heard: heard.collect(),
                strangers: state.strangers,
            }
        })
    }
}
