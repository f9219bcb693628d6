//! What is made can be read again, and the same seed makes the same bytes.

use super::*;

/// A model that is made in milliseconds.
fn tiny(out: &Path, dtype: ModelDtype) -> MakeModel {
    MakeModel {
        out: out.to_owned(),
        layers: 2,
        hidden: 64,
        heads: 4,
        kv_heads: Some(2),
        ffn: 96,
        vocab: 300,
        context: 256,
        seed: 7,
        dtype,
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes_and_another_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, seed: u64| {
        let path = folder.path().join(name);
        make_model(&MakeModel { seed, ..tiny(&path, ModelDtype::F16) }).unwrap();
        std::fs::read(path).unwrap()
    };
    let first = make("first.gguf", 7);
    assert_eq!(first, make("second.gguf", 7));
    assert_ne!(first, make("third.gguf", 8));
    // On every machine: a changed hash changes every published measurement.
    assert_eq!(
        blake3::hash(&first).to_hex().as_str(),
        "fb5994d762699050285c839ecb1f0093522099a15861fb61c809182158c66652"
    );
}

#[test]
fn the_file_has_the_size_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in [ModelDtype::F16, ModelDtype::F32, ModelDtype::Q8_0] {
        let path = folder.path().join("model.gguf");
        let made = make_model(&tiny(&path, dtype)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), made.file_bytes);
        assert_eq!(made.parameters, 2 * 300 * 64 + 2 * (2 * 64 + 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96) + 64);
        let per_weight = match dtype {
            ModelDtype::F16 => 2.0,
            ModelDtype::F32 => 4.0,
            ModelDtype::Q8_0 => 34.0 / 32.0,
        };
        let ratio = made.weights_bytes as f64 / (made.parameters as f64 * per_weight);
        assert!((1.0..1.02).contains(&ratio), "{dtype:?}: {ratio}");
    }
}

#[test]
fn the_reference_manager_has_the_stated_parameters() {
    let make = MakeModel {
        layers: 32,
        hidden: 4096,
        heads: 32,
        kv_heads: None,
        ffn: 11008,
        vocab: 32256,
        ..tiny(Path::new("unwritten"), ModelDtype::F16)
    };
    let parameters: u64 = tensors(&make).iter().map(NewTensor::elements).sum();
    assert_eq!(parameters, 6_740_512_768);
}

#[test]
fn impossible_shapes_are_refused() {
    let check = |change: fn(&mut MakeModel)| {
        let mut make = tiny(Path::new("unwritten"), ModelDtype::Q8_0);
        change(&mut make);
        assert!(matches!(make_model(&make), Err(MakeModelError::Shape(_))), "{make:?}");
    };
    check(|make| make.heads = 0);
    check(|make| make.heads = 3);
    check(|make| make.kv_heads = Some(3));
    check(|make| make.vocab = 260);
    check(|make| make.ffn = 100);
    check(|make| make.layers = u32::MAX);
}
