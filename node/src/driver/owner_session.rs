//! Sessions of the dashboard in which its owner may invite and revoke. A session is a secret that was handed out over the node's
//! private socket, whose file mode is the key; the node keeps its hash, in memory, for some hours.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fednode_proto::v1;
use rand::RngCore;
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::core::limits;
use crate::driver::clock::unix_seconds;
use crate::driver::node::Node;
use crate::http::{ApiError, OwnerAsk};
use crate::rpc::admin::AdminBackend;

/// All open sessions.
#[derive(Clone, Default)]
pub struct OwnerSessions(Arc<Mutex<VecDeque<Session>>>);

struct Session {
    secret: blake3::Hash,
    expires_unix_s: u64,
}

impl OwnerSessions {
    /// A new one: its secret, and when it ends. The oldest makes room.
    pub fn open(&self, now_unix_s: u64) -> (String, u64) {
        let mut bytes = [0; 32];
        rand::rng().fill_bytes(&mut bytes);
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let expires_unix_s = now_unix_s.saturating_add(limits::OWNER_SESSION_LIFE_S);
        let mut sessions = self.sessions();
        sessions.push_back(Session { secret: blake3::hash(secret.as_bytes()), expires_unix_s });
        while sessions.len() > limits::OWNER_SESSIONS_MAX {
            sessions.pop_front();
        }
        (secret, expires_unix_s)
    }

    /// Is it the secret of a session that has not ended?
    pub fn knows(&self, secret: &str, now_unix_s: u64) -> bool {
        let hash = blake3::hash(secret.as_bytes());
        let mut sessions = self.sessions();
        sessions.retain(|session| now_unix_s < session.expires_unix_s);
        // Hashes compare in constant time.
        sessions.iter().any(|session| session.secret == hash)
    }

    fn sessions(&self) -> MutexGuard<'_, VecDeque<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The dashboard's address with a new session in its fragment, which browsers keep to themselves.
pub(super) async fn open(node: &Node) -> v1::DashboardReply {
    let (secret, expires_unix_s) = node.owner_sessions.open(unix_seconds());
    let api = node.view().await.node.api;
    // Where others come in too, this machine is still reached on loopback; a session is of no use elsewhere.
    let home = api.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
    v1::DashboardReply { url: format!("{home}/#owner={secret}"), expires_unix_s }
}

/// Does what an owner's session asks, by the same ways as the command line.
pub(super) async fn ask(node: &Node, ask: OwnerAsk) -> Result<Value, ApiError> {
    match ask {
        OwnerAsk::Invite { role, ttl_s } => {
            let made = AdminBackend::invite(node, v1::InviteRequest { role, ttl_s }).await.map_err(said)?;
            Ok(json!({"ticket": made.ticket, "expires_unix_s": made.expires_unix_s}))
        }
        OwnerAsk::Revoke { peer_id } => {
            let action = Some(v1::members_request::Action::Revoke(peer_id));
            let done = AdminBackend::members(node, v1::MembersRequest { action }).await.map_err(said)?;
            serde_json::from_slice(&done).map_err(|error| ApiError::from_code("internal", error.to_string()))
        }
    }
}

/// A refusal of the node, for HTTP.
pub(super) fn said(status: Status) -> ApiError {
    use axum::http::StatusCode;
    let (code, word) = match status.code() {
        Code::InvalidArgument | Code::NotFound => (StatusCode::BAD_REQUEST, "invalid_value"),
        Code::FailedPrecondition | Code::PermissionDenied => (StatusCode::FORBIDDEN, "refused"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "no_plan"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    ApiError::new(code, word, status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_known_by_its_secret_until_it_ends() {
        let sessions = OwnerSessions::default();
        let (secret, ends) = sessions.open(100);
        assert_eq!((secret.len(), ends), (64, 100 + limits::OWNER_SESSION_LIFE_S));
        assert!(sessions.knows(&secret, ends - 1));
        for wrong in ["", "00", &secret[1..], &secret.to_uppercase().replace(|c: char| c.is_ascii_digit(), "0")] {
            assert!(!sessions.knows(wrong, 100), "{wrong}");
        }
        assert!(!sessions.knows(&secret, ends));
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let sessions = OwnerSessions::default();
        let (first, _) = sessions.open(1);
        let others: Vec<String> = (0..limits::OWNER_SESSIONS_MAX).map(|_| sessions.open(1).0).collect();
        assert!(!sessions.knows(&first, 2) && others.iter().all(|secret| sessions.knows(secret, 2)));
    }
}
