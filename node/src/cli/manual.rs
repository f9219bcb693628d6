//! `fednode dev manual`: man pages and the completions of shells, from the same definition that reads the command line.
//! `scripts/release` calls it with the program it has just built, so that nothing is built twice.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::exit::Failure;

const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

/// `fednode dev manual`.
#[derive(Args, Debug)]
pub(super) struct ManualArgs {
    /// Gets the folders `man` and `completions`
    dir: PathBuf,
}

pub(super) fn write(args: &ManualArgs) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot write below {}: {error}", args.dir.display()));
    let pages = write_pages(&args.dir.join("man")).map_err(failed)?;
    let shells = write_completions(&args.dir.join("completions")).map_err(failed)?;
    println!("{pages} man pages and the completions of {shells} shells below {}", args.dir.display());
    Ok(())
}

fn write_completions(dir: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Cli::command(), "fednode", dir)?;
    }
    Ok(SHELLS.len())
}

/// One page for each command that is not hidden, and one for the whole.
fn write_pages(dir: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)?;
    Ok(std::fs::read_dir(dir)?.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page_and_every_shell_its_completions() {
        let folder = tempfile::tempdir().expect("a folder");
        let pages = write_pages(folder.path()).expect("written");
        let page = |name: &str| std::fs::read_to_string(folder.path().join(format!("{name}.1")));
        assert!(pages > 30, "only {pages} pages");
        let up = page("fednode-up").expect("a page for up");
        assert!(
            up.contains(".TH fednode-up 1") && up.contains("\\-\\-memory") && up.contains("\\-\\-data\\-dir"),
            "{up}"
        );
        assert!(page("fednode-members-revoke").expect("a page for a command below another").contains("\\-\\-yes"));
        assert!(page("fednode").expect("the first page").contains("fednode\\-transfers(1)"));
        assert!(page("fednode-dev").is_err(), "what is hidden has no page");

        write_completions(folder.path()).expect("written");
        for name in ["fednode.bash", "fednode.fish", "_fednode"] {
            let text = std::fs::read_to_string(folder.path().join(name)).expect(name);
            assert!(text.contains("transfers") && text.contains("watch"), "{name}");
        }
    }
}
