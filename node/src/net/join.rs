//! Joining: how a machine with a ticket becomes a member. The joiner's side is here: a short-lived swarm that dials nobody
//! but the inviter, at the ticket's addresses. The inviter's side is in `join_serve`.
//!
//! In order, on one stream: the joiner names the ticket and sends a nonce; the inviter answers with its nonce and proves
//! that it knows the ticket's secret; only then the joiner proves the same; the inviter burns the ticket, admits the joiner
//! and sends the roster. The secret itself never travels. An inviter that does not know the ticket hangs up. When the answer
//! to a proof is lost the joiner may be a member without knowing it: it asks again with the same key and ticket, and the
//! inviter answers that machine, and no other, once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fednode_proto::v1;
use futures::StreamExt;
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use libp2p::identity::ed25519;
use libp2p::swarm::{ConnectionId, DialError, SwarmEvent};
use libp2p::{PeerId, Swarm};
use prost::Message;
use tokio::sync::oneshot;

use crate::core::limits;
use crate::core::membership::roster::{Member, Role};
use crate::core::types::NodeId;
use crate::net::admission::Admission;
use crate::net::dial::{Absence, absence, dial_of, dialable, is_other};
use crate::net::frame::{self, FrameError};
pub use crate::net::join_serve::{Invitation, JoinAuthority, ServeJoinError, serve_join};
use crate::net::{Protocol, std_duration, streams, transport};
use crate::wire::join::{Side, Ticket, Transcript};
use crate::wire::members::{VerifiedRoster, role_to_proto};
use crate::wire::{ids, members};

/// What a redeemed ticket gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redeemed {
    /// The roster that admits this machine, as read.
    pub roster: VerifiedRoster,
    /// This machine's own entry: its name may have got a number, its role may be less than it asked for.
    pub member: Member,
}

/// Why this machine did not join.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JoinError {
    /// The inviter lets nobody in, and by this machine's clock the ticket is too old. The inviter's clock decides; ours only
    /// explains.
    #[error("this ticket has expired; ask for a new one with `fednode invite`")]
    Expired,
    /// No address of the ticket answered.
    #[error(
        "the inviter cannot be reached: {}; is its node running on the same network, and does no firewall stand between?",
        tried.join(", ")
    )]
    Unreachable {
        /// The ticket's addresses, each with what became of it.
        tried: Vec<String>,
    },
    /// The inviter hung up: it lets no strangers in, or not with this ticket.
    #[error(
        "the inviter has no open invitation for this ticket: it was used or withdrawn, has expired, or was made by another node; ask for a new one with `fednode invite`"
    )]
    NotInvited,
    /// The secret was proved, and what came of it is not known.
    #[error(
        "the inviter's answer did not arrive ({why}), and it may have admitted this machine; run the same command again: the ticket stays good for this machine"
    )]
    Unanswered {
        /// What happened to the connection.
        why: String,
    },
    /// The inviter said no.
    #[error("the inviter refused: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// Another machine answered, or one that does not know the ticket's secret.
    #[error(
        "whoever answered is not the machine that made this ticket; do not use the ticket again, ask for a new one"
    )]
    WrongInviter,
    /// The inviter did not keep to the protocol.
    #[error(
        "the inviter's answer is not usable: {why}; run the same version on both machines and ask for a new ticket"
    )]
    BadReply {
        /// What was wrong.
        why: String,
    },
    /// The network of this machine could not be used.
    #[error("cannot join: {why}")]
    Setup {
        /// The system's reason.
        why: String,
    },
}

/// How far joining has come, for whoever waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinStep {
    /// Looking for the inviter at the ticket's addresses.
    Dialling,
    /// It answered: each side proves the ticket.
    Proving,
    /// Its answer was lost; it is asked again.
    Again,
}

