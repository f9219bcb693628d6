//! The registry of members with its real files, and real joiners.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use super::*;
use crate::driver::enrol::{Enrolment, identify};
use crate::net::join::{Invitation, JoinAuthority, JoinError, Redeemed, redeem, serve_join};
use crate::net::{self, NetConfig, NetHandle};
use crate::wire::ids;

/// Enough that both orders of two joiners, and every step at which one can overtake the other, come up.
const ROUNDS: usize = 40;

fn key(seed: u8) -> ed25519::Keypair {
    ed25519::SecretKey::try_from_bytes([seed; 32]).expect("any 32 bytes are a secret key").into()
}

fn node(seed: u8) -> NodeId {
    ids::node_of_key(&key(seed).public())
}

/// The owner's registry in `folder`: created, or as a start finds it.
fn registry(folder: &std::path::Path) -> Registry {
    let dir = DataDir::open(folder).expect("a data directory");
    let (known, me) = (dir.view().membership().expect("readable"), dir.node_id().expect("a key"));
    let membership = known.map_or_else(|| Registry::create(&dir, me, "north", Role::Full), Ok).expect("membership");
    Registry::open(Arc::new(dir), membership).expect("a registry")
}

/// What `driver::node` does with a joiner, without the rest of a node.
impl JoinAuthority for Registry {
    fn invitation(&self, id: &TicketId, joiner: &NodeId) -> Option<Invitation> {
        let ticket = self.ticket_for(id, joiner)?;
        Some(Invitation { secret: ticket.secret, role: ticket.role })
    }

    async fn admit(&self, id: TicketId, member: Member) -> Result<Vec<u8>, String> {
        let registry = self.clone();
        let admitted = tokio::task::spawn_blocking(move || Registry::admit(&registry, &id, member)).await;
        admitted.expect("no panic").map(|sealed| sealed.signed).map_err(|error| error.to_string())
    }
}

/// A network that serves joiners of `registry` for as long as it is kept.
async fn serving(registry: &Registry) -> (NetHandle, JoinSet<()>) {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    let (keypair, federation) = (registry.key.clone(), registry.roster().federation);
    let config = NetConfig { keypair, federation, listen, mdns: false, peers: Vec::new(), wan: Default::default() };
    let (net, mut events, mut incoming) = net::start(config, BTreeSet::new()).await.expect("a free port");
    net.set_invitation_open(true).await;
    let (mut tasks, registry) = (JoinSet::new(), registry.clone());
    tasks.spawn(async move { while events.recv().await.is_some() {} });
    tasks.spawn(async move {
        while let Some((joiner, stream)) = incoming.join.recv().await {
            let registry = registry.clone();
            tokio::spawn(async move { serve_join(stream, joiner, registry.me(), &registry).await.map(drop) });
        }
    });
    (net, tasks)
}

async fn joins(key: ed25519::Keypair, ticket: Ticket) -> Result<Redeemed, JoinError> {
    redeem(&key, &ticket, "den", Role::Full, &|_| {}).await
}

fn member(seed: u8) -> Member {
    Member::new(node(seed), "den", Role::Full)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_racing_joiners_exactly_one_is_admitted_in_every_round() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(folder.path());
    for round in 0..ROUNDS {
        // A network of its own for each: its door lets one address begin only so many handshakes a second.
        let (net, _tasks) = serving(&registry).await;
        let before = registry.roster();
        let ticket = registry.invite(registry.me(), Role::Full, 900, net.listen_addresses()).expect("a ticket");
        let keys = [ed25519::Keypair::generate(), ed25519::Keypair::generate()];
        let joining = keys.clone().map(|key| tokio::spawn(joins(key, ticket.clone())));
        let results = futures::future::join_all(joining).await;
        let joined: Vec<bool> = results.iter().map(|result| result.as_ref().expect("no panic").is_ok()).collect();
        assert_eq!(joined.iter().filter(|joined| **joined).count(), 1, "round {round}: {results:?}");
        let roster = registry.roster();
        assert_eq!((roster.members.len(), roster.version), (before.members.len() + 1, before.version + 1));
        for (key, joined) in keys.iter().zip(joined) {
            let joiner = ids::node_of_key(&key.public());
            assert_eq!(roster.member(&joiner).is_some(), joined, "round {round}");
        }
        let stored = registry.dir.view().membership().expect("readable").expect("there");
        assert_eq!(stored.signed_roster, registry.signed_roster(), "what is said is on disk");
    }
}

/// Takes the roster without `gone`, as a revocation leaves it.
fn revoke(registries: &[&Registry], owner: &Registry, gone: NodeId) {
    let mut roster = owner.roster();
    roster.members.retain(|member| member.node != gone);
    roster.version += 1;
    let sealed = members::seal(roster, owner.inner().owner.as_ref().expect("the owner's key"));
    for registry in registries {
        assert!(registry.take(&sealed.signed).expect("signed").is_some());
    }
}

