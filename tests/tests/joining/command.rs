//! A `fednode` command that goes on while the test looks at what it prints.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use fednode_tests::{Error, Output, binary, until};

const LIMIT: Duration = Duration::from_secs(20);

/// The command. Dropping it kills it.
pub struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    seen: String,
}

impl Running {
    /// `fednode --data-dir DATA_DIR ARGS`.
    pub fn start(data_dir: &Path, args: &[&str]) -> Running {
        Running::start_with(data_dir, args, &[], "")
    }

    /// The same with environment variables and standard input.
    pub fn start_with(data_dir: &Path, args: &[&str], environment: &[(&str, &str)], input: &str) -> Running {
        let mut line = Command::new(binary::fednode().expect("a binary to test"));
        line.arg("--data-dir").arg(data_dir).args(args).env_remove("FEDNODE_TICKET").envs(environment.iter().copied());
        line.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = line.spawn().expect("fednode starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that does not read its input may have closed it.
        drop(stdin.write_all(input.as_bytes()));
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Running { child, stdout, seen: String::new() }
    }

    /// Reads lines of standard output until `pick` finds something in one.
    pub fn line<T>(&mut self, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        loop {
            let mut line = String::new();
            let read = self.stdout.read_line(&mut line).expect("its output can be read");
            assert!(read > 0, "it ended after {:?}", self.seen);
            self.seen.push_str(&line);
            if let Some(found) = pick(line.trim()) {
                return found;
            }
        }
    }

    /// The ticket in what `fednode invite` prints for people.
    pub fn ticket(&mut self) -> String {
        self.line(|line| line.strip_prefix("fednode join ").map(str::to_owned))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end. Standard output is what was not read before.
    pub fn end(mut self) -> Output {
        let status = until("a command's end", LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(format!("it goes on after {:?}", self.seen)),
            Err(error) => Err(error.to_string()),
        });
        let status = status.unwrap_or_else(|error: Error| panic!("{error}"));
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).expect("text");
        self.child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        Output { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
