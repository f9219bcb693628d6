//! Answers that follow a JSON schema: which tokens may come next, by llguidance. A vocabulary is prepared once, a schema for each
//! request.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use super::batching::Token;
use super::llama::{Llama, LlamaError};

/// What is known of a vocabulary.
pub(super) struct Constraints(ParserFactory);

/// One answer's constraint.
pub(super) struct Constraint(Matcher);

impl Constraints {
    /// Of the model's vocabulary. Takes tens of milliseconds.
    pub(super) fn of(llama: &Llama) -> Result<Constraints, String> {
        let end = llama.end_token().ok_or("the model has no token that ends an answer")?;
        let words = (0..llama.vocabulary_size()).map(|id| word(llama, Token(id))).collect::<Vec<_>>();
        let info = TokRxInfo::new(llama.vocabulary_size(), end.0);
        let trie: TokEnv = Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)));
        let mut factory = ParserFactory::new_simple(&trie).map_err(|error| error.to_string())?;
        factory.quiet();
        Ok(Constraints(factory))
    }

    /// For one answer. Refuses what the schema says and this cannot follow.
    pub(super) fn follow(&self, schema: &str) -> Result<Constraint, String> {
        let parsed = serde_json::from_str(schema).map_err(|error| format!("the JSON schema is not JSON: {error}"))?;
        let serde_json::Value::Object(mut schema) = parsed else {
            return Err("the JSON schema is not an object".to_owned());
        };
        // With room for any white space a small model writes nothing else; Python's own is what models have read most.
        let spaces = serde_json::json!({"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": false});
        schema.insert("x-guidance".to_owned(), spaces);
        let schema = serde_json::Value::Object(schema);
        let matcher = Matcher::new(self.0.create_parser(TopLevelGrammar::from_json_schema(schema)));
        match matcher.get_error() {
            Some(why) => Err(format!("the JSON schema cannot be followed: {why}")),
            None => Ok(Constraint(matcher)),
        }
    }
}

/// The bytes of a token. Those that write nothing are marked, so that no text is taken for one.
fn word(llama: &Llama, token: Token) -> Vec<u8> {
    let piece = llama.piece(token);
    if !piece.is_empty() {
        return piece;
    }
    let text = llama.token_text(token);
    if text.is_empty() { Vec::new() } else { [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat() }
}

impl Constraint {
    /// Makes impossible what must not come next.
    pub(super) fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let allowed = self.0.compute_mask_or_eos().map_err(|error| error.to_string())?;
        for (id, logit) in logits.iter_mut().enumerate() {
            let known = u32::try_from(id).is_ok_and(|id| allowed.is_allowed(id));
            if !known {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// This token came.
    pub(super) fn take(&mut self, token: Token) -> Result<(), String> {
        self.0.consume_token(token.0).map_err(|error| error.to_string())
    }

    /// Can nothing more come?
    pub(super) fn is_complete(&self) -> bool {
        self.0.is_stopped()
    }

    /// For [`LlamaError`]'s users: a constraint that broke is the engine's failure.
    pub(super) fn broke(why: String) -> LlamaError {
        LlamaError::Decode { code: 0, reason: why }
    }
}
