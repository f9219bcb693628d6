//! Each bad input the parser must refuse, built from a sound file by spoiling one thing.

use super::sample::{ARRAY, STRING, Sample, string};
use super::*;
use crate::core::artifact::Precision;

fn parsed(sample: &Sample) -> Result<ParsedModel, GgufError> {
    let bytes = sample.bytes();
    parse(&bytes[..], bytes.len() as u64)
}

/// Spoils the model and expects a refusal that says `expected`.
fn refuse(expected: &str, spoil: impl FnOnce(&mut Sample)) {
    let mut sample = Sample::model();
    spoil(&mut sample);
    let error = parsed(&sample).expect_err(expected).to_string();
    assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
}

#[test]
fn a_sound_model_is_described() {
    for version in [2, 3] {
        let sample = Sample { version, ..Sample::model() };
        let model = parsed(&sample).unwrap();
        assert_eq!((model.kind, model.name.as_deref()), (ArtifactKind::Model, Some("tiny")));
        let shape = &model.shape;
        assert_eq!((shape.layers, shape.embedding, shape.heads, shape.kv_heads, shape.head_dim), (2, 64, 4, 2, 16));
        assert_eq!((shape.context_max, shape.vocabulary, shape.feed_forward), (128, 3, 96));
        assert_eq!(shape.weights_bytes, 64 * 3 * 2 + 64 * 4 + 64 * 96 * 2);
        assert_eq!(shape.parameters, 64 * 3 + 64 + 64 * 96);
        assert_eq!(shape.precision, Precision::F16);
        assert!(!model.has_chat_template);
        let file = &model.files[0];
        let last = file.tensors.last().unwrap();
        assert_eq!(last.offset + last.bytes, file.file_bytes);
        assert_eq!(file.data_start, sample.header().len().next_multiple_of(32) as u64);
    }
}

#[test]
fn an_adapter_names_its_base() {
    let model = parsed(&Sample::adapter()).unwrap();
    assert_eq!((model.kind, model.base_name.as_str()), (ArtifactKind::Adapter, "tiny"));
    let ours = parsed(&Sample::adapter().text("fednode.base", "ours")).unwrap();
    assert_eq!(ours.base_name, "ours");
}

#[test]
fn precision_is_that_of_the_weakest_matrix() {
    let check = |types: &[(u32, &[u64])], expected: &str| {
        let mut sample = Sample::model();
        sample.tensors.clear();
        for (index, (dtype, dims)) in types.iter().enumerate() {
            let offset = 4096 * index as u64;
            let name = format!("t{index}");
            sample.tensors.push(sample::Entry { name, dims: dims.to_vec(), dtype: *dtype, offset });
        }
        sample.data = vec![0; 4096 * types.len()];
        assert_eq!(parsed(&sample).unwrap().shape.precision.name(), expected);
    };
    let square: &[u64] = &[256, 2];
    check(&[(1, square), (0, &[256])], "F16");
    check(&[(0, square), (0, square)], "F32");
    check(&[(0, square), (1, square)], "F16");
    check(&[(1, square), (30, square)], "BF16");
    check(&[(30, square), (8, square), (12, square)], "Q4_K");
    check(&[(1, square), (8, &[256])], "F16"); // vectors do not count
    check(&[(8, &[256])], "Q8_0"); // unless there is nothing else
    check(&[(1, square), (24, square)], "I8");
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
    let sample = Sample::model();
    let bytes = sample.bytes();
    for length in 0..bytes.len() {
        // Cut on disk, and cut while it is read.
        assert!(parse(&bytes[..length], length as u64).is_err(), "length {length}");
        if length < sample.header().len() {
            assert!(parse(&bytes[..length], bytes.len() as u64).is_err(), "length {length}");
        }
    }
}

#[test]
fn a_flipped_byte_in_the_header_never_panics() {
    let sample = Sample::model();
    let mut bytes = sample.bytes();
    for index in 0..sample.header().len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let before = std::mem::replace(&mut bytes[index], value);
            let _ = parse(&bytes[..], bytes.len() as u64);
            bytes[index] = before;
        }
    }
}

#[test]
fn what_is_not_gguf_is_refused() {
    let error = |bytes: &[u8]| parse(bytes, bytes.len() as u64).unwrap_err().to_string();
    for bytes in [&b""[..], b"GG", b"PK\x03\x04 a zip archive", b"ggml"] {
        assert!(error(bytes).starts_with("not a model: the file does not begin with GGUF"));
    }
    refuse("version 1 is not supported", |s| s.version = 1);
    refuse("version 4 is not supported", |s| s.version = 4);
    refuse("big-endian", |s| s.version = 3u32.swap_bytes());
    refuse("no tensors", |s| s.tensors.clear());
    refuse("general.architecture", |s| drop(s.metadata.remove(0)));
    refuse("llama.block_count", |s| s.metadata.retain(|entry| entry.0 != "llama.block_count"));
    refuse("llama.block_count", |s| {
        *s = s.clone().number("llama.block_count", u32::MAX).without_first("llama.block_count")
    });
    refuse("3 parts", |s| *s = s.clone().number("split.count", 3));
    refuse("general.type", |s| *s = s.clone().text("general.type", "mmproj"));
    refuse("general.type", |s| *s = s.clone().text("general.type", "adapter"));
}

