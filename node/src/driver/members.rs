//! `fednode members`, node side: a change of the roster is durable here first, then brought to every member that is connected,
//! and only then answered. Beside it the watch that renews certificates before they expire.

use std::time::Duration;

use fednode_proto::v1;
use fednode_proto::v1::members_request::Action;
use futures::future::join_all;
use prost::Message;
use serde_json::json;
use tonic::Status;

use crate::core::limits;
use crate::core::machine::Input;
use crate::core::membership::change::Change;
use crate::core::membership::roster::MemberRoster;
use crate::core::types::NodeId;
use crate::driver::clock::unix_seconds;
use crate::driver::event_loop::Event;
use crate::driver::membership::MembershipError;
use crate::driver::node::{Node, ended, json};
use crate::driver::sync;
use crate::wire;

/// How often certificates are looked at: they live for months, and a clock that was set right must show soon.
const WATCH_PERIOD: Duration = Duration::from_secs(30);
/// A command waits this long for members to say that they took its change; the others get it when they are met.
const TOLD_WAIT: Duration = Duration::from_millis(1500);

/// Carries out one change of the roster.
pub(super) async fn change(node: &Node, request: v1::MembersRequest) -> Result<Vec<u8>, Status> {
    let action = request.action.ok_or_else(|| Status::invalid_argument("nothing to do"))?;
    let roster = node.registry.roster();
    let (word, change) = match &action {
        Action::Revoke(who) => ("revoke", Change::Revoke(find(&roster, who)?)),
        Action::Rename(rename) => {
            let name = wire::members::machine_name(&rename.name);
            let name = name.map_err(|error| Status::invalid_argument(error.to_string()))?;
            ("rename", Change::Rename(find(&roster, &rename.who)?, name))
        }
        Action::GrantAdmin(who) => ("grant-admin", Change::GrantAdmin(find(&roster, who)?)),
        Action::RevokeAdmin(who) => ("revoke-admin", Change::RevokeAdmin(find(&roster, who)?)),
    };
    let (Change::Revoke(whom)
    | Change::Rename(whom, _)
    | Change::GrantAdmin(whom)
    | Change::RevokeAdmin(whom)
    | Change::AddOwner(whom)) = change.clone()
    else {
        return Err(Status::internal("nobody is admitted here"));
    };
    let registry = node.registry.clone();
    let made = tokio::task::spawn_blocking(move || registry.change(&change)).await;
    let made = made.map_err(|error| Status::internal(error.to_string()))?.map_err(refusal)?;
    tracing::info!(word, whom = %whom, version = made.roster.version, "the roster of members was changed here");
    let told = spread(node, &made.roster).await?;
    // Its name before, if it is no longer there.
    let name = made.roster.member(&whom).or(roster.member(&whom)).map(|member| member.name.clone());
    let names = |nodes: &[NodeId]| nodes.iter().map(|node| made.roster.name_of(node)).collect::<Vec<_>>();
    json(&json!({
        "action": word,
        "member": {"name": name, "peer_id": wire::ids::peer_id_text(&whom)},
        "version": made.roster.version,
        "told": names(&told.heard),
        "not_told": names(&told.missed),
    }))
}

/// Takes a recovery file's key.
pub(super) async fn import_owner(node: &Node, recovery: String) -> Result<Vec<u8>, Status> {
    let key = wire::owner_key::from_text(&recovery);
    let key = key.map_err(|error| Status::invalid_argument(error.to_string()))?;
    let registry = node.registry.clone();
    let imported = tokio::task::spawn_blocking(move || registry.import_owner(&key)).await;
    let imported = imported.map_err(|error| Status::internal(error.to_string()))?.map_err(refusal)?;
    if let Some(roster) = &imported {
        tracing::info!(version = roster.version, "this machine has the owner's key now");
        spread(node, roster).await?;
    }
    json(&json!({"federation": node.registry.roster().federation.to_string(), "known_before": imported.is_none()}))
}

/// Who heard of a new roster at once.
struct Told {
    heard: Vec<NodeId>,
    missed: Vec<NodeId>,
}

