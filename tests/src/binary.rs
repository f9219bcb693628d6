//! Finds the `fednode` binary to test: the one that FEDNODE_BIN names, else the one built beside this program.

use std::path::{Path, PathBuf};

use crate::Error;

/// Names the binary to test.
pub const VARIABLE: &str = "FEDNODE_BIN";

/// The binary's absolute path.
pub fn fednode() -> Result<PathBuf, Error> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        let named = PathBuf::from(named);
        return named.canonicalize().map_err(|_| Error::NoBinary { looked: named.display().to_string() });
    }
    let program = std::env::current_exe().map_err(Error::io("find out where this program lies"))?;
    // Programs lie in target/PROFILE, tests in target/PROFILE/deps.
    let folders = program.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name())).find(|path| path.is_file());
    found.ok_or_else(|| Error::NoBinary { looked: looked_in(&program) })
}

fn name() -> String {
    format!("fednode{}", std::env::consts::EXE_SUFFIX)
}

fn looked_in(program: &Path) -> String {
    program.parent().unwrap_or(program).display().to_string()
}
