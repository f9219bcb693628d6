//! Agreement between members: what another member holds is verified here, off the loop, and made durable before the core
//! hears of it; and whom the network admits always follows the newest roster.

use std::collections::BTreeMap;
use std::sync::Arc;

use fednode_proto::v1;
use prost::Message;

use crate::core::machine::{Input, Machine};
use crate::core::membership::advert::Gossip;
use crate::core::membership::roster::{MemberRoster, Term};
use crate::core::types::NodeId;
use crate::driver::event_loop::{Event, Events};
use crate::driver::membership::Registry;
use crate::net::NetHandle;
use crate::wire;

/// Tells the network whom to admit.
#[derive(Clone)]
pub struct Admission {
    me: NodeId,
    registry: Registry,
    net: NetHandle,
    /// Two at once could bring an older roster after a newer one.
    one_at_a_time: Arc<tokio::sync::Mutex<()>>,
}

impl Admission {
    /// For this node's network.
    pub fn new(me: NodeId, registry: Registry, net: NetHandle) -> Admission {
        Admission { me, registry, net, one_at_a_time: Arc::default() }
    }

    /// Admits the members of the roster as it is now, each for its term, and closes the connections of all others.
    pub async fn refresh(&self) {
        let _turn = self.one_at_a_time.lock().await;
        self.net.set_members(others(&self.registry.roster(), &self.me)).await;
    }
}

/// Whom the node `me` speaks with under `roster`, and when: nobody, if it is no member itself any more.
pub fn others(roster: &MemberRoster, me: &NodeId) -> BTreeMap<NodeId, Term> {
    let mut terms = roster.terms();
    if terms.remove(me).is_none() {
        terms.clear();
    }
    terms
}

/// A greeting as it travels; empty while this node has said nothing yet.
pub fn greeting(machine: &Machine) -> Vec<u8> {
    machine.greeting().map(|advert| wire::gossip::encode(&Gossip::Advert(advert))).unwrap_or_default()
}

/// Takes what `from` says of itself, after what it holds: it may be a member by that only. Nodes of before say nothing.
pub async fn greeted(events: &Events, from: NodeId, greeting: &[u8]) {
    if greeting.is_empty() {
        return;
    }
    match wire::gossip::decode_from(&from, greeting) {
        Ok(Gossip::Advert(advert)) => events.send(Event::Core(Input::Greeting(advert))).await,
        Ok(Gossip::Lease(_)) => tracing::warn!(%from, "a lease is no greeting"),
        Err(error) => tracing::warn!(%from, %error, "a greeting was refused"),
    }
}

/// Takes what `from` holds: the roster of members if it is newer, and every catalog record whose signature holds.
pub async fn receive(
    registry: &Registry,
    events: &Events,
    from: NodeId,
    members: Option<v1::SignedMemberRoster>,
    catalog: Option<v1::Catalog>,
) {
    if let Some(members) = members {
        let registry = registry.clone();
        let taken = tokio::task::spawn_blocking(move || registry.take(&members.encode_to_vec())).await;
        match taken {
            Ok(Ok(Some(roster))) => {
                tracing::info!(version = roster.version, %from, "newer roster of members");
                events.send(Event::Core(Input::Members(roster))).await;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::warn!(%from, %error, "a roster of members was refused"),
            Err(error) => tracing::error!(%from, %error, "a roster of members could not be taken"),
        }
    }
    let Some(catalog) = catalog else { return };
    // Every record's signature is checked: half a second for the most that may come.
    let checked = tokio::task::spawn_blocking(move || wire::catalog::from_proto(&catalog)).await;
    let Ok((records, refused)) = checked else { return tracing::error!(%from, "a catalog could not be checked") };
    for error in refused {
        tracing::warn!(%from, %error, "a catalog record was refused");
    }
    for record in records {
        events.send(Event::Core(Input::Record(Box::new(record)))).await;
    }
}
