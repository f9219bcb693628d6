//! One answer in the making: chooses its tokens as the request wants, and tells whoever asked.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fednode_proto::v1;

use super::batching::{Answer, Token};
use super::constraint::Constraint;
use super::llama::{Llama, LlamaError, Sampler};
use super::reply::Reply;
use super::text::TextGate;
use super::{CODE_BAD_REQUEST, CODE_ENGINE_FAILED, Failure, logprobs};

/// What one request made of the model's tokens.
pub(super) struct Telling {
    /// `None` once the end is told.
    pub reply: Option<Reply>,
    pub sampler: Sampler,
    pub gate: TextGate,
    pub constraint: Option<Constraint>,
    /// Tell how likely each token was, and so many of the likeliest.
    pub logprobs: Option<u32>,
    pub tokens: u32,
    pub tokens_max: u32,
}

impl From<LlamaError> for Failure {
    fn from(error: LlamaError) -> Failure {
        let code = match error {
            LlamaError::UnknownDomain(_) | LlamaError::TextTooLong => CODE_BAD_REQUEST,
            _ => CODE_ENGINE_FAILED,
        };
        Failure::new(code, error.to_string())
    }
}

impl Answer<Llama> for Telling {
    fn cancel(&self) -> Arc<AtomicBool> {
        self.reply.as_ref().map(Reply::cancel).unwrap_or_default()
    }

    fn begin(&mut self, prompt_tokens: u32, cached_tokens: u32) {
        // Only now: a replica that dies in the prompt can be replaced without the client noticing.
        if let Some(reply) = &mut self.reply {
            reply.start(prompt_tokens, cached_tokens);
        }
    }

    fn next(&mut self, llama: &mut Llama, output: usize) -> Option<Token> {
        match self.choose(llama, output) {
            Ok(Some(token)) => Some(token),
            Ok(None) => None,
            Err(error) => {
                self.tell_error(&error);
                None
            }
        }
    }

    fn fail(mut self, error: &LlamaError) {
        self.tell_error(error);
    }

    fn abandon(self) {
        if let Some(reply) = self.reply {
            reply.abandon();
        }
    }
}

impl Telling {
    fn choose(&mut self, llama: &mut Llama, output: usize) -> Result<Option<Token>, LlamaError> {
        // What the model itself finds likely, before the constraint changes it.
        let own = match self.logprobs {
            Some(count) => Some((count as usize, llama.logits(output)?.to_vec())),
            None => None,
        };
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(llama.logits(output)?).map_err(Constraint::broke)?;
        }
        let token = llama.sample(&mut self.sampler, output);
        if llama.is_end(token) {
            self.end("stop");
            return Ok(None);
        }
        if let Some(constraint) = &mut self.constraint {
            constraint.take(token).map_err(Constraint::broke)?;
        }
        if let (Some((count, logits)), Some(reply)) = (own, &mut self.reply) {
            reply.logprob(describe(llama, token, &logits, count));
        }
        Ok(self.show(llama, token))
    }

    /// Shows a token's text; `None` if the answer is complete with it.
    fn show(&mut self, llama: &Llama, token: Token) -> Option<Token> {
        self.tokens += 1;
        let text = self.gate.push(&llama.piece(token));
        if let Some(reply) = &mut self.reply {
            reply.text(text);
        }
        let complete = self.constraint.as_ref().is_some_and(Constraint::is_complete);
        if self.gate.is_stopped() || complete {
            self.end("stop");
        } else if self.tokens >= self.tokens_max {
            self.end("length");
        }
        self.reply.is_some().then_some(token)
    }

    fn end(&mut self, finish_reason: &str) {
        let rest = self.gate.finish();
        if let Some(mut reply) = self.reply.take() {
            reply.text(rest);
            reply.end(v1::GenerateEnd {
                finish_reason: finish_reason.to_owned(),
                completion_tokens: self.tokens,
                prompt_tokens: 0,
            });
        }
    }

    fn tell_error(&mut self, error: &LlamaError) {
        if let Some(reply) = self.reply.take() {
            reply.error(CODE_ENGINE_FAILED, error.to_string());
        }
    }
}

/// How likely `token` was, and the `count` likeliest.
fn describe(llama: &Llama, token: Token, logits: &[f32], count: usize) -> v1::TokenLogprob {
    let log_sum = logprobs::log_sum(logits);
    let one = |token: Token| v1::TokenLogprob {
        piece: llama.piece(token),
        logprob: logprobs::of(logits, log_sum, token),
        top: Vec::new(),
    };
    v1::TokenLogprob { top: logprobs::likeliest(logits, count).into_iter().map(one).collect(), ..one(token) }
}
