//! Batching against a model that is a hash of all tokens before: whatever else is computed beside it, an answer is the one
//! that its prompt has alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

const BATCH: usize = 16;

#[derive(Default)]
struct Model {
    sequences: BTreeMap<u32, Vec<Token>>,
    /// Who has an output at which entry of the last step, with the adapter.
    outputs: BTreeMap<usize, (u32, Option<usize>)>,
    computed: usize,
    steps: usize,
    /// The next step fails with this.
    broken: Option<&'static str>,
}

fn after(adapter: Option<usize>, tokens: &[Token]) -> Token {
    let seed = adapter.map_or(7, |adapter| adapter as u32 + 100);
    Token(tokens.iter().fold(seed, |hash, token| hash.wrapping_mul(31).wrapping_add(token.0 + 1)) % 5)
}

impl Decoder for Model {
    type Error = &'static str;

    fn batch_max(&self) -> usize {
        BATCH
    }

    fn decode(
        &mut self,
        adapter: Option<usize>,
        entries: &[Entry],
        cancels: Vec<Arc<AtomicBool>>,
    ) -> Result<(), &'static str> {
        assert!(!entries.is_empty() && entries.len() <= BATCH && !cancels.is_empty());
        if let Some(why) = self.broken.take() {
            return Err(why);
        }
        self.outputs.clear();
        for (at, entry) in entries.iter().enumerate() {
            let sequence = self.sequences.entry(entry.sequence).or_default();
            assert_eq!(entry.position as usize, sequence.len(), "a gap or an overlap in the sequence");
            sequence.push(entry.token);
            if entry.output {
                self.outputs.insert(at, (entry.sequence, adapter));
            }
        }
        self.computed += entries.len();
        self.steps += 1;
        Ok(())
    }

    fn forget(&mut self, sequence: u32, from: u32) {
        self.sequences.entry(sequence).or_default().truncate(from as usize);
    }

    fn is_cancelled(error: &&'static str) -> bool {
        *error == "cancelled"
    }
}

/// How an answer ended, and its tokens.
type Told = Rc<RefCell<(Vec<Token>, Vec<String>, u32)>>;

struct Asked {
    told: Told,
    want: usize,
    cancel: Arc<AtomicBool>,
}

impl Answer<Model> for Asked {
    fn cancel(&self) -> Arc<AtomicBool> {
        self.cancel.clone()
    }

    fn begin(&mut self, _: u32, cached_tokens: u32) {
        let mut told = self.told.borrow_mut();
        told.1.push("begun".to_owned());
        told.2 = cached_tokens;
    }

    fn next(&mut self, model: &mut Model, output: usize) -> Option<Token> {
        let (sequence, adapter) = model.outputs[&output];
        let token = after(adapter, &model.sequences[&sequence]);
        let mut told = self.told.borrow_mut();
        told.0.push(token);
        if told.0.len() < self.want {
            return Some(token);
        }
        told.1.push("complete".to_owned());
        None
    }

    fn fail(self, error: &&'static str) {
        self.told.borrow_mut().1.push((*error).to_owned());
    }

    fn abandon(self) {
        self.told.borrow_mut().1.push("abandoned".to_owned());
    }
}

fn ask(want: usize) -> (Asked, Told, Arc<AtomicBool>) {
    let (told, cancel) = (Told::default(), Arc::<AtomicBool>::default());
    (Asked { told: told.clone(), want, cancel: cancel.clone() }, told, cancel)
}

fn tokens(ids: &[u32]) -> Vec<Token> {
    ids.iter().map(|&id| Token(id)).collect()
}

fn alone(adapter: Option<usize>, prompt: &[Token], want: usize) -> Vec<Token> {
    let mut all = prompt.to_vec();
    for _ in 0..want {
        all.push(after(adapter, &all));
    }
    all.split_off(prompt.len())
}

fn run(batching: &mut Batching<Asked>, model: &mut Model) {
    while !batching.is_idle() {
        batching.step(model);
    }
}

#[test]
fn several_answers_share_each_step() {
    let (mut batching, mut model) = (Batching::new(4), Model::default());
    let prompts = [tokens(&[1, 2]), tokens(&[3]), tokens(&[4, 4, 4]), tokens(&[1])];
    let told: Vec<Told> = prompts
        .iter()
        .map(|prompt| {
            let (asked, told, _) = ask(10);
            batching.start(&mut model, None, prompt.clone(), asked);
            told
        })
        .collect();
    assert!(!batching.has_room());
    run(&mut batching, &mut model);
    for (prompt, told) in prompts.iter().zip(&told) {
        assert_eq!(told.borrow().0, alone(None, prompt, 10));
        assert_eq!(told.borrow().1, ["begun", "complete"]);
    }
    assert_eq!(model.steps, 10, "one step for a token of all four");
}

#[test]
fn a_follow_up_goes_on_where_its_conversation_ended_and_others_do_not_disturb_it() {
    let (mut batching, mut model) = (Batching::new(2), Model::default());
    let prompt = tokens(&[9; 40]);
    let (asked, told, _) = ask(3);
    batching.start(&mut model, None, prompt.clone(), asked);
    run(&mut batching, &mut model);
    // Another conversation, with the same beginning, takes the other place.
    let (asked, _, _) = ask(1);
    batching.start(&mut model, None, tokens(&[9, 9, 1, 2]), asked);
    run(&mut batching, &mut model);
    let before = model.computed;
    let mut follow_up = [prompt, told.borrow().0.clone()].concat();
    follow_up.push(Token(4));
    let (asked, told, _) = ask(2);
    batching.start(&mut model, None, follow_up.clone(), asked);
    run(&mut batching, &mut model);
    assert_eq!(told.borrow().0, alone(None, &follow_up, 2));
    assert_eq!((told.borrow().2, model.computed - before), (42, 3), "the last token was chosen and not computed");
}

