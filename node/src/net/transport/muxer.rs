//! Many streams over one connection: yamux, with frames of 256 KiB where libp2p's own wrapper is fixed at 16 KiB (DESIGN 16).
//! Any yamux peer reads them: the protocol bounds nothing, and the common implementations accept 1 MiB.

use std::collections::VecDeque;
use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use yamux::{Connection, ConnectionError, Mode};

use crate::core::limits;
use crate::net::std_duration;

/// The upgrade that makes a connection a [`Muxer`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Multiplex;

fn config() -> yamux::Config {
    let mut config = yamux::Config::default();
    // In this order: each setter checks that every stream can have its first window.
    config.set_max_num_streams(limits::STREAMS_PER_CONNECTION_MAX);
    config.set_max_connection_receive_window(Some(
        limits::STREAMS_PER_CONNECTION_MAX * yamux::DEFAULT_CREDIT as usize + limits::CONNECTION_WINDOW_BYTES,
    ));
    config.set_split_send_size(limits::FRAME_BYTES);
    config
}

impl UpgradeInfo for Multiplex {
    type Info = &'static str;
    type InfoIter = std::iter::Once<&'static str>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> InboundConnectionUpgrade<C> for Multiplex {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_inbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(Connection::new(socket, config(), Mode::Server))))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Multiplex {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(Connection::new(socket, config(), Mode::Client))))
    }
}

/// A connection's streams as libp2p wants them. yamux makes progress only while it is asked for the next inbound stream;
/// libp2p asks for progress and for streams apart, hence the queue between the two.
pub(super) struct Muxer<C> {
    connection: Connection<C>,
    /// Accepted while only progress was asked for.
    accepted: VecDeque<yamux::Stream>,
    /// Who waits for one.
    waiting: Option<Waker>,
    /// When a farewell has taken long enough.
    closing: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(connection: Connection<C>) -> Muxer<C> {
        Muxer { connection, accepted: VecDeque::new(), waiting: None, closing: None }
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_next_inbound(cx).map(|accepted| match accepted {
            Some(result) => result.map_err(io_error),
            None => Err(io_error(ConnectionError::Closed)),
        })
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> StreamMuxer for Muxer<C> {
    type Substream = yamux::Stream;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        if let Some(stream) = self.accepted.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let accepted = self.poll_accept(cx);
        if accepted.is_pending() {
            self.waiting = Some(cx.waker().clone());
        }
        accepted
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<yamux::Stream>> {
        self.connection.poll_new_outbound(cx).map_err(io_error)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = self.connection.poll_close(cx) {
            return Poll::Ready(closed.map_err(io_error));
        }
        // A peer that takes nothing in would keep its connection by that alone, and a revoked one must not.
        let patience = || Box::pin(tokio::time::sleep(std_duration(limits::CLOSE_WAIT)));
        self.closing.get_or_insert_with(patience).as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        match self.poll_accept(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            // Dropping a stream resets it. yamux itself bounds how many there are.
            Poll::Ready(Ok(stream)) if self.accepted.len() >= limits::STREAMS_WAITING_MAX => drop(stream),
            Poll::Ready(Ok(stream)) => {
                self.accepted.push_back(stream);
                if let Some(waker) = self.waiting.take() {
                    waker.wake();
                }
            }
        }
        // There may be more, but others want to run too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The system's own word where there is one, as everywhere else.
fn io_error(error: ConnectionError) -> io::Error {
    match error {
        ConnectionError::Io(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_reads_nothing_does_not_keep_its_connection() {
        let (ours, _theirs) = tokio::io::duplex(1024);
        let mut muxer = Muxer::new(Connection::new(ours.compat(), config(), Mode::Client));
        let mut stream = poll_fn(|cx| Pin::new(&mut muxer).poll_outbound(cx)).await.expect("a stream");
        // Until neither the stream nor the pipe takes more.
        let full = poll_fn(|cx| {
            let written = Pin::new(&mut stream).poll_write(cx, &[7; 4096]);
            let progress = Pin::new(&mut muxer).poll(cx).map(|_| ());
            match (written, progress) {
                (Poll::Ready(Ok(_)), _) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                (Poll::Ready(Err(error)), _) => Poll::Ready(Err(error)),
                (Poll::Pending, _) => Poll::Ready(Ok(())),
            }
        });
        full.await.expect("it only fills up");
        let closed = poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx));
        tokio::time::timeout(std::time::Duration::from_secs(30), closed)
            .await
            .expect("it ends")
            .expect("without a fault");
    }
}
