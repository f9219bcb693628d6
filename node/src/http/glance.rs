//! A view that many may look at: hundreds of streams that wait for the same manager each tell its progress every second, and one
//! view made of everything the node knows is enough for all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Backend;
use crate::core::view::State;

/// The last view, and when it was taken.
#[derive(Clone, Default)]
pub(super) struct Glance(Arc<Mutex<Option<Taken>>>);

type Taken = (Instant, Arc<State>);

impl Glance {
    /// A view that is no older than `age`. Those who come while one is taken wait for it.
    pub(super) async fn at<B: Backend>(&self, backend: &B, age: Duration) -> Arc<State> {
        let mut last = self.0.lock().await;
        if let Some((_, state)) = last.as_ref().filter(|(taken, _)| taken.elapsed() < age) {
            return Arc::clone(state);
        }
        let state = Arc::new(backend.state().await);
        *last = Some((Instant::now(), Arc::clone(&state)));
        state
    }
}
