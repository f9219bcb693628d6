//! What a new version of a manager costs: the chunks that changed.

use fednode_tests::model;

use crate::{federation, fetched, number, pin, shelf, wait_whole};

#[test]
fn a_new_version_moves_only_what_changed() {
    let federation = federation(shelf("seed"), vec![shelf("desk")]);
    let first = crate::model(&federation);
    let publish =
        |model: &model::Model| model::publish(federation.node("seed"), &model.path, "UCM").expect("published");
    let artifact = publish(&first);
    pin(&federation, "desk");
    let whole = wait_whole(&federation, "desk", &artifact, &first);
    assert_eq!(fetched(&whole), number(&whole, "total_bytes"), "{whole}");

    // 8 of 32 layers: their quarter, and little more.
    let folder = federation.folder();
    let tuned = first.with_layers_changed(folder.join("tuned.gguf"), (0..32).step_by(4)).expect("a second version");
    let artifact = publish(&tuned);
    let seen = wait_whole(&federation, "desk", &artifact, &tuned);
    let (moved, total) = (fetched(&seen), number(&seen, "total_bytes"));
    assert!(moved * 100 <= total * 27, "{moved} of {total} bytes moved");
    assert!(moved >= 8 * tuned.layer_bytes(), "{moved} bytes cannot be all that changed");

    let renamed = tuned.with_longer_header(folder.join("renamed.gguf")).expect("a third version");
    let artifact = publish(&renamed);
    let seen = wait_whole(&federation, "desk", &artifact, &renamed);
    let (moved, total) = (fetched(&seen), number(&seen, "total_bytes"));
    assert!(moved > 0 && moved * 100 < total, "{moved} of {total} bytes moved for a header");
}
