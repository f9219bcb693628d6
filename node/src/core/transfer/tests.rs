//! Transfers among honest, partial, dying and lying sources.

use super::*;

const ARTIFACT: Digest = Digest([7; 32]);

fn node(id: u8) -> NodeId {
    NodeId([id; 32])
}

fn whole(id: u8) -> Holder {
    Holder { node: node(id), complete: true }
}

fn at(millis: u64) -> Time {
    Time(millis * 1_000_000)
}

/// A transfer of `chunks` chunks that has begun, with `holders` around.
fn begun(chunks: u32, holders: &[Holder]) -> Transfers {
    let mut transfers = Transfers::new(node(99));
    transfers.want(&BTreeSet::from([ARTIFACT]));
    let actions = transfers.schedule(at(0), |_| holders.to_vec());
    assert_eq!(actions, [Action::GetManifest { artifact: ARTIFACT, from: holders[0].node }]);
    assert!(transfers.manifest(ARTIFACT, vec![4; chunks as usize]));
    transfers.begun(ARTIFACT, Bitmap::empty(chunks));
    transfers
}

fn fetches(actions: &[Action]) -> Vec<(u32, NodeId)> {
    let fetch = |action: &Action| match action {
        Action::Fetch { chunk, from, .. } => Some((*chunk, *from)),
        _ => None,
    };
    actions.iter().filter_map(fetch).collect()
}

/// Answers everything that is asked until nothing more is, `answer` saying how; time passes with each round.
fn play(
    transfers: &mut Transfers,
    holders: &[Holder],
    mut answer: impl FnMut(u32, NodeId) -> ChunkOutcome,
) -> Vec<(u32, NodeId)> {
    let mut all = Vec::new();
    for round in 1..1000 {
        let actions = transfers.schedule(at(round * 10), |_| holders.to_vec());
        for (chunk, from) in fetches(&actions) {
            all.push((chunk, from));
            let outcome = answer(chunk, from);
            transfers.chunk(at(round * 10 + 5), ARTIFACT, chunk, from, outcome);
        }
        if actions.contains(&Action::Finish { artifact: ARTIFACT }) {
            return all;
        }
    }
    panic!("it never ends: {:?}", transfers.get(&ARTIFACT));
}

#[test]
fn two_sources_share_the_work_and_the_whole_is_finished_once() {
    let holders = [whole(1), whole(2)];
    let mut transfers = begun(40, &holders);
    let asked = play(&mut transfers, &holders, |_, _| ChunkOutcome::Stored);
    assert_eq!(asked.len(), 40);
    let first = asked.iter().filter(|(_, from)| *from == node(1)).count();
    assert!(first.abs_diff(20) <= 2, "{first} of 40");
    assert!(transfers.schedule(at(20_000), |_| holders.to_vec()).is_empty());
    transfers.finished(at(20_000), ARTIFACT, Ok(()));
    let transfer = transfers.get(&ARTIFACT).expect("it is remembered");
    assert_eq!((transfer.stage, transfer.done_bytes(), transfer.total_bytes()), (Stage::Done, 160, 160));
}

#[test]
fn a_slow_source_gets_less_and_its_last_chunk_is_asked_of_a_fast_one() {
    let holders = [whole(1), whole(2)];
    let mut transfers = Transfers::new(node(99));
    transfers.want(&BTreeSet::from([ARTIFACT]));
    transfers.schedule(at(0), |_| holders.to_vec());
    transfers.manifest(ARTIFACT, vec![4 << 20; 120]);
    transfers.begun(ARTIFACT, Bitmap::empty(120));
    // Node 1 needs 20 ms for a chunk, node 2 1.5 s.
    let mut due: BTreeMap<(u64, u32), NodeId> = BTreeMap::new();
    let mut busy_until = BTreeMap::from([(node(1), 0u64), (node(2), 0u64)]);
    let (mut now, mut given, mut cancelled) = (0, BTreeMap::<NodeId, u32>::new(), 0);
    loop {
        let actions = transfers.schedule(at(now), |_| holders.to_vec());
        if actions.contains(&Action::Finish { artifact: ARTIFACT }) {
            break;
        }
        for action in &actions {
            match action {
                Action::Fetch { chunk, from, .. } => {
                    let free = busy_until.get_mut(from).expect("one of two");
                    *free = now.max(*free) + if *from == node(1) { 20 } else { 1500 };
                    due.insert((*free, *chunk), *from);
                }
                Action::Cancel { chunk, from, .. } => {
                    due.retain(|(_, owed), source| owed != chunk || source != from);
                    cancelled += 1;
                }
                _ => {}
            }
        }
        let arrival = due.first_key_value().map(|((at, _), _)| *at);
        let timer = transfers.next_deadline(at(now)).map(|at| at.0.div_ceil(1_000_000));
        now = arrival.into_iter().chain(timer).min().expect("something is always to come");
        while let Some(entry) = due.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, chunk), from) = entry.remove_entry();
            *given.entry(from).or_default() += 1;
            transfers.chunk(at(now), ARTIFACT, chunk, from, ChunkOutcome::Stored);
        }
    }
    assert!(now <= 120 * 20 + 500, "{now} ms; the slow one gave {given:?}");
    assert!(given[&node(2)] <= 2 && cancelled >= 1, "{given:?}, {cancelled} called off");
}

