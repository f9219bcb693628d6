//! Properties of routing under any order of requests, answers, failures, holders that come and go, and cancellations. An
//! onlooker keeps books of its own and never asks the router whether it did right.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::core::limits;
use crate::core::route::turns::shares;
use crate::core::types::Duration;

const ME: NodeId = NodeId([0; 32]);
const SLOTS: u8 = 2;
const PLACES: u8 = 4;
const CLIENTS: u64 = 4;
const PARALLEL: u32 = 2;

/// Something that may happen; requests are named by how many are open.
#[derive(Clone, Debug)]
enum Step {
    /// So many requests of a client come at once.
    Come {
        client: ClientId,
        slot: u8,
        times: u8,
        tokens: u32,
        conversation: Option<u64>,
        wait_ms: u64,
        forwarded: bool,
    },
    /// An open request, sent or not, begins to answer.
    Started(u16),
    /// Ends well, badly, or is cancelled; told twice.
    Ended(u16, u8),
    /// Its replica fails.
    Failed(u16, bool, bool),
    /// A replica is ready from now on, or no more.
    Ready(u8, u8, bool),
    /// A member says what is in flight there.
    Heard(u8, u32),
    Pinged(u8, u64),
    Passes(u64),
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let come = (
        (0..CLIENTS, 0..SLOTS, 1..12u8, 0..20_000u32),
        (prop::option::of(0..3u64), prop_oneof![Just(0), 1..20_000u64], prop::bool::weighted(0.1)),
    );
    let come = come.prop_map(|((client, slot, times, tokens), (conversation, wait_ms, forwarded))| Step::Come {
        client,
        slot,
        times,
        tokens,
        conversation,
        wait_ms,
        forwarded,
    });
    let step = prop_oneof![
        5 => come,
        6 => any::<u16>().prop_map(Step::Started),
        8 => (any::<u16>(), 0..3u8).prop_map(|(at, how)| Step::Ended(at, how)),
        4 => (any::<u16>(), any::<bool>(), prop::bool::weighted(0.8)).prop_map(|(at, busy, again)| Step::Failed(at, busy, again)),
        3 => (0..SLOTS, 0..PLACES, prop::bool::weighted(0.7)).prop_map(|(slot, place, up)| Step::Ready(slot, place, up)),
        1 => (0..PLACES, 0..5u32).prop_map(|(place, others)| Step::Heard(place, others)),
        1 => (0..PLACES, 0..300u64).prop_map(|(place, millis)| Step::Pinged(place, millis)),
        4 => (1..4_000u64).prop_map(Step::Passes),
    ];
    prop::collection::vec(step, 1..most)
}

fn slot(n: u8) -> SlotName {
    SlotName::new(&format!("S{n}")).expect("name")
}

/// The last place is an external engine.
fn place(n: u8) -> Place {
    let verification = if n + 1 == PLACES { Verification::Unverified } else { Verification::Verified };
    Place { node: NodeId([n; 32]), verification }
}

/// What the onlooker knows of an open request.
#[derive(Clone, Debug)]
struct Open {
    ask: Ask,
    at: Option<Place>,
    started: bool,
    failed_at: BTreeSet<Place>,
    /// Dispatches of other clients in the same line since nothing of its own client was before it.
    overtakes: BTreeMap<ClientId, u32>,
    retried: bool,
}

#[derive(Default)]
struct Watched {
    router: Router,
    now: Time,
    next: RequestId,
    open: BTreeMap<RequestId, Open>,
    ended: BTreeSet<RequestId>,
    ready: BTreeSet<(SlotName, Place)>,
    said: BTreeMap<Place, u32>,
    log: Vec<String>,
}

impl Watched {
    fn new(seed: u64) -> Watched {
        Watched { router: Router::new(seed), ..Watched::default() }
    }

    fn knowledge(&self, want: &Want) -> Knowledge {
        let ready = self.ready.iter().filter(|(slot, at)| {
            slot == &want.slot
                && (!want.local_only || at.node == ME)
                && (want.unverified || at.verification == Verification::Verified)
        });
        let candidates: Vec<Candidate> = ready
            .map(|(_, at)| {
                let advertised = self.said.get(at).copied().unwrap_or(0);
                Candidate { at: *at, advertised, places: u32::MAX, parallel: PARALLEL }
            })
            .collect();
        if candidates.is_empty() { Knowledge::Waiting } else { Knowledge::Ready(candidates) }
    }

    fn pick(&self, at: u16) -> Option<RequestId> {
        let nth = usize::from(at).checked_rem(self.open.len())?;
        self.open.keys().nth(nth).copied()
    }

    fn close(&mut self, request: RequestId) {
        assert!(self.open.remove(&request).is_some(), "{request} ends a second time");
        assert!(self.ended.insert(request), "{request} ended twice");
    }

