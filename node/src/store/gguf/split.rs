//! Models split into several GGUF files: finds the parts beside each other by their names, as llama.cpp does, and checks
//! that they make one whole. A file on its own is the simplest case. Called by `gguf` and by `store::source`.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::core::limits;
use crate::store::gguf::{FileTable, GgufError, Header, ParsedModel, model, parse_file};

const COUNT_KEY: &str = "split.count";
const NUMBER_KEY: &str = "split.no";
const TENSORS_KEY: &str = "split.tensors.count";

/// A model's open files and what they say together.
#[derive(Debug)]
pub struct OpenModel {
    /// In the order of the parts.
    pub files: Vec<File>,
    /// What they describe.
    pub model: ParsedModel,
}

/// What the name of a part says: `PREFIX-00002-of-00005.gguf`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartName<'a> {
    /// What all parts have in common.
    pub prefix: &'a str,
    /// From 1.
    pub number: usize,
    /// How many there are.
    pub count: usize,
}

impl PartName<'_> {
    /// Reads a file name; `None` if it is not that of a part.
    pub fn parse(file_name: &str) -> Option<PartName<'_>> {
        let stem = file_name.strip_suffix(".gguf")?;
        // "-00002-of-00005": fifteen bytes, all ASCII.
        let at = stem.len().checked_sub(15).filter(|&at| stem.is_char_boundary(at))?;
        let (prefix, numbers) = stem.split_at(at);
        let (number, count) = numbers.strip_prefix('-')?.split_once("-of-")?;
        let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(number) || !digits(count) {
            return None;
        }
        let (number, count) = (number.parse().ok()?, count.parse().ok()?);
        (number >= 1 && number <= count).then_some(PartName { prefix, number, count })
    }

    /// The name of part `number` of these.
    pub fn of(&self, number: usize) -> String {
        part_name(self.prefix, number, self.count)
    }
}

/// The name llama.cpp looks for.
pub fn part_name(prefix: &str, number: usize, count: usize) -> String {
    format!("{prefix}-{number:05}-of-{count:05}.gguf")
}

/// Opens the model at `path`: one file, or all parts if `path` is any one of them.
pub fn open(path: &Path) -> Result<OpenModel, GgufError> {
    let file = open_file(path)?;
    let header = parse_file(&file)?;
    if part_count(&header) < 2 {
        return Ok(OpenModel { files: vec![file], model: join(vec![header])? });
    }
    let name = path.file_name().and_then(|name| name.to_str()).and_then(PartName::parse);
    let name = name.ok_or(GgufError::Split(part_count(&header)))?;
    if name.count > limits::FILES_PER_ARTIFACT_MAX {
        let (found, max) = (name.count as u64, limits::FILES_PER_ARTIFACT_MAX as u64);
        return Err(GgufError::TooMany { what: "the number of parts", found, max });
    }
    let (mut files, mut headers) = (Vec::new(), Vec::new());
    for number in 1..=name.count {
        let beside = path.with_file_name(name.of(number));
        let missing = |source| GgufError::PartMissing { path: beside.display().to_string(), source };
        let file = open_file(&beside).map_err(missing)?;
        headers.push(parse_file(&file).map_err(|source| GgufError::Part { number, source: Box::new(source) })?);
        files.push(file);
    }
    Ok(OpenModel { files, model: join(headers)? })
}

/// Does not wait on a pipe that nobody writes to; `parse_file` then refuses what is not a regular file.
pub fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path)
}

/// One model out of the headers of its files, in order.
pub fn join(headers: Vec<Header>) -> Result<ParsedModel, GgufError> {
    let Some(first) = headers.first() else { return Err(GgufError::NoTensors) };
    let parts = part_count(first);
    if headers.len() == 1 && parts > 1 {
        return Err(GgufError::Split(parts));
    }
    if headers.len() > 1 {
        check_parts(&headers)?;
    }
    let mut metadata = None;
    let mut files: Vec<FileTable> = Vec::new();
    for header in headers {
        metadata.get_or_insert(header.metadata);
        files.push(header.table);
    }
    model::describe(metadata.unwrap_or_default(), files)
}

fn part_count(header: &Header) -> u32 {
    header.metadata.number(COUNT_KEY).unwrap_or(1)
}

