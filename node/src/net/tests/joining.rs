//! Joining with tickets, over real connections.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::core::membership::roster::{Member, MemberRoster, Role};
use crate::net::join::{Invitation, JoinAuthority, JoinError, JoinStep, Redeemed, converse, knock, redeem, serve_join};
use crate::wire::join::{Ticket, TicketId, ticket_id};
use crate::wire::members;

const OWNER: u8 = 50;
const LATER: u64 = u64::MAX;

/// Keeps one ticket and a roster in memory.
struct Authority {
    ticket: Invitation,
    used_by: Mutex<Option<NodeId>>,
    roster: Mutex<MemberRoster>,
    /// Answers that are still to be lost: the stream ends after the admission.
    to_lose: Mutex<u32>,
}

impl JoinAuthority for Authority {
    fn invitation(&self, id: &TicketId, joiner: &NodeId) -> Option<Invitation> {
        let good = self.used_by.lock().expect("no panic").is_none_or(|used_by| used_by == *joiner);
        (good && &ticket_id(&self.ticket.secret) == id).then(|| self.ticket.clone())
    }

    async fn admit(&self, _: TicketId, member: Member) -> Result<Vec<u8>, String> {
        // Both of two racing joiners have proved the secret before either gets here.
        tokio::task::yield_now().await;
        let mut used_by = self.used_by.lock().expect("no panic");
        if used_by.is_some_and(|used_by| used_by != member.node) {
            return Err("the ticket was used meanwhile".to_owned());
        }
        let mut roster = self.roster.lock().expect("no panic");
        if used_by.replace(member.node).is_none() {
            *roster = roster.admit(member).ok_or("the roster is full")?;
        }
        Ok(members::seal(roster.clone(), &key(OWNER)).signed)
    }
}

struct Inviting {
    net: NetHandle,
    ticket: Ticket,
    authority: Arc<Authority>,
    /// The network ends when nobody holds these any more.
    _events: mpsc::Receiver<NetEvent>,
}

/// A node with one ticket, serving joiners; `known` is the secret it remembers.
async fn inviting(known: [u8; 32], role: Role) -> Inviting {
    inviting_and_losing(known, role, 0).await
}

/// The same; the first `to_lose` joiners that are admitted do not hear of it.
async fn inviting_and_losing(known: [u8; 32], role: Role, to_lose: u32) -> Inviting {
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
    let authority = Arc::new(Authority {
        ticket: Invitation { secret: known, role },
        used_by: Mutex::default(),
        roster: Mutex::new(MemberRoster::new(ticket.federation)),
        to_lose: Mutex::new(to_lose),
    });
    let (net, inviter, shared) = (host.net.clone(), host.id, authority.clone());
    tokio::spawn(async move {
        while let Some((joiner, stream)) = host.incoming.join.recv().await {
            let authority = shared.clone();
            tokio::spawn(async move {
                let losing = Losing { authority: &authority, lost: AtomicBool::new(false) };
                let serving = serve_join(stream, joiner, inviter, &losing);
                tokio::pin!(serving);
                // Polled by hand, to drop the conversation the moment its answer is decided.
                std::future::poll_fn(|context| {
                    let polled = serving.as_mut().poll(context);
                    if losing.lost.load(Ordering::SeqCst) { Poll::Ready(()) } else { polled.map(drop) }
                })
                .await;
            });
        }
    });
    Inviting { net, ticket, authority, _events: host.events }
}

/// Decides like the authority, and then has its answer lost if one is to be.
struct Losing<'a> {
    authority: &'a Authority,
    lost: AtomicBool,
}

impl JoinAuthority for Losing<'_> {
    fn invitation(&self, id: &TicketId, joiner: &NodeId) -> Option<Invitation> {
        self.authority.invitation(id, joiner)
    }

    async fn admit(&self, id: TicketId, member: Member) -> Result<Vec<u8>, String> {
        let admitted = self.authority.admit(id, member).await;
        let lose = {
            let mut to_lose = self.authority.to_lose.lock().expect("no panic");
            let lose = *to_lose > 0;
            *to_lose = to_lose.saturating_sub(1);
            lose
        };
        if lose {
            self.lost.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        admitted
    }
}