    fn happens(&mut self, step: &Step) {
        match *step {
            Step::Come { client, slot: n, times, tokens, conversation, wait_ms, forwarded } => {
                for _ in 0..times {
                    let deadline = self.now.after(Duration::from_millis(wait_ms));
                    let ask =
                        Ask { client, tokens, conversation, local_only: forwarded, ..Ask::new(slot(n), deadline) };
                    self.comes(ask);
                }
            }
            Step::Started(at) => {
                let Some(request) = self.pick(at) else { return };
                self.router.started(self.now, request);
                let open = self.open.get_mut(&request).expect("picked");
                open.started |= open.at.is_some();
            }
            Step::Ended(at, how) => {
                let Some(request) = self.pick(at) else { return };
                match how {
                    0 => self.router.answered(self.now, request, Tokens { prompt: 3, answer: 40 }),
                    how => self.router.ended(request, how == 1),
                }
                self.router.ended(request, false);
                self.close(request);
            }
            Step::Failed(at, busy, again) => {
                let Some(request) = self.pick(at).filter(|request| self.open[request].at.is_some()) else { return };
                self.fails(request, busy, again);
            }
            Step::Ready(n, at, true) => drop(self.ready.insert((slot(n), place(at)))),
            Step::Ready(n, at, false) => drop(self.ready.remove(&(slot(n), place(at)))),
            Step::Heard(at, others) => {
                let ours = self.open.values().filter(|open| open.at == Some(place(at))).count() as u32;
                self.said.insert(place(at), ours + others);
                self.router.heard(place(at).node);
            }
            Step::Pinged(at, millis) => self.router.pinged(place(at).node, Duration::from_millis(millis)),
            Step::Passes(millis) => self.now = self.now.after(Duration::from_millis(millis)),
        }
    }

    fn comes(&mut self, ask: Ask) {
        self.next += 1;
        let refused = self.router.ask(self.now, self.next, ask.clone());
        if refused.is_some_and(|refusal| refusal.code == "busy") {
            return;
        }
        let (failed_at, overtakes) = (BTreeSet::new(), BTreeMap::new());
        let open = Open { ask, at: None, started: false, failed_at, overtakes, retried: false };
        self.open.insert(self.next, open);
    }

    fn fails(&mut self, request: RequestId, busy: bool, again: bool) {
        let open = self.open.get_mut(&request).expect("picked");
        let code = if busy { "busy" } else { "engine_failed" };
        let refusal = Refusal { code, message: String::new() };
        let may_retry = again && !open.started && !open.ask.local_only;
        match self.router.failed(self.now, request, refusal, again) {
            Failed::Retry => {
                assert!(may_retry, "{request} is tried again after its first token");
                open.failed_at.extend(open.at.take());
                open.retried = true;
            }
            Failed::Final => self.close(request),
            Failed::Ended => panic!("{request} is open"),
        }
    }

    fn settle(&mut self) {
        let mut router = std::mem::take(&mut self.router);
        let actions = router.schedule(self.now, ME, |want| self.knowledge(want));
        self.router = router;
        for action in actions {
            self.log.push(format!("{action:?}"));
            match action {
                Action::Dispatch { request, to } => self.sent(request, to),
                Action::Reject { request, refusal } => {
                    let open = &self.open[&request];
                    assert!(open.at.is_none(), "{request} was refused while it was being answered");
                    let late = self.now >= open.ask.deadline;
                    assert!(late || open.ask.local_only, "{request} was refused early: {refusal:?}");
                    self.close(request);
                }
            }
        }
        self.check();
    }

    fn sent(&mut self, request: RequestId, to: Place) {
        let open = self.open.get_mut(&request).expect("an open request is sent");
        assert_eq!(open.at.replace(to), None, "{request} is sent twice");
        let ask = open.ask.clone();
        assert!(self.ready.contains(&(ask.slot, to)), "{request} went to {to:?}, which is not ready");
        assert!(!ask.local_only || to.node == ME, "{request} was passed on");
        let (failed_at, retried) = (open.failed_at.clone(), open.retried);
        if to.verification == Verification::Unverified {
            let verified = |at: &Place| at.verification == Verification::Verified;
            let better = self.ready.iter().filter(|(slot, at)| slot == &ask.slot && verified(at) && !ask.local_only);
            assert!(better.into_iter().all(|(_, at)| failed_at.contains(at)), "{request}: a verified replica is ready");
        }
        if retried {
            return; // paid for: it takes no turn
        }
        let ahead: Vec<RequestId> = self.heads(&ask.want());
        for waiting in ahead {
            let open = self.open.get_mut(&waiting).expect("open");
            if open.ask.client != ask.client && !open.retried {
                *open.overtakes.entry(ask.client).or_default() += 1;
                let bound = shares(open.ask.tokens) + limits::SHARES_MAX;
                let times = open.overtakes[&ask.client];
                assert!(times <= bound, "{waiting} was overtaken {times} times by client {}", ask.client);
            }
        }
    }

