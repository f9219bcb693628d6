//! Runs `fednode` until it ends by itself. Unlike the harness' `cli` it has a limit: a node that takes what it should
//! refuse would run on.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use fednode_tests::{Output, binary, until};

const LIMIT: Duration = Duration::from_secs(20);

/// `fednode --data-dir DATA_DIR ARGS`. One that runs on is killed; its code is -1 then.
pub fn run(data_dir: &Path, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| folder.path().join(name));
    let mut command = Command::new(binary::fednode().expect("a binary to test"));
    command.arg("--data-dir").arg(data_dir).args(args).stdin(Stdio::null()).env_remove("FEDNODE_TICKET");
    command.stdout(File::create(&stdout).expect("a file for stdout"));
    command.stderr(File::create(&stderr).expect("a file for stderr"));
    let mut child = command.spawn().expect("fednode starts");
    let ended = until("ending by itself", LIMIT, || match child.try_wait() {
        Ok(Some(status)) => Ok(status.code().unwrap_or(-1)),
        Ok(None) => Err("it runs on".to_owned()),
        Err(error) => Err(error.to_string()),
    });
    if ended.is_err() {
        child.kill().expect("it can be killed");
        child.wait().expect("it ends when killed");
    }
    let text = |path| String::from_utf8_lossy(&std::fs::read(path).expect("its output can be read")).into_owned();
    Output { code: ended.unwrap_or(-1), stdout: text(&stdout), stderr: text(&stderr) }
}

/// Takes a port, as another program would, until it is dropped. Returns its address too.
pub fn taken_port() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address").to_string();
    (listener, address)
}

/// An address that was free just now.
pub fn free_address() -> String {
    taken_port().1
}