impl Sample {
    fn without_first(mut self, key: &str) -> Sample {
        let index = self.metadata.iter().position(|entry| entry.0 == key).expect("it is there");
        self.metadata.remove(index);
        self
    }
}

#[test]
fn absurd_counts_are_refused_before_anything_is_allocated() {
    for absurd in [u64::MAX, 1 << 62, 1 << 40, 1 << 19] {
        refuse("the number of tensors", |s| s.tensor_count = Some(absurd));
        refuse("the number of metadata entries", |s| s.metadata_count = Some(absurd));
        refuse("a metadata key", |s| s.metadata[0].0 = "k".repeat(300));
        for element in [0u32, 5, 8, 12] {
            let mut value = element.to_le_bytes().to_vec();
            value.extend_from_slice(&absurd.to_le_bytes());
            refuse("a metadata array", |s| s.metadata.push(("a".into(), ARRAY, value)));
        }
        let mut value = absurd.to_le_bytes().to_vec();
        value.extend_from_slice(b"short");
        refuse("a metadata value", |s| s.metadata.push(("a".into(), STRING, value)));
    }
    // Within its bound, but more than the file could hold.
    refuse("truncated: the number of tensors", |s| s.tensor_count = Some(1 << 18));
}

#[test]
fn nested_arrays_unknown_types_and_doubles_are_refused() {
    let mut nested = ARRAY.to_le_bytes().to_vec();
    nested.extend_from_slice(&1u64.to_le_bytes());
    refuse("unknown type 9", |s| s.metadata.push(("a".into(), ARRAY, nested)));
    refuse("unknown type 13", |s| s.metadata.push(("a".into(), 13, vec![0; 8])));
    refuse("\"general.name\" stands twice", |s| *s = s.clone().text("general.name", "again"));
    refuse("stands twice", |s| s.tensors[1].name = s.tensors[0].name.clone());
    refuse("a metadata key", |s| s.metadata[0].0 = String::new());
}

#[test]
fn impossible_tensors_are_refused() {
    refuse("dimensions is zero", |s| s.tensors[0].dims[1] = 0);
    refuse("has 0 dimensions", |s| s.tensors[0].dims.clear());
    refuse("has 5 dimensions", |s| s.tensors[0].dims = vec![1; 5]);
    refuse("beyond 2^63", |s| s.tensors[0].dims = vec![1 << 32, 1 << 31]);
    refuse("beyond 2^63", |s| s.tensors[0].dims = vec![u64::MAX, 2]);
    refuse("its size overflows", |s| (s.tensors[0].dims, s.tensors[0].dtype) = (vec![1 << 62], 0));
    refuse("its type 31 is not known", |s| s.tensors[0].dtype = 31);
    refuse("do not divide", |s| s.tensors[0].dtype = 12);
    for name in ["../../etc/passwd", "a/b", "a\\b", &"n".repeat(64)] {
        refuse("is refused", |s| s.tensors[0].name = name.into());
    }
    refuse("a tensor's name", |s| s.tensors[0].name = "a\0b".into());
    refuse("a tensor's name", |s| s.tensors[0].name = String::new());
}

#[test]
fn tensors_must_lie_aligned_inside_and_apart() {
    refuse("not a multiple of the alignment", |s| s.tensors[1].offset += 4);
    refuse("overflows", |s| s.tensors[1].offset = u64::MAX - 31);
    refuse("truncated: tensor token_embd.weight ends at byte", |s| s.tensors[0].offset = 1 << 40);
    refuse("tensors token_embd.weight and blk.0.attn_norm.weight overlap", |s| s.tensors[1].offset = 32);
    refuse("general.alignment is 48", |s| *s = s.clone().number("general.alignment", 48));
    refuse("general.alignment is 0", |s| *s = s.clone().number("general.alignment", 0));
    refuse("general.alignment is 2147483648", |s| *s = s.clone().number("general.alignment", 1 << 31));
}

#[test]
fn long_texts_are_measured_and_names_are_made_presentable() {
    let sample = Sample::model()
        .text("tokenizer.chat_template", &"t".repeat(100_000))
        .without_first("general.name")
        .text("general.name", &format!(" ../../etc\x1b[2J{}", "é".repeat(200)));
    let model = parsed(&sample).unwrap();
    assert!(model.has_chat_template);
    assert_eq!(model.metadata.value("tokenizer.chat_template"), Some(&reader::Value::LongText(100_000)));
    let name = model.name.unwrap();
    assert!(name.starts_with("../../etc[2J") && name.len() <= 128, "{name}");
    let long = string(&"x".repeat((limits::METADATA_STRING_BYTES_MAX + 1) as usize));
    refuse("a metadata value", |s| s.metadata.push(("a".into(), STRING, long)));
}

#[test]
fn a_folder_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = inspect(folder.path()).unwrap_err().to_string();
    assert!(error.contains("folder") && error.contains("GGUF"), "{error}");
}

#[test]
fn a_file_of_metadata_alone_need_not_be_padded() {
    let bytes = [&b"GGUF\x03"[..], &[0; 19], &[1, 0, b'G']].concat();
    let header = parse_header(&bytes[..], bytes.len() as u64).expect("no tensors, no metadata, and three bytes more");
    assert_eq!(header.table.data_start, bytes.len() as u64);
}
