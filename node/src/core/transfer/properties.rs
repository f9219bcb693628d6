//! Random worlds of sources that lie, grow, fall silent, vanish and return, against the plainest possible book of what
//! was asked of whom.

use proptest::prelude::*;

use super::*;
use crate::core::types::Duration;

const ARTIFACT: Digest = Digest([9; 32]);
const CHUNK_BYTES: u32 = 1 << 20;

fn node(id: usize) -> NodeId {
    NodeId([id as u8 + 1; 32])
}

/// A member that holds chunks.
#[derive(Clone, Debug)]
struct Giver {
    complete: bool,
    has: Vec<bool>,
    lies: bool,
    there: bool,
    strikes: u32,
    /// Chunks it sent corrupt.
    lied: BTreeSet<u32>,
    /// The same, and not forgotten when somebody comes back: such a source is no better than another.
    ever_lied: BTreeSet<u32>,
}

#[derive(Debug)]
struct World {
    transfers: Transfers,
    now: Time,
    givers: Vec<Giver>,
    have: BTreeSet<u32>,
    asked: BTreeMap<u32, BTreeSet<usize>>,
    /// Requests that were called off; an answer may still come.
    called_off: Vec<(u32, usize)>,
    maps: Vec<usize>,
    chunks: u32,
    begins: bool,
    finishes: bool,
    fetches: usize,
}

impl World {
    fn new(chunks: u32, givers: Vec<Giver>) -> World {
        let mut transfers = Transfers::new(NodeId([200; 32]));
        transfers.want(&BTreeSet::from([ARTIFACT]));
        World {
            transfers,
            now: Time(1_000_000),
            givers,
            have: BTreeSet::new(),
            asked: BTreeMap::new(),
            called_off: Vec::new(),
            maps: Vec::new(),
            chunks,
            begins: false,
            finishes: false,
            fetches: 0,
        }
    }

    fn index(from: NodeId) -> usize {
        usize::from(from.0[0]) - 1
    }

    fn holders(&self) -> Vec<Holder> {
        let there = self.givers.iter().enumerate().filter(|(_, giver)| giver.there);
        there.map(|(id, giver)| Holder { node: node(id), complete: giver.complete }).collect()
    }

    fn schedule(&mut self) {
        let holders = self.holders();
        for action in self.transfers.schedule(self.now, |_| holders.clone()) {
            match action {
                Action::GetManifest { .. } => {
                    self.begins = self.transfers.manifest(ARTIFACT, vec![CHUNK_BYTES; self.chunks as usize]);
                }
                Action::GetHave { from, .. } => self.maps.push(World::index(from)),
                Action::Fetch { chunk, bytes, from, .. } => self.asked_for(chunk, bytes, World::index(from)),
                Action::Cancel { chunk, from, .. } => {
                    let index = World::index(from);
                    let known = self.asked.get_mut(&chunk).is_some_and(|askers| askers.remove(&index));
                    assert!(known, "chunk {chunk} is called off at {index}, which was not asked for it");
                    self.called_off.push((chunk, index));
                }
                Action::Finish { .. } => {
                    assert_eq!(self.have.len() as u32, self.chunks, "finished without all chunks");
                    self.finishes = true;
                }
            }
            self.asked.retain(|_, askers| !askers.is_empty());
        }
        if std::mem::take(&mut self.begins) {
            let mut have = Bitmap::empty(self.chunks);
            self.have.iter().for_each(|&chunk| have.set(chunk));
            self.transfers.begun(ARTIFACT, have);
            self.schedule();
        }
        self.check();
    }