/// Brings `roster`, which is durable here, to every member, the machines that it turns out among them: they may hear it, for as
/// long as a farewell takes. Then their connections end here; elsewhere they end when the roster comes.
async fn spread(node: &Node, roster: &MemberRoster) -> Result<Told, Status> {
    let connected = |machine: &crate::core::machine::Machine| -> Vec<NodeId> {
        machine.table().iter().filter(|(_, entry)| entry.connected).map(|(node, _)| *node).collect()
    };
    let connected = node.read(connected).await.ok_or_else(ended)?;
    let (stay, go): (Vec<NodeId>, Vec<NodeId>) = connected.into_iter().partition(|node| roster.member(node).is_some());
    let farewell = async {
        let said = join_all(go.iter().map(|gone| tell(node, *gone)));
        let _ = tokio::time::timeout(std_duration(limits::FAREWELL), said).await;
        // By the network before anybody else learns it, so that nobody new slips in between.
        node.admission.refresh().await;
        node.events.send(Event::Core(Input::Members(roster.clone()))).await;
    };
    let pushes = join_all(stay.iter().take(limits::ROSTER_PUSHES_MAX).map(|member| async move {
        let said = tokio::time::timeout(TOLD_WAIT, tell(node, *member)).await;
        said.unwrap_or(false).then_some(*member)
    }));
    let ((), heard) = tokio::join!(farewell, pushes);
    let heard: Vec<NodeId> = heard.into_iter().flatten().collect();
    let others = roster.members.iter().map(|member| member.node).filter(|other| *other != node.me);
    let missed = others.filter(|other| !heard.contains(other)).collect();
    adopt_orphans(node).await;
    Ok(Told { heard, missed })
}

/// Shows a member the roster as it is here; true once it answered.
async fn tell(node: &Node, member: NodeId) -> bool {
    let members = v1::SignedMemberRoster::decode(node.registry.signed_roster().as_slice()).ok();
    match node.peers.sync(member, v1::SyncRequest { members, ..v1::SyncRequest::default() }).await {
        Ok(reply) => {
            sync::receive(&node.registry, &node.events, member, reply.members, None).await;
            true
        }
        Err(error) => {
            tracing::debug!(%member, %error, "not told of the new roster; it hears when it is met again");
            false
        }
    }
}

/// What machines published that are no members any more stays published, in this node's name: nobody who comes later would
/// believe them.
async fn adopt_orphans(node: &Node) {
    let roster = node.registry.roster();
    let orphans = node.read(move |machine| {
        let records = machine.config().catalog.records().filter(|record| roster.member(&record.author).is_none());
        records.map(|record| record.entry.clone()).collect::<Vec<_>>()
    });
    for entry in orphans.await.unwrap_or_default() {
        if let Err(error) = node.write_catalog(entry).await {
            tracing::warn!(%error, "a record of somebody who is no member any more was not taken over");
        }
    }
}

/// Renews certificates past half of their life, and says so when nobody does.
pub(super) fn watch_certificates(node: Node) {
    tokio::spawn(async move {
        let mut warned = false;
        loop {
            let registry = node.registry.clone();
            match tokio::task::spawn_blocking(move || registry.renew()).await {
                Ok(Ok(Some(roster))) => {
                    tracing::info!(version = roster.version, "certificates of members were renewed");
                    let _ = spread(&node, &roster).await;
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "certificates of members could not be renewed; trying again"),
                Err(error) => tracing::error!(%error, "certificates of members could not be looked at"),
            }
            if node.registry.may_sign() {
                adopt_orphans(&node).await;
            }
            let why = worry(&node.registry.roster(), &node.me, unix_seconds());
            if let Some(why) = why.as_ref().filter(|_| !warned) {
                tracing::warn!("{why}");
            }
            warned = why.is_some();
            tokio::time::sleep(WATCH_PERIOD).await;
        }
    });
}

