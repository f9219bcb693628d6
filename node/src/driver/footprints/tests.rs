//! A replica is looked after, with an engine that is not there.

use std::sync::{Arc, Mutex};

use fednode_proto::v1;
use futures::FutureExt as _;
use tokio::sync::mpsc;

use super::*;
use crate::engine::EngineError;

/// Takes what it is told to, and ends when it is told to.
#[derive(Default)]
struct Engineless {
    footprints: Mutex<Vec<Footprint>>,
    killed_by_others: bool,
}

impl Engine for Engineless {
    fn generate(&self, _: v1::GenerateRequest) -> mpsc::Receiver<v1::GenerateEvent> {
        mpsc::channel(1).1
    }
    fn score(&self, _: v1::ScoreRequest) -> BoxFuture<'static, Result<v1::ScoreReply, EngineError>> {
        std::future::pending().boxed()
    }
    fn embed(&self, _: v1::EmbedRequest) -> BoxFuture<'static, Result<v1::EmbedReply, EngineError>> {
        std::future::pending().boxed()
    }
    fn tokenize(&self, _: String) -> BoxFuture<'static, Result<Vec<u32>, EngineError>> {
        std::future::pending().boxed()
    }
    fn pid(&self) -> Option<u32> {
        Some(u32::MAX)
    }
    fn exited(&self) -> BoxFuture<'static, String> {
        std::future::pending().boxed()
    }
    fn was_killed_by_others(&self) -> bool {
        self.killed_by_others
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
    /// One after the other, then the last one for ever.
    fn footprint(&self) -> Option<Footprint> {
        let mut left = self.footprints.lock().unwrap();
        if left.len() > 1 { Some(left.remove(0)) } else { left.first().copied() }
    }
}

fn took(private_mib: u64) -> Footprint {
    let private_bytes = private_mib << 20;
    Footprint { private_bytes, resident_bytes: private_bytes + (100 << 20), peak_bytes: 0, locked_bytes: 7 << 20 }
}

fn watched(engine: &Arc<dyn Engine>) -> Watched {
    let slot = SlotName::new("UFM").unwrap();
    Watched {
        slot,
        engine: Arc::downgrade(engine),
        promise: Promise::Host { private_bytes_max: 64 << 20 },
        period: Duration::from_millis(1),
    }
}

/// What the core was told.
fn told(inbox: &mut mpsc::Receiver<Event>) -> Vec<u64> {
    let mut seen = Vec::new();
    while let Ok(event) = inbox.try_recv() {
        match event {
            Event::Core(Input::Seen(_, it)) => seen.push(it.private_bytes >> 20),
            _ => panic!("nothing else is told"),
        }
    }
    seen
}

#[tokio::test]
async fn one_that_takes_more_than_it_may_is_not_followed_further() {
    let footprints = Mutex::new([10, 10, 40, 64, 65].map(took).to_vec());
    let engine: Arc<dyn Engine> = Arc::new(Engineless { footprints, killed_by_others: false });
    let (events, mut inbox) = Events::channel();
    let death = watched(&engine).follow(std::future::pending().boxed(), &events).await;
    assert_eq!((death.cause, death.taken_bytes), (Cause::Exceeded, 165 << 20));
    assert!(death.why.contains("took 65.0 MiB of memory, and 64.0 MiB is the most"), "{}", death.why);
    assert_eq!(told(&mut inbox), [10, 40, 64, 65], "what is no news is not told");
}

#[tokio::test]
async fn an_end_is_told_with_what_the_replica_had_taken() {
    let engine: Arc<dyn Engine> =
        Arc::new(Engineless { footprints: Mutex::new(vec![took(10)]), killed_by_others: true });
    let (events, mut inbox) = Events::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let exited = async {
        drop(ended.await);
        "killed by signal 9".to_owned()
    };
    let watched = watched(&engine);
    let follow = tokio::spawn(async move { watched.follow(exited.boxed(), &events).await });
    while told(&mut inbox).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(end);
    let death = follow.await.unwrap();
    // On a machine that kills for want of memory while this runs, it is said that it probably did.
    assert!(death.why.starts_with("its engine was killed by signal 9"), "{}", death.why);
    assert_eq!(death.taken_bytes, 110 << 20);
}

#[test]
fn only_a_kill_that_was_counted_makes_a_failed_load_one_for_want_of_memory() {
    let now = Kills::so_far();
    assert_eq!(load_failed("no".to_owned(), Kills::default()).cause == Cause::OutOfMemory, now > Kills::default());
    let death = load_failed("no".to_owned(), now);
    assert_eq!((death.cause, death.why.as_str()), (Cause::Broke, "no"));
}
