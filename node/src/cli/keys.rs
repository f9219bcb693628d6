//! `fednode keys`: who may use this node's HTTP API where a key is needed. Works whether the node runs or not; a running one
//! notices by itself.

use std::path::Path;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Failure;
use super::parse;
use super::run::{Out, remark};
use super::table::{columns, table_within};
use crate::core::api_keys::{ApiKey, ApiKeys, KeyName};
use crate::core::types::SlotName;
use crate::driver::{RunError, api_keys};

/// `fednode keys`.
#[derive(Subcommand, Debug)]
pub(super) enum KeysCommand {
    /// Make a key; it is shown once
    Add(AddArgs),
    /// List the keys by name
    List,
    /// Remove a key; it is refused at once
    Remove {
        /// As `fednode keys list` shows it
        #[arg(value_parser = parse::slot_name)]
        name: KeyName,
    },
}

/// `fednode keys add`.
#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// What the key is called: letters, digits, - and _
    #[arg(value_parser = parse::slot_name)]
    name: KeyName,
    /// A slot that the key may use; may be given several times. Without it the key may use and see everything
    #[arg(long, value_name = "SLOT", value_parser = parse::slot_name)]
    slot: Vec<SlotName>,
    /// How long the key is valid, such as 90d; until it is removed if not given
    #[arg(long, value_name = "TIME", value_parser = parse::seconds)]
    expires: Option<u64>,
}

pub(super) fn run(out: Out, data_dir: &Path, command: Option<KeysCommand>) -> Result<(), Failure> {
    match command.unwrap_or(KeysCommand::List) {
        KeysCommand::Add(args) => add(out, data_dir, args),
        KeysCommand::List => list(out, data_dir),
        KeysCommand::Remove { name } => {
            api_keys::remove(data_dir, name).map_err(failure)?;
            out.either(&json!({"removed": name}), || format!("the key {name} is removed\n"));
            Ok(())
        }
    }
}

fn add(out: Out, data_dir: &Path, args: AddArgs) -> Result<(), Failure> {
    let added = api_keys::add(data_dir, args.name, args.slot.into_iter().collect(), args.expires);
    let (secret, key) = added.map_err(failure)?;
    let text = secret.to_text();
    let mut document = document(&key, key.created_unix_s);
    document["key"] = json!(text);
    // The key alone on standard output: KEY=$(fednode keys add laptop) is all that a script needs.
    out.either(&document, || format!("{text}\n"));
    if !out.json {
        remark(&once(key.name.as_str()));
    }
    Ok(())
}

fn once(name: &str) -> String {
    format!("This is the only time that the key {name} is shown. Clients send it as: Authorization: Bearer KEY\n")
}

fn list(out: Out, data_dir: &Path) -> Result<(), Failure> {
    let (keys, now) = api_keys::list(data_dir).map_err(failure)?;
    let documents: Vec<Value> = keys.iter().map(|key| document(key, now)).collect();
    out.either(&json!({"keys": documents}), || listed(&keys, now, columns()));
    Ok(())
}

fn listed(keys: &ApiKeys, now_unix_s: u64, columns: usize) -> String {
    let rows: Vec<Vec<String>> = keys.iter().map(|key| row(key, now_unix_s)).collect();
    match rows.is_empty() {
        true => "there is no key; `fednode keys add NAME` makes one\n".to_owned(),
        false => table_within(&["NAME", "EXPIRES", "SLOTS"], &rows, columns),
    }
}

fn document(key: &ApiKey, now_unix_s: u64) -> Value {
    json!({
        "name": key.name, "slots": key.slots, "created_unix_s": key.created_unix_s,
        "expires_unix_s": key.expires_unix_s, "expired": key.is_expired(now_unix_s),
    })
}

fn row(key: &ApiKey, now_unix_s: u64) -> Vec<String> {
    let expires = match key.expires_unix_s.map(|expires| expires.saturating_sub(now_unix_s)) {
        None => "never".to_owned(),
        Some(0) => "expired".to_owned(),
        Some(left_s) if left_s < 2 * 3600 => format!("in {} min", left_s.div_ceil(60)),
        Some(left_s) if left_s < 2 * 86_400 => format!("in {} h", left_s / 3600),
        Some(left_s) => format!("in {} days", left_s / 86_400),
    };
    let slots: Vec<&str> = key.slots.iter().map(SlotName::as_str).collect();
    let slots = if slots.is_empty() { "all, and the node's state".to_owned() } else { slots.join(", ") };
    vec![key.name.to_string(), expires, slots]
}

fn failure(error: RunError) -> Failure {
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
    fn a_row_says_when_it_ends_and_what_for() {
        let mut key = ApiKey {
            name: KeyName::new("laptop").expect("a name"),
            digest: blake3::hash(b""),
            slots: Default::default(),
            created_unix_s: 0,
            expires_unix_s: None,
        };
        assert_eq!(row(&key, 0), ["laptop", "never", "all, and the node's state"]);
        key.slots = ["UCM", "ULM"].into_iter().map(|slot| SlotName::new(slot).expect("a name")).collect();
        for (expires, says) in [(0, "expired"), (30, "in 1 min"), (7200, "in 2 h"), (90 * 86_400, "in 90 days")] {
            key.expires_unix_s = Some(1000 + expires);
            assert_eq!(row(&key, 1000), ["laptop", says, "UCM, ULM"]);
        }
    }

    #[test]
    fn the_keys_as_a_table() {
        let key = |name: &str, slots: &[&str], expires_unix_s| ApiKey {
            name: KeyName::new(name).expect("a name"),
            digest: blake3::hash(name.as_bytes()),
            slots: slots.iter().map(|slot| SlotName::new(slot).expect("a name")).collect(),
            created_unix_s: 0,
            expires_unix_s,
        };
        let all = ["UAM", "UCM", "UDM", "UFM", "UIM", "ULM", "URM", "judge", "coder", "architect"];
        let mut keys = ApiKeys::default();
        for one in [key("laptop", &[], None), key("phone", &["UCM"], Some(9000)), key("all-of-them", &all, Some(1))] {
            keys.add(one).expect("added");
        }
        golden::check("keys-added", |columns| prose(&once("laptop"), columns));
        golden::check("keys", |columns| listed(&keys, 1000, columns));
        assert!(listed(&ApiKeys::default(), 0, 80).contains("fednode keys add NAME"));
    }
}
