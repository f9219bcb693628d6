//! Known shares, and the definition of max-min fairness for whatever else comes.

use proptest::prelude::*;

use super::*;

/// Plays flows of (from, to, bytes) that begin together and tells when each arrives, in milliseconds.
fn arrivals(capacities: &[(u64, u64)], started: &[(usize, usize, u64)]) -> Vec<u64> {
    let mut flows = Flows::new(capacities.iter().copied());
    let mut wakes = Vec::new();
    for (id, &(from, to, bytes)) in (0..).zip(started) {
        flows.begin(Time(0), id, from, to, bytes, &mut wakes);
    }
    let mut arrived = vec![0; started.len()];
    while let Some(next) = wakes.iter().min().copied() {
        wakes.retain(|wake| *wake != next);
        if flows.due(next.0, next.1, &mut wakes) {
            flows.end(next.0, next.1, &mut wakes);
            arrived[next.1 as usize] = next.0.0 / 1_000_000;
        }
    }
    arrived
}

#[test]
fn a_link_is_shared_equally_and_speeds_up_when_a_neighbour_is_done() {
    let nodes = [(1000, 1000), (1000, 1000), (1000, 1000)];
    assert_eq!(arrivals(&nodes, &[(0, 1, 1000)]), [1000]);
    // 500 bytes each in the first second; then the longer one has the link to itself.
    assert_eq!(arrivals(&nodes, &[(0, 1, 500), (0, 2, 1500)]), [1000, 2000]);
    // Two sources into one receiver share its way down.
    assert_eq!(arrivals(&nodes, &[(0, 2, 500), (1, 2, 500)]), [1000, 1000]);
}

#[test]
fn the_slower_end_decides() {
    assert_eq!(arrivals(&[(100, 1), (1, 50)], &[(0, 1, 100)]), [2000]);
}

#[test]
fn what_a_slow_receiver_cannot_take_is_given_to_the_others() {
    let nodes = [(1000, 1), (1, 100), (1, 2000), (1, 2000)];
    // 100 to the slow one, 450 to each of the others; an equal share would be 333.
    assert_eq!(arrivals(&nodes, &[(0, 1, 100), (0, 2, 450), (0, 3, 450)]), [1000, 1000, 1000]);
    // Over two lines: half of 1 until its shorter flow is done, then the 900 that 0 leaves at 2, then all of it.
    let nodes = [(100, 1), (1000, 1), (1, 1000), (1, 2000)];
    assert_eq!(arrivals(&nodes, &[(0, 2, 100), (1, 2, 900), (1, 3, 100)]), [1000, 1080, 200]);
}

/// Bytes per second of each.
fn speeds(flows: &Flows) -> BTreeMap<FlowId, u64> {
    flows.flows.iter().map(|(id, flow)| (*id, flow.bytes_per_s)).collect()
}

/// The definition: no end carries more than it can, and every flow has an end that is full and on which none has more.
/// Full: but for what division leaves over, and but for what is not worth a change.
fn unfair(flows: &Flows, speeds: &BTreeMap<FlowId, u64>, calm: u64) -> Option<String> {
    let carried = |end: &End| end.flows.iter().map(|(id, _)| speeds[id]).sum::<u64>();
    let most = |end: &End| end.flows.iter().map(|(id, _)| speeds[id]).max().unwrap_or(0);
    for (index, end) in flows.ends.iter().enumerate() {
        if carried(end) > end.bytes_per_s.max(end.flows.len() as u64) {
            return Some(format!("end {index} carries {} of {}", carried(end), end.bytes_per_s));
        }
    }
    let full = |end: &End| {
        let given_up = end.bytes_per_s.checked_div(calm).unwrap_or(0);
        carried(end) + given_up + end.flows.len() as u64 > end.bytes_per_s
    };
    let narrow = |id: &FlowId, end: EndId| full(&flows.ends[end]) && speeds[id] >= most(&flows.ends[end]);
    let wronged = flows.flows.iter().find(|(id, flow)| !narrow(id, flow.up) && !narrow(id, flow.down))?;
    Some(format!("flow {} has {} and could have more", wronged.0, speeds[wronged.0]))
}

/// What every flow had before there was max-min sharing: the smaller of the equal shares of its two ends.
fn equal_shares(flows: &Flows) -> BTreeMap<FlowId, u64> {
    let share = |end: EndId| (flows.ends[end].bytes_per_s / flows.ends[end].flows.len() as u64).max(1);
    flows.flows.iter().map(|(id, flow)| (*id, share(flow.up).min(share(flow.down)))).collect()
}

#[test]
fn equal_shares_are_kept_where_they_are_fair() {
    let mut flows = Flows::new([(1200, 1200); 6].into_iter());
    let (mut wakes, mut id) = (Vec::new(), 0);
    for from in 0..6 {
        for to in (0..6).filter(|to| *to != from) {
            flows.begin(Time(0), id, from, to, 1, &mut wakes);
            id += 1;
        }
    }
    assert_eq!(unfair(&flows, &equal_shares(&flows), 0), None);
    assert_eq!(speeds(&flows), equal_shares(&flows));
}

/// A flow begins, or one of those that are there ends.
#[derive(Clone, Debug)]
enum Act {
    Begin(usize, usize),
    End(usize),
}

fn acts(nodes: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0..nodes, 0..nodes).prop_map(|(from, to)| Act::Begin(from, to)),
        1 => any::<prop::sample::Index>().prop_map(|at| Act::End(at.index(1 << 16))),
    ];
    prop::collection::vec(act, 1..80)
}

fn lines() -> impl Strategy<Value = Vec<(u64, u64)>> {
    // Some alike, as in a room with one kind of machine; some not.
    let speed = || prop_oneof![Just(1_000_000u64), 1..2_000_000u64, 1..20u64];
    prop::collection::vec((speed(), speed()), 2..9)
}

/// Plays `acts` and looks after each.
fn check(lines: &[(u64, u64)], acts: &[Act], calm: u64) -> Result<(), TestCaseError> {
    let mut flows = Flows::new(lines.iter().copied());
    flows.calm = calm;
    let mut wakes = Vec::new();
    for (id, act) in (0..).zip(acts) {
        match act {
            Act::Begin(from, to) => {
                let (from, to) = (from % lines.len(), to % lines.len());
                flows.begin(Time(0), id, from, to, 1 << 30, &mut wakes);
            }
            Act::End(at) => {
                let ends = flows.flows.keys().nth(at % flows.flows.len().max(1)).copied();
                ends.map(|id| flows.end(Time(0), id, &mut wakes));
            }
        }
        let speeds = speeds(&flows);
        prop_assert_eq!(unfair(&flows, &speeds, calm), None, "after {:?}", act);
        let equal = equal_shares(&flows);
        if calm == 0 && unfair(&flows, &equal, 0).is_none() {
            // But for what division leaves over.
            let close = |id: &FlowId| speeds[id].abs_diff(equal[id]) <= flows.flows.len() as u64;
            prop_assert!(speeds.keys().all(close), "{:?} was {:?}", speeds, equal);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn shares_are_max_min_fair_by_its_definition(lines in lines(), acts in acts(8)) {
        check(&lines, &acts, 0)?;
    }

    #[test]
    fn changes_too_small_to_be_made_cost_no_more_than_that(lines in lines(), acts in acts(8)) {
        check(&lines, &acts, CALM)?;
    }
}