async fn joins(seed: u8, ticket: &Ticket) -> Result<Redeemed, JoinError> {
    let ticket = ticket.clone();
    // On a task of its own, as the driver may do.
    let joining = tokio::spawn(async move { redeem(&key(seed), &ticket, "den", Role::Full, &|_| {}).await });
    joining.await.expect("no panic")
}

#[tokio::test]
async fn the_right_ticket_admits_once_and_grants_no_more_than_its_role() {
    let host = inviting([3; 32], Role::Delegate).await;
    let redeemed = joins(2, &host.ticket).await.expect("a good ticket");
    assert_eq!((redeemed.member.node, redeemed.member.role), (node(2), Role::Delegate));
    assert_eq!(members::open(&redeemed.roster.signed, &host.ticket.federation), Ok(redeemed.roster.clone()));
    let again = joins(3, &host.ticket).await;
    assert_eq!(again, Err(JoinError::NotInvited));
}

#[tokio::test]
async fn of_two_racing_joiners_one_gets_in() {
    let host = inviting([3; 32], Role::Full).await;
    let (one, two) = tokio::join!(joins(2, &host.ticket), joins(3, &host.ticket));
    assert_eq!([&one, &two].into_iter().filter(|result| result.is_ok()).count(), 1, "{one:?} {two:?}");
    // The other one came too late either to show the ticket or to use it.
    let refused = |result: &Result<_, _>| matches!(result, Err(JoinError::Refused { .. } | JoinError::NotInvited));
    assert!(refused(&one) || refused(&two), "{one:?} {two:?}");
}

#[tokio::test]
async fn a_wrong_ticket_admits_nobody() {
    let host = inviting([4; 32], Role::Full).await;
    assert_eq!(joins(2, &host.ticket).await, Err(JoinError::NotInvited));
}

#[tokio::test]
async fn the_inviters_clock_decides_and_the_joiners_only_explains() {
    let host = inviting([3; 32], Role::Full).await;
    let long_ago = Ticket { expires_unix_s: 1, ..host.ticket.clone() };
    assert_eq!(joins(2, &long_ago).await.map(|redeemed| redeemed.member.node), Ok(node(2)));
    host.net.set_invitation_open(false).await;
    assert_eq!(joins(3, &long_ago).await, Err(JoinError::Expired));
    assert_eq!(joins(3, &host.ticket).await, Err(JoinError::NotInvited));
}

#[tokio::test]
async fn a_ticket_is_of_no_use_with_another_member_than_its_inviter() {
    let (host, mut other) = (inviting([3; 32], Role::Full).await, running(4, &[4]).await);
    other.net.set_invitation_open(true).await;
    let authority = Authority {
        ticket: Invitation { secret: [5; 32], role: Role::Full },
        used_by: Mutex::default(),
        roster: Mutex::new(MemberRoster::new(host.ticket.federation)),
        to_lose: Mutex::default(),
    };
    let serving = async {
        let (joiner, stream) = other.incoming.join.recv().await.expect("the network runs");
        serve_join(stream, joiner, other.id, &authority).await
    };
    let addresses = other.net.listen_addresses();
    let elsewhere = Ticket { inviter: other.id, addresses: addresses.clone(), ..host.ticket.clone() };
    let (joined, served) = tokio::join!(joins(2, &elsewhere), serving);
    assert_eq!(joined, Err(JoinError::NotInvited));
    let text = JoinError::NotInvited.to_string();
    assert!(text.contains("another node") && text.contains("fednode invite"), "{text}");
    assert!(served.is_err() && authority.roster.lock().expect("no panic").members.is_empty());
    // Led to the other's address, but told whom to expect there.
    assert_eq!(joins(2, &Ticket { addresses, ..host.ticket.clone() }).await, Err(JoinError::WrongInviter));
}

