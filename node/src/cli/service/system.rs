//! The service managers of this machine: what has to be done for them, doing it, and asking them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::unit::{LABEL, NAME, STATE_DIR, USER, Unit, launchd, memory_percent, systemd};
use crate::cli::exit::Failure;
use crate::core::checkup::ServiceFacts;
use crate::core::sizing::ram_reserve_bytes;
use crate::{engine, hardware};

const UNIT_FILE: &str = "/etc/systemd/system/fednode.service";
const PLIST_FILE: &str = "/Library/LaunchDaemons/io.github.fednode.plist";
/// Groups whose members may use GPUs, on the systems that have them.
const GPU_GROUPS: [&str; 2] = ["render", "video"];
/// A node that ends at once is not called started.
const STARTED_AFTER: Duration = Duration::from_secs(2);
/// Where the reason stands.
pub(super) const LOG_HINT: &str = "`journalctl -u fednode` (on macOS fednode.log in the data directory) says why";

/// What starts programs here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manager {
    Systemd,
    Launchd,
}

impl Manager {
    /// The one that runs.
    pub(super) fn here() -> Option<Manager> {
        // sd_booted(3).
        if Path::new("/run/systemd/system").is_dir() {
            return Some(Manager::Systemd);
        }
        cfg!(target_os = "macos").then_some(Manager::Launchd)
    }

    /// The one that such systems usually have.
    pub(super) fn of_this_system() -> Manager {
        if cfg!(target_os = "macos") { Manager::Launchd } else { Manager::Systemd }
    }

    fn name(self) -> &'static str {
        match self {
            Manager::Systemd => "systemd",
            Manager::Launchd => "launchd",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Manager::Systemd => UNIT_FILE,
            Manager::Launchd => PLIST_FILE,
        }
    }
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Write a file that all may read.
    Write { path: PathBuf, text: String },
    /// Delete one.
    Remove(PathBuf),
    /// Run a program; it must succeed.
    Run(Vec<String>),
}

impl Step {
    fn run(line: &str) -> Step {
        Step::Run(line.split(' ').map(str::to_owned).collect())
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        match self {
            Step::Write { path, text } => format!("write {}:\n\n{text}", path.display()),
            Step::Remove(path) => format!("delete {}\n", path.display()),
            Step::Run(words) => format!("run {}\n", words.join(" ")),
        }
    }

    /// For scripts.
    pub(super) fn document(&self) -> Value {
        match self {
            Step::Write { path, text } => json!({"write": path, "text": text}),
            Step::Remove(path) => json!({"delete": path}),
            Step::Run(words) => json!({"run": words}),
        }
    }

    /// Does it.
    pub(super) fn take(&self) -> Result<(), Failure> {
        match self {
            Step::Write { path, text } => {
                write(path, text).map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
            }
            Step::Remove(path) => match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Failure::failed(format!("cannot delete {}: {error}", path.display())))
                }
                _ => Ok(()),
            },
            Step::Run(words) => {
                let failed = |why: String| Failure::failed(format!("`{}` failed: {why}", words.join(" ")));
                let (program, args) = words.split_first().ok_or_else(|| failed("it is empty".to_owned()))?;
                let output = Command::new(program).args(args).stdin(Stdio::null()).output();
                let output = output.map_err(|error| failed(error.to_string()))?;
                match output.status.success() {
                    true => Ok(()),
                    false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
                }
            }
        }
    }
}

/// Beside it first, so that whoever reads it reads a whole one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// What makes `unit` a service, whatever was there before.
pub(super) fn install(manager: Manager, unit: &Unit) -> Vec<Step> {
    let path = PathBuf::from(manager.file());
    match manager {
        Manager::Systemd => {
            let user = format!(
                "useradd --system --user-group --home-dir {STATE_DIR} --no-create-home --shell /usr/sbin/nologin {USER}"
            );
            let missing = (!is_known("/etc/passwd", USER)).then(|| Step::run(&user));
            let write = Step::Write { path, text: systemd(unit) };
            let then =
                ["systemctl daemon-reload", "systemctl enable fednode.service", "systemctl restart fednode.service"];
            missing.into_iter().chain([write]).chain(then.map(Step::run)).collect()
        }
        Manager::Launchd => {
            let file = path.display().to_string();
            let out = is_loaded().then(|| Step::run(&format!("launchctl bootout system/{LABEL}")));
            let write = Step::Write { path, text: launchd(unit) };
            out.into_iter().chain([write, Step::run(&format!("launchctl bootstrap system {file}"))]).collect()
        }
    }
}

/// What takes it out.
pub(super) fn uninstall(manager: Manager) -> Vec<Step> {
    let remove = Step::Remove(PathBuf::from(manager.file()));
    match manager {
        Manager::Systemd => {
            vec![Step::run("systemctl disable --now fednode.service"), remove, Step::run("systemctl daemon-reload")]
        }
        Manager::Launchd => vec![Step::run(&format!("launchctl bootout system/{LABEL}")), remove],
    }
}

/// The service of this machine: its memory and its groups are looked at.
pub(super) fn unit_here(program: PathBuf, data_dir: PathBuf, args: Vec<String>) -> Result<Unit, Failure> {
    let hardware = hardware::probe(&data_dir, None, false);
    let total_bytes = hardware.host().map_or(0, |domain| domain.total_bytes);
    let groups = GPU_GROUPS.into_iter().filter(|group| is_known("/etc/group", group)).map(str::to_owned).collect();
    // launchd has no words for making users; whoever typed sudo owns the service.
    let user = std::env::var("SUDO_USER").unwrap_or_else(|_| "nobody".to_owned());
    Ok(Unit {
        program,
        data_dir,
        args,
        memory_percent: memory_percent(total_bytes, ram_reserve_bytes(total_bytes)),
        groups,
        gpus: engine::FOR_GPUS,
        user,
    })
}

/// Is there a user, or a group, of this name?
fn is_known(file: &str, name: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.split(':').next() == Some(name))
}

fn is_loaded() -> bool {
    answer("launchctl", &["print", &format!("system/{LABEL}")]).is_some()
}

/// How the service stands.
pub(in crate::cli) fn look() -> ServiceFacts {
    let Some(manager) = Manager::here() else { return ServiceFacts::default() };
    let installed = match manager {
        // A package may have put it elsewhere.
        Manager::Systemd => answer("systemctl", &["cat", NAME]).is_some(),
        Manager::Launchd => Path::new(PLIST_FILE).is_file(),
    };
    let word = |verb: &str| said("systemctl", &[verb, NAME]);
    let (enabled, state) = match manager {
        Manager::Systemd => (word("is-enabled") == "enabled", word("is-active")),
        Manager::Launchd => (installed, if is_loaded() { "active" } else { "not loaded" }.to_owned()),
    };
    ServiceFacts { manager: manager.name().to_owned(), installed, enabled, active: state == "active", state }
}

/// After a start: it must still run when a faulty one has ended.
pub(super) fn wait_active() -> ServiceFacts {
    let begin = Instant::now();
    loop {
        let facts = look();
        if !facts.active || begin.elapsed() >= STARTED_AFTER {
            return facts;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn answer(program: &str, args: &[&str]) -> Option<()> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    output.status.success().then_some(())
}
