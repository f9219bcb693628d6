//! Golden texts: what people see, word for word, kept as files in `golden/`. `FEDNODE_GOLDEN=write` writes them anew; the difference
//! is then read in the commit. For tests alone.

use std::path::Path;

/// Every text is kept at these widths.
pub(super) const WIDTHS: [usize; 2] = [80, 120];

/// Compares what `text` makes of each width with `golden/NAME-WIDTH.txt`. Nothing may be wider, and no line may end in spaces.
#[track_caller]
pub(super) fn check(name: &str, text: impl Fn(usize) -> String) {
    for columns in WIDTHS {
        check_one(&format!("{name}-{columns}"), &text(columns), columns);
    }
}

/// The same for one width.
#[track_caller]
pub(super) fn check_one(name: &str, found: &str, columns: usize) {
    let long = found.lines().find(|line| line.chars().count() > columns);
    assert_eq!(long, None, "{name} is wider than {columns} columns:\n{found}");
    assert_eq!(found.lines().find(|line| line.ends_with(' ')), None, "{name} has spaces at the end of a line");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/golden").join(format!("{name}.txt"));
    if std::env::var("FEDNODE_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, found).expect("the golden file can be written");
        return;
    }
    let expect = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expect, "{name} differs from its golden file; found:\n{found}\nexpected:\n{expect}");
}
