//! Joining, the inviter's side (see `join`). Who may join is the authority's to say; this file only speaks the protocol.

use fednode_proto::v1;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prost::Message;

use crate::core::limits;
use crate::core::membership::roster::{Member, Role};
use crate::core::types::NodeId;
use crate::net::frame::{self, FrameError};
use crate::net::join::{receive, step};
use crate::wire::join::{Side, TicketId, Transcript};
use crate::wire::{self, WireError, members};

/// What the authority knows of an open ticket.
#[derive(Clone)]
pub struct Invitation {
    /// The ticket's secret.
    pub secret: [u8; 32],
    /// The most the joiner can become.
    pub role: Role,
}

/// Whoever keeps the tickets and the roster.
pub trait JoinAuthority: Sync {
    /// The ticket of this id, if it is open by the authority's own clock, or if `joiner` is the member that it made: that
    /// one may have lost the answer. `None` for everybody else.
    fn invitation(&self, id: &TicketId, joiner: &NodeId) -> Option<Invitation>;

    /// Burns the ticket and admits the member in one durable write; answers with the encoded `SignedMemberRoster`. Of the
    /// machines that call this for one ticket, at most one may succeed, and it may do so again. An error is shown to the
    /// joiner.
    fn admit(&self, id: TicketId, member: Member) -> impl Future<Output = Result<Vec<u8>, String>> + Send;
}

/// Why nobody joined.
#[derive(Debug, thiserror::Error)]
pub enum ServeJoinError {
    /// The ticket is unknown, burnt or too old, or its secret was not proved.
    #[error("{joiner} came with a ticket that is not open")]
    NotInvited {
        /// Who came.
        joiner: NodeId,
    },
    /// The authority said no.
    #[error("{joiner} was not admitted: {reason}")]
    Refused {
        /// Who came.
        joiner: NodeId,
        /// The authority's words.
        reason: String,
    },
    /// The joiner did not keep to the protocol.
    #[error("{joiner} did not finish joining: {why}")]
    Broken {
        /// Who came.
        joiner: NodeId,
        /// What was wrong.
        why: String,
    },
}

/// Speaks with one joiner. `Ok` names the member that was admitted, even when the reply did not reach it any more.
pub async fn serve_join<S, A>(
    mut stream: S,
    joiner: NodeId,
    inviter: NodeId,
    authority: &A,
) -> Result<Member, ServeJoinError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: JoinAuthority,
{
    let broken = |error: FrameError| ServeJoinError::Broken { joiner, why: error.to_string() };
    let malformed = |error: WireError| ServeJoinError::Broken { joiner, why: error.to_string() };
    let request: v1::JoinRequest = receive(&mut stream).await.map_err(broken)?;
    let Request { id, nonce, name } = request_from_proto(&request).map_err(malformed)?;

    let Some(invitation) = authority.invitation(&id, &joiner) else {
        // Not a word to a stranger: the stream ends, and that says enough to who had a ticket.
        return Err(ServeJoinError::NotInvited { joiner });
    };

    let transcript = Transcript { inviter, joiner, joiner_nonce: nonce, inviter_nonce: rand::random() };
    let challenge = v1::JoinChallenge {
        nonce: transcript.inviter_nonce.to_vec(),
        proof: transcript.proof(&invitation.secret, Side::Inviter).as_bytes().to_vec(),
    };
    step(frame::write(&mut stream, &challenge)).await.map_err(broken)?;
    let proof: v1::JoinProof = receive(&mut stream).await.map_err(broken)?;
    if !transcript.holds(&invitation.secret, Side::Joiner, &proof.proof) {
        return Err(ServeJoinError::NotInvited { joiner });
    }

    let asked = members::role_from_proto(proof.role).map_err(malformed)?;
    let member = Member::new(joiner, name, least(asked, invitation.role));
    match authority.admit(id, member.clone()).await {
        Ok(signed) => {
            // The member is admitted whether or not the reply arrives; it may come again with the same ticket.
            if let Err(error) = welcome(&mut stream, &signed).await {
                tracing::warn!(%joiner, %error, "admitted, but the answer did not arrive");
            }
            Ok(member)
        }
        Err(reason) => {
            refuse(&mut stream, &reason).await.map_err(broken)?;
            Err(ServeJoinError::Refused { joiner, reason })
        }
    }
}

struct Request {
    id: TicketId,
    nonce: [u8; 32],
    name: String,
}

fn request_from_proto(proto: &v1::JoinRequest) -> Result<Request, WireError> {
    let id = proto.ticket_id.as_slice().try_into().map_err(|_| wire::field("ticket id", "expected 16 bytes"))?;
    let nonce = wire::array32("nonce", &proto.nonce)?;
    Ok(Request { id, nonce, name: members::machine_name(&proto.name)? })
}

/// The ticket's role is the most the joiner can get.
fn least(asked: Role, granted: Role) -> Role {
    if asked == Role::Delegate { Role::Delegate } else { granted }
}

async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, signed: &[u8]) -> Result<(), FrameError> {
    let signed = v1::SignedMemberRoster::decode(signed).map_err(|_| FrameError::Encoding)?;
    let reply = v1::JoinReply { reply: Some(v1::join_reply::Reply::Admitted(signed)) };
    if reply.encoded_len() > limits::MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLong { max: limits::MESSAGE_BYTES_MAX });
    }
    say(stream, reply).await
}

async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, reason: &str) -> Result<(), FrameError> {
    say(stream, v1::JoinReply { reply: Some(v1::join_reply::Reply::Refused(reason.to_owned())) }).await
}

/// Says the last word and waits until it was read: the connection may be closed as soon as this returns.
async fn say<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, reply: v1::JoinReply) -> Result<(), FrameError> {
    step(frame::write(stream, &reply)).await?;
    step(async {
        stream.close().await?;
        // The joiner closes its side when it has read ours. Anything else it says is of no interest.
        let mut ignored = [0u8; 64];
        while stream.read(&mut ignored).await.unwrap_or(0) > 0 {}
        Ok(())
    })
    .await
}
