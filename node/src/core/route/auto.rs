//! The model `auto`: which manager a request is for, decided by rules that can be read. The rules are data (`routes.toml` in the
//! data directory, section `[routes]`; without it `rosters/routes.toml`); this file only applies them, to what can be measured
//! of a request. The same request under the same rules and publications always goes the same way.
//!
//! A rule names a task and a slot, and holds when everything it states does: one of `words` is a word of the last message of
//! the user, upper or lower case; a code fence is there; the conversation has at least, or at most, so many bytes. The first
//! rule that holds and whose slot is published decides. If none does it is `default`, and if that is not published the
//! roster's first slot that is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::core::limits;
use crate::core::route::naming::Target;

/// The rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// For what no rule holds of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Target>,
    /// The first that holds decides.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A word for people, such as `coding`.
    pub task: String,
    /// Who answers: `SLOT` or `SLOT:domain`.
    pub slot: Target,
    /// One of these is said; empty: whatever is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<String>,
    /// A text has a fence of three backticks (or none has).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_fence: Option<bool>,
    /// The conversation has at least so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_min: Option<u64>,
    /// The conversation has at most so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
}

/// Why rules are refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoutesError {
    /// Too many.
    #[error("there are {found} rules, and {max} at most make sense to read", max = limits::ROUTE_RULES_MAX)]
    Rules {
        /// How many there were.
        found: usize,
    },
    /// A task that is no name.
    #[error("rule {number}: a task is 1 to {max} printable characters", max = limits::ROUTE_WORD_BYTES_MAX)]
    Task {
        /// Which, from 1.
        number: usize,
    },
    /// Words that are none.
    #[error(
        "rule {number} ({task}): {word:?} can never be said: a word is letters and digits, 1 to {max} bytes",
        max = limits::ROUTE_WORD_BYTES_MAX
    )]
    Word {
        /// Which, from 1.
        number: usize,
        /// Its task.
        task: String,
        /// The word.
        word: String,
    },
    /// Too many words.
    #[error("rule {number} ({task}) has more than {max} words", max = limits::ROUTE_WORDS_MAX)]
    Words {
        /// Which, from 1.
        number: usize,
        /// Its task.
        task: String,
    },
    /// A rule without a condition hides those after it.
    #[error("rule {number} ({task}) states nothing, so that no rule after it could hold; make its slot the default")]
    Empty {
        /// Which, from 1.
        number: usize,
        /// Its task.
        task: String,
    },
}

/// What is measured of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said {
    words: BTreeSet<String>,
    code_fence: bool,
    bytes: u64,
}

/// What three backticks begin.
const FENCE: &str = "```";

/// Who was chosen, and by which rule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Chosen {
    /// Who answers.
    pub slot: Target,
    /// The rule's task; `default`: none held.
    pub task: String,
}

impl Said {
    /// Of messages: who says it, and what.
    pub fn of<'a>(messages: impl IntoIterator<Item = (&'a str, &'a str)>) -> Said {
        let mut said = Said::default();
        let mut last = "";
        for (role, text) in messages {
            said.bytes = said.bytes.saturating_add(text.len() as u64);
            said.code_fence |= text.contains(FENCE);
            if role == "user" {
                last = text;
            }
        }
        // A long text is looked at from its beginning: that is where people say what they want.
        let start = &last[..last.floor_char_boundary(limits::ROUTE_TEXT_BYTES)];
        said.words = words(start).map(str::to_lowercase).collect();
        said
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

impl Routes {
    /// Checks what a person wrote.
    pub fn check(&self) -> Result<(), RoutesError> {
        if self.rules.len() > limits::ROUTE_RULES_MAX {
            return Err(RoutesError::Rules { found: self.rules.len() });
        }
        (1..).zip(&self.rules).try_for_each(|(number, rule)| rule.check(number))
    }

    /// Who answers. `published`: every slot and domain that something is published in, in the roster's order, slots before
    /// their domains. `None`: nothing is.
    pub fn choose(&self, said: &Said, published: &[Target]) -> Option<Chosen> {
        let there = |slot: &Target| published.contains(slot);
        let ruled = self.rules.iter().find(|rule| rule.holds(said) && there(&rule.slot));
        let ruled = ruled.map(|rule| Chosen { slot: rule.slot.clone(), task: rule.task.clone() });
        let default = || {
            let slot = self.default.as_ref().filter(|slot| there(slot)).or_else(|| published.first())?;
            Some(Chosen { slot: slot.clone(), task: "default".to_owned() })
        };
        ruled.or_else(default)
    }
}

impl Rule {
    fn check(&self, number: usize) -> Result<(), RoutesError> {
        let task = self.task.clone();
        let printable = !task.is_empty() && !task.chars().any(char::is_control);
        if !printable || task.len() > limits::ROUTE_WORD_BYTES_MAX {
            return Err(RoutesError::Task { number });
        }
        if self.words.len() > limits::ROUTE_WORDS_MAX {
            return Err(RoutesError::Words { number, task });
        }
        let is_word = |word: &&String| {
            word.len() <= limits::ROUTE_WORD_BYTES_MAX && words(word).eq(std::iter::once(word.as_str()))
        };
        if let Some(word) = self.words.iter().find(|word| !is_word(word)) {
            return Err(RoutesError::Word { number, task, word: word.clone() });
        }
        let states = !self.words.is_empty()
            || self.code_fence.is_some()
            || self.bytes_min.is_some_and(|min| min > 0)
            || self.bytes_max.is_some();
        if states { Ok(()) } else { Err(RoutesError::Empty { number, task }) }
    }

