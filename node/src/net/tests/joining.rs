//! Joining with tickets, over real connections.

use std::sync::{Arc, Mutex};

use super::*;
use crate::core::membership::roster::{Member, MemberRoster, Role};
use crate::net::join::{Invitation, JoinAuthority, JoinError, Redeemed, redeem, serve_join};
use crate::wire::join::{Ticket, TicketId};
use crate::wire::members;

const OWNER: u8 = 50;
const LATER: u64 = u64::MAX;

/// Keeps one ticket and a roster in memory.
struct Authority {
    open: Mutex<Option<Invitation>>,
    roster: Mutex<MemberRoster>,
}

impl JoinAuthority for Authority {
    fn invitation(&self, id: &TicketId) -> Option<Invitation> {
        let open = self.open.lock().expect("no panic");
        open.clone().filter(|invitation| &crate::wire::join::ticket_id(&invitation.secret) == id)
    }

    async fn admit(&self, _: TicketId, member: Member) -> Result<Vec<u8>, String> {
        // Both of two racing joiners have proved the secret before either gets here.
        tokio::task::yield_now().await;
        self.open.lock().expect("no panic").take().ok_or("the ticket was used meanwhile")?;
        let mut roster = self.roster.lock().expect("no panic");
        *roster = roster.admit(member).ok_or("the roster is full")?;
        Ok(members::seal(roster.clone(), &key(OWNER)).signed)
    }
}

struct Inviting {
    net: NetHandle,
    ticket: Ticket,
    /// The network ends when nobody holds these any more.
    _events: mpsc::Receiver<NetEvent>,
}

/// A node with one ticket, serving joiners; `known` is the secret it remembers and when it ends.
async fn inviting(known: [u8; 32], expires_unix_s: u64, role: Role) -> Inviting {
    let mut host = running(1, &[1]).await;
    host.net.set_invitation_open(true).await;
    let ticket = Ticket {
        federation: FederationId(key(OWNER).public().to_bytes()),
        inviter: host.id,
        addresses: host.net.listen_addresses(),
        secret: [3; 32],
        expires_unix_s: LATER,
        role,
    };
    let invitation = Invitation { secret: known, role, expires_unix_s };
    let roster = Mutex::new(MemberRoster::new(ticket.federation));
    let authority = Arc::new(Authority { open: Mutex::new(Some(invitation)), roster });
    let (net, inviter) = (host.net.clone(), host.id);
    tokio::spawn(async move {
        while let Some((joiner, stream)) = host.incoming.join.recv().await {
            let authority = Arc::clone(&authority);
            tokio::spawn(async move { serve_join(stream, joiner, inviter, &*authority).await.map(drop) });
        }
    });
    Inviting { net, ticket, _events: host.events }
}

async fn joins(seed: u8, ticket: &Ticket) -> Result<Redeemed, JoinError> {
    let ticket = ticket.clone();
    // On a task of its own, as the driver may do.
    let joining = tokio::spawn(async move { redeem(&key(seed), &ticket, "den", Role::Full).await });
    joining.await.expect("no panic")
}

#[tokio::test]
async fn the_right_ticket_admits_once_and_grants_no_more_than_its_role() {
    let host = inviting([3; 32], LATER, Role::Delegate).await;
    let redeemed = joins(2, &host.ticket).await.expect("a good ticket");
    assert_eq!((redeemed.member.node, redeemed.member.role), (node(2), Role::Delegate));
    assert_eq!(members::open(&redeemed.roster.signed, &host.ticket.federation), Ok(redeemed.roster.clone()));
    let again = joins(3, &host.ticket).await;
    assert!(matches!(&again, Err(JoinError::Refused { reason }) if reason.contains("not known here")), "{again:?}");
}

#[tokio::test]
async fn of_two_racing_joiners_one_gets_in() {
    let host = inviting([3; 32], LATER, Role::Full).await;
    let (one, two) = tokio::join!(joins(2, &host.ticket), joins(3, &host.ticket));
    assert_eq!([&one, &two].into_iter().filter(|result| result.is_ok()).count(), 1, "{one:?} {two:?}");
    let refused = |result: &Result<_, _>| matches!(result, Err(JoinError::Refused { .. }));
    assert!(refused(&one) || refused(&two), "{one:?} {two:?}");
}

#[tokio::test]
async fn a_wrong_or_expired_ticket_admits_nobody() {
    let host = inviting([4; 32], LATER, Role::Full).await;
    assert_eq!(joins(2, &host.ticket).await, Err(JoinError::NotInvited));
    let late = inviting([3; 32], 1, Role::Full).await;
    assert_eq!(joins(2, &late.ticket).await, Err(JoinError::NotInvited));
    let expired = Ticket { expires_unix_s: 1, ..late.ticket };
    assert_eq!(joins(2, &expired).await, Err(JoinError::Expired));
}

#[tokio::test]
async fn a_shut_gate_an_empty_house_and_another_machine_are_told_apart() {
    let host = inviting([3; 32], LATER, Role::Full).await;
    host.net.set_invitation_open(false).await;
    assert_eq!(joins(2, &host.ticket).await, Err(JoinError::NotInvited));
    let elsewhere = Ticket { inviter: node(9), ..host.ticket.clone() };
    assert_eq!(joins(2, &elsewhere).await, Err(JoinError::WrongInviter));
    host.net.stop().await;
    let addresses = host.ticket.addresses.clone();
    assert_eq!(joins(2, &host.ticket).await, Err(JoinError::Unreachable { addresses }));
}

#[tokio::test]
async fn nothing_is_proved_to_an_inviter_that_does_not_know_the_secret() {
    use crate::net::frame;
    use fednode_proto::v1;
    let mut host = running(1, &[1]).await;
    host.net.set_invitation_open(true).await;
    let ticket = Ticket {
        federation: FEDERATION,
        inviter: host.id,
        addresses: host.net.listen_addresses(),
        secret: [3; 32],
        expires_unix_s: LATER,
        role: Role::Full,
    };
    let liar = async {
        let (_, mut stream) = host.incoming.join.recv().await.expect("the network runs");
        let _: v1::JoinRequest = frame::read(&mut stream, 1000).await.expect("a request");
        let lie = v1::JoinChallenge { nonce: vec![1; 32], proof: vec![2; 32] };
        frame::write(&mut stream, &lie).await.expect("a stream");
        frame::read::<v1::JoinProof, _>(&mut stream, 1000).await
    };
    let (joined, heard) = tokio::join!(joins(2, &ticket), liar);
    assert_eq!(joined, Err(JoinError::WrongInviter));
    assert!(heard.is_err(), "the joiner must not have proved anything: {heard:?}");
}
