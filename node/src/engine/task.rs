//! What a replica does with text besides continuing it, as a request like any other: embeddings, tokens of a text, the text of
//! tokens. Done at once, on the thread that computes.

use fednode_proto::v1;
use fednode_proto::v1::task::Task;
use fednode_proto::v1::task_reply::Reply as Done;

use super::model::Model;
use super::reply::Reply;
use super::{CODE_BAD_REQUEST, Failure};
use crate::core::limits;

impl Model {
    /// Does what is asked and tells what came of it. `domain` is the adapter's; empty: the base.
    pub(super) fn perform(&mut self, domain: &str, task: &v1::Task, mut reply: Reply) {
        match self.done(domain, task) {
            Ok((tokens, done)) => {
                reply.start(tokens, 0);
                reply.done(v1::TaskReply { reply: Some(done) });
            }
            Err(Failure { code, message }) => reply.error(code, message),
        }
    }

    /// How many tokens were read, and the result.
    fn done(&mut self, domain: &str, task: &v1::Task) -> Result<(u32, Done), Failure> {
        match &task.task {
            Some(Task::Embed(embed)) => {
                let embed = v1::EmbedRequest { domain: domain.to_owned(), ..embed.clone() };
                let reply = self.embed(&embed)?;
                Ok((reply.tokens, Done::Embed(reply)))
            }
            Some(Task::Tokenize(tokenize)) => {
                let tokens = self.tokenize(&tokenize.text)?;
                let pieces = tokens.iter().map(|&token| self.written(token)).collect::<Result<_, _>>()?;
                Ok((tokens.len() as u32, Done::Tokenize(v1::TokenizeReply { tokens, pieces })))
            }
            Some(Task::Detokenize(detokenize)) => {
                let pieces = detokenize.tokens.iter().map(|&token| self.written(token));
                let text = pieces.collect::<Result<Vec<_>, _>>()?.concat();
                let max = limits::DETOKENIZED_BYTES_MAX;
                if text.len() > max {
                    let message = format!("the text of these tokens has {} bytes, more than {max}", text.len());
                    return Err(Failure::new(CODE_BAD_REQUEST, message));
                }
                Ok((detokenize.tokens.len() as u32, Done::Detokenize(v1::DetokenizeReply { text })))
            }
            None => Err(Failure::new(CODE_BAD_REQUEST, "this node is older than whoever asked: it knows no such task")),
        }
    }
}
