//! `scripts/release` with the program that is under test: what it packages is whole, is what was given, and is the same when it is
//! made again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fednode_tests::binary;

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}{}", text(&output.stdout), text(&output.stderr));
    output
}

fn release(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/release");
    let program = binary::fednode().expect("the program");
    run(Command::new(script).arg("--binary").arg(program).arg("--out").arg(out).env("SOURCE_DATE_EPOCH", "1800000000"));
    let files = std::fs::read_dir(out).expect("its files").map(|entry| entry.expect("an entry").path());
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    files.map(|path| (name(&path), std::fs::read(&path).expect("a file"))).collect()
}

fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).is_file())
}

#[test]
fn what_is_released_is_whole_and_the_same_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let files = release(&first);
    let again = release(&second);
    assert_eq!(files.keys().collect::<Vec<_>>(), again.keys().collect::<Vec<_>>());
    for (name, bytes) in &files {
        assert!(again.get(name) == Some(bytes), "{name} differs when it is made again");
    }
    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&first));
    the_archive(&first, files.keys().find(|name| name.ends_with(".tar.gz")).expect("an archive"));
    if has("dpkg-deb") && has("readelf") {
        the_package(&first, files.keys().find(|name| name.ends_with(".deb")).expect("a package"));
        assert!(files.contains_key("Containerfile"));
    }
}

fn the_archive(out: &Path, name: &str) {
    let unpacked = out.join("unpacked");
    std::fs::create_dir(&unpacked).expect("a folder");
    run(Command::new("tar").arg("-C").arg(&unpacked).arg("-xzf").arg(out.join(name)));
    let root = std::fs::read_dir(&unpacked).expect("a folder").next().expect("one").expect("an entry").path();
    for file in
        ["README.md", "CHANGELOG.md", "LICENSE-MIT", "man/fednode.1", "man/fednode-up.1", "completions/_fednode"]
    {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    let version = run(Command::new(root.join("fednode")).arg("--version"));
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("fednode "));
    run(Command::new("bash").arg("-n").arg(root.join("completions/fednode.bash")));
    std::fs::remove_dir_all(unpacked).expect("removed");
}

fn the_package(out: &Path, name: &str) {
    let package = out.join(name);
    let control = run(Command::new("dpkg-deb").arg("--field").arg(&package));
    let control = String::from_utf8_lossy(&control.stdout).into_owned();
    for line in ["Package: fednode\n", "Depends: libc6 (>= 2.", "Section: net\n"] {
        assert!(control.contains(line), "{control}");
    }
    assert!(!control.contains('@') || control.contains("users.noreply"), "a placeholder is left:\n{control}");
    let root = out.join("root");
    run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root));
    for file in [
        "usr/share/man/man1/fednode-service-install.1.gz",
        "usr/share/bash-completion/completions/fednode",
        "usr/share/zsh/vendor-completions/_fednode",
        "usr/share/fish/vendor_completions.d/fednode.fish",
        "usr/share/doc/fednode/copyright",
    ] {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    run(Command::new(root.join("usr/bin/fednode")).args(["service", "install", "--dry-run"]));
    let scripts = out.join("scripts");
    run(Command::new("dpkg-deb").arg("--control").arg(&package).arg(&scripts));
    for script in ["postinst", "prerm"] {
        run(Command::new("sh").arg("-n").arg(scripts.join(script)));
    }
}