/// Joins the ticket's federation as `my_name`, in `role` or less. Whether the ticket is still good is the inviter's to say.
pub async fn redeem(
    keypair: &ed25519::Keypair,
    ticket: &Ticket,
    my_name: &str,
    role: Role,
    told: &(dyn Fn(JoinStep) + Send + Sync),
) -> Result<Redeemed, JoinError> {
    let mut redeemed = knock(keypair, ticket, my_name, role, told).await;
    let mut pause = std_duration(limits::REDIAL_FIRST);
    for _ in 1..limits::JOIN_TRIES_MAX {
        let Err(JoinError::Unanswered { .. }) = &redeemed else { break };
        tracing::info!("the inviter's answer was lost; asking again");
        told(JoinStep::Again);
        tokio::time::sleep(pause).await;
        pause *= 2;
        match knock(keypair, ticket, my_name, role, told).await {
            // It is away, or starting: none of these says whether it admitted us.
            Err(JoinError::Unreachable { .. } | JoinError::NotInvited | JoinError::Setup { .. }) => {}
            known => redeemed = known,
        }
    }
    match redeemed {
        Err(JoinError::NotInvited) if unix_seconds() >= ticket.expires_unix_s => Err(JoinError::Expired),
        other => other,
    }
}

/// One try.
pub(super) async fn knock(
    keypair: &ed25519::Keypair,
    ticket: &Ticket,
    my_name: &str,
    role: Role,
    told: &(dyn Fn(JoinStep) + Send + Sync),
) -> Result<Redeemed, JoinError> {
    told(JoinStep::Dialling);
    let inviter = ids::peer_id(&ticket.inviter).ok_or(JoinError::WrongInviter)?;
    let mut swarm = knocking_swarm(keypair, ticket.inviter)?;
    let connection = reach(&mut swarm, inviter, &ticket.addresses).await?;
    told(JoinStep::Proving);
    let (reply, answer) = oneshot::channel();
    swarm.behaviour_mut().open(inviter, connection, streams::Open { protocol: Protocol::Join, reply });
    let me = ids::node_of_key(&keypair.public());
    let talk = async {
        // Closed before a stream was open: the gate is shut.
        let mut stream = answer.await.ok().and_then(Result::ok).ok_or(JoinError::NotInvited)?;
        let redeemed = converse(&mut stream, me, ticket, my_name, role).await;
        // Told at once that we have read its answer, the inviter need not wait for us.
        let _ = tokio::time::timeout(std_duration(limits::JOIN_STEP), stream.close()).await;
        redeemed
    };
    tokio::pin!(talk);
    loop {
        tokio::select! {
            redeemed = &mut talk => return redeemed,
            _ = swarm.select_next_some() => {}
        }
    }
}

/// A swarm that connects to the inviter and to nobody else, and serves nothing.
fn knocking_swarm(keypair: &ed25519::Keypair, inviter: NodeId) -> Result<Swarm<streams::Behaviour>, JoinError> {
    let keypair = libp2p::identity::Keypair::from(keypair.clone());
    let admission = Arc::new(Admission::new(BTreeSet::from([inviter]).into()));
    let transport = transport::build(&keypair, Arc::clone(&admission), None)
        .map_err(|error| JoinError::Setup { why: error.to_string() })?;
    let config = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
    let behaviour = streams::Behaviour::new(admission, None);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config))
}

/// Dials every address at once and takes the first that is the inviter.
async fn reach(
    swarm: &mut Swarm<streams::Behaviour>,
    inviter: PeerId,
    addresses: &[String],
) -> Result<ConnectionId, JoinError> {
    let (mut pending, mut tried) = (BTreeMap::new(), Vec::new());
    for text in addresses {
        let Some(address) = dialable(text) else {
            tried.push(format!("{text} (not an address of this version)"));
            continue;
        };
        let dial = dial_of(inviter, address);
        let id = dial.connection_id();
        match swarm.dial(dial) {
            Ok(()) => drop(pending.insert(id, text)),
            Err(error) => tried.push(format!("{text} ({})", not_reached(&error))),
        }
    }
    if addresses.is_empty() {
        tried.push("the ticket names no address".to_owned());
    }
    // A neighbour's list of addresses ends with its loopback, where on this machine somebody else may live. Only when
    // nothing but others answered was the inviter's place taken.
    let mut only_others = !pending.is_empty();
    while !pending.is_empty() {
        // Each dial ends within the handshake's limit, so this loop does.
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { connection_id, .. } => return Ok(connection_id),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                let text = pending.remove(&connection_id);
                only_others &= is_other(&error);
                tried.extend(text.map(|text| format!("{text} ({})", not_reached(&error))));
                tracing::debug!(%error, "inviter not reached");
            }
            _ => {}
        }
    }
    Err(if swarm.behaviour().has_answered(&inviter) {
        // It is there, and hung up when it heard who we are.
        JoinError::NotInvited
    } else if only_others {
        JoinError::WrongInviter
    } else {
        JoinError::Unreachable { tried }
    })
}

