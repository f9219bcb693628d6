//! What only this machine's owner may ask over HTTP: to invite a machine, and to turn one out. The rest of the API has no such
//! rights. Who is the owner is decided as for the command line, by who may open the node's private socket: `fednode dashboard`
//! fetches a secret there, which the page sends in a header of its own. A page of another origin cannot send that header,
//! another user of this machine cannot read the socket, and another machine is refused before the secret is looked at.

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;

use super::access::Line;
use super::fields::Fields;
use super::guard::is_loopback;
use super::{ApiError, Backend, Edge, body};

/// Carries the secret of a session.
const OWNER: &str = "x-fednode-owner";
/// An invitation lives a quarter of an hour unless asked otherwise, as on the command line.
const INVITATION_S: u32 = 900;
/// And a week at most.
pub(super) const INVITATION_S_MAX: u32 = 7 * 24 * 3600;

/// What an owner asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnerAsk {
    /// A ticket for one machine.
    Invite {
        /// full | delegate.
        role: String,
        /// It lives so long.
        ttl_s: u64,
    },
    /// A member is none any more.
    Revoke {
        /// Its PeerId.
        peer_id: String,
    },
}

pub(super) async fn invite<B: Backend>(
    State(edge): State<Edge<B>>,
    line: Option<Extension<Line>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    asked(edge, line, request, |fields| {
        let role = fields.text("role")?.unwrap_or_else(|| "full".to_owned());
        if !matches!(role.as_str(), "full" | "delegate") {
            return Err(fields.wrong("role", "full or delegate"));
        }
        let ttl_s = fields.integer("ttl_s", (1, INVITATION_S_MAX))?.unwrap_or(INVITATION_S);
        Ok(OwnerAsk::Invite { role, ttl_s: ttl_s.into() })
    })
    .await
}

pub(super) async fn revoke<B: Backend>(
    State(edge): State<Edge<B>>,
    line: Option<Extension<Line>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    asked(edge, line, request, |fields| Ok(OwnerAsk::Revoke { peer_id: fields.needed("peer_id")? })).await
}

async fn asked<B: Backend>(
    edge: Edge<B>,
    line: Option<Extension<Line>>,
    request: Request,
    parse: fn(&mut Fields) -> Result<OwnerAsk, ApiError>,
) -> Result<Json<Value>, ApiError> {
    let headers = request.headers().clone();
    let body = body::read(request, edge.patience.body).await?;
    let mut fields = Fields::of_body(&body)?;
    let ask = parse(&mut fields)?;
    fields.refuse_the_rest(&[])?;
    let line = line.map(|Extension(line)| line).unwrap_or_default();
    let secret = allowed(&line, &headers)?;
    if !edge.backend.is_owner(secret) {
        return Err(refused("this session of the owner is not known, or has ended; type `fednode dashboard` again"));
    }
    edge.backend.owner(ask).await.map(Json)
}

/// The secret of a request that may be the owner's: from this machine, and from this node's own page.
fn allowed<'a>(line: &Line, headers: &'a HeaderMap) -> Result<&'a str, ApiError> {
    if !is_loopback(line.remote) {
        return Err(refused("this is for the machine itself only; open the dashboard there"));
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if authority != Some(host) {
            return Err(refused("another page asks; only this node's own may"));
        }
    }
    let own = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    if !headers.get("sec-fetch-site").is_none_or(own) {
        return Err(refused("another page asks; only this node's own may"));
    }
    let secret = headers.get(OWNER).and_then(|secret| secret.to_str().ok());
    secret.ok_or_else(|| refused("only the owner may do this; type `fednode dashboard` on this machine"))
}

fn refused(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "owner_only", message)
}