    fn holds(&self, said: &Said) -> bool {
        (self.words.is_empty() || self.words.iter().any(|word| said.words.contains(&word.to_lowercase())))
            && self.code_fence.is_none_or(|fence| fence == said.code_fence)
            && self.bytes_min.is_none_or(|min| said.bytes >= min)
            && self.bytes_max.is_none_or(|max| said.bytes <= max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(text: &str) -> Target {
        text.parse().expect("a target")
    }

    fn rule(task: &str, slot: &str, words: &[&str]) -> Rule {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Rule { task: task.into(), slot: target(slot), words, code_fence: None, bytes_min: None, bytes_max: None }
    }

    fn routes() -> Routes {
        let fenced = Rule { code_fence: Some(true), ..rule("coding", "UDM", &[]) };
        let quick = Rule { bytes_max: Some(20), ..rule("quick", "UFM", &[]) };
        let rules = vec![rule("content", "ULM:core", &["summarise", "Straße"]), fenced, quick];
        Routes { default: Some(target("UCM")), rules }
    }

    fn check(text: &str, published: &[&str], expect: Option<(&str, &str)>) {
        let published: Vec<Target> = published.iter().map(|name| target(name)).collect();
        let said = Said::of([("system", "x"), ("user", text)]);
        let chosen = routes().choose(&said, &published).map(|chosen| (chosen.slot.to_string(), chosen.task));
        assert_eq!(chosen, expect.map(|(slot, task)| (slot.to_owned(), task.to_owned())), "{text}");
    }

    #[test]
    fn the_first_rule_that_holds_and_is_published_decides() {
        let all = ["UFM", "UCM", "ULM", "ULM:core", "UDM"];
        check("Please SUMMARISE: this and that", &all, Some(("ULM:core", "content")));
        check("what does straße mean in this", &all, Some(("ULM:core", "content")));
        check("please summarises this and that", &all, Some(("UCM", "default")));
        check("summarise ```fn main() {}```", &all, Some(("ULM:core", "content")));
        check("what is ```fn main() {}```", &all, Some(("UDM", "coding")));
        check("hello there", &all, Some(("UFM", "quick")));
        check("summarise this and that for me", &["UFM", "ULM", "UCM"], Some(("UCM", "default")));
        check("this is longer than twenty bytes", &["UDM", "UFM"], Some(("UDM", "default")));
        check("hello", &[], None);
    }

    #[test]
    fn only_the_last_message_of_the_user_speaks_and_all_of_the_conversation_counts() {
        let talk = [("user", "summarise ```x```"), ("assistant", "done"), ("user", "thanks")];
        let said = Said::of(talk);
        assert_eq!(said.words, BTreeSet::from(["thanks".to_owned()]));
        assert_eq!((said.code_fence, said.bytes), (true, 17 + 4 + 6));
        let long = format!("{}é end", "a ".repeat(limits::ROUTE_TEXT_BYTES / 2 - 1) + "a");
        assert_eq!(Said::of([("user", long.as_str())]).words, BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn rules_that_cannot_be_meant_are_refused() {
        let with = |rule: Rule| Routes { default: None, rules: vec![rule] }.check();
        assert_eq!(routes().check(), Ok(()));
        assert_eq!(with(rule("all", "UCM", &[])), Err(RoutesError::Empty { number: 1, task: "all".into() }));
        for word in ["two words", "", "semi;colon"] {
            let refused = with(rule("t", "UCM", &["fine", word]));
            assert!(matches!(refused, Err(RoutesError::Word { .. })), "{word:?}: {refused:?}");
        }
        assert_eq!(with(rule("", "UCM", &["a"])), Err(RoutesError::Task { number: 1 }));
        let many = Routes { default: None, rules: vec![rule("t", "UCM", &["a"]); limits::ROUTE_RULES_MAX + 1] };
        assert_eq!(many.check(), Err(RoutesError::Rules { found: limits::ROUTE_RULES_MAX + 1 }));
    }

    proptest! {
        /// Total and deterministic: something published answers whenever there is something, and never anything else.
        #[test]
        fn somebody_answers_whenever_somebody_can(
            texts in prop::collection::vec(("(user|assistant|system)", "(?s).{0,60}"), 0..5),
            published in prop::sample::subsequence(vec!["UFM", "UCM", "ULM", "ULM:core", "UDM"], 0..=5),
        ) {
            let published: Vec<Target> = published.into_iter().map(target).collect();
            let said = Said::of(texts.iter().map(|(role, text)| (role.as_str(), text.as_str())));
            let chosen = routes().choose(&said, &published);
            prop_assert_eq!(&chosen, &routes().choose(&said, &published));
            prop_assert_eq!(chosen.is_some(), !published.is_empty());
            prop_assert!(chosen.is_none_or(|chosen| published.contains(&chosen.slot)));
        }
    }
}