/// Every part says which it is, of how many, and how many tensors all have; the sums must agree.
fn check_parts(headers: &[Header]) -> Result<(), GgufError> {
    let expected_tensors = headers[0].metadata.number(TENSORS_KEY);
    let mut names = BTreeSet::new();
    for (index, header) in headers.iter().enumerate() {
        let mixed = |why: String| GgufError::PartMixed { number: index + 1, why };
        let says = |key: &str| match header.metadata.number(key) {
            Some(number) => format!("{key} is {number}"),
            None => format!("it has no {key}"),
        };
        if header.metadata.number(COUNT_KEY) != u32::try_from(headers.len()).ok() {
            return Err(mixed(format!("{}, there are {} files", says(COUNT_KEY), headers.len())));
        }
        if header.metadata.number(NUMBER_KEY) != u32::try_from(index).ok() {
            return Err(mixed(format!("{}, by its name it should be {index}", says(NUMBER_KEY))));
        }
        if header.metadata.number(TENSORS_KEY) != expected_tensors {
            return Err(mixed(format!("{}, unlike the first", says(TENSORS_KEY))));
        }
        for key in ["general.architecture", "general.name"] {
            let theirs = header.metadata.text(key);
            if theirs.is_some() && theirs != headers[0].metadata.text(key) {
                return Err(mixed(format!("its {key} is another")));
            }
        }
        for tensor in &header.table.tensors {
            if !names.insert(&tensor.name) {
                return Err(GgufError::DuplicateTensor(tensor.name.clone()));
            }
        }
    }
    if expected_tensors != u32::try_from(names.len()).ok() {
        let stated = expected_tensors.map_or("an unstated number".to_owned(), |count| count.to_string());
        let why = format!("the parts have {} tensors, {stated} should be there", names.len());
        return Err(GgufError::PartMixed { number: headers.len(), why });
    }
    Ok(())
}

/// `path` with its last part taken for a part's name, for messages and names: `model` of `model-00001-of-00003.gguf`.
pub fn stem(path: &Path) -> PathBuf {
    let part = path.file_name().and_then(|name| name.to_str()).and_then(PartName::parse);
    match part {
        Some(part) if !part.prefix.is_empty() => PathBuf::from(part.prefix),
        _ => PathBuf::from(path.file_stem().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::gguf::sample::{Sample, split};

    #[test]
    fn part_names_are_those_of_llama_cpp() {
        let part = |prefix, number, count| Some(PartName { prefix, number, count });
        assert_eq!(PartName::parse("m-00002-of-00010.gguf"), part("m", 2, 10));
        assert_eq!(PartName::parse("a-b-00001-of-00001.gguf"), part("a-b", 1, 1));
        for other in
            ["m.gguf", "m-00000-of-00002.gguf", "m-00003-of-00002.gguf", "m-1-of-2.gguf", "-of-.gguf", "é.gguf"]
        {
            assert_eq!(PartName::parse(other), None, "{other}");
        }
        assert_eq!(part_name("m", 2, 10), "m-00002-of-00010.gguf");
    }

    /// Writes the parts of a model after `spoil` changed them, and opens the one of number `opened`.
    fn opened(opened: usize, spoil: impl FnOnce(&mut Vec<Sample>)) -> Result<OpenModel, GgufError> {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = split(&Sample::model(), 3);
        spoil(&mut parts);
        for (index, part) in parts.iter().enumerate() {
            std::fs::write(folder.path().join(part_name("m", index + 1, 3)), part.bytes()).unwrap();
        }
        open(&folder.path().join(part_name("m", opened, 3)))
    }

    fn refuse(expected: &str, spoil: impl FnOnce(&mut Vec<Sample>)) {
        let error = opened(1, spoil).expect_err(expected).to_string();
        assert!(error.contains(expected), "expected {expected:?}, got {error:?}");
    }

    #[test]
    fn any_part_opens_the_whole() {
        let bytes = Sample::model().bytes();
        let whole = crate::store::gguf::parse(&bytes[..], bytes.len() as u64).unwrap();
        for number in 1..=3 {
            let opened = opened(number, |_| {}).unwrap();
            assert_eq!((opened.files.len(), &opened.model.shape), (3, &whole.shape));
            assert_eq!(opened.model.tensors().count(), whole.tensors().count());
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        refuse("cannot be opened", |parts| drop(parts.pop()));
        refuse("split.no is 0", |parts| parts[1] = parts[0].clone());
        refuse("split.no is 2", |parts| parts.swap(1, 2));
        refuse("should be there", |parts| drop(parts[2].tensors.pop()));
        refuse("stands twice", |parts| parts[2].tensors[0] = parts[1].tensors[0].clone());
        refuse("split.count is 2", |parts| parts[2].metadata[1].2 = 2u32.to_le_bytes().to_vec());
        refuse("has no split.tensors.count", |parts| drop(parts[1].metadata.pop()));
        refuse("general.name is another", |parts| parts[1] = parts[1].clone().text("general.name", "other"));
        refuse("part 2: GGUF version 16705", |parts| parts[1].version = 0x4141);
        refuse("part 2: damaged", |parts| parts[1].tensor_count = Some(u64::MAX));
    }

    #[test]
    fn a_part_under_another_name_is_told_how_parts_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("renamed.gguf");
        std::fs::write(&path, split(&Sample::model(), 3)[0].bytes()).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("NAME-00001-of-00003.gguf"), "{error}");
    }
}