/// What a person should know of how long this federation goes on by itself.
fn worry(roster: &MemberRoster, me: &NodeId, now_unix_s: u64) -> Option<String> {
    let others = roster.members.iter().filter(|member| member.node != *me && !roster.is_owners(&member.node));
    let (expired, running): (Vec<_>, Vec<_>) = others.partition(|member| !roster.admits(&member.node, now_unix_s));
    if !expired.is_empty() && running.is_empty() {
        return Some(
            "by this machine's clock the certificates of all other members have expired. Is the clock right? If it is, start the owner's machine or an admin's, which renews them"
                .to_owned(),
        );
    }
    let mine = roster.member(me).filter(|_| !roster.is_owners(me)).map_or(0, |member| member.expires_unix_s);
    let left = mine.saturating_sub(now_unix_s);
    (mine != 0 && left < limits::MEMBER_LIFE_S / 4).then(|| {
        format!(
            "this machine's certificate ends in {} days and nobody has renewed it: start the owner's machine or an admin's, or import the recovery file on a member",
            left / (24 * 3600)
        )
    })
}

/// By name, PeerId or the key's 64 digits.
pub(super) fn find(roster: &MemberRoster, who: &str) -> Result<NodeId, Status> {
    let by_key = |node: &NodeId| wire::ids::peer_id_text(node) == who || node.to_string() == who;
    let found = roster.members.iter().find(|member| member.name == who || by_key(&member.node));
    found.map(|member| member.node).ok_or_else(|| {
        let names: Vec<&str> = roster.members.iter().map(|member| member.name.as_str()).take(16).collect();
        let who: String = who.chars().filter(|c| !c.is_control()).take(80).collect();
        Status::failed_precondition(format!("no member is called {who}; there are: {}", names.join(", ")))
    })
}

fn refusal(error: MembershipError) -> Status {
    match error {
        MembershipError::Identity(_) => Status::internal(error.to_string()),
        _ => Status::failed_precondition(error.to_string()),
    }
}

fn std_duration(duration: crate::core::types::Duration) -> Duration {
    Duration::from_nanos(duration.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::membership::change::By;
    use crate::core::membership::roster::{Member, Role};
    use crate::core::types::FederationId;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 3600;

    fn roster() -> MemberRoster {
        let machine = |n: u8, name: &str| Member::new(NodeId([n; 32]), name, Role::Full);
        let by = By { machine: NodeId([1; 32]), owner: true };
        let mut roster = MemberRoster::new(FederationId([9; 32])).founded(machine(1, "desk"), NOW).expect("room");
        for (acts, (n, name)) in (1..).zip([(2, "den"), (3, "nas")]) {
            roster = roster.changed(&Change::Admit(machine(n, name)), acts, &by, NOW).expect("room");
        }
        roster
    }

    #[test]
    fn members_are_found_by_name_and_key_and_others_are_named() {
        let roster = roster();
        let two = NodeId([2; 32]);
        for who in ["den".to_owned(), two.to_string(), wire::ids::peer_id_text(&two)] {
            assert_eq!(find(&roster, &who).ok(), Some(two), "{who}");
        }
        let refused = find(&roster, "attic\u{7}").expect_err("no such member");
        assert_eq!(refused.message(), "no member is called attic; there are: desk, den, nas");
    }

    #[test]
    fn a_certificate_that_nobody_renews_and_a_clock_that_is_off_are_told() {
        let roster = roster();
        let check = |me: u8, now: u64, says: Option<&str>| {
            let why = worry(&roster, &NodeId([me; 32]), now);
            match (&why, says) {
                (None, None) => {}
                (Some(why), Some(says)) => assert!(why.contains(says), "{why}"),
                other => panic!("{me} at {now}: {other:?}"),
            }
        };
        check(2, NOW, None);
        check(2, NOW + 60 * DAY, None);
        check(2, NOW + 70 * DAY, Some("ends in 20 days"));
        check(1, NOW + 70 * DAY, None);
        check(2, NOW + 92 * DAY, Some("Is the clock right?"));
        check(1, NOW + 92 * DAY, Some("Is the clock right?"));
    }
}
