//! A socket that is read in large pieces. TLS asks for one record at a time, at most 16 KiB: answered from a buffer, a system
//! call is made for sixteen of them. The buffer grows only while it is filled, so that a quiet connection costs little.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{AsyncRead, AsyncWrite};

use crate::core::limits;

/// The buffer of a connection on which little comes.
const BUFFER_BYTES_MIN: usize = 16 << 10;

/// See the top of this file. Writing passes through.
pub(super) struct ReadAhead<C> {
    socket: C,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<C> ReadAhead<C> {
    pub(super) fn new(socket: C) -> ReadAhead<C> {
        ReadAhead { socket, buffer: Vec::new(), start: 0, end: 0 }
    }

    /// More came than there was room for: have more next time. Called while the buffer is empty.
    fn grow(&mut self) {
        if self.end == self.buffer.len() && self.buffer.len() < limits::SOCKET_READ_BYTES {
            let bytes = (2 * self.buffer.len()).clamp(BUFFER_BYTES_MIN, limits::SOCKET_READ_BYTES);
            self.buffer = vec![0; bytes];
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for ReadAhead<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.start == this.end {
            this.grow();
            (this.start, this.end) = (0, 0);
            this.end = ready!(Pin::new(&mut this.socket).poll_read(cx, &mut this.buffer))?;
        }
        let bytes = into.len().min(this.end - this.start);
        into[..bytes].copy_from_slice(&this.buffer[this.start..this.start + bytes]);
        this.start += bytes;
        Poll::Ready(Ok(bytes))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for ReadAhead<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
