//! `fednode owner`: the owner's key to and from a recovery file.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use fednode_proto::v1;
use serde_json::{Value, json};

use super::exit::Failure;
use super::run::Out;
use super::{admin, up};
use crate::driver::owner::{self, OwnerError};

/// A recovery file has some 400 bytes.
const RECOVERY_BYTES_MAX: u64 = 16 << 10;

/// What `fednode owner` does.
#[derive(Subcommand, Debug)]
pub(super) enum OwnerCommand {
    /// Write the owner's key to a file that brings the federation back should this machine be lost. Whoever has it owns the
    /// federation
    Export {
        /// Where to; a file that exists is not overwritten
        file: PathBuf,
    },
    /// Take the owner's key from a recovery file, on a machine that is a member: from then on it can do whatever the owner's
    /// machine can
    Import {
        /// The file
        file: PathBuf,
    },
}

pub(super) async fn run(out: Out, data_dir: &Path, command: OwnerCommand) -> Result<(), Failure> {
    match command {
        OwnerCommand::Export { file } => {
            let federation = owner::export(data_dir, &file).map_err(failure)?.to_string();
            out.say(&json!({"federation": federation, "file": file}), || exported(&file));
        }
        OwnerCommand::Import { file } => {
            let recovery = up::read_file(&file, RECOVERY_BYTES_MAX)?;
            let document = import(data_dir, recovery).await?;
            out.say(&document, || imported(document["known_before"] == true));
        }
    }
    Ok(())
}

/// Through the running node, or on its disk when none runs.
async fn import(data_dir: &Path, recovery: String) -> Result<Value, Failure> {
    match admin::connect(data_dir).await {
        Ok(mut client) => {
            let reply = client.import_owner(v1::ImportOwnerRequest { recovery }).await?.into_inner();
            admin::json_document(&reply.json)
        }
        Err(failure) if failure.is_no_node() => {
            let (federation, known_before) = owner::import(data_dir, &recovery).map_err(self::failure)?;
            Ok(json!({"federation": federation.to_string(), "known_before": known_before}))
        }
        Err(failure) => Err(failure),
    }
}

fn exported(file: &Path) -> String {
    format!(
        "The owner's key is in {}. Whoever has that file owns the federation, and it is not encrypted:\n\
         move it off this machine, to where you keep what must not be lost.\n\
         Should this machine be lost, type on any other member: fednode owner import FILE\n",
        file.display()
    )
}

fn imported(known_before: bool) -> String {
    match known_before {
        true => "this machine has the owner's key already\n".to_owned(),
        false => "this machine has the owner's key now: it can invite, revoke, and name admins.\n\
                  If the machine that had it before is lost, turn it out: fednode members revoke NAME\n"
            .to_owned(),
    }
}

fn failure(error: OwnerError) -> Failure {
    match error.is_refusal() {
        true => Failure::refused(error.to_string()),
        false => Failure::failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;
    use crate::cli::table::prose;

    #[test]
    fn where_the_key_is_and_what_it_is_good_for_is_said() {
        let text = exported(Path::new("/media/stick/owner")) + &imported(true) + &imported(false);
        golden::check("owner", |columns| prose(&text, columns));
    }
}
