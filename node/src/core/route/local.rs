//! Tinker Bell: whether a delegate answers a request itself, with its one small local model, or passes it to the federation.
//! Pure rules over what can be measured of a request; the same request under the same policy always goes the same way.
//!
//! | policy    | answered here |
//! |-----------|---------------|
//! | `never`   | nothing |
//! | `offline` | everything, while no holder of the manager that was asked for can be reached |
//! | `hybrid`  | as `offline`; and while one can be reached, what is short and simple by the rule below |
//! | `always`  | everything |
//!
//! Short and simple: a prompt of at most `LOCAL_PROMPT_BYTES` in at most `LOCAL_MESSAGES`, an answer of at most
//! `LOCAL_ANSWER_TOKENS` (or of no stated length), no tools, no schema, no code fence, and no domain of a manager.
//!
//! Embeddings and tokens are of one model: whoever asks a manager for them is not given another model's, whatever the policy.
//!
//! A client that insists is obeyed where that is possible: `local` needs a local model that can do what is asked, `federation`
//! holds whatever the policy says. What needs tools or a schema that the local model has not got never goes to it.

use serde::{Deserialize, Serialize};

use crate::core::limits;

/// The name by which clients ask for the local model itself.
pub const LOCAL: &str = "local";

/// When the local model answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Never.
    #[default]
    Never,
    /// While no holder can be reached.
    Offline,
    /// Then, and what is short and simple.
    Hybrid,
    /// Always.
    Always,
}

impl Policy {
    /// All, as people write them.
    pub const ALL: [Policy; 4] = [Policy::Never, Policy::Offline, Policy::Hybrid, Policy::Always];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Never => "never",
            Policy::Offline => "offline",
            Policy::Hybrid => "hybrid",
            Policy::Always => "always",
        }
    }

    /// By its word.
    pub fn parse(word: &str) -> Option<Policy> {
        Policy::ALL.into_iter().find(|policy| policy.as_str() == word)
    }
}

/// What a client insists on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forced {
    /// Here.
    Local,
    /// By a manager.
    Federation,
}

impl Forced {
    /// The word of `X-Fednode-Route`.
    pub fn as_str(self) -> &'static str {
        match self {
            Forced::Local => "local",
            Forced::Federation => "federation",
        }
    }

    /// By its word.
    pub fn parse(word: &str) -> Option<Forced> {
        [Forced::Local, Forced::Federation].into_iter().find(|forced| forced.as_str() == word)
    }
}

/// What is measured of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Bytes of all texts together.
    pub prompt_bytes: u64,
    /// Messages, the system's among them; 1 for a raw prompt.
    pub messages: u32,
    /// The length that was asked for; `None`: the client left it open.
    pub max_tokens: Option<u32>,
    /// Tools may be called.
    pub tools: bool,
    /// The answer is JSON of a schema.
    pub schema: bool,
    /// A text has a fence of three backticks: code is spoken of.
    pub code_fence: bool,
    /// A domain of a manager was asked for.
    pub domain: bool,
    /// Embeddings or tokens are asked for, not text.
    pub task: bool,
}

/// What there is to answer with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Surroundings {
    /// The local model, if this node has one.
    pub local: Option<LocalModel>,
    /// A holder of the manager that was asked for can be reached.
    pub holder_reachable: bool,
}

/// What a local model can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalModel {
    /// Its template knows tools.
    pub tools: bool,
    /// Tokens of context.
    pub context: u32,
}

/// Where a request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// By the local model.
    Local,
    /// By a manager.
    Federation,
    /// Nowhere: the client insists on what is not there.
    Refused,
}

/// Why; the word stands in `X-Fednode-Route`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The client insists.
    Forced,
    /// The policy is `never`, or `always`.
    Policy,
    /// There is no local model.
    NoLocalModel,
    /// No holder can be reached.
    Offline,
    /// A holder can be reached, and the policy is `offline`.
    Online,
    /// Short and simple.
    Simple,
    /// The prompt is long.
    LongPrompt,
    /// There are many messages.
    ManyMessages,
    /// A long answer is asked for.
    LongAnswer,
    /// Code.
    Code,
    /// Tools may be called.
    Tools,
    /// The answer is JSON of a schema.
    Schema,
    /// A domain of a manager was asked for.
    Domain,
    /// Embeddings or tokens, which are one model's.
    Task,
    /// It does not fit into the local model's context.
    Context,
}

impl Reason {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Forced => "forced",
            Reason::Policy => "policy",
            Reason::NoLocalModel => "no-local-model",
            Reason::Offline => "offline",
            Reason::Online => "online",
            Reason::Simple => "simple",
            Reason::LongPrompt => "long-prompt",
            Reason::ManyMessages => "many-messages",
            Reason::LongAnswer => "long-answer",
            Reason::Code => "code",
            Reason::Tools => "tools",
            Reason::Schema => "schema",
            Reason::Domain => "domain",
            Reason::Task => "task",
            Reason::Context => "context",
        }
    }
}

