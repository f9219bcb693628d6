//! What `status`, `managers`, `transfers` and `members` print, word for word.

use super::*;
use crate::cli::golden;
use crate::cli::sample::federation;
use crate::cli::table::COLUMNS;

#[test]
fn status_of_a_federation_at_work() {
    golden::check("status", |columns| status(&federation(), columns));
}

#[test]
fn status_of_a_node_that_knows_nothing_yet() {
    let expect = "\
federation   unknown
node         unknown, unknown, tier unknown, API unknown
coordinator  none known yet
plan         none yet

MEMBER  ROLE  STATE  MEMORY  RESIDENT

SLOT  STATE  PRECISION  WHERE
";
    assert_eq!(status(&State::default(), COLUMNS), expect);
}

#[test]
fn managers_with_versions_and_domains() {
    golden::check("managers", |columns| managers(&federation(), columns));
}

#[test]
fn transfers_finished_ones_included() {
    golden::check("transfers", |columns| transfers::all(&federation(), columns));
    assert!(transfers::transfers(&[], COLUMNS).starts_with("no transfers into this node since it started\n"));
}