#[test]
fn the_same_prompt_again_computes_its_last_token_only() {
    let (mut batching, mut model) = (Batching::new(1), Model::default());
    for cached in [0, 4] {
        let (asked, told, _) = ask(1);
        batching.start(&mut model, None, tokens(&[1, 2, 3, 4, 5]), asked);
        run(&mut batching, &mut model);
        assert_eq!(told.borrow().2, cached);
    }
}

#[test]
fn nothing_computed_with_one_adapter_is_used_with_another() {
    let (mut batching, mut model) = (Batching::new(1), Model::default());
    for adapter in [None, Some(0), Some(1), None] {
        let (asked, told, _) = ask(5);
        batching.start(&mut model, adapter, tokens(&[1, 2, 3]), asked);
        run(&mut batching, &mut model);
        assert_eq!((told.borrow().2, told.borrow().0.clone()), (0, alone(adapter, &tokens(&[1, 2, 3]), 5)));
    }
}

#[test]
fn a_long_prompt_does_not_stop_the_answers_beside_it() {
    let (mut batching, mut model) = (Batching::new(2), Model::default());
    let (asked, told, _) = ask(100);
    batching.start(&mut model, None, tokens(&[1]), asked);
    batching.step(&mut model);
    let (asked, late, _) = ask(1);
    batching.start(&mut model, None, tokens(&[2; 200]), asked);
    let before = told.borrow().0.len();
    let mut steps = 0;
    while late.borrow().0.is_empty() {
        batching.step(&mut model);
        steps += 1;
    }
    assert_eq!(told.borrow().0.len() - before, steps, "a token of the answer in every step");
}

#[test]
fn who_has_gone_leaves_its_place_and_nothing_else_changes() {
    let (mut batching, mut model) = (Batching::new(2), Model::default());
    let (asked, gone, cancel) = ask(50);
    batching.start(&mut model, None, tokens(&[1]), asked);
    let (asked, stays, _) = ask(8);
    batching.start(&mut model, Some(1), tokens(&[1, 3]), asked);
    for _ in 0..4 {
        batching.step(&mut model);
    }
    cancel.store(true, Ordering::Relaxed);
    run(&mut batching, &mut model);
    assert_eq!(gone.borrow().1, ["begun", "abandoned"]);
    assert_eq!(stays.borrow().0, alone(Some(1), &tokens(&[1, 3]), 8));
}

#[test]
fn a_step_that_fails_ends_its_answers_and_leaves_nothing_behind() {
    for (why, told_is) in [("broken", "broken"), ("cancelled", "abandoned")] {
        let (mut batching, mut model) = (Batching::new(1), Model::default());
        let (asked, told, _) = ask(9);
        batching.start(&mut model, None, tokens(&[1, 2]), asked);
        batching.step(&mut model);
        model.broken = Some(why);
        run(&mut batching, &mut model);
        assert_eq!(told.borrow().1, ["begun", told_is]);
        let (asked, told, _) = ask(2);
        batching.start(&mut model, None, tokens(&[1, 2]), asked);
        run(&mut batching, &mut model);
        assert_eq!((told.borrow().2, told.borrow().0.clone()), (0, alone(None, &tokens(&[1, 2]), 2)));
    }
}

#[derive(Clone, Debug)]
enum Act {
    Ask { adapter: Option<usize>, prompt: Vec<u32>, want: usize },
    Step,
    Cancel(usize),
    Borrow,
}

fn act() -> impl Strategy<Value = Act> {
    let prompt = prop::collection::vec(0u32..2, 1..60);
    prop_oneof![
        2 => (prop::option::of(0usize..2), prompt, 1usize..30).prop_map(|(adapter, prompt, want)| Act::Ask { adapter, prompt, want }),
        6 => Just(Act::Step),
        1 => (0usize..40).prop_map(Act::Cancel),
        1 => Just(Act::Borrow),
    ]
}

proptest! {
    /// In whatever order they come, go and share prefixes: each that is not cancelled has the answer it has alone, and ends once.
    #[test]
    fn nobody_notices_the_others(places in 1u32..5, acts in prop::collection::vec(act(), 1..120)) {
        let (mut batching, mut model) = (Batching::new(places), Model::default());
        let mut all = Vec::new();
        for act in acts {
            match act {
                Act::Ask { adapter, prompt, want } if batching.has_room() => {
                    let (asked, told, cancel) = ask(want);
                    batching.start(&mut model, adapter, tokens(&prompt), asked);
                    all.push((adapter, prompt, want, told, cancel));
                }
                Act::Ask { .. } | Act::Step => batching.step(&mut model),
                Act::Cancel(at) => if let Some((.., cancel)) = all.get(at) { cancel.store(true, Ordering::Relaxed) },
                Act::Borrow => drop(batching.borrow(&mut model)),
            }
        }
        run(&mut batching, &mut model);
        for (adapter, prompt, want, told, cancel) in all {
            let told = told.borrow();
            let ends = told.1.iter().filter(|end| *end != "begun").count();
            prop_assert_eq!(ends, 1);
            let expected = alone(adapter, &tokens(&prompt), want);
            prop_assert_eq!(&told.0[..], &expected[..told.0.len()]);
            prop_assert!(cancel.load(Ordering::Relaxed) || told.0.len() == want);
        }
    }
}
