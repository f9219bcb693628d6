//! Who is woken when the socket can be read or written. A socket remembers one task for each; here that one is a stand-in
//! which wakes whoever can go on without a detour: the stream that waits for bytes, the stream whose turn it is to write, and
//! only without them the connection's own task.
//!
//! A task that was woken may have lost interest. So the connection's own task looks after a busy connection every few
//! milliseconds (`RESCUE`): nothing stands still longer than that, and an idle connection costs nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// See the top of this file.
#[derive(Default)]
pub(super) struct Wakes {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The connection's own task.
    driver: Option<Waker>,
    /// The stream that waits for bytes and found none on the socket.
    reader: Option<(u32, Waker)>,
    /// Streams that wait to write, first come first served.
    writers: VecDeque<(u32, Waker)>,
    /// The driver looks after the connection by itself, until it finds nothing to do.
    watched: bool,
    /// A stream was woken since the driver last looked.
    busy: bool,
}

impl Wakes {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the connection's own task.
    pub(super) fn set_driver(&self, waker: &Waker) {
        let mut inner = self.inner();
        match &mut inner.driver {
            Some(driver) => driver.clone_from(waker),
            None => inner.driver = Some(waker.clone()),
        }
    }

    /// `stream` goes on as soon as the socket can be read.
    pub(super) fn set_reader(&self, stream: u32, waker: &Waker) {
        self.inner().reader = Some((stream, waker.clone()));
    }

    /// `stream` goes on when its turn to write comes.
    pub(super) fn add_writer(&self, stream: u32, waker: &Waker) {
        let mut inner = self.inner();
        match inner.writers.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, known)) => known.clone_from(waker),
            None => inner.writers.push_back((stream, waker.clone())),
        }
    }

    /// `stream` waits for nothing any more; whoever comes after it is woken in its place.
    pub(super) fn forget(&self, stream: u32) {
        let driver = {
            let mut inner = self.inner();
            inner.reader.take_if(|(reader, _)| *reader == stream);
            inner.writers.retain(|(writer, _)| *writer != stream);
            inner.driver.clone()
        };
        wake(driver);
        self.writable();
    }

    /// Wakes the connection's own task.
    pub(super) fn wake_driver(&self) {
        let driver = self.inner().driver.clone();
        wake(driver);
    }

    /// The socket has bytes.
    pub(super) fn readable(&self) {
        let (reader, driver) = {
            let mut inner = self.inner();
            let reader = inner.reader.take().map(|(_, waker)| waker);
            let driver = inner.beside(reader.is_some());
            (reader, driver)
        };
        wake(reader);
        wake(driver);
    }

    /// The socket takes bytes, or whoever wrote last left room.
    pub(super) fn writable(&self) {
        let (writer, driver) = {
            let mut inner = self.inner();
            let writer = inner.writers.pop_front().map(|(_, waker)| waker);
            let driver = inner.beside(writer.is_some());
            (writer, driver)
        };
        wake(writer);
        wake(driver);
    }

    /// Wakes all who wait to write: the connection ended, or some may have missed their turn.
    pub(super) fn writers(&self) {
        let writers = std::mem::take(&mut self.inner().writers);
        writers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Does any stream wait for its turn to write?
    pub(super) fn has_writers(&self) -> bool {
        !self.inner().writers.is_empty()
    }

    /// The driver asks whether to look again in a while; from then on it is not woken beside a stream.
    pub(super) fn watch(&self) -> bool {
        let mut inner = self.inner();
        inner.watched = std::mem::take(&mut inner.busy) || !inner.writers.is_empty();
        inner.watched
    }
}

impl Inner {
    /// The driver, if it has to be woken beside a stream.
    fn beside(&mut self, woke_a_stream: bool) -> Option<Waker> {
        self.busy |= woke_a_stream;
        if woke_a_stream && self.watched { None } else { self.driver.clone() }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Stands in for a task where the socket is read.
pub(super) struct ReadWake(pub(super) Arc<Wakes>);

impl Wake for ReadWake {
    fn wake(self: Arc<Self>) {
        self.0.readable();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.readable();
    }
}

/// Stands in for a task where the socket is written.
pub(super) struct WriteWake(pub(super) Arc<Wakes>);

impl Wake for WriteWake {
    fn wake(self: Arc<Self>) {
        self.0.writable();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.writable();
    }
}
