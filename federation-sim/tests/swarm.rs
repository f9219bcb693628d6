//! Many receivers of one seed, fednode's own transfers over simulated lines: how close do they come to what the lines
//! allow? A whole federation is not simulated here: no plans, no gossip; holders are known and answers take a millisecond.

use std::collections::{BTreeMap, BTreeSet};

use federation_sim::flows::Flows;
use fednode::core::artifact::Bitmap;
use fednode::core::limits;
use fednode::core::transfer::{Action, ChunkOutcome, Holder, Stage, Transfers};
use fednode::core::types::{Digest, Duration, NodeId, Time};

const ARTIFACT: Digest = Digest([3; 32]);
const LATENCY: Duration = Duration::from_millis(1);

fn id(node: usize) -> NodeId {
    NodeId(*blake3::hash(&node.to_le_bytes()).as_bytes())
}

/// What is under way: a chunk as a flow, or a question for a map.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    Flow(u64),
    Map { to: usize, from: usize },
    Timer(usize),
}

/// Bytes per second up and down.
type Line = (u64, u64);

struct Swarm {
    now: Time,
    flows: Flows,
    carried: BTreeMap<u64, (usize, usize, u32)>,
    next: u64,
    due: BTreeSet<(Time, Due)>,
    nodes: Vec<Transfers>,
    have: Vec<Bitmap>,
    chunk_bytes: u32,
    done_at: Vec<Option<Time>>,
    sent_bytes: Vec<u64>,
}

impl Swarm {
    /// Node 0 is the seed.
    fn new(lines: &[Line], chunks: u32, chunk_bytes: u32) -> Swarm {
        let mut nodes: Vec<Transfers> = (0..lines.len()).map(|node| Transfers::new(id(node))).collect();
        for node in nodes.iter_mut().skip(1) {
            node.want(&BTreeSet::from([ARTIFACT]));
            node.schedule(Time(0), |_| vec![Holder { node: id(0), complete: true }]);
            assert!(node.manifest(ARTIFACT, vec![chunk_bytes; chunks as usize]));
            node.begun(ARTIFACT, Bitmap::empty(chunks));
        }
        let have = (0..lines.len()).map(|node| if node == 0 { Bitmap::full(chunks) } else { Bitmap::empty(chunks) });
        Swarm {
            now: Time(0),
            flows: Flows::new(lines.iter().copied()),
            carried: BTreeMap::new(),
            next: 0,
            due: BTreeSet::new(),
            have: have.collect(),
            done_at: vec![None; lines.len()],
            sent_bytes: vec![0; lines.len()],
            chunk_bytes,
            nodes,
        }
    }

    fn index(&self, node: &NodeId) -> usize {
        (0..self.nodes.len()).find(|&index| id(index) == *node).expect("one of ours")
    }

    fn wakes(&mut self, wakes: Vec<(Time, u64)>) {
        self.due.extend(wakes.into_iter().map(|(at, flow)| (at, Due::Flow(flow))));
    }

    fn settle(&mut self, node: usize) {
        let done = &self.done_at;
        let others = (0..self.nodes.len()).filter(|&other| other != node);
        let holders: Vec<Holder> =
            others.map(|other| Holder { node: id(other), complete: other == 0 || done[other].is_some() }).collect();
        for action in self.nodes[node].schedule(self.now, |_| holders.clone()) {
            match action {
                Action::Fetch { chunk, from, .. } => self.fetch(node, self.index(&from), chunk),
                Action::Cancel { chunk, from, .. } => {
                    let from = self.index(&from);
                    let flow = self.carried.iter().find(|(_, carried)| **carried == (from, node, chunk));
                    self.end(*flow.expect("it is under way").0);
                }
                Action::GetHave { from, .. } => {
                    let due = Due::Map { to: node, from: self.index(&from) };
                    self.due.insert((self.now.after(LATENCY), due));
                }
                Action::Finish { .. } => {
                    self.done_at[node] = Some(self.now);
                    self.nodes[node].finished(self.now, ARTIFACT, Ok(()));
                    self.nodes.iter_mut().for_each(Transfers::holders_changed);
                }
                Action::GetManifest { .. } => panic!("it is here"),
            }
        }
        if let Some(at) = self.nodes[node].next_deadline(self.now) {
            self.due.insert((at, Due::Timer(node)));
        }
    }