#[tokio::test]
async fn a_member_needs_no_ticket_and_one_that_was_revoked_needs_a_new_one() {
    let [north, den] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let registry = registry(north.path());
    let (net, _tasks) = serving(&registry).await;
    let dir = DataDir::open(den.path()).expect("a data directory");
    let ticket = || registry.invite(registry.me(), Role::Full, 900, net.listen_addresses()).expect("a ticket");
    let heard = Mutex::new(Vec::new());
    let told = |enrolment: Enrolment<'_>| match enrolment {
        Enrolment::Step(_) => {}
        Enrolment::Joined { me, inviter, members } => {
            heard.lock().expect("no panic").push(format!("{} joined, let in by {inviter}: {members}", me.name));
        }
        Enrolment::Already { me } => heard.lock().expect("no panic").push(format!("{} was in already", me.name)),
    };
    let first = identify(&dir, "den", Some(ticket()), Role::Full, &told).await.expect("joined");
    let unused = ticket();
    let second = identify(&dir, "den", Some(unused.clone()), Role::Full, &told).await.expect("a member");
    assert_eq!((first.me, &first.membership), (second.me, &second.membership));
    assert!(registry.ticket(&unused.id()).is_some_and(|ticket| ticket.state == TicketState::Open));

    let dir = Arc::new(dir);
    let its_own = Registry::open(dir.clone(), second.membership).expect("a registry");
    revoke(&[&registry, &its_own], &registry, first.me);
    let again = identify(&dir, "den", Some(unused), Role::Full, &told).await.expect("joined again");
    assert_eq!(again.me, first.me, "under the same key");
    let stored = dir.view().membership().expect("readable").expect("there");
    assert_eq!((&stored, &stored.signed_roster), (&again.membership, &registry.signed_roster()));
    let expect = ["den joined, let in by north: 2", "den was in already", "den joined, let in by north: 2"];
    assert_eq!(*heard.lock().expect("no panic"), expect);
}

#[test]
fn a_used_ticket_does_not_bring_a_revoked_machine_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(folder.path());
    let id = registry.invite(registry.me(), Role::Full, 900, Vec::new()).expect("a ticket").id();
    registry.admit(&id, member(2)).expect("admitted");
    revoke(&[&registry], &registry, node(2));
    assert!(registry.ticket_for(&id, &node(2)).is_none());
    assert!(matches!(registry.admit(&id, member(2)), Err(MembershipError::Identity(IdentityError::TicketSpent))));
    assert_eq!(registry.roster().members.len(), 1);
}

#[test]
fn what_was_admitted_before_a_crash_is_told_again_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let id = {
        let registry = registry(folder.path());
        let ticket = registry.invite(registry.me(), Role::Full, 900, Vec::new()).expect("a ticket");
        registry.admit(&ticket.id(), member(2)).expect("admitted");
        // Killed here: the answer was never sent.
        ticket.id()
    };
    let registry = registry(folder.path());
    assert!(!registry.invitation_open(), "a burnt ticket opens no door");
    assert!(registry.ticket_for(&id, &node(2)).is_some());
    assert!(registry.ticket_for(&id, &node(3)).is_none());
    let again = registry.admit(&id, member(2)).expect("told again");
    assert_eq!((again.roster.members.len(), again.roster.version), (2, 2));
    assert_eq!(again.signed, registry.signed_roster());
    assert!(matches!(registry.admit(&id, member(3)), Err(MembershipError::Identity(IdentityError::TicketSpent))));
    assert_eq!(registry.roster().members.len(), 2);
}

#[test]
fn expired_withdrawn_and_unknown_tickets_admit_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let registry = registry(folder.path());
    let ticket = |ttl| registry.invite(registry.me(), Role::Full, ttl, Vec::new()).expect("a ticket").id();
    let (expired, withdrawn, open) = (ticket(0), ticket(900), ticket(900));
    assert_eq!(registry.withdraw(Some(&withdrawn)).expect("written"), 1);
    for id in [expired, withdrawn, [7; 16]] {
        assert!(registry.ticket_for(&id, &node(2)).is_none());
        assert!(matches!(registry.admit(&id, member(2)), Err(MembershipError::Identity(IdentityError::TicketSpent))));
    }
    assert!(registry.invitation_open() && registry.ticket_for(&open, &node(2)).is_some());
    assert_eq!(registry.withdraw(None).expect("written"), 1);
    assert!(!registry.invitation_open());
    assert_eq!(registry.roster().members.len(), 1);
}
