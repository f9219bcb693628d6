//! The numbers of the documents that this project grew out of, each with the formula it follows from and what that formula gives, or why
//! there is none. The tests compute every one of them and compare the whole with `docs/seeds.md`, which is the same in words.

mod cluster;
mod federation;
mod guide;
mod study;
mod syndicate;

use crate::core::artifact::Shape;
use crate::core::fit::Known;

/// One number, or several that one formula makes.
struct Number {
    /// Where it stands and what it is.
    what: String,
    /// What the document says.
    stated: String,
    /// The formula, or why there is none.
    how: String,
    /// What the formula gives; `None`: there is no formula.
    found: Option<String>,
}

/// One that a formula gives.
fn number(what: &str, stated: impl ToString, how: &str, found: impl ToString) -> Number {
    Number { what: what.to_owned(), stated: stated.to_string(), how: how.to_owned(), found: Some(found.to_string()) }
}

/// One that follows from nothing that is stated.
fn unfounded(what: &str, stated: &str, why: &str) -> Number {
    Number { what: what.to_owned(), stated: stated.to_owned(), how: why.to_owned(), found: None }
}

impl Number {
    fn is_reproduced(&self) -> bool {
        self.found.as_ref() == Some(&self.stated)
    }

    fn line(&self) -> String {
        let Number { what, stated, how, found } = self;
        let verdict = match found {
            None => "no formula".to_owned(),
            Some(_) if self.is_reproduced() => "reproduced".to_owned(),
            Some(found) => format!("**{found}**"),
        };
        format!("| {what} | {stated} | {how} | {verdict} |\n")
    }
}

fn documents() -> [(&'static str, Vec<Number>); 5] {
    [
        ("full-fp16-federation", federation::numbers()),
        ("model-sizing-guide", guide::numbers()),
        ("model-weight-storage-analysis", study::numbers()),
        ("cluster-model-selection-guide", cluster::numbers()),
        ("quantization-strategy-roster", syndicate::numbers()),
    ]
}

const HEAD: &str = "\
# The numbers of the source documents

fednode grew out of five documents full of figures. This page has every one of them that follows from a formula, with the formula, and
those that do not, with the reason. In the last column, **bold** is what the formula gives where the document says something else. The
page is made by `core::fit::seeds`, whose tests compute each number and compare them with this text. `fednode fit --matrix`,
`fednode fit --roster NAME` and `fednode assess` give the answers that the documents ask for.

GB are as the document means them: mostly decimal where weights are counted, binary where its formula divides by 1024³.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (name, numbers) in documents() {
        let reproduced = numbers.iter().filter(|number| number.is_reproduced()).count();
        let unfounded = numbers.iter().filter(|number| number.found.is_none()).count();
        let other = numbers.len() - reproduced - unfounded;
        page.push_str(&format!(
            "\n## {name}\n\n{} lines: {reproduced} reproduced, {other} cannot be as stated, {unfounded} without a formula.\n\n",
            numbers.len()
        ));
        page.push_str("| what | stated | formula, or why there is none | verdict |\n|---|---|---|---|\n");
        numbers.iter().for_each(|number| page.push_str(&number.line()));
    }
    page
}

fn known() -> Known {
    crate::wire::fit::known()
}

/// A preset in a precision.
fn shape(model: &str, precision: &str) -> Shape {
    let known = known();
    let model = known.preset(model).expect(model).model().expect(model);
    known.precision(precision).expect(precision).of(&model.shape)
}

/// Weights of a preset in a precision, tenths of decimal gigabytes, rounded half up.
fn weights_tenths(model: &str, precision: &str) -> u64 {
    (shape(model, precision).weights_bytes + 50_000_000) / 100_000_000
}

/// Tenths in words: "4.5".
fn tenths(tenths: u64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A quotient rounded half up.
fn rounded(dividend: u64, divisor: u64) -> u64 {
    (dividend + divisor / 2) / divisor
}

#[test]
fn the_page_has_every_number_as_it_is_computed() {
    let page = page();
    let known = include_str!("../../../../../docs/seeds.md");
    let differs = page.lines().zip(known.lines()).find(|(found, known)| found != known);
    assert_eq!((differs, page.lines().count()), (None, known.lines().count()), "docs/seeds.md should be\n{page}");
}

#[test]
fn what_is_not_reproduced_is_listed_with_its_reason() {
    for (name, numbers) in documents() {
        assert!(numbers.len() > 8, "{name}");
        let mute = numbers.iter().find(|number| number.how.is_empty() || number.what.is_empty());
        assert!(mute.is_none(), "{name}: {:?}", mute.map(Number::line));
        assert!(numbers.iter().all(|number| !number.line().contains('\n') || number.line().matches('\n').count() == 1));
    }
}