    fn fetch(&mut self, node: usize, from: usize, chunk: u32) {
        assert!(self.have[from].has(chunk));
        let busy = self.flows.sending(from) >= limits::CHUNKS_SERVED_MAX;
        if busy {
            return self.nodes[node].chunk(self.now, ARTIFACT, chunk, id(from), ChunkOutcome::Failed);
        }
        let mut wakes = Vec::new();
        self.carried.insert(self.next, (from, node, chunk));
        self.flows.begin(self.now, self.next, from, node, u64::from(self.chunk_bytes), &mut wakes);
        self.next += 1;
        self.wakes(wakes);
    }

    fn end(&mut self, flow: u64) {
        let mut wakes = Vec::new();
        self.carried.remove(&flow);
        self.flows.end(self.now, flow, &mut wakes);
        self.wakes(wakes);
    }

    fn happen(&mut self, due: Due) {
        let node = match due {
            Due::Timer(node) => node,
            Due::Map { to, from } => {
                let have = Some(self.have[from].clone());
                self.nodes[to].has(self.now, ARTIFACT, id(from), have);
                to
            }
            Due::Flow(flow) => {
                let mut wakes = Vec::new();
                let arrived = self.flows.due(self.now, flow, &mut wakes);
                self.wakes(wakes);
                let Some((from, node, chunk)) = self.carried.get(&flow).copied().filter(|_| arrived) else { return };
                self.end(flow);
                self.have[node].set(chunk);
                self.sent_bytes[from] += u64::from(self.chunk_bytes);
                self.nodes[node].chunk(self.now, ARTIFACT, chunk, id(from), ChunkOutcome::Stored);
                node
            }
        };
        if node != 0 && self.done_at[node].is_none() {
            self.settle(node);
        }
    }

    /// Until all have all; milliseconds.
    fn run(&mut self) -> u64 {
        (1..self.nodes.len()).for_each(|node| self.settle(node));
        let mut events = 0;
        while self.done_at.iter().skip(1).any(Option::is_none) {
            let (at, due) = self.due.pop_first().expect("something is to come");
            self.now = self.now.max(at);
            self.happen(due);
            events += 1;
            assert!(events < 2_000_000, "it never ends");
        }
        for (index, node) in self.nodes.iter().enumerate().skip(1) {
            let transfer = node.get(&ARTIFACT).expect("it was wanted");
            assert_eq!((transfer.stage, transfer.chunks_done()), (Stage::Done, transfer.chunks()), "node {index}");
        }
        self.now.0 / 1_000_000
    }
}

/// The least time in which one seed and its receivers can have `bytes`, in milliseconds (Kumar and Ross, 2006).
fn bound_ms(lines: &[Line], bytes: u64) -> u64 {
    let receivers = lines.len() as u64 - 1;
    let slowest = lines.iter().skip(1).map(|line| line.1).min().expect("a receiver");
    let up: u64 = lines.iter().map(|line| line.0).sum();
    (bytes * 1000 / lines[0].0).max(bytes * 1000 / slowest).max(receivers * bytes * 1000 / up)
}

fn check(lines: &[Line], chunks: u32, percent_max: u64) {
    let bytes = u64::from(chunks) * (4 << 20);
    let mut swarm = Swarm::new(lines, chunks, 4 << 20);
    let (took, bound) = (swarm.run(), bound_ms(lines, bytes));
    let percent = took * 100 / bound;
    let sent: Vec<u64> = swarm.sent_bytes.iter().map(|sent| sent * 100 / bytes).collect();
    println!(
        "{} receivers, {chunks} chunks: {took} ms, bound {bound} ms, {percent} %; sent {sent:?} % each",
        lines.len() - 1
    );
    assert!(percent <= percent_max, "{percent} % of the bound; sent {sent:?} % of the bytes each");
}

const LINE: Line = (100_000_000, 100_000_000);

#[test]
fn one_seed_and_four_receivers_come_close_to_what_the_lines_allow() {
    check(&[LINE; 5], 256, 112);
    check(&[LINE; 5], 512, 108);
}

#[test]
fn other_sizes_and_unlike_lines_come_close_too() {
    check(&[LINE; 2], 128, 103);
    check(&[LINE; 9], 256, 124);
    // A seed behind a slow uplink: the receivers must pass on what it sends once.
    check(&[(25_000_000, 100_000_000), LINE, LINE, LINE, LINE], 128, 115);
    // One receiver hardly sends: what the seed gave it first, the seed gives others once more.
    check(&[LINE, LINE, LINE, LINE, (5_000_000, 100_000_000)], 256, 150);
}