#[tokio::test]
async fn a_lost_answer_is_given_again_to_the_same_machine_and_to_no_other() {
    let host = inviting_and_losing([3; 32], Role::Full, 1).await;
    let steps = Mutex::new(Vec::new());
    let told = |step: JoinStep| steps.lock().expect("no panic").push(step);
    let redeemed = redeem(&key(2), &host.ticket, "den", Role::Full, &told).await.expect("the second answer arrives");
    let knock = [JoinStep::Dialling, JoinStep::Proving];
    let again = [JoinStep::Again, JoinStep::Dialling, JoinStep::Proving];
    assert_eq!(*steps.lock().expect("no panic"), [&knock[..], &again].concat());
    assert_eq!((redeemed.member.node, redeemed.roster.roster.version), (node(2), 1));
    // Also much later, and still nobody else.
    assert_eq!(joins(2, &host.ticket).await.map(|redeemed| redeemed.roster.roster.version), Ok(1));
    assert_eq!(joins(3, &host.ticket).await, Err(JoinError::NotInvited));
    assert_eq!(host.authority.roster.lock().expect("no panic").members.len(), 1);
}

#[tokio::test]
async fn who_never_hears_an_answer_is_told_to_ask_again() {
    let host = inviting_and_losing([3; 32], Role::Full, u32::MAX).await;
    // One try: the pauses between several would be waited for.
    let joined = knock(&key(2), &host.ticket, "den", Role::Full, &|_| {}).await;
    assert!(matches!(&joined, Err(JoinError::Unanswered { .. })), "{joined:?}");
    assert!(joined.is_err_and(|error| error.to_string().contains("run the same command again")));
    assert_eq!(host.authority.roster.lock().expect("no panic").members.len(), 1);
}

#[tokio::test]
async fn the_secret_is_in_no_byte_that_travels() {
    let secret = *blake3::hash(b"a secret without pattern").as_bytes();
    let authority = Authority {
        ticket: Invitation { secret, role: Role::Full },
        used_by: Mutex::default(),
        roster: Mutex::new(MemberRoster::new(FederationId(key(OWNER).public().to_bytes()))),
        to_lose: Mutex::default(),
    };
    let federation = FederationId(key(OWNER).public().to_bytes());
    let ticket =
        Ticket { federation, inviter: node(1), addresses: Vec::new(), secret, expires_unix_s: LATER, role: Role::Full };
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let said: [Arc<Mutex<Vec<u8>>>; 2] = Default::default();
    let mut joiner = Overheard { stream: ours.compat(), said: said[0].clone() };
    let inviter = Overheard { stream: theirs.compat(), said: said[1].clone() };
    let joining = async {
        let joined = converse(&mut joiner, node(2), &ticket, "den", Role::Full).await;
        joiner.close().await.expect("a pipe closes");
        joined
    };
    let (joined, served) = tokio::join!(joining, serve_join(inviter, node(2), node(1), &authority));
    assert!(joined.is_ok() && served.is_ok(), "{joined:?} {served:?}");
    for said in said {
        let said = said.lock().expect("no panic");
        assert!(said.len() > 64, "a conversation was overheard");
        // No eight bytes of it, in either order.
        for part in secret.windows(8) {
            let backwards: Vec<u8> = part.iter().rev().copied().collect();
            assert!(said.windows(8).all(|bytes| bytes != part && bytes != backwards), "a part of the secret was sent");
        }
    }
}

/// A stream of which every byte that is written is kept.
struct Overheard<S> {
    stream: S,
    said: Arc<Mutex<Vec<u8>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, bytes)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            this.said.lock().expect("no panic").extend_from_slice(&bytes[..count]);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

#[tokio::test]
async fn a_shut_gate_an_empty_house_and_another_machine_are_told_apart() {
    let host = inviting([3; 32], Role::Full).await;
    host.net.set_invitation_open(false).await;
    assert_eq!(joins(2, &host.ticket).await, Err(JoinError::NotInvited));
    let elsewhere = Ticket { inviter: node(9), ..host.ticket.clone() };
    assert_eq!(joins(2, &elsewhere).await, Err(JoinError::WrongInviter));
    host.net.stop().await;
    let tried = host.ticket.addresses.iter().map(|address| format!("{address} (refused)")).collect();
    assert_eq!(joins(2, &host.ticket).await, Err(JoinError::Unreachable { tried }));
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
