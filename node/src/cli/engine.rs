//! `fednode engine`: servers beside this node that stand in for slots while no verified replica is ready. Without a command it
//! lists them; with `--socket` it is the child process of a replica, which only the node starts.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fednode_proto::v1;
use fednode_proto::v1::external_request::Action;
use serde::Deserialize;

use super::admin;
use super::exit::Failure;
use super::parse;
use super::run::Out;
use super::table::{columns, table_within};
use crate::core::external::{EngineKey, EngineUrl, NotAUrl};
use crate::core::limits;
use crate::core::types::SlotName;
use crate::core::view::EngineView;

/// `fednode engine`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct EngineArgs {
    /// Socket to serve: the child process that runs one replica; started by the node
    #[arg(long, hide = true)]
    pub(super) socket: Option<PathBuf>,
    /// Print the GPUs that this build can compute on, as JSON
    #[arg(long, conflicts_with = "socket")]
    pub(super) devices: bool,
    #[command(subcommand)]
    command: Option<EngineCommand>,
}

#[derive(Subcommand, Debug)]
enum EngineCommand {
    /// Let an OpenAI-compatible server answer for a slot while no verified replica is ready
    Add(AddArgs),
    /// List them, and whether they answer
    List,
    /// Take one out; the server itself runs on
    Remove {
        /// The slot, or the server's address for all that it stands in for
        #[arg(value_name = "URL|SLOT")]
        what: String,
    },
}

#[derive(Args, Debug)]
struct AddArgs {
    /// Where it listens, such as http://127.0.0.1:8080; https unless it is on this machine or a private network
    #[arg(value_parser = url)]
    url: String,
    /// The slot it stands in for
    #[arg(long = "as", value_name = "SLOT", value_parser = parse::slot_name)]
    slot: SlotName,
    /// What the server calls the model; asked of the server if not given
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// A file with the key that the server wants
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Accept that nobody has verified its precision, though the roster's floor is F16
    #[arg(long)]
    unverified: bool,
}

/// Text that is no address is wrong use; an address that may not be used is the node's to refuse.
fn url(text: &str) -> Result<String, NotAUrl> {
    match text.parse::<EngineUrl>() {
        Err(why @ NotAUrl::Form(_)) => Err(why),
        Ok(_) | Err(NotAUrl::Public(_)) => Ok(text.to_owned()),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Document {
    engines: Vec<EngineView>,
    removed: Vec<String>,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: EngineArgs) -> Result<(), Failure> {
    let action = match args.command {
        None | Some(EngineCommand::List) => None,
        Some(EngineCommand::Remove { what }) => Some(Action::Remove(what)),
        Some(EngineCommand::Add(add)) => Some(Action::Add(v1::AddExternal {
            key: add.key_file.as_deref().map(key).transpose()?.unwrap_or_default(),
            url: add.url,
            slot: add.slot.to_string(),
            model: add.model.unwrap_or_default(),
            unverified: add.unverified,
        })),
    };
    let request = v1::ExternalRequest { action };
    let reply = admin::connect(data_dir).await?.external(request).await?.into_inner();
    let document = admin::json_document(&reply.json)?;
    out.either(&document, || {
        serde_json::from_value(document.clone()).map_or_else(|_| String::new(), |found| text(&found, columns()))
    });
    Ok(())
}

/// The key in a file, without the line break that editors leave.
fn key(path: &Path) -> Result<String, Failure> {
    let called = path.display();
    let failed = |error: std::io::Error| Failure::failed(format!("cannot read the key in {called}: {error}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limits::EXTERNAL_KEY_BYTES_MAX as u64 + 64).read_to_string(&mut text).map_err(failed)?;
    let key = EngineKey::new(text.trim());
    let key =
        key.ok_or_else(|| Failure::refused(format!("{called} does not hold one key on one line, without spaces")))?;
    Ok(key.secret().to_owned())
}

fn text(document: &Document, columns: usize) -> String {
    let removed: String =
        document.removed.iter().map(|slot| format!("{slot} has no external engine here any more\n")).collect();
    if document.engines.is_empty() {
        return match removed.is_empty() {
            true => "no external engine is here; `fednode engine add URL --as SLOT` puts one in\n".to_owned(),
            false => removed,
        };
    }
    let rows: Vec<Vec<String>> = document.engines.iter().map(row).collect();
    format!("{removed}{}", table_within(&["SLOT", "STATE", "PRECISION", "ENGINE"], &rows, columns))
}

fn row(engine: &EngineView) -> Vec<String> {
    let key = if engine.has_key { ", with a key" } else { "" };
    let why = if engine.reason.is_empty() { String::new() } else { format!(": {}", engine.reason) };
    let what = format!("{} at {}{key}{why}", engine.model, engine.url);
    vec![engine.slot.clone(), engine.state.clone(), engine.precision.clone(), what]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;

    #[test]
    fn a_list_says_which_answers_and_why_not() {
        let engine = |slot: &str, state: &str, reason: &str| EngineView {
            slot: slot.into(),
            url: "http://127.0.0.1:8080".into(),
            model: "llama".into(),
            state: state.into(),
            reason: reason.into(),
            precision: "unverified".into(),
            has_key: state == "ready",
        };
        let engines = vec![engine("UCM", "ready", ""), engine("ULM", "away", "nothing answers")];
        let document = Document { engines, removed: vec!["UFM".into()] };
        golden::check("engines", |columns| text(&document, columns));
        assert!(text(&Document::default(), 80).starts_with("no external engine is here"));
    }

    #[test]
    fn a_key_file_has_one_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, "sk-one\n").expect("written");
        assert_eq!(key(&path), Ok("sk-one".to_owned()));
        for bad in ["", "two words", "a\nb", &"k".repeat(2000)] {
            std::fs::write(&path, bad).expect("written");
            assert!(key(&path).is_err(), "{bad}");
        }
    }
}
