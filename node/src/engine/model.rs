//! One loaded model in the child: opens it, starts answers and computes them step by step, on the thread that opened it.

use std::path::{Path, PathBuf};
use std::time::Instant;

use fednode_proto::v1;

use super::answer::Telling;
use super::batching::{Batching, Decoder, Entry, Token};
use super::constraint::{Constraint, Constraints};
use super::llama::{Llama, Sampler, Sampling, Shape};
use super::prefetch;
use super::reply::Reply;
use super::template::{ChatMessage, ChatTemplate, TemplateError};
use super::text::TextGate;
use super::turn::Turns;
use super::{CODE_BAD_REQUEST, CODE_BUSY, CODE_CONTEXT_LENGTH, Failure, logprobs, memory};
use crate::core::limits;

/// A model that is ready to answer.
pub(super) struct Model {
    llama: Llama,
    template: ChatTemplate,
    /// Tokens that prompt and answer may have together.
    context: u32,
    batching: Batching<Telling>,
    /// Made for the first answer that follows a schema.
    constraints: Option<Constraints>,
}

impl Model {
    /// Loads as told; says why in words for the owner when that fails. Blocks for as long as the disk takes; `progress` hears how
    /// many bytes are read of how many.
    pub(super) fn open(
        request: &v1::LoadRequest,
        progress: prefetch::Progress<'_>,
    ) -> Result<(Model, v1::LoadReply), String> {
        let begun = Instant::now();
        let adapters: Vec<_> = request.adapters.iter().map(|a| (a.domain.clone(), PathBuf::from(&a.path))).collect();
        let path = Path::new(&request.path);
        let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", request.path);
        // Unmapped before llama.cpp maps them: mapped twice they would count twice in the peak that the ledger goes by.
        drop(prefetch::bring_in(&prefetch::files_of(path), progress).map_err(unreadable)?);
        let shape = Shape {
            context: request.context,
            parallel: request.parallel.max(1),
            threads: request.threads,
            lock: request.lock,
        };
        let before = memory::of_process(std::process::id());
        let mut llama = Llama::open(path, &adapters, shape, &request.device).map_err(|error| error.to_string())?;
        if !request.turn_folder.is_empty() {
            let turns = Turns::open(Path::new(&request.turn_folder));
            llama.take_turns(turns.map_err(|error| format!("cannot take turns in {}: {error}", request.turn_folder))?);
        }
        let (bos_token, eos_token) = llama.sequence_tokens();
        let template = ChatTemplate { source: llama.chat_template(), bos_token, eos_token };
        let (weights_bytes, kv_bytes) = (llama.weights_bytes(), llama.kv_bytes());
        let measured = memory::of_process(std::process::id());
        let private = |footprint: Option<super::Footprint>| footprint.map_or(0, |footprint| footprint.private_bytes);
        let reply = v1::LoadReply {
            weights_bytes,
            kv_bytes,
            resident_bytes: match llama.device_bytes() {
                // Not every driver tells what is free.
                Some(bytes) => bytes.max(weights_bytes + kv_bytes),
                None => measured.map_or(weights_bytes + kv_bytes, |footprint| footprint.resident_bytes),
            },
            load_ms: u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX),
            compute_bytes: private(measured).saturating_sub(private(before)).saturating_sub(kv_bytes),
            peak_bytes: measured.map_or(0, |footprint| footprint.peak_bytes),
        };
        // Beyond the trained context a model talks nonsense: such a request is better refused.
        let context = request.context.min(llama.trained_context().max(1));
        let batching = Batching::new(request.parallel);
        Ok((Model { llama, template, context, batching, constraints: None }, reply))
    }

    /// Is there a place for one more answer?
    pub(super) fn has_room(&self) -> bool {
        self.batching.has_room()
    }

    /// Does no answer wait for a step?
    pub(super) fn is_idle(&self) -> bool {
        self.batching.is_idle()
    }

    /// Computes one step of all answers.
    pub(super) fn step(&mut self) {
        self.batching.step(&mut self.llama);
    }

    /// Starts an answer. `reply` ends with exactly one terminal event, now or later, unless nobody listens any more.
    pub(super) fn start(&mut self, request: &v1::GenerateRequest, reply: Reply) {
        match self.prepare(request) {
            Ok((adapter, prompt, mut telling)) => {
                telling.reply = Some(reply);
                self.batching.start(&mut self.llama, adapter, prompt, telling);
            }
            Err(Failure { code, message }) => reply.error(code, message),
        }
    }

    fn prepare(&mut self, request: &v1::GenerateRequest) -> Result<(Option<usize>, Vec<Token>, Telling), Failure> {
        let adapter = self.llama.adapter(&request.domain)?;
        let prompt = self.prompt(request)?;
        // `prompt` refused what does not fit in a u32 context.
        let prompt_tokens = prompt.len() as u32;
        let asked = if request.max_tokens == 0 { limits::MAX_TOKENS_DEFAULT } else { request.max_tokens };
        let sampling = Sampling {
            temperature: request.temperature,
            top_k: request.top_k,
            top_p: request.top_p,
            min_p: request.min_p,
            presence_penalty: request.presence_penalty,
            frequency_penalty: request.frequency_penalty,
            seed: request.seed,
        };
        let telling = Telling {
            reply: None,
            sampler: Sampler::new(&sampling, self.llama.vocabulary_size()),
            gate: TextGate::new(request.stop.iter().cloned()),
            constraint: self.constraint(&request.json_schema)?,
            logprobs: request.logprobs.then(|| request.top_logprobs.min(limits::TOP_LOGPROBS_MAX)),
            tokens: 0,
            tokens_max: asked.min(self.context - prompt_tokens),
        };
        Ok((adapter, prompt, telling))
    }

    fn constraint(&mut self, schema: &str) -> Result<Option<Constraint>, Failure> {
        if schema.is_empty() {
            return Ok(None);
        }
        let refused = |why: String| Failure::new(CODE_BAD_REQUEST, why);
        if self.constraints.is_none() {
            self.constraints = Some(Constraints::of(&self.llama).map_err(refused)?);
        }
        self.constraints.as_ref().map(|constraints| constraints.follow(schema)).transpose().map_err(refused)
    }

    /// The prompt's tokens: at least one, and at least one less than the context.
    fn prompt(&self, request: &v1::GenerateRequest) -> Result<Vec<Token>, Failure> {
        let text = if request.messages.is_empty() && !request.prompt.is_empty() {
            request.prompt.clone()
        } else {
            let messages = request.messages.iter().map(ChatMessage::from).collect::<Vec<_>>();
            self.template.render(&messages, &request.tools_json)?
        };
        let prompt = self.llama.tokenize(&text)?;
        if prompt.is_empty() {
            return Err(Failure::new(CODE_BAD_REQUEST, "these messages make an empty prompt"));
        }
        if prompt.len() >= self.context as usize {
            let (have, room) = (prompt.len(), self.context);
            let message = format!("the prompt has {have} tokens; with an answer it must fit in {room}");
            return Err(Failure::new(CODE_CONTEXT_LENGTH, message));
        }
        Ok(prompt)
    }

    /// The tokens of a text.
    pub(super) fn tokenize(&self, text: &str) -> Result<Vec<u32>, Failure> {
        Ok(self.llama.tokenize(text)?.into_iter().map(|token| token.0).collect())
    }

    /// Texts as vectors of length one: the last hidden state of each.
    pub(super) fn embed(&mut self, request: &v1::EmbedRequest) -> Result<v1::EmbedReply, Failure> {
        let adapter = self.llama.adapter(&request.domain)?;
        let mut reply = v1::EmbedReply::default();
        for text in &request.texts {
            let tokens = self.llama.tokenize(text)?;
            self.check_length(tokens.len())?;
            let sequence = self.borrow()?;
            let mut values = self.llama.embed(adapter, sequence, &tokens)?;
            let length =
                values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            values.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
            reply.tokens += tokens.len() as u32;
            reply.embeddings.push(v1::Embedding { values });
        }
        Ok(reply)
    }

    /// How likely the model finds given tokens.
    pub(super) fn score(&mut self, request: &v1::ScoreRequest) -> Result<v1::ScoreReply, Failure> {
        let adapter = self.llama.adapter(&request.domain)?;
        let vocabulary = self.llama.vocabulary_size();
        let mut reply = v1::ScoreReply::default();
        for sequence in &request.sequences {
            self.check_length(sequence.tokens.len())?;
            if let Some(token) = sequence.tokens.iter().find(|&&token| token >= vocabulary) {
                return Err(Failure::new(CODE_BAD_REQUEST, format!("the vocabulary has no token {token}")));
            }
            reply.sequences.push(self.score_one(adapter, sequence)?);
        }
        Ok(reply)
    }

    fn score_one(&mut self, adapter: Option<usize>, asked: &v1::ScoreSequence) -> Result<v1::SequenceScore, Failure> {
        let sequence = self.borrow()?;
        let (mut scored, each) =
            (v1::SequenceScore::default(), asked.wanted_each.min(limits::SCORED_EACH_MAX) as usize);
        let computed = &asked.tokens[..asked.tokens.len() - 1];
        for (n, part) in computed.chunks(limits::ENGINE_OUTPUTS_MAX as usize).enumerate() {
            let first = n * limits::ENGINE_OUTPUTS_MAX as usize;
            let entry = |(at, &token): (usize, &u32)| Entry {
                token: Token(token),
                position: (first + at) as u32,
                sequence,
                output: true,
            };
            let entries: Vec<Entry> = part.iter().enumerate().map(entry).collect();
            self.llama.decode(adapter, &entries, Vec::new())?;
            for at in 0..part.len() {
                let logits = self.llama.logits(at)?;
                let log_sum = logprobs::log_sum(logits);
                let from = (first + at) * each;
                let wanted: Vec<Token> = match asked.wanted.get(from..from + each) {
                    Some(wanted) if !asked.wanted.is_empty() => wanted.iter().map(|&id| Token(id)).collect(),
                    _ => logprobs::likeliest(logits, each),
                };
                scored.tokens.extend(wanted.iter().map(|token| token.0));
                scored.logprobs.extend(wanted.iter().map(|&token| logprobs::of(logits, log_sum, token)));
            }
        }
        self.llama.forget(sequence, 0);
        Ok(scored)
    }

    fn check_length(&self, tokens: usize) -> Result<(), Failure> {
        match tokens {
            0 | 1 => Err(Failure::new(CODE_BAD_REQUEST, "at least two tokens are needed")),
            tokens if tokens > self.context as usize => {
                let message = format!("{tokens} tokens do not fit in {}", self.context);
                Err(Failure::new(CODE_CONTEXT_LENGTH, message))
            }
            _ => Ok(()),
        }
    }

    fn borrow(&mut self) -> Result<u32, Failure> {
        let sequence = self.batching.borrow(&mut self.llama);
        sequence.ok_or_else(|| Failure::new(CODE_BUSY, "all places of this replica are taken"))
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Failure {
        Failure::new(CODE_BAD_REQUEST, error.to_string())
    }
}
