//! Each bad input the parser must refuse, built from a sound file by spoiling one thing.

use super::sample::Sample;
use super::*;

fn sound() -> Sample {
    Sample::default().tensor("a.weight", "F16", &[2, 3], &[1; 12]).tensor("b", "F32", &[2], &[2; 8]).tensor(
        "c",
        "BF16",
        &[],
        &[3; 2],
    )
}

fn parsed(bytes: &[u8]) -> Result<Vec<Tensor>, SafetensorsError> {
    parse(bytes, bytes.len() as u64)
}

/// Spoils a sound file and expects a refusal that says `expected`.
fn refuse(expected: &str, spoil: impl FnOnce(&mut Sample)) {
    let mut sample = sound();
    spoil(&mut sample);
    let error = parsed(&sample.bytes()).expect_err(expected).to_string();
    assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
}

#[test]
fn a_sound_file_is_described() {
    let bytes = sound().bytes();
    let tensors = parsed(&bytes).unwrap();
    let shapes: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.dtype.name(), t.shape.clone(), t.bytes)).collect();
    let expected = [("a.weight", "F16", vec![2, 3], 12), ("b", "F32", vec![2], 8), ("c", "BF16", vec![], 2)];
    assert_eq!(shapes, expected);
    for (tensor, byte) in tensors.iter().zip([1, 2, 3]) {
        assert!(bytes[tensor.offset as usize..][..tensor.bytes as usize].iter().all(|&found| found == byte));
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
    let bytes = sound().bytes();
    for length in 0..bytes.len() {
        assert!(parsed(&bytes[..length]).is_err(), "length {length}");
        assert!(parse(&bytes[..length.min(100)], bytes.len() as u64).is_err(), "length {length}");
    }
}

#[test]
fn a_flipped_byte_never_panics() {
    let mut bytes = sound().bytes();
    for index in 0..bytes.len() {
        for value in [0x00, 0x22, 0x39, 0x7d, 0xff] {
            let before = std::mem::replace(&mut bytes[index], value);
            let _ = parsed(&bytes);
            bytes[index] = before;
        }
    }
}

#[test]
fn headers_that_claim_gigabytes_are_refused_before_anything_is_allocated() {
    for claimed in [u64::MAX, 1 << 62, 1 << 40, limits::SAFETENSORS_HEADER_BYTES_MAX + 1] {
        refuse("the length of its header", |s| s.header_bytes = Some(claimed));
    }
    refuse("truncated: its header", |s| s.header_bytes = Some(1 << 20));
    refuse("damaged", |s| s.header_bytes = Some(10));
    let deep = format!(",\"deep\":{}", "[".repeat(100_000));
    refuse("damaged", |s| s.extra = deep);
}

#[test]
fn names_stand_once_and_are_names() {
    refuse("\"b\" stands twice", |s| s.entries[2].name = "b".into());
    refuse("\"__metadata__\" stands twice", |s| s.extra = ",\"__metadata__\":{}".into());
    for name in [String::new(), "a\0b".into(), "n".repeat(300)] {
        refuse("is not a name", |s| s.entries[0].name = name);
    }
    let field = ",\"x\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[22,23]}";
    refuse("duplicate field", |s| s.extra = field.into());
    refuse("unknown field", |s| s.extra = ",\"x\":{\"type\":1}".into());
}

#[test]
fn impossible_tensors_are_refused() {
    refuse("dimensions is zero", |s| s.entries[0].shape = "[0, 3]".into());
    refuse("beyond 2^63", |s| s.entries[0].shape = "[4294967296, 4294967296]".into());
    refuse("beyond 2^63", |s| s.entries[0].shape = "[9223372036854775807, 2]".into());
    refuse("damaged", |s| s.entries[0].shape = "[-2, 3]".into());
    refuse("damaged", |s| s.entries[0].shape = "[1e300]".into());
    refuse("dimensions", |s| s.entries[0].shape = "[1,1,1,1,1,1,1,2,3]".into());
    refuse("is not known", |s| s.entries[0].dtype = "Q4_0".into());
    refuse("do not fit", |s| s.entries[0].dtype = "F32".into());
}

#[test]
fn tensors_lie_one_behind_the_other() {
    refuse("damaged", |s| s.entries[0].begin = -12);
    refuse("do not fit", |s| s.entries[0].end = 0);
    refuse("do not fit", |s| (s.entries[0].begin, s.entries[0].end) = (12, 0));
    refuse("damaged", |s| s.entries[0].end = i128::from(u64::MAX) + 12);
    refuse("one behind the other", |s| (s.entries[1].begin, s.entries[1].end) = (11, 19)); // overlap
    refuse("one behind the other", |s| (s.entries[1].begin, s.entries[1].end) = (0, 8)); // the same bytes
    refuse("one behind the other", |s| (s.entries[2].begin, s.entries[2].end) = (22, 24)); // hole
    refuse("one behind the other", |s| {
        (s.entries[0].begin, s.entries[0].end) = (i128::from(u64::MAX) - 12, i128::from(u64::MAX));
    });
    refuse("truncated or damaged", |s| s.data.truncate(21));
    refuse("truncated or damaged", |s| s.data.push(0));
}

#[test]
fn an_index_names_plain_files_only() {
    let text = |map: &str| format!("{{\"metadata\":{{\"total_size\":1}},\"weight_map\":{map}}}");
    let good = index::parse(
        text("{\"a\":\"m-1.safetensors\",\"b\":\"m-2.safetensors\",\"c\":\"m-1.safetensors\"}").as_bytes(),
    );
    assert_eq!(good.unwrap().shards(), ["m-1.safetensors", "m-2.safetensors"]);
    for name in [
        "../m.safetensors",
        "/etc/m.safetensors",
        "a/m.safetensors",
        "a\\\\m.safetensors",
        "..",
        ".safetensors",
        "m.bin",
        "",
        "C:m.safetensors",
    ] {
        let error = index::parse(text(&format!("{{\"a\":\"{name}\"}}")).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("damaged"), "{name}: {error}");
    }
    for bad in ["{", "[]", "{}", "{\"weight_map\":{}}x", "{\"weight_map\":[]}", "{\"weight_map\":{},\"weight_map\":{}}"]
    {
        assert!(index::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    let twice = index::parse(text("{\"a\":\"m.safetensors\",\"a\":\"m.safetensors\"}").as_bytes());
    assert!(twice.unwrap_err().to_string().contains("stands twice"));
}
