//! Which of llama.cpp's pre-tokenizers is the one that a `tokenizer.json` describes. The two programs cut text before they
//! look words up, and must cut alike: only what is known to be equal has a name here, anything else is refused. Called by
//! `tokenizer`.

use serde::Deserialize;

use super::json::List;

/// More steps than any tokenizer has.
const STEPS_MAX: usize = 16;

/// One step, or several in a sequence.
#[derive(Deserialize, Debug)]
pub struct Step {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pretokenizers: List<Step, STEPS_MAX>,
    #[serde(default)]
    normalizers: List<Step, STEPS_MAX>,
    pattern: Option<Pattern>,
    behavior: Option<String>,
    invert: Option<bool>,
    individual_digits: Option<bool>,
    add_prefix_space: Option<bool>,
    use_regex: Option<bool>,
}

#[derive(Deserialize, Debug)]
struct Pattern {
    #[serde(rename = "Regex")]
    regex: Option<String>,
}

/// What `ByteLevel` cuts by when it is not told otherwise.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// llama.cpp's name, the patterns in their order, and whether whole words are looked up before merges are tried.
const KNOWN: [(&str, &[&str], bool); 4] = [
    ("gpt-2", &[GPT2], false),
    (
        "deepseek-coder",
        &[
            "[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            // CJK ideographs, most scripts below them, Hangul.
            "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
            DIGIT,
        ],
        false,
    ),
    ("llama-bpe", &[LLAMA3], true),
    ("qwen2", &[QWEN2], false),
];

/// llama.cpp's name for what `step` does.
pub fn name(step: Option<&Step>, ignore_merges: bool) -> Option<&'static str> {
    let mut patterns = Vec::new();
    let mut bytes = false;
    flatten(step?, &mut patterns, &mut bytes)?;
    let alike = |known: &&(&str, &[&str], bool)| known.1 == patterns && known.2 == ignore_merges;
    KNOWN.iter().find(alike).filter(|_| bytes).map(|known| known.0)
}

/// Does it leave text as it is?
pub fn changes_nothing(normalizer: Option<&Step>) -> bool {
    normalizer.is_none_or(|step| step.kind == "Sequence" && step.normalizers.0.is_empty())
}

/// The patterns that text is cut by; `None` if something else is done to it. `bytes`: it ends in the byte-level alphabet.
fn flatten<'a>(step: &'a Step, patterns: &mut Vec<&'a str>, bytes: &mut bool) -> Option<()> {
    if *bytes {
        return None; // nothing may follow the change of alphabet
    }
    match step.kind.as_str() {
        "Sequence" => return step.pretokenizers.0.iter().try_for_each(|step| flatten(step, patterns, bytes)),
        "Split" if step.behavior.as_deref() == Some("Isolated") && step.invert != Some(true) => {
            let regex = step.pattern.as_ref()?.regex.as_deref()?;
            // The same class, as a regular expression writes it.
            patterns.push(if regex == r"[\r\n]" { "[\r\n]" } else { regex });
        }
        "Digits" if step.individual_digits == Some(true) => patterns.push(DIGIT),
        "ByteLevel" if step.add_prefix_space != Some(true) => {
            if step.use_regex.unwrap_or(true) {
                patterns.push(GPT2);
            }
            *bytes = true;
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(json: &str, ignore_merges: bool) -> Option<&'static str> {
        name(Some(&serde_json::from_str(json).unwrap()), ignore_merges)
    }

    fn split(regex: &str) -> String {
        let regex = serde_json::to_string(regex).unwrap();
        format!(r#"{{"type":"Split","pattern":{{"Regex":{regex}}},"behavior":"Isolated","invert":false}}"#)
    }

    fn sequence(steps: &[&str]) -> String {
        format!(r#"{{"type":"Sequence","pretokenizers":[{}]}}"#, steps.join(","))
    }

    const BYTES: &str = r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}"#;
    const BYTES_CUT: &str = r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#;
    const DIGITS: &str = r#"{"type":"Digits","individual_digits":true}"#;

    #[test]
    fn known_pre_tokenizers_are_recognised() {
        assert_eq!(named(BYTES_CUT, false), Some("gpt-2"));
        assert_eq!(named(&sequence(&[&split(GPT2), BYTES]), false), Some("gpt-2"));
        assert_eq!(named(&sequence(&[&split(LLAMA3), BYTES]), true), Some("llama-bpe"));
        assert_eq!(named(&sequence(&[&split(QWEN2), BYTES]), false), Some("qwen2"));
        let cjk = "[一-龥ࠀ-一가-퟿]+";
        for newlines in ["[\r\n]", r"[\r\n]"] {
            let steps = [newlines, r"\s?\p{L}+", r"\s?\p{P}+", cjk].map(split);
            let steps: Vec<&str> = steps.iter().map(String::as_str).chain([DIGITS, BYTES]).collect();
            assert_eq!(named(&sequence(&steps), false), Some("deepseek-coder"));
            assert_eq!(named(&sequence(&steps), true), None);
            assert_eq!(named(&sequence(&steps[..5]), false), None, "without the alphabet of bytes");
        }
    }

    #[test]
    fn others_have_no_name() {
        assert_eq!(name(None, false), None);
        assert_eq!(named(BYTES, false), None);
        assert_eq!(named(&sequence(&[DIGITS, BYTES_CUT]), false), None);
        assert_eq!(named(&sequence(&[BYTES_CUT, DIGITS]), false), None);
        assert_eq!(named(r#"{"type":"ByteLevel","add_prefix_space":true}"#, false), None);
        assert_eq!(named(r#"{"type":"Metaspace","replacement":"_"}"#, false), None);
        assert_eq!(named(&sequence(&[&split(GPT2).replace("Isolated", "Removed"), BYTES]), false), None);
        assert!(changes_nothing(None));
        let normalizer = |json: &str| serde_json::from_str::<Step>(json).unwrap();
        assert!(changes_nothing(Some(&normalizer(r#"{"type":"Sequence","normalizers":[]}"#))));
        assert!(!changes_nothing(Some(&normalizer(r#"{"type":"NFC"}"#))));
    }
}
