//! What whoever watches this node is told: the view whenever it changed, what happened in plain words, and the last minutes in
//! numbers. Looked at once a second while somebody watches, and every few seconds otherwise, so that who comes later sees the
//! past too. Everything here has a bound: the log, the samples, the watchers, and what waits for each of them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio::sync::{Notify, mpsc, watch};

use crate::core::limits;
use crate::core::view::{History, State, happened};
use crate::driver::clock::unix_seconds;
use crate::driver::node::Node;
use crate::http::Frame;

/// Between two looks while somebody watches.
const LOOK: Duration = Duration::from_secs(1);
/// Between two looks otherwise, and between two samples.
const SAMPLE: Duration = Duration::from_secs(5);
/// A view of a federation of thousands is told less often: so many bytes a second to each watcher.
const VIEW_BYTES_PER_S: usize = 256 << 10;

/// The past of a node, and who wants to hear more.
#[derive(Clone, Default)]
pub struct Watching(Arc<Shared>);

#[derive(Default)]
struct Shared {
    past: Mutex<Past>,
    /// Somebody has come.
    came: Notify,
}

#[derive(Default)]
struct Past {
    log: VecDeque<Happened>,
    history: History,
    before: Option<State>,
    sampled: Option<Instant>,
    /// The view as it was told last.
    told: Arc<str>,
    watchers: Vec<mpsc::Sender<Frame>>,
    ended: bool,
}

/// A line of the log.
#[derive(Clone, Debug, Serialize)]
struct Happened {
    unix_s: u64,
    text: String,
}

impl Watching {
    /// The past and the view as frames, then whatever comes; `None` if too many watch already, or the node ends. A watcher that
    /// does not read is let go of: its stream ends, and it may come again.
    pub fn follow(&self, state: &State) -> Option<mpsc::Receiver<Frame>> {
        let (sender, frames) = mpsc::channel(limits::WATCHER_FRAMES_MAX);
        {
            let mut past = self.past();
            past.watchers.retain(|watcher| !watcher.is_closed());
            if past.ended || past.watchers.len() >= limits::WATCHERS_MAX {
                return None;
            }
            let first = json!({
                "log": past.log, "samples": past.history.samples(), "sample_s": SAMPLE.as_secs(),
            });
            let view = frame("state", state);
            for frame in [Frame { name: "past", json: first.to_string().into() }, view] {
                sender.try_send(frame).expect("the channel is new and holds more than two");
            }
            past.watchers.push(sender);
        }
        self.0.came.notify_one();
        Some(frames)
    }

    /// Looks at `node` until it ends.
    pub fn start(&self, node: Node, mut stop: watch::Receiver<bool>) {
        let watching = self.clone();
        tokio::spawn(async move {
            loop {
                let state = node.view().await;
                let rest = watching.look(unix_seconds(), Instant::now(), state);
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    () = watching.0.came.notified() => {}
                    _ = stop.wait_for(|stopped| *stopped) => break,
                }
            }
            let mut past = watching.past();
            past.ended = true;
            past.watchers.clear();
        });
    }

    /// Takes in a view and tells what is new; how long to rest then.
    fn look(&self, unix_s: u64, now: Instant, state: State) -> Duration {
        let mut past = self.past();
        let past = &mut *past;
        past.watchers.retain(|watcher| !watcher.is_closed());
        let mut frames = Vec::new();
        // The node knows nothing yet in its first moments, and everything after that would be news.
        let news = past.before.as_ref().map(|before| happened(before, &state)).unwrap_or_default();
        let news: Vec<Happened> = news.into_iter().map(|text| Happened { unix_s, text }).collect();
        if !news.is_empty() {
            frames.push(frame("log", &news));
            past.log.extend(news);
            let over = past.log.len().saturating_sub(limits::WATCHED_LOG_MAX);
            past.log.drain(..over);
        }
        if past.sampled.is_none_or(|sampled| now.duration_since(sampled) + LOOK / 2 >= SAMPLE) {
            past.sampled = Some(now);
            frames.extend(past.history.look(unix_s, &state).map(|sample| frame("sample", sample)));
        }
        let mut rest = SAMPLE;
        if !past.watchers.is_empty() {
            let view = frame("state", &state);
            rest = LOOK * u32::try_from(1 + view.json.len() / VIEW_BYTES_PER_S).unwrap_or(u32::MAX);
            if view.json != past.told {
                past.told = Arc::clone(&view.json);
                frames.push(view);
            }
        }
        past.before = Some(state);
        past.watchers.retain(|watcher| frames.iter().all(|frame| watcher.try_send(frame.clone()).is_ok()));
        rest
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.0.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn frame(name: &'static str, document: &impl Serialize) -> Frame {
    // Plain data without maps of other keys than text: it cannot fail.
    Frame { name, json: serde_json::to_string(document).unwrap_or_default().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::view::MemberView;

    fn with_members(count: usize) -> State {
        let member = |n: usize| MemberView {
            name: format!("m{n}"),
            peer_id: format!("peer {n}"),
            role: "full".to_owned(),
            state: "alive".to_owned(),
            ..MemberView::default()
        };
        State { members: (0..count).map(member).collect(), ..State::default() }
    }

    fn names(frames: &mut mpsc::Receiver<Frame>) -> Vec<&'static str> {
        std::iter::from_fn(|| frames.try_recv().ok()).map(|frame| frame.name).collect()
    }

    #[test]
    fn a_watcher_hears_the_past_then_what_is_new_and_nothing_twice() {
        let (watching, start) = (Watching::default(), Instant::now());
        watching.look(1, start, with_members(1));
        watching.look(2, start + LOOK, with_members(2));
        let mut frames = watching.follow(&with_members(2)).expect("there is room");
        let past = frames.try_recv().expect("the past");
        assert!(past.name == "past" && past.json.contains("m1 has joined the federation as full"), "{}", past.json);
        assert_eq!(names(&mut frames), ["state"]);
        let rest = watching.look(3, start + 2 * LOOK, with_members(3));
        assert_eq!((names(&mut frames), rest), (vec!["log", "state"], LOOK));
        watching.look(4, start + 3 * LOOK, with_members(3));
        assert_eq!(names(&mut frames), [""; 0]);
        watching.look(5, start + SAMPLE, with_members(3));
        assert_eq!(names(&mut frames), ["sample"]);
        drop(frames);
        assert_eq!(watching.look(6, start + SAMPLE + LOOK, with_members(3)), SAMPLE, "nobody watches any more");
    }

    #[test]
    fn one_that_does_not_read_is_let_go_and_too_many_are_refused() {
        let (watching, start) = (Watching::default(), Instant::now());
        let mut slow = watching.follow(&with_members(1)).expect("there is room");
        for second in 0..2 * limits::WATCHER_FRAMES_MAX {
            watching.look(second as u64, start, with_members(second));
        }
        let kept = names(&mut slow).len();
        assert!(kept <= limits::WATCHER_FRAMES_MAX && slow.is_closed(), "{kept} were kept for it");
        let held: Vec<_> = (0..limits::WATCHERS_MAX).map(|_| watching.follow(&State::default())).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(watching.follow(&State::default()).is_none());
        drop(held);
        assert!(watching.follow(&State::default()).is_some());
    }

    #[test]
    fn the_log_is_bounded() {
        let (watching, start) = (Watching::default(), Instant::now());
        for members in 0..2 * limits::WATCHED_LOG_MAX {
            watching.look(1, start, with_members(members));
        }
        assert_eq!(watching.past().log.len(), limits::WATCHED_LOG_MAX);
    }
}
