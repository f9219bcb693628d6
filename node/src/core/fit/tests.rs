//! What fits where, beside figures that are known.

use super::*;
use crate::core::membership::advert::DomainKind;
use crate::core::sizing::{Band, kv_bytes_per_token};
use crate::wire::fit::{known, parse_config};

fn model(name: &str) -> Model {
    known().preset(name).expect(name).model().expect(name)
}

#[test]
fn settings_count_to_the_parameters_that_makers_state() {
    let check = |name: &str, parameters: u64, active: u64| {
        let found = model(name);
        assert_eq!((found.shape.parameters, found.active_parameters), (parameters, active), "{name}");
    };
    let dense = |name: &str, parameters: u64| check(name, parameters, parameters);
    dense("deepseek-coder-6.7b", 6_740_512_768);
    dense("llama-2-7b", 6_738_415_616);
    dense("llama-2-13b", 13_015_864_320);
    dense("qwen2.5-0.5b", 494_032_768);
    dense("qwen2.5-1.5b", 1_543_714_304);
    dense("qwen2.5-3b", 3_085_938_688);
    dense("qwen2.5-7b", 7_615_616_512);
    dense("qwen2.5-14b", 14_770_033_664);
    dense("qwen2.5-32b", 32_763_876_352);
    dense("llama-3.2-1b", 1_235_814_400);
    dense("llama-3.1-8b", 8_030_261_248);
    dense("llama-3.1-70b", 70_553_706_496);
    dense("llama-3.1-405b", 405_853_388_800);
    dense("codestral-22b", 22_247_282_688);
    dense("mistral-large", 122_610_069_504);
    let total = |name: &str, parameters: u64| assert_eq!(model(name).shape.parameters, parameters, "{name}");
    total("mixtral-8x22b", 140_630_071_296);
    total("qwen3-coder-30b", 30_532_122_624);
    total("qwen3-235b", 235_093_634_560);
    total("qwen3-coder-480b", 480_154_875_392);
    total("deepseek-coder-v2-236b", 235_741_434_880);
    total("deepseek-v3", 671_026_419_200);
    // What makers round: 3, 22, 35 and 37 billions of them are in use for one token.
    let billions = |name: &str| (model(name).active_parameters + 500_000_000) / 1_000_000_000;
    let found = ["qwen3-coder-30b", "qwen3-235b", "qwen3-coder-480b", "deepseek-v3"].map(billions);
    assert_eq!(found, [3, 22, 35, 38]);
}

#[test]
fn keys_and_values_of_one_token() {
    let check = |name: &str, bytes: u64| assert_eq!(kv_bytes_per_token(&model(name).shape), bytes, "{name}");
    check("deepseek-coder-6.7b", 512 << 10);
    check("qwen2.5-7b", 56 << 10);
    check("llama-3.1-70b", 320 << 10);
    // 61 layers, each a row of 512 and 64 numbers of two bytes.
    check("deepseek-v3", 61 * 576 * 2);
    // 12 layers of two heads of 256.
    check("qwen3-next-80b", 12 * 2 * 2 * 256 * 2);
}

#[test]
fn every_name_means_one_thing_only_and_every_preset_can_be_sized() {
    let known = known();
    let mut names = std::collections::BTreeSet::new();
    for preset in &known.presets {
        for name in std::iter::once(&preset.name).chain(&preset.aliases) {
            assert!(names.insert(name.to_lowercase()), "{name} stands twice");
        }
        let model = preset.model().expect("a model");
        assert!(model.shape.parameters > 0 && model.active_parameters > 0, "{}", preset.name);
    }
    let mut names = std::collections::BTreeSet::new();
    for precision in &known.precisions {
        for name in std::iter::once(&precision.name).chain(&precision.aliases) {
            assert!(names.insert(name.to_lowercase()), "{name} stands twice");
        }
    }
    let places = known.machines.places();
    let names: std::collections::BTreeSet<&str> = places.iter().map(|place| place.name.as_str()).collect();
    assert_eq!(names.len(), places.len());
    assert!(places.iter().all(|place| place.usable_bytes() > place.total_bytes / 2));
}

fn place(name: &str) -> Place {
    known().machines.places().into_iter().find(|place| place.name == name).expect(name)
}

