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
    let mut transfers = Transfers::default();
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

#[test]
fn two_sources_share_the_work_and_the_whole_is_finished_once() {
    let holders = [whole(1), whole(2)];
    let mut transfers = begun(6, &holders);
    let asked = fetches(&transfers.schedule(at(0), |_| holders.to_vec()));
    assert_eq!(asked.len(), 6);
    assert_eq!(asked.iter().filter(|(_, from)| *from == node(1)).count(), 3);
    for (chunk, from) in asked {
        transfers.chunk(at(1), ARTIFACT, chunk, from, ChunkOutcome::Stored);
    }
    assert_eq!(transfers.schedule(at(1), |_| holders.to_vec()), [Action::Finish { artifact: ARTIFACT }]);
    assert!(transfers.schedule(at(1), |_| holders.to_vec()).is_empty());
    transfers.finished(at(2), ARTIFACT, Ok(()));
    let (_, transfer) = transfers.iter().next().expect("it is remembered");
    assert_eq!((transfer.stage, transfer.done_bytes(), transfer.total_bytes()), (Stage::Done, 24, 24));
}

#[test]
fn a_liar_is_out_after_three_strikes_and_the_rest_comes_from_others() {
    let holders = [whole(1), whole(2)];
    let mut transfers = begun(40, &holders);
    let mut corrupt = 0;
    for round in 0..100 {
        for (chunk, from) in fetches(&transfers.schedule(at(round), |_| holders.to_vec())) {
            let lies = from == node(1);
            corrupt += u32::from(lies);
            let outcome = if lies { ChunkOutcome::Corrupt } else { ChunkOutcome::Stored };
            transfers.chunk(at(round), ARTIFACT, chunk, from, outcome);
        }
    }
    let (_, transfer) = transfers.iter().next().expect("one transfer");
    assert_eq!(transfer.chunks_done(), 40);
    // What was in flight when the third lie came may still be lies.
    assert!(corrupt < limits::STRIKES_MAX + limits::CHUNKS_IN_FLIGHT_PER_SOURCE as u32, "{corrupt} corrupt chunks");
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
    assert_eq!(asked.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>(), [1, 2, 0]);
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
    assert!(transfers.schedule(at(4999), |_| holders.to_vec()).is_empty());
    assert_eq!(transfers.next_deadline(at(0)), Some(at(5000)));
    assert_eq!(transfers.schedule(at(5000), |_| holders.to_vec()).len(), 1);
}

#[test]
fn no_holder_is_said_so() {
    let mut transfers = Transfers::default();
    transfers.want(&BTreeSet::from([ARTIFACT]));
    assert!(transfers.schedule(at(0), |_| Vec::new()).is_empty());
    assert_eq!(transfers.iter().next().map(|(_, t)| t.reason.clone()).as_deref(), Some("no reachable member holds it"));
}

#[test]
fn two_transfers_together_ask_one_source_for_no_more_than_its_depth() {
    let other = Digest([8; 32]);
    let mut transfers = Transfers::default();
    transfers.want(&BTreeSet::from([ARTIFACT, other]));
    transfers.schedule(at(0), |_| vec![whole(1)]);
    for artifact in [ARTIFACT, other] {
        assert!(transfers.manifest(artifact, vec![4; 20]));
        transfers.begun(artifact, Bitmap::empty(20));
    }
    let asked = fetches(&transfers.schedule(at(0), |_| vec![whole(1)]));
    assert_eq!(asked.len(), limits::CHUNKS_IN_FLIGHT_PER_SOURCE);
}

#[test]
fn a_transfer_given_up_and_wanted_again_asks_for_no_chunk_twice() {
    let mut transfers = begun(6, &[whole(1)]);
    let asked = fetches(&transfers.schedule(at(0), |_| vec![whole(1)]));
    transfers.want(&BTreeSet::new());
    assert!(transfers.schedule(at(1), |_| vec![whole(1)]).is_empty());
    transfers.want(&BTreeSet::from([ARTIFACT]));
    assert!(transfers.schedule(at(1), |_| vec![whole(1)]).is_empty(), "all six are on their way");
    for (chunk, from) in asked {
        transfers.chunk(at(2), ARTIFACT, chunk, from, ChunkOutcome::Stored);
    }
    assert_eq!(transfers.schedule(at(2), |_| vec![whole(1)]), [Action::Finish { artifact: ARTIFACT }]);
}
