//! Files that are no managers, and managers where they do not belong.

use std::fs;
use std::path::{Path, PathBuf};

use fednode_tests::{Federation, NodeSpec, managers};

use crate::refusal::{Case, FAILED, Faults, REFUSED, WRONG_USE};
use crate::snapshot::Snapshot;

/// The files to publish, outside the folder that is compared.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let whole = fs::read(managers::file("UCM")).expect("the tiny UCM can be read");
        let adapter = fs::read(managers::file("ULM:core")).expect("the tiny adapter can be read");
        let mut other_format = whole.clone();
        other_format[4] = 99; // the format's version, little-endian, follows the four letters
        let contents: [(&str, &[u8]); 8] = [
            ("empty.gguf", b""),
            ("text.gguf", b"This is a letter to my aunt, not a model. She would not run it either.\n"),
            ("letters-only.gguf", b"GGUF"),
            ("cut-in-header.gguf", &whole[..1000]),
            ("cut-in-half.gguf", &whole[..whole.len() / 2]),
            ("last-byte-missing.gguf", &whole[..whole.len() - 1]),
            ("adapter-cut.gguf", &adapter[..adapter.len() / 2]),
            ("other-format.gguf", &other_format),
        ];
        for (name, content) in contents {
            fs::write(folder.path().join(name), content).expect("a file is written");
        }
        Files { folder }
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("paths of this test are UTF-8").to_owned()
}

fn federation() -> Federation {
    let mut federation = Federation::new().expect("a temporary directory and a binary");
    federation.create(NodeSpec::full("north").memory("64GB")).expect("north starts");
    federation
}

/// What the federation would answer with: every slot's artifact, and every adapter's.
fn published(federation: &Federation, node: &str) -> serde_json::Value {
    let state = federation.node(node).state().expect("the node tells its state");
    let slots = state["slots"].as_array().cloned().unwrap_or_default();
    assert!(!slots.is_empty(), "the state has no slots: {state}");
    let pick = |slot: &serde_json::Value| (slot["name"].clone(), slot["artifact"].clone(), slot["adapters"].clone());
    serde_json::json!(slots.iter().map(pick).collect::<Vec<_>>())
}