    /// The oldest waiting request of each client in a line.
    fn heads(&self, want: &Want) -> Vec<RequestId> {
        let mut clients = BTreeSet::new();
        let waiting = self.open.iter().filter(|(_, open)| open.at.is_none() && open.ask.want() == *want);
        waiting.filter(|(_, open)| clients.insert(open.ask.client)).map(|(request, _)| *request).collect()
    }

    fn check(&self) {
        assert_eq!(self.router.open(), self.open.len());
        let counts = self.router.counts;
        let refused = self.next - self.ended.len() as u64 - self.open.len() as u64;
        assert_eq!(counts.done + counts.failed, self.ended.len() as u64 + refused, "each is counted once");
        assert!(self.open.len() <= limits::REQUESTS_MAX);
        for n in 0..SLOTS {
            let of_slot = |open: &&Open| open.ask.slot == slot(n);
            let waiting = self.open.values().filter(of_slot).filter(|open| open.at.is_none() && !open.retried);
            assert!(waiting.count() <= limits::WAITING_PER_SLOT_MAX);
            for at in (0..PLACES).map(place) {
                let there = self.open.values().filter(of_slot).filter(|open| open.at == Some(at));
                let (theirs, ours): (Vec<&Open>, Vec<&Open>) = there.partition(|open| open.ask.local_only);
                let said = self.router.in_flight_at(at).get(&slot(n)).copied().unwrap_or(0);
                assert_eq!(said as usize, theirs.len() + ours.len());
                assert!(ours.len() as u32 <= PARALLEL + limits::REQUESTS_AHEAD);
                assert!(said <= limits::REQUESTS_PER_REPLICA_MAX);
            }
        }
    }
}

fn run(seed: u64, steps: &[Step]) -> Watched {
    let mut watched = Watched::new(seed);
    for step in steps {
        watched.happens(step);
        watched.settle();
    }
    watched
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Every request ends exactly once and no later than its deadline or its failure, bounds hold, nothing goes where nobody
    /// is ready, affinity or not, and nobody is overtaken by another client more than a few times.
    #[test]
    fn every_request_ends_once_within_bounds_and_in_turn(seed: u64, steps in steps(80)) {
        let mut watched = run(seed, &steps);
        // Whatever still waits has its deadline, and what is sent ends.
        watched.ready.clear();
        watched.now = watched.now.after(Duration::from_secs(100));
        watched.settle();
        for request in watched.open.keys().copied().collect::<Vec<_>>() {
            prop_assert!(watched.open[&request].at.is_some(), "{} waits beyond its deadline", request);
            watched.router.ended(request, true);
            watched.close(request);
        }
        watched.check();
        prop_assert_eq!(watched.router.wanted().count(), 0);
        prop_assert_eq!(watched.router.next_deadline(watched.now), None);
    }

    /// Same inputs, same choices; another seed changes only where, never whether something is sent at once.
    #[test]
    fn the_same_inputs_make_the_same_choices(seed: u64, steps in steps(60)) {
        prop_assert_eq!(run(seed, &steps).log, run(seed, &steps).log);
    }

    /// With one busy replica, a client's single request is served after a bounded number of others, however many are queued.
    #[test]
    fn no_client_starves(flood in 20..600u64, tokens in prop::collection::vec(0..20_000u32, 1..6), own in 0..20_000u32) {
        let mut watched = Watched::new(1);
        watched.ready.insert((slot(0), place(0)));
        let far = Time(0).after(Duration::from_secs(1_000_000));
        for n in 0..flood {
            let tokens = tokens[n as usize % tokens.len()];
            watched.comes(Ask { client: n % 3, tokens, ..Ask::new(slot(0), far) });
        }
        watched.settle();
        watched.comes(Ask { client: 9, tokens: own, ..Ask::new(slot(0), far) });
        let mine = watched.next;
        let mut served = 0;
        while watched.open[&mine].at.is_none() {
            let running = watched.open.iter().find(|(_, open)| open.at.is_some()).map(|(request, _)| *request);
            let ended = running.expect("something runs");
            watched.router.ended(ended, true);
            watched.close(ended);
            watched.settle();
            served += 1;
        }
        // Three others: in each of its turns one share, and what they had saved up.
        prop_assert!(served <= 3 * (shares(own) + limits::SHARES_MAX) + 1, "{} before it", served);
    }
}
