//! How fast a node starts. Printed, not asserted against a second: the benchmarks and the demo measure that on a quiet
//! machine. What is asserted is that it starts, and starts again, at all.

use fednode_tests::{Federation, NodeSpec};

#[test]
fn a_node_answers_soon_with_an_empty_directory_and_with_its_own() {
    let mut federation = Federation::new().expect("a federation");
    let first = federation.create(NodeSpec::full("alone").memory("20GB")).expect("up").ready_after();
    let node = federation.node_mut("alone");
    let ended = node.stop().expect("stopped");
    assert!(ended.success(), "SIGTERM ends a node in good order: {ended}\n{}", node.log_tail());
    node.up().expect("up again");
    println!("API answers after {first:?} with an empty data directory, {:?} with its own", node.ready_after());
    assert!(first.is_some() && node.ready_after().is_some());
}
