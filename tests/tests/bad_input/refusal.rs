//! What a refusal must look like: the exit code, one sentence for people, the same for scripts with `--json`, and an
//! unchanged disk.

use fednode_tests::Output;

use crate::snapshot::Snapshot;

/// Exit codes that the CLI documents.
pub const FAILED: i32 = 1;
pub const WRONG_USE: i32 = 2;
pub const REFUSED: i32 = 3;

/// One bad input, and what its refusal must say.
pub struct Case<'a> {
    /// For the reader of a report.
    pub name: &'a str,
    /// Arguments after `--data-dir DIR`.
    pub args: Vec<&'a str>,
    /// The exit code.
    pub code: i32,
    /// Words that the sentence needs; `a|b` means either. Case does not count.
    pub says: &'a [&'a str],
}

/// Ways to begin the part of a sentence that says what to do.
const ADVICE: &str = "use choose stop run give add ask publish convert copy try leave update upgrade install make \
    invite start check pass name take drop remove pick fetch see write move create export join read wait shorten send \
    with without it_has it_knows type set say download";

/// What was wrong, over all cases of one test.
#[derive(Default)]
pub struct Faults(Vec<String>);

impl Faults {
    /// Notes a fault of this case.
    pub fn note(&mut self, case: &str, fault: impl std::fmt::Display) {
        self.0.push(format!("{case}: {fault}"));
    }

    /// Notes a fault of this case unless `holds`.
    pub fn expect(&mut self, case: &str, holds: bool, fault: impl std::fmt::Display) {
        if !holds {
            self.note(case, fault);
        }
    }

    /// Everything is as it was.
    pub fn unchanged(&mut self, case: &str, before: &Snapshot) {
        for change in before.changes() {
            self.note(case, format!("on disk, {change}"));
        }
    }

    /// Runs the case for people and for scripts, and looks at the disk after both.
    pub fn check(&mut self, case: &Case<'_>, before: &Snapshot, mut run: impl FnMut(&[&str]) -> Output) {
        let plain = run(&case.args);
        self.plain(case, &plain);
        let args = [&case.args[..], &["--json"]].concat();
        let json = run(&args);
        self.json(case, &json);
        self.unchanged(case.name, before);
    }

    fn plain(&mut self, case: &Case<'_>, output: &Output) {
        self.code(case, output);
        let lines: Vec<&str> = output.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        // Wrong use is followed by the usage.
        let one = lines.len() == 1 || (case.code == WRONG_USE && !lines.is_empty());
        self.expect(case.name, one, format!("not one sentence on stderr: {:?}", output.stderr));
        self.expect(case.name, output.stdout.is_empty(), format!("stdout has {:?}", output.stdout));
        if case.code != WRONG_USE {
            self.sentence(case, &output.stderr);
        }
    }

    fn json(&mut self, case: &Case<'_>, output: &Output) {
        self.code(case, output);
        let error = &output.json()["error"];
        let text = |field: &str| error[field].as_str().unwrap_or_default();
        let whole = !text("code").is_empty() && !text("message").is_empty();
        self.expect(case.name, whole, format!("--json printed no error object: {:?}", output.stdout));
        self.sentence(case, text("message"));
    }

    fn code(&mut self, case: &Case<'_>, output: &Output) {
        let fault = format!("exit code {} instead of {}: {}", output.code, case.code, output.stderr.trim());
        self.expect(case.name, output.code == case.code, fault);
    }

    fn sentence(&mut self, case: &Case<'_>, sentence: &str) {
        let lower = sentence.to_lowercase();
        for word in case.says {
            let said = word.split('|').any(|word| lower.contains(&word.to_lowercase()));
            self.expect(case.name, said, format!("does not say {word:?}: {:?}", sentence.trim()));
        }
        let one_line = sentence.trim().lines().count() == 1;
        self.expect(case.name, one_line && !lower.contains("panicked"), format!("not a sentence: {sentence:?}"));
        // Wrong use is followed by the usage; what the system reports, such as a missing file, speaks for itself.
        let advises = case.code != REFUSED || advises(sentence);
        self.expect(case.name, advises, format!("does not say what to do: {:?}", sentence.trim()));
    }

    /// Fails the test with everything that was noted.
    pub fn none(self) {
        // Both runs of a case may show the same fault.
        let mut faults = self.0;
        faults.dedup();
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }
}

/// A part of the sentence, but not its first, tells the reader to do something, names a command, or asks about what can
/// be put right. Other wordings may be added to `ADVICE`.
pub fn advises(sentence: &str) -> bool {
    if sentence.contains("`fednode ") || sentence.trim_end().ends_with('?') {
        return true;
    }
    let sentence = sentence.to_lowercase().replace("it has", "it_has").replace("it knows", "it_knows");
    let parts = sentence.split([';', ',', ':', '.', '(']).skip(1);
    parts
        .filter_map(|part| part.split_whitespace().find(|word| *word != "or"))
        .any(|first| ADVICE.split_whitespace().any(|word| word == first))
}

#[test]
fn advice_is_told_from_its_absence() {
    assert!(advises("127.0.0.1:1 is in use; stop the other program, or choose another port"));
    assert!(advises("there is no slot X; it has UFM and UCM"));
    assert!(!advises("use: the file does not begin with GGUF"));
}
