//! The study's numbers, computed again from what it says they are.

use super::doubts::{milli_gib, percent_of, root_term, usable};
use super::*;
use crate::wire::fit::{known, study};

#[test]
fn the_studys_weights_totals_and_both_other_terms_are_computed() {
    for model in &study().models {
        for row in &model.rows {
            let stored = known().precision(&row.precision).cloned().expect("known");
            let weights = milli_gib(u128::from(stored.weights_bytes(model.parameters)));
            assert_eq!(weights, row.weights, "{} {}", model.label, row.precision);
            assert_eq!((row.activation, row.kv), (root_term(model.parameters), root_term(model.parameters)));
            // The terms were added before they were rounded.
            assert!(
                row.total.abs_diff(row.weights + row.activation + row.kv) <= 1,
                "{} {}",
                model.label,
                row.precision
            );
        }
    }
}

#[test]
fn all_percentages_but_one_are_of_one_usable_memory_for_each_gpu() {
    let study = study();
    let found: Vec<_> = (0..study.gpus.len()).map(|gpu| usable(&study, gpu)).collect();
    let right: Vec<usize> = found.iter().map(|usable| usable.right).collect();
    assert_eq!((right, found.iter().map(|usable| usable.cells).sum::<usize>()), (vec![12, 11, 12, 12, 12], 60));
    for (usable, gib) in found.iter().zip([22, 37, 75, 22, 45]) {
        assert!((usable.from..=usable.to).contains(&(gib * 100)), "{usable:?} {gib}");
    }
    // A tick is what is at most all of that memory.
    for row in study.models.iter().flat_map(|model| &model.rows) {
        for ((gib, percent), passes) in [22, 37, 75, 22, 45].into_iter().zip(&row.percent).zip(&row.passes) {
            assert_eq!(*passes, row.total <= gib * 1000, "{row:?}");
            let exact = percent_of(row.total, gib * 100) == u64::from(*percent);
            assert!(exact || (gib, row.total, *percent) == (37, 12_781, 34), "{row:?}");
        }
    }
}

#[test]
fn done_again_fifty_two_of_sixty_cases_fit() {
    let document = again(&study(), &known()).expect("its names are known");
    assert_eq!((document.stated, document.cases), ((29, 27), 60));
    let ticks = |label: &str| {
        let rows = document.rows.iter().filter(|row| row.label == label);
        rows.flat_map(|row| &row.gpus).filter(|cell| cell.fits).count()
    };
    assert_eq!((ticks("0.5B"), ticks("7B"), ticks("13B"), document.passing), (20, 18, 14, 52));
    let row = |label: &str, precision: &str| {
        document.rows.iter().find(|row| row.label == label && row.precision == precision).expect("a row").clone()
    };
    // A 7B with 32 KV heads at 2,048 tokens: exactly one GiB, not 20.4.
    assert_eq!(row("7B", "FP16").kv_bytes, 1 << 30);
    assert_eq!(row("13B", "FP16").kv_bytes, 25 << 26);
    // In F16 it fits where the study asks for INT4 and an H100.
    assert!(row("7B", "FP16").gpus.iter().all(|cell| cell.fits));
}

#[test]
fn every_doubt_states_its_arithmetic() {
    let document = again(&study(), &known()).expect("its names are known");
    let whole: Vec<String> = document.doubts.iter().map(|doubt| format!("{}: {}", doubt.claim, doubt.why)).collect();
    let whole = whole.join("\n");
    for part in [
        "26.077 GiB for 7,000,000,000 parameters, which is 4.0 bytes each",
        "in 12 of 12 rows they are the same number",
        "√7,000,000,000 = 83,666, × 2^18 bytes = 20.426 GiB (a real one is 4,096 wide)",
        "2 × 32 × 32 × 128 × 2 bytes × 2,048 tokens = 1.000 GiB, not 20.426",
        "10.918, 40.852, 55.672 GiB; 21.8 is four times the 5.459",
        "29 of 60 configurations fit (48.3 %): its tables tick 20 + 5 + 2 = 27 of 60 (45.0 %)",
        "0.5B FP32 is 35 %, not 34",
    ] {
        assert!(whole.contains(part), "{part}\n{whole}");
    }
}
