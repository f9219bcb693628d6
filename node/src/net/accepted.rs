//! Streams that peers opened here: how many one peer may have served at once, whatever the number of its connections, and how
//! fast it may speak on those for gRPC. Weights have a throttle of their own (the owner's, in `driver`), joining ends by itself.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use crate::core::guard::Allowance;
use crate::core::limits;
use crate::core::types::{NodeId, Time};
use crate::net::{Protocol, Stream, std_duration};

/// Counts the streams of every peer. Clones share the counts.
#[derive(Clone)]
pub(super) struct Places {
    peers: Arc<Mutex<BTreeMap<NodeId, Peer>>>,
    start: Instant,
}

struct Peer {
    open: BTreeMap<Protocol, usize>,
    spoken: Allowance,
}

impl Places {
    pub(super) fn new() -> Places {
        Places { peers: Arc::default(), start: Instant::now() }
    }

    /// A place for one more stream of `peer`; `None` when it has as many as it may.
    pub(super) fn take(&self, peer: NodeId, protocol: Protocol) -> Option<Place> {
        let now = self.now();
        let mut peers = self.lock();
        if !peers.contains_key(&peer) {
            // What a peer said too fast is remembered also while it has no stream.
            peers.retain(|_, peer| !peer.open.is_empty() || !peer.spoken.is_full(now));
        }
        let new = || Peer { open: BTreeMap::new(), spoken: Allowance::new(limits::RPC_BYTES) };
        let open = peers.entry(peer).or_insert_with(new).open.entry(protocol).or_default();
        if *open >= most(protocol) {
            return None;
        }
        *open += 1;
        drop(peers);
        Some(Place { places: self.clone(), peer, protocol })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

fn most(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Rpc => limits::RPC_STREAMS_PER_MEMBER_MAX,
        Protocol::Weights => limits::CHUNK_STREAMS_PER_MEMBER_MAX,
        Protocol::Join => limits::JOIN_STREAMS_PER_PEER_MAX,
    }
}

/// One stream's place; it is free again when this is dropped.
pub(super) struct Place {
    places: Places,
    peer: NodeId,
    protocol: Protocol,
}

impl Place {
    /// How long this peer has to be left unread.
    fn wait(&self) -> std::time::Duration {
        let now = self.places.now();
        let peers = self.places.lock();
        peers.get(&self.peer).map_or(std::time::Duration::ZERO, |peer| std_duration(peer.spoken.wait(now)))
    }

    fn heard(&self, bytes: usize) {
        let now = self.places.now();
        if let Some(peer) = self.places.lock().get_mut(&self.peer) {
            peer.spoken.charge(now, bytes as u64);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut peers = self.places.lock();
        let Some(peer) = peers.get_mut(&self.peer) else { return };
        if let Some(open) = peer.open.get_mut(&self.protocol) {
            *open = open.saturating_sub(1);
        }
        peer.open.retain(|_, open| *open > 0);
    }
}

/// A stream that a peer opened. What it says too fast stays unread: the window of the stream fills, and the peer waits.
pub struct Accepted {
    stream: Stream,
    place: Place,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Accepted {
    pub(super) fn new(stream: Stream, place: Place) -> Accepted {
        Accepted { stream, place, pause: None }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let wait = self.place.wait();
            if wait.is_zero() {
                return Poll::Ready(());
            }
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.place.protocol != Protocol::Rpc {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        ready!(self.poll_turn(cx));
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        self.place.heard(read);
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_places_and_no_more() {
        let places = Places::new();
        let peer = |n: u8| NodeId([n; 32]);
        for protocol in Protocol::ALL {
            let mut held: Vec<Place> = std::iter::from_fn(|| places.take(peer(1), protocol)).take(1000).collect();
            assert_eq!(held.len(), most(protocol), "{protocol:?}");
            assert!(places.take(peer(2), protocol).is_some(), "another peer has its own");
            held.pop();
            assert!(places.take(peer(1), protocol).is_some(), "a place that was left is free");
        }
        assert!(places.take(peer(3), Protocol::Rpc).is_some());
        assert_eq!(places.lock().len(), 1, "who has no stream is forgotten");
    }

    #[test]
    fn who_speaks_too_fast_waits_on_all_its_streams() {
        let places = Places::new();
        let [one, two] = [1, 2].map(|_| places.take(NodeId([1; 32]), Protocol::Rpc).expect("a place"));
        one.heard(limits::RPC_BYTES.burst as usize);
        assert!(two.wait().is_zero());
        one.heard(3600 * limits::RPC_BYTES.per_second as usize);
        assert!(two.wait() > std::time::Duration::from_secs(3000));
        drop((one, two));
        let again = places.take(NodeId([1; 32]), Protocol::Rpc).expect("a place");
        assert!(again.wait() > std::time::Duration::from_secs(3000), "also when it comes back");
    }
}
