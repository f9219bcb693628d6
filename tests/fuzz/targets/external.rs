//! What an external engine sends: streamed answers, lists of models, errors. However it ends, an answer ends once.
#![no_main]

use fednode::wire::openai::{self, AnswerReader, Said};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = openai::models(data);
    let _ = openai::refusal(500, data);
    let mut reader = AnswerReader::new(16);
    let mut said = Vec::new();
    for piece in data.chunks(7) {
        said.extend(reader.push(piece));
    }
    said.extend(reader.close());
    let ends = said.iter().filter(|one| !matches!(one, Said::Text(_))).count();
    assert_eq!(ends, 1, "{said:?}");
    assert!(!matches!(said.last(), Some(Said::Text(_))), "nothing follows the end");
});
