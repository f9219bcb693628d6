//! The text that service managers are given, word for word; and what systemd itself thinks of it, where it is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::system::{Manager, Step, install, uninstall};
use super::unit::{Unit, launchd, systemd};
use super::{ServiceFacts, check_flags, status_text, told};
use crate::cli::golden;

/// As a line of a file, not of a terminal.
const ANY_WIDTH: usize = 200;
/// systemd's own measure from 0 (closed) to 10 (open); a plain service has 9.6.
const EXPOSURE_MAX: u32 = 25;

fn unit() -> Unit {
    Unit {
        program: PathBuf::from("/usr/bin/fednode"),
        data_dir: PathBuf::from("/var/lib/fednode"),
        args: ["--memory", "24GiB", "--name", "the desk"].map(str::to_owned).to_vec(),
        memory_percent: 93,
        groups: vec!["render".to_owned(), "video".to_owned()],
        gpus: false,
        user: "me".to_owned(),
    }
}

#[test]
fn the_unit_of_systemd() {
    golden::check_one("service-systemd", &systemd(&unit()), ANY_WIDTH);
    let elsewhere = Unit { data_dir: PathBuf::from("/srv/my models"), groups: vec![], gpus: true, ..unit() };
    let text = systemd(&elsewhere);
    assert!(text.contains("\nReadWritePaths=\"/srv/my models\"\n") && !text.contains("StateDirectory="), "{text}");
    assert!(!text.contains("MemoryDenyWriteExecute") && !text.contains("SupplementaryGroups"), "{text}");
}

#[test]
fn the_property_list_of_launchd() {
    golden::check_one("service-launchd", &launchd(&unit()), ANY_WIDTH);
}

#[test]
fn the_steps_in_their_order() {
    let short = |step: &Step| step.told().lines().next().unwrap_or_default().to_owned();
    let steps = install(Manager::Systemd, &unit());
    // The user is made only where there is none.
    let steps: Vec<String> = steps.iter().map(short).filter(|line| !line.starts_with("run useradd")).collect();
    let expect = [
        "write /etc/systemd/system/fednode.service:",
        "run systemctl daemon-reload",
        "run systemctl enable fednode.service",
        "run systemctl restart fednode.service",
    ];
    assert_eq!(steps, expect);
    let text = told(&uninstall(Manager::Systemd));
    assert!(text.starts_with("run systemctl disable --now fednode.service\n\ndelete /etc/systemd/system/"), "{text}");
    let text = told(&install(Manager::Launchd, &unit()));
    assert!(text.contains("run launchctl bootstrap system /Library/LaunchDaemons/io.github.fednode.plist"), "{text}");
}

#[test]
fn flags_that_up_would_not_take_are_refused_before_anything_is_written() {
    let check = |line: &[&str]| check_flags(&line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    assert_eq!(check(&[]), Ok(()));
    assert_eq!(check(&["--memory", "24GiB", "--name", "the desk"]), Ok(()));
    for bad in [&["--memory", "lots"][..], &["--fly"], &["extra"], &["--name", "a\nExecStart=/bin/sh"]] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn how_it_stands_is_one_sentence() {
    let facts = |installed, enabled, active| ServiceFacts {
        manager: "systemd".to_owned(),
        installed,
        enabled,
        active,
        state: "failed".to_owned(),
    };
    let check = |facts: ServiceFacts, expect: &str| assert_eq!(status_text(&facts), expect);
    check(ServiceFacts::default(), "neither systemd nor launchd runs here\n");
    check(facts(true, true, true), "fednode is a service of systemd, starts with this machine and runs\n");
    check(
        facts(true, false, false),
        "fednode is a service of systemd, does not start with this machine and does not run (failed)\n",
    );
    check(
        facts(false, false, false),
        "fednode is no service of systemd; `sudo fednode service install` makes it one\n",
    );
}

/// `systemd-analyze` where it exists; elsewhere there is nothing to hold the text against.
#[test]
fn systemd_finds_no_fault_and_little_exposure() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fednode.service");
    // A program that is there, and no groups that might not be.
    let here = Unit { program: PathBuf::from("/bin/true"), groups: vec![], ..unit() };
    std::fs::write(&path, systemd(&here)).expect("written");
    let Some(verified) = analyze(&["verify", "--man=no"], &path) else { return };
    assert_eq!(verified, (true, String::new()), "systemd-analyze verify");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let (within, text) =
        analyze(&["security", "--offline=true", "--no-pager", &threshold], &path).expect("it ran before");
    assert!(within, "more exposed than {EXPOSURE_MAX} tenths:\n{text}");
}

/// Did it succeed, and what did it say?
fn analyze(args: &[&str], unit: &Path) -> Option<(bool, String)> {
    let output = Command::new("systemd-analyze").args(args).arg(unit).output().ok()?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some((output.status.success(), text.trim().to_owned()))
}