/// Why a dial failed, in a few words for people.
fn not_reached(error: &DialError) -> &'static str {
    match (error, absence(error)) {
        (DialError::LocalPeerId { .. }, _) => "it is this machine",
        (other, _) if is_other(other) => "another machine is there",
        (_, Absence::Known) => "refused",
        (_, Absence::NoWay) => "no way leads there",
        (_, Absence::Possible) => "no answer",
    }
}

/// The joiner's half of the conversation.
pub(super) async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    me: NodeId,
    ticket: &Ticket,
    my_name: &str,
    role: Role,
) -> Result<Redeemed, JoinError> {
    let joiner_nonce: [u8; 32] = rand::random();
    let request =
        v1::JoinRequest { ticket_id: ticket.id().to_vec(), nonce: joiner_nonce.to_vec(), name: my_name.to_owned() };
    // A gate that shuts now shuts before anything was said.
    let shut = |error| if is_shut(&error) { JoinError::NotInvited } else { bad_reply(error) };
    step(frame::write(stream, &request)).await.map_err(shut)?;
    let challenge: v1::JoinChallenge = receive(stream).await.map_err(shut)?;
    let inviter_nonce: [u8; 32] = challenge.nonce.as_slice().try_into().map_err(|_| JoinError::WrongInviter)?;
    let transcript = Transcript { inviter: ticket.inviter, joiner: me, joiner_nonce, inviter_nonce };
    // First of all: nothing is proved to a machine that did not prove itself.
    if !transcript.holds(&ticket.secret, Side::Inviter, &challenge.proof) {
        return Err(JoinError::WrongInviter);
    }
    let proof = transcript.proof(&ticket.secret, Side::Joiner).as_bytes().to_vec();
    let proof = v1::JoinProof { proof, role: role_to_proto(role).into() };
    let unanswered = |error: FrameError| match error {
        FrameError::Ended | FrameError::Broken(_) | FrameError::TimedOut => {
            JoinError::Unanswered { why: error.to_string() }
        }
        FrameError::TooLong { .. } | FrameError::Encoding => bad_reply(error),
    };
    step(frame::write(stream, &proof)).await.map_err(unanswered)?;
    // The roster of a large federation is the largest of these messages by far.
    let reply = step(frame::read(stream, limits::MESSAGE_BYTES_MAX)).await.map_err(unanswered)?;
    finish(reply, me, ticket)
}

/// Reads the inviter's last word.
fn finish(reply: v1::JoinReply, me: NodeId, ticket: &Ticket) -> Result<Redeemed, JoinError> {
    let bad = |why: &str| JoinError::BadReply { why: why.to_owned() };
    match reply.reply {
        Some(v1::join_reply::Reply::Admitted(signed)) => {
            let roster = members::open(&signed.encode_to_vec(), &ticket.federation)
                .map_err(|error| JoinError::BadReply { why: error.to_string() })?;
            let member = roster.roster.member(&me).ok_or_else(|| bad("its roster does not name this machine"))?.clone();
            Ok(Redeemed { roster, member })
        }
        Some(v1::join_reply::Reply::Refused(reason)) => {
            // Printed on a terminal: no control characters, no novels.
            let reason = reason.chars().filter(|c| !c.is_control()).take(300).collect();
            Err(JoinError::Refused { reason })
        }
        None => Err(bad("it is empty")),
    }
}

fn is_shut(error: &FrameError) -> bool {
    matches!(error, FrameError::Ended | FrameError::Broken(_))
}

fn bad_reply(error: FrameError) -> JoinError {
    JoinError::BadReply { why: error.to_string() }
}

/// Reads one message of the protocol within a step's time.
pub(super) async fn receive<M: Message + Default, S: AsyncRead + Unpin>(stream: &mut S) -> Result<M, FrameError> {
    step(frame::read(stream, limits::JOIN_MESSAGE_BYTES_MAX)).await
}

/// One step of the protocol, within its time.
pub(super) async fn step<T>(doing: impl Future<Output = Result<T, FrameError>>) -> Result<T, FrameError> {
    tokio::time::timeout(std_duration(limits::JOIN_STEP), doing).await.unwrap_or(Err(FrameError::TimedOut))
}

/// Seconds since the Unix epoch, by the wall clock.
pub(super) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