    fn asked_for(&mut self, chunk: u32, bytes: u32, index: usize) {
        self.fetches += 1;
        let giver = &self.givers[index];
        assert_eq!(bytes, CHUNK_BYTES);
        assert!(!self.have.contains(&chunk), "chunk {chunk} is here already");
        assert!(giver.there && giver.strikes < limits::STRIKES_MAX, "{index} is gone or out");
        assert!(giver.complete || giver.has[chunk as usize], "{index} does not have chunk {chunk}");
        let better = |other: &Giver| {
            other.there && other.complete && other.strikes < limits::STRIKES_MAX && !other.ever_lied.contains(&chunk)
        };
        let again = giver.lied.contains(&chunk) && self.givers.iter().any(better);
        assert!(!again, "{index} is asked again for the chunk it sent corrupt");
        let askers = self.asked.entry(chunk).or_default();
        assert!(askers.insert(index), "chunk {chunk} is asked twice of {index}");
        let double = askers.len() > 1;
        assert!(askers.len() <= 2, "chunk {chunk} is asked of {askers:?}");
        let missing = (0..self.chunks).filter(|chunk| !self.have.contains(chunk));
        let end_game = || missing.clone().all(|chunk| self.asked.contains_key(&chunk));
        assert!(!double || end_game(), "chunk {chunk} is asked twice although others are not asked for");
    }

    fn check(&self) {
        let per_source = |index| self.asked.values().filter(|askers| askers.contains(&index)).count();
        assert!((0..self.givers.len()).all(|index| per_source(index) <= limits::CHUNKS_IN_FLIGHT_PER_SOURCE));
        assert!(self.asked.values().map(BTreeSet::len).sum::<usize>() <= limits::CHUNKS_IN_FLIGHT_MAX);
        let transfer = self.transfers.get(&ARTIFACT).expect("it is wanted");
        if transfer.stage == Stage::Fetching {
            assert_eq!(transfer.chunks_done() as usize, self.have.len());
            assert_eq!(transfer.done_bytes(), self.have.len() as u64 * u64::from(CHUNK_BYTES));
        }
        for (index, giver) in self.givers.iter().enumerate() {
            let strikes = transfer.sources.get(&node(index)).map_or(0, |source| source.strikes);
            assert_eq!(strikes, giver.strikes, "strikes of {index}");
        }
        if let Some(at) = self.transfers.next_deadline(self.now) {
            assert!(at > self.now, "a deadline in the past");
        }
    }

    /// A request under way, picked by number.
    fn some_ask(&self, number: usize) -> Option<(u32, usize)> {
        let all: Vec<(u32, usize)> =
            self.asked.iter().flat_map(|(chunk, askers)| askers.iter().map(move |index| (*chunk, *index))).collect();
        (!all.is_empty()).then(|| all[number % all.len()])
    }

    fn answer(&mut self, chunk: u32, index: usize, outcome: ChunkOutcome) {
        let on_time = self.asked.get_mut(&chunk).is_some_and(|askers| askers.remove(&index));
        self.asked.retain(|_, askers| !askers.is_empty());
        match outcome {
            ChunkOutcome::Stored => {
                self.have.insert(chunk);
            }
            ChunkOutcome::Corrupt if on_time => {
                self.givers[index].strikes += 1;
                self.givers[index].lied.insert(chunk);
                self.givers[index].ever_lied.insert(chunk);
            }
            _ => {}
        }
        self.transfers.chunk(self.now, ARTIFACT, chunk, node(index), outcome);
    }

    /// What the source would do when left alone.
    fn honest(&self, chunk: u32, index: usize) -> ChunkOutcome {
        if self.givers[index].lies && chunk.is_multiple_of(3) { ChunkOutcome::Corrupt } else { ChunkOutcome::Stored }
    }

    fn lose(&mut self, index: usize) {
        self.givers[index].there = false;
        self.asked.values_mut().for_each(|askers| {
            askers.remove(&index);
        });
        self.asked.retain(|_, askers| !askers.is_empty());
        self.maps.retain(|known| *known != index);
        self.transfers.lost(node(index));
    }

    fn come_back(&mut self, index: usize) {
        self.givers[index].there = true;
        // While it was away, the others may have been forgiven what only they could give then.
        self.givers.iter_mut().for_each(|giver| giver.lied.clear());
        self.transfers.holders_changed();
    }

    fn map(&self, index: usize) -> Bitmap {
        let mut map = Bitmap::empty(self.chunks);
        (0..self.chunks).filter(|&chunk| self.givers[index].has[chunk as usize]).for_each(|chunk| map.set(chunk));
        map
    }

