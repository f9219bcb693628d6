//! What is imported must run: the tiny trained managers, written again in every shape that `fednode publish` takes, give
//! their own answers after import. Every child computes with one thread.

#![cfg(all(unix, feature = "llama"))]

#[path = "import/tiny.rs"]
mod tiny;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fednode::core::artifact::Shape;
use fednode::engine::{ChildEngine, LoadSpec};
use fednode::store::Store;
use fednode::store::datadir::DataDir;
use fednode::store::import::{ImportOptions, Imported, Placement};
use fednode::store::source::Source;
use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event;
use libp2p_identity::ed25519;

const EXE: &str = env!("CARGO_BIN_EXE_fednode");
/// Far beyond what anything here takes, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Answers asked for: each exercises every layer.
const ASKED: usize = 12;

struct Fixture {
    folder: tempfile::TempDir,
    store: Store,
    _dir: DataDir,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(&folder.path().join("data")).unwrap();
        Fixture { store: Store::open(&dir).unwrap(), _dir: dir, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn import(&self, path: &Path, base: Option<&Shape>) -> Imported {
        let key: ed25519::Keypair = ed25519::SecretKey::try_from_bytes([5u8; 32]).unwrap().into();
        let source = Source::open(path, base).unwrap();
        self.store.import(&source, &ImportOptions::default(), &key, &mut |_, _| {}).unwrap()
    }

    fn model_path(&self, imported: &Imported) -> PathBuf {
        self.store.path_to_load(&imported.manifest.artifact).unwrap()
    }

    /// The model at `path` says what `answers.json` has for `name`, whose domain goes through `adapter`.
    async fn check_answers(&self, path: &Path, name: &str, adapter: Option<&Path>) {
        let adapters = adapter.map(|path| ("domain".to_owned(), path.to_owned())).into_iter().collect();
        let spec = LoadSpec {
            path: path.to_owned(),
            adapters,
            context: 512,
            parallel: 1,
            threads: 1,
            private_bytes_max: Some(1 << 30),
            turn_folder: None,
            lock: false,
            device: None,
        };
        let (engine, _) = ChildEngine::start(Path::new(EXE), &self.path("run"), &spec, |_| {}).await.unwrap();
        let answers = fs::read(managers().join("answers.json")).unwrap();
        let answers: BTreeMap<String, Vec<BTreeMap<String, String>>> = serde_json::from_slice(&answers).unwrap();
        for said in answers[name].iter().take(ASKED) {
            let message =
                v1::Message { role: "user".to_owned(), content: said["prompt"].clone(), ..v1::Message::default() };
            let domain = if adapter.is_some() { "domain" } else { "" }.to_owned();
            let request = v1::GenerateRequest {
                messages: vec![message],
                max_tokens: 200,
                top_p: 1.0,
                domain,
                ..Default::default()
            };
            let mut events = engine.generate(request);
            let mut text = String::new();
            while let Some(event) = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap() {
                match event.event.unwrap() {
                    Event::Text(piece) => text += &piece,
                    Event::Error(error) => panic!("{error:?}"),
                    Event::Start(_) | Event::Logprobs(_) | Event::Reply(_) | Event::End(_) => {}
                }
            }
            assert_eq!(text, said["answer"], "{name} {:?}", said["prompt"]);
        }
        engine.stop().await;
    }
}

fn managers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/managers")
}

fn manager(name: &str) -> PathBuf {
    managers().join(format!("{name}.gguf"))
}

/// Every tensor of the file at `path` is bit for bit that of `expected`.
fn check_tensors(path: &Path, expected: &tiny::Tiny) {
    let found = tiny::read(path);
    assert!(found.tensors.keys().eq(expected.tensors.keys()));
    for (name, tensor) in &found.tensors {
        let other = &expected.tensors[name];
        assert!((&tensor.dims, tensor.is_half) == (&other.dims, other.is_half), "{name}");
        assert!(tensor.bytes == other.bytes, "{name}");
    }
}

#[tokio::test]
async fn a_split_model_is_imported_whole_and_runs_from_its_first_part() {
    let fixture = Fixture::new();
    tiny::read(&manager("ULM")).write_parts(fixture.folder.path(), "mine", 3);
    let imported = fixture.import(&fixture.path("mine-00001-of-00003.gguf"), None);
    assert_eq!(imported.manifest.manifest.files.len(), 3);
    let whole = fixture.import(&manager("ULM"), None);
    assert_eq!(imported.manifest.manifest.shape, whole.manifest.manifest.shape);
    fixture.check_answers(&fixture.model_path(&imported), "ULM", None).await;
}

#[tokio::test]
async fn a_hugging_face_folder_becomes_the_model_it_was_made_of() {
    let fixture = Fixture::new();
    let original = tiny::read(&manager("ULM"));
    original.write_hugging_face(&fixture.path("hf"));
    let imported = fixture.import(&fixture.path("hf"), None);
    assert_eq!(imported.placed_by, Placement::Converted);
    let path = fixture.model_path(&imported);
    check_tensors(&path, &original);
    let found = tiny::read(&path);
    let same = |key: &str| assert_eq!(found.metadata.get(key), original.metadata.get(key), "{key}");
    original.metadata.keys().filter(|key| *key != "general.description").for_each(|key| same(key));
    fixture.check_answers(&path, "ULM", None).await;
    // The same folder elsewhere is the same artifact.
    original.write_hugging_face(&fixture.path("elsewhere"));
    let again = fixture.import(&fixture.path("elsewhere"), None);
    assert_eq!((again.manifest, again.placed_by), (imported.manifest, Placement::AlreadyStored));
}

#[tokio::test]
async fn a_peft_folder_becomes_the_adapter_it_was_made_of() {
    let fixture = Fixture::new();
    let base = fixture.import(&manager("ULM"), None);
    let original = tiny::read(&manager("ULM-core"));
    original.write_peft(&tiny::read(&manager("ULM")), &fixture.path("peft"));
    let shape = &base.manifest.manifest.shape;
    let imported = fixture.import(&fixture.path("peft"), Some(shape));
    assert_eq!((imported.placed_by, imported.manifest.manifest.base_name.as_str()), (Placement::Converted, "ULM"));
    let path = fixture.model_path(&imported);
    check_tensors(&path, &original);
    fixture.check_answers(&fixture.model_path(&base), "ULM:core", Some(&path)).await;
}
