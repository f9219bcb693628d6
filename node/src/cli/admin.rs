//! The connection from the command line to its own node: tonic over the Unix socket in the data directory. Who may open that
//! file may command the node; there is no other key.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use fednode_proto::v1;
use fednode_proto::v1::admin_client::AdminClient;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::exit::Failure;
use crate::core::view::State;

/// A view of a federation of thousands; it comes from our own node.
const REPLY_BYTES_MAX: usize = 64 << 20;

pub(super) type Client = AdminClient<Channel>;

/// Where the node of this data directory listens.
pub(super) fn socket(data_dir: &Path) -> PathBuf {
    data_dir.join("admin.sock")
}

/// Connects to the running node, or says that there is none.
pub(super) async fn connect(data_dir: &Path) -> Result<Client, Failure> {
    let socket = socket(data_dir);
    let stream = UnixStream::connect(&socket).await.map_err(|error| unreachable_node(data_dir, &socket, &error))?;
    let stream = Arc::new(Mutex::new(Some(stream)));
    // The stream is already open, so that a missing node is told apart from one that fails; tonic only needs a handle.
    let hand_over = tower::service_fn(move |_: Uri| {
        let stream = stream.lock().ok().and_then(|mut slot| slot.take());
        async move { stream.map(TokioIo::new).ok_or_else(|| std::io::Error::other("the node closed the connection")) }
    });
    let endpoint = Endpoint::from_static("http://admin.fednode");
    let channel = endpoint.connect_with_connector(hand_over).await;
    let channel = channel.map_err(|error| Failure::failed(format!("the node closed the connection ({error})")))?;
    Ok(AdminClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX))
}

fn unreachable_node(data_dir: &Path, socket: &Path, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::no_node(data_dir),
        ErrorKind::PermissionDenied => Failure::refused(format!(
            "{} belongs to another user; run this command as the user who started the node",
            socket.display()
        )),
        ErrorKind::InvalidInput => {
            Failure::failed(format!("{} is too long for a Unix socket; choose a shorter --data-dir", socket.display()))
        }
        _ => Failure::failed(format!("connecting to {} failed: {error}", socket.display())),
    }
}

/// The node's view: as JSON for scripts (a newer node's fields included), and parsed for people.
pub(super) async fn state(data_dir: &Path) -> Result<(serde_json::Value, State), Failure> {
    let reply = connect(data_dir).await?.state(v1::StateRequest {}).await?.into_inner();
    let value = json_document(&reply.json)?;
    let state = serde_json::from_slice(&reply.json).map_err(unreadable)?;
    Ok((value, state))
}

/// A JSON document in an answer of the node.
pub(super) fn json_document(bytes: &[u8]) -> Result<serde_json::Value, Failure> {
    serde_json::from_slice(bytes).map_err(unreadable)
}

pub(super) fn unreadable(error: serde_json::Error) -> Failure {
    let message = "the node's answer cannot be read; is it of another version than this command? Restart it";
    Failure::failed(format!("{message} ({error})"))
}
