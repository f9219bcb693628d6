//! One loaded model in the child: opens it, and answers one request at a time on the thread that opened it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use fednode_proto::v1;

use super::llama::{Llama, LlamaError, Sampler, Shape, Token};
use super::reply::Reply;
use super::template::{ChatMessage, ChatTemplate, TemplateError};
use super::text::TextGate;
use super::{CODE_BAD_REQUEST, CODE_CONTEXT_LENGTH, CODE_ENGINE_FAILED, memory};
use crate::core::limits;

/// A model that is ready to answer.
pub(super) struct Model {
    llama: Llama,
    template: ChatTemplate,
    /// Tokens that prompt and answer may have together.
    context: u32,
}

/// Why a request ended without an answer.
enum Failure {
    /// Nobody listens any more; nothing is to be said.
    Cancelled,
    Told {
        code: &'static str,
        message: String,
    },
}

impl Model {
    /// Loads as told; says why in words for the owner when that fails. Blocks for as long as the disk takes.
    pub(super) fn open(request: &v1::LoadRequest) -> Result<(Model, v1::LoadReply), String> {
        let begun = Instant::now();
        let adapters: Vec<_> = request.adapters.iter().map(|a| (a.domain.clone(), PathBuf::from(&a.path))).collect();
        let shape = Shape { context: request.context, parallel: request.parallel.max(1), threads: request.threads };
        let llama = Llama::open(Path::new(&request.path), &adapters, shape).map_err(|error| error.to_string())?;
        let (bos_token, eos_token) = llama.sequence_tokens();
        let template = ChatTemplate { source: llama.chat_template(), bos_token, eos_token };
        let (weights_bytes, kv_bytes) = (llama.weights_bytes(), llama.kv_bytes());
        let measured = memory::of_process(std::process::id());
        let reply = v1::LoadReply {
            weights_bytes,
            kv_bytes,
            resident_bytes: measured.map_or(weights_bytes + kv_bytes, |footprint| footprint.resident_bytes),
            load_ms: u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX),
        };
        // Beyond the trained context a model talks nonsense: such a request is better refused.
        let context = request.context.min(llama.trained_context().max(1));
        Ok((Model { llama, template, context }, reply))
    }

    /// Answers, and always ends `reply` with exactly one terminal event, unless nobody listens any more.
    pub(super) fn answer(&mut self, request: &v1::GenerateRequest, mut reply: Reply) {
        match self.generate(request, &mut reply) {
            Ok(end) => reply.end(end),
            Err(Failure::Cancelled) => reply.abandon(),
            Err(Failure::Told { code, message }) => reply.error(code, message),
        }
    }

    fn generate(&mut self, request: &v1::GenerateRequest, reply: &mut Reply) -> Result<v1::GenerateEnd, Failure> {
        let prompt = self.prompt(request)?;
        // `prompt` refused what does not fit in a u32 context.
        let prompt_tokens = prompt.len() as u32;
        let asked = if request.max_tokens == 0 { limits::MAX_TOKENS_DEFAULT } else { request.max_tokens };
        let tokens_max = asked.min(self.context - prompt_tokens);
        let mut sampler = Sampler::new(request.temperature, request.top_p, request.seed);
        let mut gate = TextGate::new(request.stop.iter().cloned());

        self.llama.begin(&request.domain, reply.cancel())?;
        self.llama.decode(&prompt)?;
        // Only now: a replica that dies in the prompt can be replaced without the client noticing.
        reply.start(prompt_tokens);

        let mut completion_tokens = 0;
        let finish_reason = loop {
            let token = self.llama.sample(&mut sampler);
            if self.llama.is_end(token) {
                break "stop";
            }
            completion_tokens += 1;
            reply.text(gate.push(&self.llama.piece(token)));
            if gate.is_stopped() {
                break "stop";
            }
            if completion_tokens == tokens_max {
                break "length";
            }
            self.llama.decode(&[token])?;
        };
        reply.text(gate.finish());
        Ok(v1::GenerateEnd { finish_reason: finish_reason.to_owned(), completion_tokens })
    }

    /// The prompt's tokens: at least one, and at least one less than the context.
    fn prompt(&self, request: &v1::GenerateRequest) -> Result<Vec<Token>, Failure> {
        let messages: Vec<_> =
            request.messages.iter().map(|m| ChatMessage { role: &m.role, content: &m.content }).collect();
        let prompt = self.llama.tokenize(&self.template.render(&messages)?)?;
        if prompt.is_empty() {
            return Err(told(CODE_BAD_REQUEST, "the model's chat template makes an empty prompt of these messages"));
        }
        if prompt.len() >= self.context as usize {
            let (have, room) = (prompt.len(), self.context);
            let message = format!("the prompt has {have} tokens; with an answer it must fit in {room}");
            return Err(told(CODE_CONTEXT_LENGTH, message));
        }
        Ok(prompt)
    }
}

fn told(code: &'static str, message: impl Into<String>) -> Failure {
    Failure::Told { code, message: message.into() }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Failure {
        told(CODE_BAD_REQUEST, error.to_string())
    }
}

impl From<LlamaError> for Failure {
    fn from(error: LlamaError) -> Failure {
        match error {
            LlamaError::Cancelled => Failure::Cancelled,
            LlamaError::UnknownDomain(_) | LlamaError::TextTooLong => told(CODE_BAD_REQUEST, error.to_string()),
            _ => told(CODE_ENGINE_FAILED, error.to_string()),
        }
    }
}