/// Checks all cases on `node`, which must publish nothing new.
fn check_all(federation: &Federation, node: &str, cases: &[Case<'_>]) {
    let mut faults = Faults::default();
    let (before, slots) = (Snapshot::federation(federation), published(federation, node));
    for case in cases {
        faults.check(case, &before, |args| federation.node(node).cli(args).expect("the command runs"));
        faults.expect(case.name, published(federation, node) == slots, "a slot has another artifact");
    }
    faults.none();
}

#[test]
fn a_file_that_is_no_whole_full_precision_model_is_refused() {
    let (files, federation) = (Files::new(), federation());
    let quantised = files.path("quantised.gguf");
    let shape = "--layers 2 --hidden 64 --heads 4 --ffn 96 --vocab 320 --context 128 --dtype q8_0".split(' ');
    let make: Vec<&str> = ["dev", "make-model", "--out", &quantised].into_iter().chain(shape).collect();
    federation.node("north").command(&make).expect("a quantised model is made");
    federation.node("north").publish("ULM").expect("the base of the adapters is published");

    let bad: [(&str, i32, &[&str]); 11] = [
        ("empty.gguf", REFUSED, &["empty.gguf", "not a model|empty|gguf"]),
        ("text.gguf", REFUSED, &["text.gguf", "gguf", "not a model|no model"]),
        ("letters-only.gguf", REFUSED, &["letters-only.gguf", "ends|truncated|incomplete|short|cut"]),
        ("cut-in-header.gguf", REFUSED, &["cut-in-header.gguf", "ends|truncated|incomplete|short|cut"]),
        ("cut-in-half.gguf", REFUSED, &["cut-in-half.gguf", "ends|truncated|incomplete|short|cut|beyond"]),
        ("last-byte-missing.gguf", REFUSED, &["last-byte-missing", "ends|truncated|incomplete|short|cut|beyond"]),
        ("adapter-cut.gguf", REFUSED, &["adapter-cut.gguf", "ends|truncated|incomplete|short|cut|beyond"]),
        ("other-format.gguf", REFUSED, &["other-format.gguf", "version"]),
        ("quantised.gguf", REFUSED, &["quantised.gguf|ucm", "q8_0|quantised|quantized", "f16"]),
        ("not-there.gguf", FAILED, &["not-there.gguf", "no such file|not found|no file|does not exist"]),
        ("", REFUSED, &["directory|folder"]),
    ];
    let paths: Vec<String> = bad.iter().map(|(name, _, _)| files.path(name)).collect();
    let cases = bad.iter().zip(&paths).map(|((name, code, says), path)| Case {
        name: if name.is_empty() { "a directory" } else { name },
        args: match *name {
            "adapter-cut.gguf" => vec!["publish", path, "--as", "ULM", "--domain", "core"],
            _ => vec!["publish", path, "--as", "UCM"],
        },
        code: *code,
        says,
    });
    check_all(&federation, "north", &cases.collect::<Vec<_>>());
    federation.node("north").publish("UCM").expect("a whole model is taken after all that");
}

#[test]
fn a_model_or_adapter_in_the_wrong_place_is_refused() {
    let federation = federation();
    let north = federation.node("north");
    let [ucm, core] = ["UCM", "ULM:core"].map(|model| text(&managers::file(model)));
    north.publish("ULM").expect("ULM is published");
    north.publish("UDM").expect("UDM is published");
    let cases = [
        ("an unknown slot", vec!["publish", &ucm, "--as", "XYZ"], &["xyz", "slot", "ucm"][..]),
        ("an adapter without --domain", vec!["publish", &core, "--as", "ULM"], &["adapter", "--domain"]),
        ("a model with --domain", vec!["publish", &ucm, "--as", "ULM", "--domain", "core"], &["adapter", "--domain"]),
        ("a domain of a slot that has none", vec!["publish", &core, "--as", "UCM", "--domain", "core"], &["domain"]),
        ("an unknown domain", vec!["publish", &core, "--as", "ULM", "--domain", "moon"], &["moon", "domain", "core"]),
        (
            "an adapter of another base",
            vec!["publish", &core, "--as", "UDM", "--domain", "internal"],
            &["base|trained", "UDM"],
        ),
        ("chat with an unknown slot", vec!["chat", "XYZ", "hello"], &["xyz"]),
        ("chat with an empty slot", vec!["chat", "UAM", "hello"], &["uam", "publish"]),
    ];
    let cases = cases.map(|(name, args, says)| Case { name, args, code: REFUSED, says });
    check_all(&federation, "north", &cases);
    north.publish("ULM:core").expect("the adapter is taken where it belongs");
}

/// The same mistake in the other order, where it can only be seen once the base is there.
#[test]
fn an_adapter_that_came_before_its_slot_had_a_model_is_not_attached_to_another_base() {
    let federation = federation();
    let north = federation.node("north");
    let [udm, core] = ["UDM", "ULM:core"].map(|model| text(&managers::file(model)));
    let adapter = north.cli(&["publish", &core, "--as", "UDM", "--domain", "internal"]).expect("the command runs");
    let base = north.cli(&["publish", &udm, "--as", "UDM"]).expect("the command runs");
    let codes = [adapter.code, base.code];
    assert!(codes == [REFUSED, 0] || codes == [0, REFUSED], "ULM's adapter and UDM were both taken: {codes:?}");
}

#[test]
fn a_delegate_publishes_nothing() {
    let mut federation = federation();
    federation.join(NodeSpec::delegate("laptop"), "north").expect("the delegate joins");
    let ucm = text(&managers::file("UCM"));
    let says = &["delegate", "full"];
    let case = Case { name: "a delegate", args: vec!["publish", &ucm, "--as", "UCM"], code: REFUSED, says };
    check_all(&federation, "laptop", &[case]);
}

#[test]
fn a_command_that_is_not_understood_is_wrong_use() {
    let federation = federation();
    let ucm: PathBuf = managers::file("UCM");
    let ucm = text(&ucm);
    let cases = [
        ("publish without --as", vec!["publish", &ucm], &["--as"][..]),
        ("publish without a file", vec!["publish", "--as", "UCM"], &["path"]),
        ("an unknown flag", vec!["members", "--colour", "red"], &["--colour"]),
        ("an unknown command", vec!["frobnicate"], &["frobnicate"]),
        ("no span of time", vec!["invite", "--ttl", "soon"], &["soon", "--ttl"]),
        ("an unknown role", vec!["invite", "--role", "king"], &["king", "--role"]),
        ("no size", vec!["up", "--memory", "plenty"], &["plenty", "--memory"]),
        ("no address", vec!["up", "--api", "nowhere"], &["nowhere", "--api"]),
    ];
    let cases = cases.map(|(name, args, says)| Case { name, args, code: WRONG_USE, says });
    check_all(&federation, "north", &cases);
}
