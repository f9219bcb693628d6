//! In place of `model` in a build without the `llama` feature: nothing loads, and the owner is told why.

use std::convert::Infallible;

use fednode_proto::v1;

use super::Failure;
use super::reply::Reply;

/// A model that is ready to answer: there is none in this build, so nothing below is ever called.
pub(super) struct Model(Infallible);

impl Model {
    /// Always an error.
    pub(super) fn open(_: &v1::LoadRequest, _: &mut dyn FnMut(u64, u64)) -> Result<(Model, v1::LoadReply), String> {
        Err("this fednode was built without its engine (cargo feature `llama`); use an external engine".to_owned())
    }

    pub(super) fn has_room(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn is_idle(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn step(&mut self) {
        match self.0 {}
    }

    pub(super) fn start(&mut self, _: &v1::GenerateRequest, _: Reply) {
        match self.0 {}
    }

    pub(super) fn tokenize(&self, _: &str) -> Result<Vec<u32>, Failure> {
        match self.0 {}
    }

    pub(super) fn embed(&mut self, _: &v1::EmbedRequest) -> Result<v1::EmbedReply, Failure> {
        match self.0 {}
    }

    pub(super) fn score(&mut self, _: &v1::ScoreRequest) -> Result<v1::ScoreReply, Failure> {
        match self.0 {}
    }
}
