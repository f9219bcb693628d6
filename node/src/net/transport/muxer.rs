//! Many streams over one connection: yamux, with frames of 256 KiB where libp2p's own wrapper is fixed at 16 KiB (DESIGN 16).
//! Any yamux peer reads them: the protocol bounds nothing, and the common implementations accept 1 MiB.

use std::collections::VecDeque;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use yamux::{Connection, ConnectionError, Mode};

use crate::core::limits;

/// The upgrade that makes a connection a [`Muxer`], and what its other end may make us hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Multiplex {
    streams_max: usize,
    /// Beyond the first window of each stream.
    window_bytes: usize,
}

impl Multiplex {
    /// For members.
    pub(super) const MEMBER: Multiplex =
        Multiplex { streams_max: limits::STREAMS_PER_CONNECTION_MAX, window_bytes: limits::CONNECTION_WINDOW_BYTES };
    /// For those who may only join.
    pub(super) const GUEST: Multiplex = Multiplex { streams_max: limits::STREAMS_PER_GUEST_MAX, window_bytes: 0 };

    fn config(self) -> yamux::Config {
        let mut config = yamux::Config::default();
        let windows = self.streams_max * yamux::DEFAULT_CREDIT as usize + self.window_bytes;
        // In this order: each setter checks that every stream can have its first window.
        config.set_max_num_streams(self.streams_max);
        config.set_max_connection_receive_window(Some(windows));
        config.set_split_send_size(limits::FRAME_BYTES);
        config
    }
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
        ready(Ok(Muxer::new(Connection::new(socket, self.config(), Mode::Server))))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Multiplex {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(Connection::new(socket, self.config(), Mode::Client))))
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
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(connection: Connection<C>) -> Muxer<C> {
        Muxer { connection, accepted: VecDeque::new(), waiting: None }
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
        self.connection.poll_close(cx).map_err(io_error)
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
