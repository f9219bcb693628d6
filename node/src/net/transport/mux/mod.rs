//! Many streams over one connection: yamux as its specification has it, so that any libp2p peer can talk to it. What the
//! common implementation cannot do is what weights need: a byte is copied between the encryption layer and its reader or
//! writer directly, with frames of 256 KiB, and wakes one task on its way (DESIGN 16; ARCHITECTURE has the figures).

mod connection;
mod frame;
mod state;
#[cfg(test)]
mod tests;
mod wakes;

use std::future::{Future, Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};

use self::connection::{Connection, Role};
use crate::core::limits;
use crate::net::std_duration;

/// How often a busy connection is looked after in case a stream that was woken does not come.
const RESCUE: std::time::Duration = std::time::Duration::from_millis(20);

/// The upgrade that makes a connection a [`Muxer`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Multiplex;

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
        ready(Ok(Muxer::new(socket, Role::Listener)))
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> OutboundConnectionUpgrade<C> for Multiplex {
    type Output = Muxer<C>;
    type Error = io::Error;
    type Future = Ready<Result<Muxer<C>, io::Error>>;

    fn upgrade_outbound(self, socket: C, _: &'static str) -> Self::Future {
        ready(Ok(Muxer::new(socket, Role::Dialer)))
    }
}

type Shared<C> = Arc<Mutex<Connection<C>>>;

fn lock<C>(shared: &Shared<C>) -> MutexGuard<'_, Connection<C>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection's streams as libp2p wants them.
pub(super) struct Muxer<C> {
    shared: Shared<C>,
    rescue: Option<Pin<Box<tokio::time::Sleep>>>,
    /// When a farewell has taken long enough.
    closing: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Muxer<C> {
    fn new(io: C, role: Role) -> Muxer<C> {
        Muxer { shared: Arc::new(Mutex::new(Connection::new(io, role))), rescue: None, closing: None }
    }

    fn substream(&self, id: u32) -> Substream<C> {
        Substream { shared: Arc::clone(&self.shared), id }
    }

    /// Is it time to look after streams that were woken and did not come?
    fn poll_rescue(&mut self, cx: &mut Context<'_>) -> bool {
        let due = match &mut self.rescue {
            Some(timer) => timer.as_mut().poll(cx).is_ready(),
            None => false,
        };
        if due || self.rescue.is_none() {
            let busy = lock(&self.shared).wakes.watch();
            self.rescue = busy.then(|| Box::pin(tokio::time::sleep(RESCUE)));
            if let Some(timer) = &mut self.rescue {
                let _ = timer.as_mut().poll(cx);
            }
        }
        due
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> StreamMuxer for Muxer<C> {
    type Substream = Substream<C>;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream<C>>> {
        let mut connection = lock(&self.shared);
        connection.wakes.set_driver(cx.waker());
        match connection.accepted.pop_front() {
            Some(id) => Poll::Ready(Ok(self.substream(id))),
            None => connection.check().map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending),
        }
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Substream<C>>> {
        let mut connection = lock(&self.shared);
        connection.check()?;
        connection.wakes.set_driver(cx.waker());
        // Whoever drops a stream wakes the driver.
        connection.open().map_or(Poll::Pending, |id| Poll::Ready(Ok(self.substream(id))))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(closed) = lock(&self.shared).poll_close(cx) {
            return Poll::Ready(closed);
        }
        // A peer that takes nothing in would keep its connection by that alone, and a revoked one must not.
        let patience = || Box::pin(tokio::time::sleep(std_duration(limits::CLOSE_WAIT)));
        self.closing.get_or_insert_with(patience).as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        lock(&self.shared).wakes.set_driver(cx.waker());
        let rescue = self.poll_rescue(cx);
        let driven = lock(&self.shared).poll_drive(rescue);
        ready!(driven)?;
        // There is more, but others want to run too.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// One stream of a connection. Dropping it before both sides closed it resets it.
pub(super) struct Substream<C: AsyncRead + AsyncWrite + Unpin> {
    shared: Shared<C>,
    id: u32,
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncRead for Substream<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        lock(&self.shared).poll_read(self.id, cx, into)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Substream<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        lock(&self.shared).poll_write(self.id, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut connection = lock(&self.shared);
        let drained = connection.poll_drain();
        if drained.is_pending() {
            connection.wakes.add_writer(self.id, cx.waker());
        } else if connection.wakes.has_writers() {
            connection.wakes.writable();
        }
        drained
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.shared).close(self.id);
        self.poll_flush(cx)
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin> Drop for Substream<C> {
    fn drop(&mut self) {
        lock(&self.shared).drop_stream(self.id);
    }
}

/// See `fuzzing`: a peer sends `bytes`, takes what it is answered, and leaves.
#[cfg(fuzzing)]
pub(super) fn fuzz(bytes: &[u8]) {
    use crate::core::limits;

    struct Peer<'a>(&'a [u8]);

    impl AsyncRead for Peer<'_> {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_read(cx, into)
        }
    }

    impl AsyncWrite for Peer<'_> {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    for role in [Role::Dialer, Role::Listener] {
        let mut connection = Connection::new(Peer(bytes), role);
        while let Poll::Ready(Ok(())) = connection.poll_drive(false) {}
        assert!(connection.check().is_err(), "it left");
        assert!(connection.streams.len() <= limits::STREAMS_PER_CONNECTION_MAX);
        assert!(connection.streams.values().all(|stream| stream.buffer.len() <= state::FIRST_WINDOW as usize));
    }
}