/// The rule of this file's head.
pub fn decide(policy: Policy, forced: Option<Forced>, asked: &Features, around: &Surroundings) -> (Route, Reason) {
    if forced == Some(Forced::Federation) {
        return (Route::Federation, Reason::Forced);
    }
    let cannot = around.local.map_or(Some(Reason::NoLocalModel), |local| lacks(local, asked));
    match (forced, cannot) {
        (Some(_), Some(why)) => return (Route::Refused, why),
        (Some(_), None) => return (Route::Local, Reason::Forced),
        (None, Some(why)) => return (Route::Federation, why),
        (None, None) if asked.task => return (Route::Federation, Reason::Task),
        (None, None) => {}
    }
    match (policy, around.holder_reachable) {
        (Policy::Never, _) => (Route::Federation, Reason::Policy),
        (Policy::Always, _) => (Route::Local, Reason::Policy),
        (Policy::Offline | Policy::Hybrid, false) => (Route::Local, Reason::Offline),
        (Policy::Offline, true) => (Route::Federation, Reason::Online),
        (Policy::Hybrid, true) => match complicated(asked) {
            Some(why) => (Route::Federation, why),
            None => (Route::Local, Reason::Simple),
        },
    }
}

/// What the local model has not got.
fn lacks(local: LocalModel, asked: &Features) -> Option<Reason> {
    let tokens = asked.prompt_bytes / limits::LOCAL_BYTES_PER_TOKEN;
    match asked {
        Features { tools: true, .. } if !local.tools => Some(Reason::Tools),
        _ if tokens >= u64::from(local.context) => Some(Reason::Context),
        _ => None,
    }
}

