//! Every run that ever failed, played again: nothing is violated any more. Made by `federation-sim shrink`.

use std::path::Path;

use federation_sim::fuzz::{cli, judge};

#[test]
fn nothing_that_failed_once_fails_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let run = cli::read(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(judge(&run).violations, [], "{}", path.display());
    }
}