#[test]
fn the_verdict_for_a_place_says_how_much_lacks_and_what_context_would_do() {
    let manager = model("manager");
    let shape = known().precision("f16").expect("F16").of(&manager.shape);
    let load = |context| Load { shape: &shape, active_parameters: shape.parameters, context, parallel: 1 };
    let on = |name: &str, context: u32| load(context).on(&place(name));
    let small = on("macbook-16gb", 4096);
    assert_eq!((small.fits, small.band, small.kind), (false, Band::Critical, "unified"));
    let needed = load(4096).footprint().total_bytes();
    assert_eq!((small.bytes_short, small.millitokens_per_s_max), (needed - (14 << 30), None));
    // At the largest context that is proposed it fits, one step further it does not.
    let context = small.context_max.expect("a short conversation fits");
    assert!(on("macbook-16gb", context).fits && !on("macbook-16gb", context + 256).fits);
    let large = on("griffith", 4096);
    assert_eq!((large.fits, large.band, large.bytes_short), (true, Band::Safe, 0));
    assert_eq!(large.context_max, Some(16_384), "no longer than the model was made for");
    // 200 GB/s over 13.48 GB.
    assert_eq!(large.millitokens_per_s_max, Some(14_835));
    assert_eq!(on("pc-20gb", 4096).band, Band::Warning);
}

#[test]
fn the_documents_first_eight_names_are_the_contract() {
    let (known, manager) = (known(), model("manager"));
    let question = Question {
        model: &manager,
        precision: known.precision("fp16"),
        context: 1 << 20,
        parallel: 2,
        places: &[Place::ram("den", 64 << 30)],
        precisions: &known.precisions,
    };
    let document = fit(&question);
    assert_eq!((document.context, document.parallel, document.precision.as_str()), (16_384, 2, "F16"));
    assert_eq!(document.weights_bytes, 13_481_025_536);
    assert_eq!(document.kv_bytes, (512 << 10) * 16_384 * 2);
    let sum = document.weights_bytes + document.kv_bytes + document.compute_bytes + document.overhead_bytes;
    assert_eq!(document.total_bytes, sum);
    let text = serde_json::to_string(&document).expect("JSON");
    let begins =
        ["{\"weights_bytes\":", "\"kv_bytes\":", "\"compute_bytes\":", "\"overhead_bytes\":", "\"total_bytes\":"];
    let ends = ["\"context\":16384", "\"parallel\":2", "\"precision\":\"F16\""];
    let found: Vec<&str> = text.splitn(9, ',').collect();
    assert!(begins.iter().chain(&ends).zip(&found).all(|(name, field)| field.starts_with(name)), "{text}");
    assert!(document.notes[0].contains("made for 16384 tokens"), "{:?}", document.notes);
}

#[test]
fn a_config_of_an_unknown_family_is_an_estimate_and_a_hostile_one_is_refused() {
    let text = |family: &str, more: &str| {
        format!(
            "{{\"model_type\": \"{family}\", \"hidden_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \
             \"intermediate_size\": 128, \"vocab_size\": 100, \"max_position_embeddings\": 512{more}}}"
        )
    };
    let known = parse_config(&text("llama", ""), "x").expect("a model");
    assert_eq!(
        (known.notes.len(), known.shape.parameters),
        (0, 2 * 100 * 64 + 2 * (4 * 64 * 64 + 2 * 64 + 3 * 64 * 128) + 64)
    );
    let odd = parse_config(&text("odd\\u0007", ""), "x").expect("a model");
    assert!(odd.notes[0].contains("the family odd is not known"), "{:?}", odd.notes);
    let inner = format!("{{\"text_config\": {}}}", text("llama", ""));
    assert_eq!(parse_config(&inner, "x").expect("a model").shape.parameters, known.shape.parameters);
    let nested = "{\"text_config\":".repeat(200);
    for bad in [
        "",
        "[]",
        "{}",
        "{\"hidden_size\": -1}",
        &nested,
        &text("llama", ", \"num_key_value_heads\": 0"),
        &text("llama", ", \"hidden_size\": 5"),
        &text(
            "llama",
            ", \"num_experts\": 65536, \"num_experts_per_tok\": 1, \
         \"moe_intermediate_size\": 16777216",
        ),
        &text("deepseek_v3", ", \"kv_lora_rank\": 512"),
    ] {
        assert!(parse_config(bad, "x").is_err(), "{bad}");
    }
}

#[test]
fn one_memory_that_an_engine_makes_of_two_machines_keeps_the_reserve_of_both() {
    let (both, one) = (place("alpha-beta"), place("mac-studio-512gb"));
    assert_eq!((both.spans, one.spans, both.kind), (2, 1, DomainKind::Unified));
    assert_eq!(both.reserve_bytes, 2 * crate::core::sizing::ram_reserve_bytes(384 << 30));
}