/// What makes a request neither short nor simple.
fn complicated(asked: &Features) -> Option<Reason> {
    let rules = [
        (asked.domain, Reason::Domain),
        (asked.tools, Reason::Tools),
        (asked.schema, Reason::Schema),
        (asked.code_fence, Reason::Code),
        (asked.messages > limits::LOCAL_MESSAGES, Reason::ManyMessages),
        (asked.prompt_bytes > limits::LOCAL_PROMPT_BYTES, Reason::LongPrompt),
        (asked.max_tokens.is_some_and(|tokens| tokens > limits::LOCAL_ANSWER_TOKENS), Reason::LongAnswer),
    ];
    rules.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHORT: Features = Features {
        prompt_bytes: 40,
        messages: 2,
        max_tokens: None,
        tools: false,
        schema: false,
        code_fence: false,
        domain: false,
        task: false,
    };
    const BELL: LocalModel = LocalModel { tools: false, context: 4096 };

    fn around(local: bool, holder_reachable: bool) -> Surroundings {
        Surroundings { local: local.then_some(BELL), holder_reachable }
    }

    #[test]
    fn each_policy_with_and_without_a_holder() {
        use {Policy::*, Reason as R, Route::*};
        let cases = [
            (Never, true, (Federation, R::Policy)),
            (Never, false, (Federation, R::Policy)),
            (Offline, true, (Federation, R::Online)),
            (Offline, false, (Local, R::Offline)),
            (Hybrid, true, (Local, R::Simple)),
            (Hybrid, false, (Local, R::Offline)),
            (Always, true, (Local, R::Policy)),
            (Always, false, (Local, R::Policy)),
        ];
        for (policy, reachable, expect) in cases {
            assert_eq!(decide(policy, None, &SHORT, &around(true, reachable)), expect, "{policy:?} {reachable}");
            assert_eq!(decide(policy, None, &SHORT, &around(false, reachable)), (Federation, R::NoLocalModel));
            assert_eq!(Policy::parse(policy.as_str()), Some(policy));
        }
    }

    fn check(asked: Features, why: Reason) {
        let hybrid = |asked: &Features| decide(Policy::Hybrid, None, asked, &around(true, true));
        assert_eq!(hybrid(&asked), (Route::Federation, why), "{asked:?}");
    }

    #[test]
    fn what_is_not_short_or_not_simple_goes_to_the_federation_and_says_why() {
        check(Features { prompt_bytes: limits::LOCAL_PROMPT_BYTES + 1, ..SHORT }, Reason::LongPrompt);
        check(Features { messages: limits::LOCAL_MESSAGES + 1, ..SHORT }, Reason::ManyMessages);
        check(Features { max_tokens: Some(limits::LOCAL_ANSWER_TOKENS + 1), ..SHORT }, Reason::LongAnswer);
        check(Features { code_fence: true, ..SHORT }, Reason::Code);
        check(Features { schema: true, ..SHORT }, Reason::Schema);
        check(Features { domain: true, ..SHORT }, Reason::Domain);
        check(Features { tools: true, ..SHORT }, Reason::Tools);
        let most = Features {
            prompt_bytes: limits::LOCAL_PROMPT_BYTES,
            messages: limits::LOCAL_MESSAGES,
            max_tokens: Some(limits::LOCAL_ANSWER_TOKENS),
            ..SHORT
        };
        assert_eq!(decide(Policy::Hybrid, None, &most, &around(true, true)), (Route::Local, Reason::Simple));
    }

    #[test]
    fn embeddings_and_tokens_are_a_managers_unless_the_client_insists() {
        let task = Features { task: true, ..SHORT };
        for policy in Policy::ALL {
            let unasked = decide(policy, None, &task, &around(true, false));
            assert_eq!(unasked, (Route::Federation, Reason::Task), "{policy:?}");
            let asked = decide(policy, Some(Forced::Local), &task, &around(true, true));
            assert_eq!(asked, (Route::Local, Reason::Forced), "{policy:?}");
        }
    }

    #[test]
    fn who_insists_is_obeyed_where_that_is_possible() {
        let decide = |policy, forced, asked, local| decide(policy, Some(forced), &asked, &around(local, false));
        assert_eq!(decide(Policy::Always, Forced::Federation, SHORT, true), (Route::Federation, Reason::Forced));
        assert_eq!(decide(Policy::Never, Forced::Local, SHORT, true), (Route::Local, Reason::Forced));
        assert_eq!(decide(Policy::Never, Forced::Local, SHORT, false), (Route::Refused, Reason::NoLocalModel));
        let tools = Features { tools: true, ..SHORT };
        assert_eq!(decide(Policy::Always, Forced::Local, tools, true), (Route::Refused, Reason::Tools));
        let long = Features { prompt_bytes: 1 << 20, ..SHORT };
        assert_eq!(decide(Policy::Always, Forced::Local, long, true), (Route::Refused, Reason::Context));
        assert_eq!([Forced::parse("local"), Forced::parse("Local")], [Some(Forced::Local), None]);
    }

    fn features() -> impl Strategy<Value = Features> {
        let numbers = (any::<u64>(), any::<u32>(), prop::option::of(any::<u32>()));
        let small = (0..4_000u64, 0..12u32, prop::option::of(0..600u32));
        let flags = any::<[bool; 5]>();
        (prop_oneof![numbers, small], flags).prop_map(|((prompt_bytes, messages, max_tokens), flags)| {
            let [tools, schema, code_fence, domain, task] = flags;
            Features { prompt_bytes, messages, max_tokens, tools, schema, code_fence, domain, task }
        })
    }

    proptest! {
        /// Total, deterministic, and never local without a model, nor the federation against `local`, nor refused unasked.
        #[test]
        fn every_request_has_one_way(
            asked in features(),
            policy in prop::sample::select(Policy::ALL.to_vec()),
            forced in prop::option::of(prop_oneof![Just(Forced::Local), Just(Forced::Federation)]),
            local in prop::option::of((any::<bool>(), any::<u32>())),
            holder_reachable: bool,
        ) {
            let local = local.map(|(tools, context)| LocalModel { tools, context });
            let around = Surroundings { local, holder_reachable };
            let (route, reason) = decide(policy, forced, &asked, &around);
            prop_assert_eq!((route, reason), decide(policy, forced, &asked, &around));
            match route {
                Route::Local => {
                    prop_assert!(local.is_some_and(|local| local.tools || !asked.tools));
                    prop_assert!(forced != Some(Forced::Federation));
                    prop_assert!(policy != Policy::Never || forced.is_some());
                    prop_assert!(!asked.task || forced.is_some());
                    let simple = complicated(&asked).is_none();
                    let hybrid = policy == Policy::Hybrid && forced.is_none() && holder_reachable;
                    prop_assert!(!hybrid || simple);
                }
                Route::Federation => prop_assert!(forced != Some(Forced::Local)),
                Route::Refused => prop_assert_eq!(forced, Some(Forced::Local)),
            }
            prop_assert_eq!(reason == Reason::Forced, forced.is_some() && route != Route::Refused);
        }

        /// Making a request longer or less simple never brings it back from the federation.
        #[test]
        fn hybrid_is_monotonic(asked in features(), more in features()) {
            let both = Features {
                prompt_bytes: asked.prompt_bytes.saturating_add(more.prompt_bytes),
                messages: asked.messages.saturating_add(more.messages),
                max_tokens: asked.max_tokens.max(more.max_tokens),
                tools: asked.tools || more.tools,
                schema: asked.schema || more.schema,
                code_fence: asked.code_fence || more.code_fence,
                domain: asked.domain || more.domain,
                task: asked.task || more.task,
            };
            let route = |asked: &Features| decide(Policy::Hybrid, None, asked, &around(true, true)).0;
            prop_assert!(route(&asked) == Route::Local || route(&both) == Route::Federation);
        }
    }
}
