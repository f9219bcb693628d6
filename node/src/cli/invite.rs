//! `fednode invite`: asks the node for a one-use ticket and says what to type on the other machine.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fednode_proto::v1;
use serde_json::json;

use super::exit::Failure;
use super::run::Out;
use super::{admin, parse};

/// The most an invited machine may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum InvitedRole {
    Full,
    Delegate,
}

/// `fednode invite`.
#[derive(Args, Debug)]
pub(super) struct InviteArgs {
    /// The most the invited machine may become
    #[arg(long, value_enum, default_value = "full")]
    role: InvitedRole,
    /// How long the ticket can be used
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse::seconds)]
    ttl: u64,
    /// Write the ticket to this file, readable by you alone, instead of printing it
    #[arg(long, value_name = "F")]
    ticket_file: Option<PathBuf>,
}

pub(super) async fn run(out: Out, data_dir: &Path, args: InviteArgs) -> Result<(), Failure> {
    let role = match args.role {
        InvitedRole::Full => "full",
        InvitedRole::Delegate => "delegate",
    };
    let request = v1::InviteRequest { role: role.to_owned(), ttl_s: args.ttl };
    let reply = admin::connect(data_dir).await?.invite(request).await?.into_inner();
    let file = args.ticket_file.as_deref();
    if let Some(path) = file {
        write_private(path, &reply.ticket)
            .map_err(|error| Failure::failed(format!("cannot write the ticket to {}: {error}", path.display())))?;
    }
    let ticket = file.is_none().then_some(&reply.ticket);
    let document = json!({
        "ticket": ticket, "ticket_file": file, "role": role, "expires_unix_s": reply.expires_unix_s,
    });
    out.either(&document, || explain(&reply.ticket, file, role, args.ttl));
    Ok(())
}

/// Whole or not at all, and never readable by others, not even while it is written.
fn write_private(path: &Path, ticket: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{ticket}")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn explain(ticket: &str, file: Option<&Path>, role: &str, ttl_s: u64) -> String {
    let life = match (ttl_s / 60, ttl_s % 60) {
        (minutes, 0) => format!("{minutes} min"),
        _ => format!("{ttl_s} s"),
    };
    match file {
        None => {
            format!("One machine may join as {role} within {life}. On that machine, type:\n\n  fednode join {ticket}\n")
        }
        Some(path) => format!(
            "One machine may join as {role} within {life}. Copy {} to it and type there:\n\n  fednode join --ticket-file {}\n",
            path.display(),
            path.file_name().unwrap_or_default().to_string_lossy(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_ticket_file_is_readable_by_its_owner_alone_even_over_an_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ticket");
        std::fs::write(&path, "old, and readable by everyone").expect("written");
        write_private(&path, "new").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new\n");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_command_to_type_is_printed() {
        let text = explain("fednode1abc", None, "full", 900);
        let expect =
            "One machine may join as full within 15 min. On that machine, type:\n\n  fednode join fednode1abc\n";
        assert_eq!(text, expect);
        let text = explain("secret", Some(Path::new("/tmp/t")), "delegate", 90);
        assert!(
            text.contains("within 90 s") && text.ends_with("--ticket-file t\n") && !text.contains("secret"),
            "{text}"
        );
    }
}
