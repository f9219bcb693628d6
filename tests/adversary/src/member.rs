//! What takes a member's key: gRPC, here the call that brings two members' rosters into agreement.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use fednode_proto::v1;
use fednode_proto::v1::peer_client::PeerClient;
use futures::{AsyncRead, AsyncWrite};
use hyper_util::rt::TokioIo;
use libp2p::identity::Keypair;
use multistream_select::{Version, dialer_select_proto};
use prost::Message;
use tokio_util::compat::FuturesAsyncReadCompatExt;
use tonic::transport::{Endpoint, Uri};

use crate::Security;
use crate::encrypted::encrypt;
use crate::streams::multiplex;

/// What a node answered to a pushed roster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The roster it has, an encoded `SignedMemberRoster`.
    pub roster: Vec<u8>,
    /// That roster's version.
    pub version: u64,
}

pub(crate) async fn sync(
    keypair: &Keypair,
    at: SocketAddr,
    from: Option<IpAddr>,
    roster: Option<&[u8]>,
) -> Result<Synced, String> {
    let say = |error: &dyn std::fmt::Display| error.to_string();
    let (_, wire) = encrypt(keypair, at, from, Security::Tls).await.map_err(|error| say(&error))?;
    let (mut connection, stream) = multiplex(wire).await.ok_or("no streams")?;
    let progress = tokio::spawn(async move {
        while let Some(Ok(_)) = std::future::poll_fn(|cx| connection.poll_next_inbound(cx)).await {}
    });
    let (_, stream) =
        dialer_select_proto(stream, ["/fednode/rpc/1"], Version::V1).await.map_err(|error| say(&error))?;
    let mut members = None;
    if let Some(roster) = roster {
        members = Some(v1::SignedMemberRoster::decode(roster).map_err(|error| say(&error))?);
    }
    let once = Arc::new(Mutex::new(Some(Boxed(Box::new(stream)))));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = once.lock().ok().and_then(|mut stream| stream.take());
        async move {
            let stream = stream.ok_or_else(|| io::Error::other("the stream was used"))?;
            Ok::<_, io::Error>(TokioIo::new(stream.compat()))
        }
    });
    let channel = Endpoint::from_static("http://member.fednode").connect_with_connector(connector).await;
    let channel = channel.map_err(|error| say(&error))?;
    let request = v1::SyncRequest { members, ..v1::SyncRequest::default() };
    let reply = PeerClient::new(channel).sync(request).await.map_err(|error| say(&error))?.into_inner();
    progress.abort();
    let held = reply.members.ok_or("no roster")?;
    let version = v1::MemberRoster::decode(held.body.as_slice()).map_err(|error| say(&error))?.version;
    Ok(Synced { roster: held.encode_to_vec(), version })
}

/// A stream whose type nobody needs to know.
struct Boxed(Box<dyn crate::encrypted::Wire>);

impl AsyncRead for Boxed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Boxed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