#[test]
fn a_silent_source_loses_what_others_have_and_keeps_what_only_it_has() {
    let holders = [whole(1), whole(2)];
    let mut transfers = begun(4, &holders);
    let asked = fetches(&transfers.schedule(at(0), |_| holders.to_vec()));
    assert_eq!(asked.len(), 4);
    for (chunk, from) in asked.iter().filter(|(_, from)| *from == node(2)) {
        transfers.chunk(at(10), ARTIFACT, *chunk, *from, ChunkOutcome::Stored);
    }
    let mut now = at(10);
    transfers.schedule(now, |_| holders.to_vec());
    let mut cancelled = Vec::new();
    while cancelled.len() < 2 {
        now = transfers.next_deadline(now).expect("it is waited for");
        assert!(now <= at(20_000), "it is waited for too long");
        for action in transfers.schedule(now, |_| holders.to_vec()) {
            match action {
                Action::Cancel { chunk, from, .. } => cancelled.push((chunk, from)),
                Action::Fetch { from, .. } => assert_eq!(from, node(2)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(cancelled.iter().all(|(_, from)| *from == node(1)) && now >= at(3000));
    // Alone, a silent source is waited for.
    let alone = [whole(1)];
    let mut transfers = begun(4, &alone);
    transfers.schedule(at(0), |_| alone.to_vec());
    assert!(transfers.schedule(at(60_000), |_| alone.to_vec()).is_empty());
}

#[test]
fn receivers_of_one_seed_ask_it_for_different_chunks() {
    let receivers = [11, 12, 13, 14];
    let mut asked: BTreeMap<u32, u32> = BTreeMap::new();
    for me in receivers {
        let others = receivers.iter().filter(|id| **id != me).map(|id| Holder { node: node(*id), complete: false });
        let holders: Vec<Holder> = [whole(1)].into_iter().chain(others).collect();
        let mut transfers = Transfers::new(node(me));
        transfers.want(&BTreeSet::from([ARTIFACT]));
        transfers.schedule(at(0), |_| holders.clone());
        transfers.manifest(ARTIFACT, vec![4; 400]);
        transfers.begun(ARTIFACT, Bitmap::empty(400));
        // Each takes a tenth of the whole from the seed, and hears nothing from the others.
        for round in 0..40 {
            let wants = fetches(&transfers.schedule(at(round * 10), |_| holders.clone()));
            for (chunk, from) in wants {
                *asked.entry(chunk).or_default() += 1;
                transfers.chunk(at(round * 10 + 5), ARTIFACT, chunk, from, ChunkOutcome::Stored);
            }
            if transfers.get(&ARTIFACT).is_some_and(|transfer| transfer.chunks_done() >= 60) {
                break;
            }
        }
    }
    assert!(asked.len() >= 240, "{}", asked.len());
    assert!(asked.values().all(|times| *times == 1), "{asked:?}");
}

#[test]
fn a_liar_is_out_after_three_strikes_and_the_rest_comes_from_others() {
    let holders = [whole(1), whole(2)];
    let mut transfers = begun(40, &holders);
    let mut corrupt = 0;
    play(&mut transfers, &holders, |_, from| {
        corrupt += u32::from(from == node(1));
        if from == node(1) { ChunkOutcome::Corrupt } else { ChunkOutcome::Stored }
    });
    let transfer = transfers.get(&ARTIFACT).expect("one transfer");
    assert_eq!((transfer.chunks_done(), transfer.sources[&node(1)].strikes), (40, limits::STRIKES_MAX));
    // What was in flight when the third lie came may still be lies.
    assert!(corrupt < limits::STRIKES_MAX + limits::CHUNKS_IN_FLIGHT_PER_SOURCE as u32, "{corrupt} corrupt chunks");
}

#[test]
fn a_source_with_one_corrupt_chunk_in_a_hundred_costs_less_than_one_in_a_hundred_more() {
    let holders = [whole(1), whole(2), whole(3)];
    let mut transfers = begun(1000, &holders);
    let lies = |chunk: u32, from: NodeId| from == node(1) && chunk % 100 == 7;
    let asked =
        play(
            &mut transfers,
            &holders,
            |chunk, from| {
                if lies(chunk, from) { ChunkOutcome::Corrupt } else { ChunkOutcome::Stored }
            },
        );
    assert!(asked.len() <= 1010, "{} requests for 1000 chunks", asked.len());
    assert!(transfers.get(&ARTIFACT).expect("one").corrupt <= limits::STRIKES_MAX);
}

#[test]
fn the_rarest_chunk_comes_first_and_partial_holders_serve() {
    let holders = [Holder { node: node(1), complete: false }, Holder { node: node(2), complete: false }];
    let mut transfers = begun(3, &holders);
    let asked = transfers.schedule(at(0), |_| holders.to_vec());
    assert_eq!(asked.len(), 2, "both are asked what they have: {asked:?}");
    let has = |chunks: &[u32]| {
        let mut map = Bitmap::empty(3);
        chunks.iter().for_each(|&chunk| map.set(chunk));
        Some(map)
    };
    transfers.has(at(0), ARTIFACT, node(1), has(&[0, 1, 2]));
    transfers.has(at(0), ARTIFACT, node(2), has(&[0]));
    let later = at(600);
    let asked = fetches(&transfers.schedule(later, |_| holders.to_vec()));
    // Node 2 has but the common one; of node 1 the rare ones are wanted first.
    assert_eq!(asked.iter().filter(|(_, from)| *from == node(2)).collect::<Vec<_>>(), [&(0, node(2))]);
    let mut of_first: Vec<u32> = asked.iter().filter(|(_, from)| *from == node(1)).map(|(chunk, _)| *chunk).collect();
    of_first.sort_unstable();
    assert_eq!(of_first, [1, 2]);
}

#[test]
fn what_a_dead_source_owed_is_asked_of_another_and_its_late_answer_is_no_strike() {
    let holders = [whole(1), whole(2)];
    let mut transfers = begun(2, &holders);
    let asked = fetches(&transfers.schedule(at(0), |_| holders.to_vec()));
    let (owed, _) = asked.into_iter().find(|(_, from)| *from == node(1)).expect("one is asked of node 1");
    transfers.lost(node(1));
    let again = fetches(&transfers.schedule(at(1), |_| vec![whole(2)]));
    assert_eq!(again, [(owed, node(2))]);
    transfers.chunk(at(2), ARTIFACT, owed, node(1), ChunkOutcome::Corrupt);
    let (_, transfer) = transfers.iter().next().expect("one transfer");
    assert_eq!(transfer.sources[&node(1)].strikes, 0);
}

#[test]
fn a_full_disk_pauses_and_resumes() {
    let holders = [whole(1)];
    let mut transfers = begun(2, &holders);
    transfers.schedule(at(0), |_| holders.to_vec());
    transfers.paused(at(0), ARTIFACT, "needs 2.1 GiB of disk, 1.0 GiB free".into());
    let called_off = transfers.schedule(at(4999), |_| holders.to_vec());
    assert!(called_off.iter().all(|action| matches!(action, Action::Cancel { .. })) && called_off.len() == 2);
    assert!(transfers.schedule(at(4999), |_| holders.to_vec()).is_empty());
    assert_eq!(transfers.next_deadline(at(0)), Some(at(5000)));
    assert_eq!(transfers.schedule(at(5000), |_| holders.to_vec()).len(), 1);
}

#[test]
fn no_holder_is_said_so() {
    let mut transfers = Transfers::new(node(99));
    transfers.want(&BTreeSet::from([ARTIFACT]));
    assert!(transfers.schedule(at(0), |_| Vec::new()).is_empty());
    assert_eq!(transfers.iter().next().map(|(_, t)| t.reason.clone()).as_deref(), Some("no reachable member holds it"));
}

#[test]
fn two_transfers_together_ask_one_source_for_no_more_than_its_window() {
    let other = Digest([8; 32]);
    let mut transfers = Transfers::new(node(99));
    transfers.want(&BTreeSet::from([ARTIFACT, other]));
    transfers.schedule(at(0), |_| vec![whole(1)]);
    for artifact in [ARTIFACT, other] {
        assert!(transfers.manifest(artifact, vec![4; 20]));
        transfers.begun(artifact, Bitmap::empty(20));
    }
    let asked = fetches(&transfers.schedule(at(0), |_| vec![whole(1)]));
    assert_eq!(asked.len(), limits::CHUNKS_IN_FLIGHT_FIRST);
}

#[test]
fn a_transfer_given_up_and_wanted_again_asks_for_no_chunk_twice() {
    let mut transfers = begun(2, &[whole(1)]);
    let asked = fetches(&transfers.schedule(at(0), |_| vec![whole(1)]));
    transfers.want(&BTreeSet::new());
    assert!(transfers.schedule(at(1), |_| vec![whole(1)]).is_empty());
    transfers.want(&BTreeSet::from([ARTIFACT]));
    assert!(transfers.schedule(at(1), |_| vec![whole(1)]).is_empty(), "both are on their way");
    for (chunk, from) in asked {
        transfers.chunk(at(2), ARTIFACT, chunk, from, ChunkOutcome::Stored);
    }
    assert_eq!(transfers.schedule(at(2), |_| vec![whole(1)]), [Action::Finish { artifact: ARTIFACT }]);
}
