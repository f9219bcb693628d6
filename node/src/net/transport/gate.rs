//! The gate before the handshakes: every accepted socket asks the door first, and one that is refused is closed before a byte
//! is read from it. A handshake that was let in ends within its time, or when its place is needed.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::Abortable;
use libp2p::Multiaddr;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use tokio::time::Timeout;

use crate::net::door::{Door, Pass};

/// Connections refused in one turn; then others get theirs.
const REFUSED_PER_TURN: usize = 32;

/// See the top of this file.
pub(super) struct Gate<T> {
    inner: T,
    door: Door,
    patience: Duration,
}

impl<T> Gate<T> {
    /// Guards `inner`; a handshake that was begun here ends within `patience`.
    pub(super) fn new(inner: T, door: Door, patience: Duration) -> Gate<T> {
        Gate { inner, door, patience }
    }
}

/// Why a handshake ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum GateError<E: Error + 'static> {
    /// It took too long.
    #[error("the peer did not finish its handshake in time")]
    Slow,
    /// A newer connection took its place.
    #[error("too many handshakes are under way")]
    Crowded,
    /// For a reason of its own.
    #[error(transparent)]
    Inner(#[from] E),
}

impl<T: Transport + Unpin> Transport for Gate<T>
where
    T::Error: 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    type Output = T::Output;
    type Error = GateError<T::Error>;
    type ListenerUpgrade = Handshake<T::ListenerUpgrade>;
    type Dial = Dial<T::Dial>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        self.inner.listen_on(id, address).map_err(|error| error.map(GateError::Inner))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.inner.dial(address, options).map(|dial| Dial(Box::pin(dial))).map_err(|error| error.map(GateError::Inner))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        for _ in 0..REFUSED_PER_TURN {
            let event = std::task::ready!(Pin::new(&mut self.inner).poll(cx));
            let TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr } = event else {
                // Not an incoming connection, so there is no handshake to wrap.
                return Poll::Ready(event.map_upgrade(|_| Handshake::never()).map_err(GateError::Inner));
            };
            if let Some((pass, registration)) = self.door.knock(&send_back_addr) {
                let timed = tokio::time::timeout(self.patience, Abortable::new(Box::pin(upgrade), registration));
                let upgrade = Handshake(Some((Box::pin(timed), pass)));
                return Poll::Ready(TransportEvent::Incoming { listener_id, upgrade, local_addr, send_back_addr });
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

type Guarded<F> = Pin<Box<Timeout<Abortable<Pin<Box<F>>>>>>;

/// A handshake that was let in; it holds its place until it ends.
pub(super) struct Handshake<F>(Option<(Guarded<F>, Pass)>);

impl<F> Handshake<F> {
    fn never() -> Handshake<F> {
        Handshake(None)
    }
}

impl<F, O, E> Future for Handshake<F>
where
    F: Future<Output = Result<O, E>>,
    E: Error + 'static,
{
    type Output = Result<O, GateError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((handshake, _)) = &mut self.0 else { return Poll::Pending };
        let ended = match std::task::ready!(handshake.as_mut().poll(cx)) {
            Err(_) => Err(GateError::Slow),
            Ok(Err(_)) => Err(GateError::Crowded),
            Ok(Ok(result)) => result.map_err(GateError::Inner),
        };
        self.0 = None;
        Poll::Ready(ended)
    }
}

/// A dial, which the gate does not concern.
pub(super) struct Dial<F>(Pin<Box<F>>);

impl<F, O, E> Future for Dial<F>
where
    F: Future<Output = Result<O, E>>,
    E: Error + 'static,
{
    type Output = Result<O, GateError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map_err(GateError::Inner)
    }
}
