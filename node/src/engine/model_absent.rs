//! In place of `model` in a build without the `llama` feature: nothing loads, and the owner is told why.

use std::convert::Infallible;

use fednode_proto::v1;

use super::reply::Reply;

/// A model that is ready to answer: there is none in this build.
pub(super) struct Model(Infallible);

impl Model {
    /// Always an error.
    pub(super) fn open(_: &v1::LoadRequest) -> Result<(Model, v1::LoadReply), String> {
        Err("this fednode was built without its engine (cargo feature `llama`); use an external engine".to_owned())
    }

    /// Never called: no value of this type exists.
    pub(super) fn answer(&mut self, _: &v1::GenerateRequest, _: Reply) {
        match self.0 {}
    }
}
