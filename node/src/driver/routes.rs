//! Whom a client means by `model`, with the rules of this node and what is published now; and `fednode routes`, which needs no
//! node: the rules are a file of the data directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::core::route::auto::{Chosen, Routes, Said};
use crate::core::route::local::LOCAL;
use crate::core::route::naming::{self, Nobody, Target};
use crate::core::types::SlotName;
use crate::driver::error::RunError;
use crate::driver::node::Node;
use crate::http::ApiError;
use crate::store::datadir::DataDir;
use crate::store::routes;

/// The rules that hold in a data directory, and the file they are from; `None`: fednode brought them.
pub fn read(data_dir: &Path) -> Result<(Routes, Option<PathBuf>), RunError> {
    // Where nobody has started a node yet hold the rules that fednode brings.
    let folder = DataDir::peek(data_dir).map_or_else(|_| data_dir.to_owned(), |view| view.path().to_owned());
    Ok(routes::read(&folder)?)
}

impl Node {
    /// See `core/route/naming`. `slots`: those that the client may use; `None`: all.
    pub(super) async fn whom(
        &self,
        model: &str,
        said: Said,
        slots: Option<BTreeSet<SlotName>>,
    ) -> Result<Chosen, ApiError> {
        if let Some(chosen) = self.bells(model).await {
            return Ok(chosen);
        }
        let (rules, name) = (self.routes.now(), model.to_owned());
        let found = self.read(move |machine| {
            let may = |slot: &SlotName| slots.as_ref().is_none_or(|slots| slots.contains(slot));
            naming::resolve(&name, &said, &rules, &machine.config().catalog, may)
        });
        match found.await {
            Some(Ok(chosen)) => Ok(chosen),
            Some(Err(Nobody::Unknown)) => Err(ApiError::model_not_found(model)),
            Some(Err(nobody)) => Err(ApiError { message: nobody.to_string(), ..ApiError::model_not_found(model) }),
            None => Err(ApiError::from_code("engine_failed", "the node is ending; ask another one")),
        }
    }

    /// What is left to the local model, if there is one, without asking who is meant: it has a name of its own, and a laptop that
    /// was started away from its federation does not know what there is.
    async fn bells(&self, model: &str) -> Option<Chosen> {
        if !self.bell.is_there() {
            return None;
        }
        let named = if model == naming::AUTO { LOCAL } else { model };
        let slot = named.parse::<Target>().ok()?;
        let bells = model == LOCAL || self.read(|machine| machine.config().catalog.roster().is_none()).await?;
        bells.then(|| Chosen { slot, task: "local".to_owned() })
    }
}
