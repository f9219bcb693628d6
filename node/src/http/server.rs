//! The API's listener: accepts, encrypts where asked to, and gives each connection the patience that `limits` names. HTTP/1.1
//! only: nothing here gains by HTTP/2, and each protocol more is one more to bound.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::access::Line;
use super::connections::{Connections, Place};
use super::patience::Unstalled;
use super::span;
use super::tls::Tls;
use crate::core::limits;

/// When files or memory for sockets are used up, accepting rests: others end in the meantime.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// A client that vanished without a word while it waits is found out after about two minutes.
const KEEP_ALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_PERIOD: Duration = Duration::from_secs(15);

/// What a listener gives each connection; tests shorten it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub handshake: Duration,
    pub head: Duration,
    pub write_stall: Duration,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            handshake: span(limits::HTTP_HANDSHAKE),
            head: span(limits::HTTP_HEAD_WAIT),
            write_stall: span(limits::HTTP_WRITE_STALL),
        }
    }
}

/// Serves `app` until `shutdown` resolves and the open connections have ended.
pub(super) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    terms: Terms,
    app: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (connections, stop, tasks) = (Connections::default(), CancellationToken::new(), TaskTracker::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, remote) = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    rest_if_it_lasts(&error).await;
                    continue;
                }
            },
        };
        // Full of those who may be here: closing at once is the only answer that costs nothing.
        let Some(place) = connections.admit(remote.ip()) else { continue };
        let serving = Serving { terms, tls: tls.clone(), app: app.clone(), stop: stop.clone() };
        tasks.spawn(serving.connection(stream, remote, place));
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// A client that went away while it was accepted is no reason to wait.
async fn rest_if_it_lasts(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "the API cannot accept connections for a moment");
        tokio::time::sleep(ACCEPT_REST).await;
    }
}

struct Serving {
    terms: Terms,
    tls: Option<Tls>,
    app: Router,
    stop: CancellationToken,
}

impl Serving {
    /// One connection to its end; whatever ends it has been told to the client as far as there was a way.
    async fn connection(self, stream: TcpStream, remote: SocketAddr, place: Place) {
        let Ok(local) = stream.local_addr() else { return };
        set_options(&stream);
        let line = Line { local: local.ip(), remote: remote.ip(), trusted: place.trusted.clone() };
        let stream = Unstalled::new(stream, self.terms.write_stall);
        tokio::select! {
            () = place.cut.cancelled() => {}
            () = self.encrypted_or_not(stream, line) => {}
        }
    }

    async fn encrypted_or_not(self, stream: Unstalled<TcpStream>, line: Line) {
        let Some(tls) = self.tls.clone() else { return self.http(stream, line).await };
        let handshake = tokio::time::timeout(self.terms.handshake, tls.acceptor.accept(stream.compat()));
        match handshake.await {
            Ok(Ok(stream)) => self.http(stream.compat(), line).await,
            Ok(Err(error)) => tracing::debug!(%error, from = %line.remote, "no TLS with a client of the API"),
            Err(_) => tracing::debug!(from = %line.remote, "a client of the API did not finish its handshake"),
        }
    }

    async fn http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, line: Line) {
        let app = self.app;
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(line.clone());
            app.clone().oneshot(request)
        });
        let mut builder = http1::Builder::new();
        // Of the head's limits hyper speaks itself (431); a head that is late it cuts.
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.terms.head)
            .max_headers(limits::HTTP_HEADERS_MAX)
            .max_header_size(limits::HTTP_HEAD_BYTES_MAX)
            .max_buf_size(2 * limits::HTTP_HEAD_BYTES_MAX);
        let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut serving = pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = self.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of the API broke off");
        }
    }
}

/// Tokens are small writes: each must leave at once. A socket that refuses an option is slow, not wrong.
fn set_options(stream: &TcpStream) {
    drop(stream.set_nodelay(true));
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_IDLE);
    let _ = sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_PERIOD);
}
