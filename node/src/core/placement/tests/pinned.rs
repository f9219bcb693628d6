//! What the owner pinned on single machines.

use super::*;

fn on(index: usize, node: u8) -> SlotInput {
    SlotInput { pinned_on: vec![NodeId([node; 32])], ..slot(index, 10, 1, index as u8, false, 1) }
}

#[test]
fn what_is_pinned_on_a_machine_is_placed_there_and_pushes_the_others_elsewhere() {
    // Machine 2 is the roomier one, and holds S1.
    let nodes = vec![node(1, &[12]), node(2, &[23])];
    let calm = Problem { nodes: nodes.clone(), slots: vec![slot(1, 10, 1, 1, false, 1)], ..Problem::default() };
    let previous = solve(&calm.sorted()).replicas;
    assert_eq!(previous.iter().map(|replica| replica.node.0[0]).collect::<Vec<_>>(), [2]);
    let slots = vec![slot(1, 10, 1, 1, true, 1), on(2, 2), on(3, 2), on(4, 2), on(5, 9)];
    let problem = Problem { nodes, slots, previous, ..Problem::default() }.sorted();
    let plan = solve(&problem);
    assert_eq!(check(&problem, &plan), Ok(()));
    let placed: Vec<_> = plan.replicas.iter().map(|r| (r.slot.as_str(), r.node.0[0])).collect();
    assert_eq!(placed, [("S1", 1), ("S3", 2), ("S4", 2)], "those asked for more come first");
    let short: Vec<_> = plan.shortfalls.iter().map(|s| (s.slot.as_str(), s.why.as_str())).collect();
    let beside = "it is pinned on n2, whose d0 lacks 10 B for it beside what else is pinned there";
    assert_eq!(short, [("S2", beside), ("S5", "the machine that it is pinned on is not there")]);
}

#[test]
fn a_slot_moves_to_where_it_is_pinned_and_its_spares_stay() {
    let nodes = vec![node(1, &[30]), node(2, &[20]), node(3, &[20])];
    let moved = |replicas| {
        let free = SlotInput { pinned_on: Vec::new(), replicas, ..on(1, 3) };
        let before = Problem { nodes: nodes.clone(), slots: vec![free], ..Problem::default() }.sorted();
        let previous = solve(&before).replicas;
        let slots = vec![SlotInput { replicas, ..on(1, 3) }];
        let problem = Problem { nodes: nodes.clone(), slots, previous, ..Problem::default() }.sorted();
        solve(&problem).replicas.iter().map(|replica| replica.node.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(moved(1), [3]);
    assert_eq!(moved(2), [1, 3]);
}

proptest! {
    #![proptest_config(cases(500))]

    /// Pins are met or reported, no budget is exceeded for them, and planning again moves nothing.
    #[test]
    fn pins_are_met_or_reported(
        nodes in machines(SMALL),
        slots in slots(Size { awaited: true, ..SMALL }),
        pins in prop::collection::vec(prop::sample::subsequence(vec![1u8, 2, 3, 9], 0..3), 5),
    ) {
        let pinned = slots.into_iter().zip(pins).map(|(slot, on)| SlotInput {
            pinned_on: on.into_iter().map(|node| NodeId([node; 32])).collect(),
            ..slot
        });
        let problem = Problem { nodes, slots: pinned.collect(), ..Problem::default() }.sorted();
        let plan = solve(&problem);
        prop_assert_eq!(check(&problem, &plan), Ok(()));
        let known = problem.nodes.iter().map(|node| node.id).collect();
        let again = Problem { previous: plan.replicas.clone(), known, ..problem }.sorted();
        prop_assert_eq!(solve(&again).replicas, plan.replicas);
    }
}
