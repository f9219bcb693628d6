//! `status --watch` and `transfers --watch` in a real terminal and without one: what happens is told, a node that is gone is named
//! and comes back, the window may grow, and the terminal is given back as it was.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fednode_tests::{Federation, NodeProcess, NodeSpec, binary, until};

const LIMIT: Duration = Duration::from_secs(40);

/// A command in a terminal of its own, made by script(1), and what that shows.
struct Window {
    child: Child,
    keys: ChildStdin,
    shown: Arc<Mutex<vt100::Parser>>,
    /// Where the terminal is among the devices, once the command runs.
    device: PathBuf,
}

impl Window {
    fn open(node: &NodeProcess, folder: &Path, command: &str) -> Window {
        let device = folder.join(format!("{}.tty", command.replace(' ', "-")));
        let line = format!(
            "tty > '{}'; stty rows 40 cols 80; exec '{}' --data-dir '{}' {command}",
            device.display(),
            binary::fednode().expect("the program").display(),
            node.data_dir().display()
        );
        let mut script = Command::new("script");
        script.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script(1)");
        let (keys, mut output) = (child.stdin.take().expect("keys"), child.stdout.take().expect("a screen"));
        let shown = Arc::new(Mutex::new(vt100::Parser::new(40, 80, 0)));
        let parser = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = output.read(&mut bytes) {
                if count == 0 {
                    return;
                }
                parser.lock().expect("the screen").process(&bytes[..count]);
            }
        });
        Window { child, keys, shown, device }
    }

    fn text(&self) -> String {
        self.shown.lock().expect("the screen").screen().contents()
    }

    #[track_caller]
    fn shows(&self, what: &str) {
        let seen = until(&format!("{what:?} on the screen"), LIMIT, || {
            let text = self.text();
            if text.contains(what) { Ok(()) } else { Err(format!("\n{text}")) }
        });
        seen.expect("shown");
    }

    fn resize(&self, rows: u16, columns: u16) {
        self.shown.lock().expect("the screen").screen_mut().set_size(rows, columns);
        let device = std::fs::read_to_string(&self.device).expect("the terminal's name");
        let size = [rows.to_string(), columns.to_string()];
        let mut stty = Command::new("stty");
        stty.args(["-F", device.trim(), "rows", &size[0], "cols", &size[1]]);
        assert!(stty.status().expect("stty").success());
    }

    /// Presses keys; the command must end well and give the terminal back.
    fn close(mut self, keys: &[u8]) {
        self.keys.write_all(keys).and_then(|()| self.keys.flush()).expect("typed");
        let ended = until("the end of the command", LIMIT, || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}")),
        });
        assert!(ended.expect("it ended").success());
        let back = until("the terminal as it was", LIMIT, || {
            let parser = self.shown.lock().expect("the screen");
            let screen = parser.screen();
            match (screen.alternate_screen(), screen.hide_cursor()) {
                (false, false) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        back.expect("given back");
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn desk() -> Federation {
    let mut federation = Federation::new().expect("a federation");
    federation.create(NodeSpec::full("desk").memory("300MiB")).expect("up");
    federation
}

#[test]
fn a_terminal_shows_what_happens_and_survives_the_node() {
    let mut federation = desk();
    let window = Window::open(federation.node("desk"), federation.folder(), "status --watch");
    window.shows("desk coordinates, epoch");
    window.shows("MEMORY");
    federation.node("desk").publish("UCM").expect("published");
    window.shows("UCM is resident on desk");

    federation.node_mut("desk").kill9();
    window.shows("The node has not answered for");
    window.shows("no node is running");
    federation.node_mut("desk").up().expect("up again");
    window.shows("the node answers again after");
    window.resize(36, 120);
    until("slots and transfers side by side", LIMIT, || {
        let text = window.text();
        let side_by_side = text.lines().any(|line| line.contains("SLOTS") && line.contains("SWAPS AND TRANSFERS"));
        if side_by_side { Ok(()) } else { Err(format!("\n{text}")) }
    })
    .expect("a wider picture");
    window.close(b"q");

    for (command, keys) in [("transfers --watch", &b"\x03"[..]), ("status --watch", b"\x1b")] {
        let window = Window::open(federation.node("desk"), federation.folder(), command);
        window.shows("EVENTS");
        window.close(keys);
    }
}

#[test]
fn without_a_terminal_it_writes_lines() {
    let federation = desk();
    let node = federation.node("desk");
    let mut command = Command::new(binary::fednode().expect("the program"));
    command.arg("--data-dir").arg(node.data_dir()).args(["status", "--watch"]).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut read_until = |what: &str| {
        let found = lines.by_ref().map(|line| line.expect("a line")).find(|line| line.contains(what));
        let line = found.unwrap_or_else(|| panic!("it ended without {what:?}"));
        assert!(!line.contains('\u{1b}'), "{line:?}");
        line
    };
    read_until("federation ");
    read_until("SLOT ");
    node.publish("ULM").expect("published");
    let line = read_until("ULM is resident on desk");
    assert!(line.starts_with("20") && line.contains('Z'), "with its time: {line}");
    child.kill().expect("killed");
    child.wait().expect("ended");

    let refused = node.cli(&["status", "--watch", "--json"]).expect("it ran");
    assert_eq!(refused.code, 2, "{refused:?}");
}
