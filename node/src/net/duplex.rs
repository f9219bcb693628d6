//! A stream as tokio sees it, with the node at its other end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use crate::core::types::NodeId;

/// A libp2p stream: `futures` reading and writing.
pub type Stream = libp2p::Stream;

/// A libp2p stream for whoever needs tokio's reading and writing, such as tonic.
pub struct Duplex<S = Stream> {
    stream: Compat<S>,
    peer: NodeId,
}

impl<S: futures::AsyncRead + futures::AsyncWrite> Duplex<S> {
    /// Wraps a stream to or from `peer`.
    pub fn new(peer: NodeId, stream: S) -> Duplex<S> {
        Duplex { stream: stream.compat(), peer }
    }

    /// The member at the other end: authenticated by the connection's encryption.
    pub fn peer(&self) -> NodeId {
        self.peer
    }
}

impl<S: futures::AsyncRead + Unpin> AsyncRead for Duplex<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: futures::AsyncWrite + Unpin> AsyncWrite for Duplex<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
