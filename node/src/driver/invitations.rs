//! The invitations of this node: to make one, to ask what became of it, and to take open ones back.

use fednode_proto::v1;
use tonic::Status;

use crate::core::membership::roster::Role;
use crate::driver::clock::unix_seconds;
use crate::driver::node::Node;
use crate::store::tickets::TicketState;
use crate::wire::ids;
use crate::wire::join::TicketId;

/// Tickets live at most a week: longer ones are forgotten in a drawer.
const TICKET_TTL_S_MAX: u64 = 7 * 24 * 3600;

/// Makes one: the door is open when this returns.
pub(super) async fn invite(node: &Node, request: v1::InviteRequest) -> Result<v1::InviteReply, Status> {
    let role = match request.role.as_str() {
        "" | "full" => Role::Full,
        "delegate" => Role::Delegate,
        _ => return Err(Status::invalid_argument("role must be full or delegate")),
    };
    if request.ttl_s == 0 || request.ttl_s > TICKET_TTL_S_MAX {
        return Err(Status::invalid_argument("a ticket lives from one second to seven days"));
    }
    let (registry, me, addresses) = (node.registry.clone(), node.me, node.net.listen_addresses());
    let invited = tokio::task::spawn_blocking(move || registry.invite(me, role, request.ttl_s, addresses)).await;
    let invited = invited.map_err(|error| Status::internal(error.to_string()))?;
    let ticket = invited.map_err(|error| Status::failed_precondition(error.to_string()))?;
    node.net.set_invitation_open(true).await;
    let id = ticket.id().to_vec();
    Ok(v1::InviteReply { expires_unix_s: ticket.expires_unix_s, ticket: ticket.to_text(), id })
}

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
