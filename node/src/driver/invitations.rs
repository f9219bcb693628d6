//! What the command line can ask about the invitations of this node: what became of one, and to take open ones back.

use fednode_proto::v1;
use tonic::Status;

use crate::driver::clock::unix_seconds;
use crate::driver::node::Node;
use crate::store::tickets::TicketState;
use crate::wire::ids;
use crate::wire::join::TicketId;

/// What became of one. One that this node has forgotten has expired: it forgets no others.
pub(super) fn status(node: &Node, request: &v1::InvitationRequest) -> Result<v1::InvitationReply, Status> {
    let state = |state: &str| v1::InvitationReply { state: state.to_owned(), ..Default::default() };
    let Some(ticket) = node.registry.ticket(&ticket_id(&request.id)?) else { return Ok(state("expired")) };
    let now = unix_seconds();
    Ok(match ticket.state {
        TicketState::Open if ticket.is_open(now) => {
            v1::InvitationReply { remaining_s: ticket.expires_unix_s.saturating_sub(now), ..state("open") }
        }
        TicketState::Open => state("expired"),
        TicketState::Withdrawn => state("withdrawn"),
        TicketState::Used(joiner) => {
            let roster = node.registry.roster();
            v1::InvitationReply {
                name: roster.name_of(&joiner),
                role: roster.member(&joiner).map_or(ticket.role, |member| member.role).as_str().to_owned(),
                peer_id: ids::peer_id_text(&joiner),
                ..state("used")
            }
        }
    })
}

/// Takes back one, or all that are open. Durable when this returns, and the door is shut unless another one is open.
pub(super) async fn withdraw(node: &Node, request: &v1::WithdrawRequest) -> Result<v1::WithdrawReply, Status> {
    let id = if request.id.is_empty() { None } else { Some(ticket_id(&request.id)?) };
    let registry = node.registry.clone();
    let withdrawn = tokio::task::spawn_blocking(move || registry.withdraw(id.as_ref())).await;
    let withdrawn = withdrawn.map_err(|error| Status::internal(error.to_string()))?;
    let withdrawn = withdrawn.map_err(|error| Status::internal(error.to_string()))?;
    node.net.set_invitation_open(node.registry.invitation_open()).await;
    Ok(v1::WithdrawReply { withdrawn })
}

fn ticket_id(bytes: &[u8]) -> Result<TicketId, Status> {
    bytes
        .try_into()
        .map_err(|_| Status::invalid_argument("a ticket's id has 16 bytes; give it as `fednode invite --json` did"))
}