    fn step(&mut self, (what, which): (u8, u16)) {
        let number = usize::from(which);
        let index = number % self.givers.len();
        self.now = self.now.after(Duration::from_millis(u64::from(which % 50)));
        match what % 12 {
            0..=4 => {
                if let Some((chunk, index)) = self.some_ask(number) {
                    self.answer(chunk, index, self.honest(chunk, index));
                }
            }
            5 => {
                if let Some((chunk, index)) = self.some_ask(number) {
                    let outcome = if which % 2 == 0 { ChunkOutcome::Failed } else { ChunkOutcome::Missing };
                    self.answer(chunk, index, outcome);
                }
            }
            6 => {
                if let Some(index) = self.maps.pop() {
                    let map = (which % 5 != 0).then(|| self.map(index));
                    self.transfers.has(self.now, ARTIFACT, node(index), map);
                }
            }
            7 => {
                let chunk = which as u32 % self.chunks;
                self.givers[index].has[chunk as usize] = true;
            }
            8 if which % 3 == 0 => self.lose(index),
            8 | 9 => {
                self.come_back(index);
            }
            10 => self.now = self.now.after(Duration::from_millis(u64::from(which))),
            _ => {
                // An answer that comes while the same is asked of the same source again counts as the answer.
                let late =
                    self.called_off.pop().filter(|(c, index)| !self.asked.get(c).is_some_and(|a| a.contains(index)));
                if let Some((chunk, index)) = late {
                    let late = if which % 2 == 0 { ChunkOutcome::Corrupt } else { ChunkOutcome::Stored };
                    self.answer(chunk, index, late);
                } else if which % 7 == 0 {
                    self.transfers.paused(self.now, ARTIFACT, "no room".to_owned());
                }
            }
        }
        self.schedule();
    }

    /// Everybody is there and answers: it must end.
    fn calm(&mut self) {
        (0..self.givers.len()).for_each(|index| self.come_back(index));
        for _ in 0..100 * self.chunks + 1000 {
            self.schedule();
            if self.finishes {
                return;
            }
            while let Some(index) = self.maps.pop() {
                self.transfers.has(self.now, ARTIFACT, node(index), Some(self.map(index)));
            }
            match self.some_ask(0) {
                Some((chunk, index)) => {
                    self.now = self.now.after(Duration::from_millis(3));
                    self.answer(chunk, index, self.honest(chunk, index));
                }
                None => {
                    let next = self.transfers.next_deadline(self.now);
                    self.now = next.unwrap_or(self.now.after(Duration::from_millis(1)));
                }
            }
        }
        panic!("it never ends: {:?} {:?} {:?}", self.asked, self.maps, self.transfers);
    }
}

fn givers(chunks: u32) -> impl Strategy<Value = Vec<Giver>> {
    let giver = (any::<bool>(), any::<bool>(), proptest::collection::vec(any::<bool>(), chunks as usize));
    proptest::collection::vec(giver, 0..5).prop_map(move |others| {
        let new = |complete, lies, has| Giver {
            complete,
            has,
            lies,
            there: true,
            strikes: 0,
            lied: BTreeSet::new(),
            ever_lied: BTreeSet::new(),
        };
        // One is whole and honest: without it nothing need ever end.
        let honest = new(true, false, vec![true; chunks as usize]);
        std::iter::once(honest).chain(others.into_iter().map(|(c, lies, has)| new(c, lies, has))).collect()
    })
}

fn worlds() -> impl Strategy<Value = World> {
    (1u32..90).prop_flat_map(|chunks| givers(chunks).prop_map(move |givers| World::new(chunks, givers)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_happens_requests_keep_the_rules_and_it_ends(
        mut world in worlds(), steps in proptest::collection::vec((any::<u8>(), any::<u16>()), 0..300),
    ) {
        world.schedule();
        for step in steps {
            if world.finishes { break }
            world.step(step);
        }
        if !world.finishes { world.calm(); }
    }
}
