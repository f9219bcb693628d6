//! Answers of `fit` at 80 and 120 columns, models from files of every kind, and the rosters that come with the program.

use std::path::Path;

use super::*;
use crate::cli::golden;
use crate::core::fit::roster::{Residency, RosterDocument, nodes, roster as plan};
use crate::core::fit::study::again;

fn named(names: &[&str]) -> Vec<Place> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    places(&tables::known(), &names).expect("places")
}

fn manager(columns: usize) -> String {
    let known = tables::known();
    let model = source::model(&known, "manager").expect("a preset");
    let places = named(&["macbook-16gb", "rtx-4090", "2x32GiB", "den=24GB", "griffith", "alpha-beta"]);
    let question = Question {
        model: &model,
        precision: known.precision("F16"),
        context: 4096,
        parallel: 1,
        places: &places,
        precisions: &known.precisions[..3],
    };
    text::fit(&fit(&question), columns)
}

#[test]
fn a_model_is_sized() {
    golden::check("fit", manager);
}

fn matrix(columns: usize) -> String {
    study::text(&again(&tables::study(), &tables::known()).expect("its names are known"), columns)
}

#[test]
fn the_study_is_done_again() {
    golden::check("fit-matrix", matrix);
}

/// The answer for a roster on the machines it names, or on others.
fn answered(file: &str, machines: &[&str], precision: Option<&str>) -> RosterDocument {
    let known = tables::known();
    let (name, meant, own) = roster::roles(&known, Path::new(file), precision).expect("a roster");
    let places = if machines.is_empty() { places(&known, &own).expect("machines") } else { named(machines) };
    plan(&name, &meant, &nodes(&places, 3_000_000_000)).expect("a plan that keeps its rules")
}

#[test]
fn a_roster_is_fitted() {
    let document = answered("syndicate", &["pc-64gb", "rtx-4090"], None);
    golden::check("fit-roster", |columns| roster::text(&document, columns));
}

#[test]
fn what_is_known_by_name_is_listed_within_80_and_120_columns() {
    for columns in [80, 120] {
        let text = text::list(&tables::known(), columns);
        let long = text.lines().find(|line| line.chars().count() > columns || line.ends_with(' '));
        assert_eq!(long, None);
        for name in ["deepseek-v3", "Q4_K_M", "h100", "alpha-beta"] {
            assert!(text.contains(name), "{name}\n{text}");
        }
    }
}

fn states(document: &RosterDocument) -> Vec<(&str, Residency)> {
    document.roles.iter().map(|role| (role.slot.as_str(), role.state)).collect()
}

#[test]
fn each_tier_of_the_sizing_guide_holds_what_it_should() {
    use Residency::{None as Nowhere, Resident, Swap};
    let hot = ["frontdoor", "workers", "coder_escalation", "worker_vision", "draft"];
    let all = |file: &str| answered(file, &[], None);
    assert_eq!(states(&all("sizing-64gb")), [("all", Resident)]);
    let basic = all("sizing-128gb");
    assert!(basic.roles.iter().all(|role| role.state == Resident), "{basic:?}");
    assert_eq!(basic.memory[0].band, crate::core::sizing::Band::Safe);
    // The guide keeps 54 GB of 256 and has room for one WARM model; fednode keeps 20, and both fit: with nothing to spare.
    let standard = all("sizing-256gb");
    assert!(standard.roles.iter().all(|role| role.state == Resident), "{standard:?}");
    assert_eq!(standard.memory[0].band, crate::core::sizing::Band::Critical);
    // On a machine that has what the guide would budget, one of the two is swapped in.
    let tight = answered("sizing-256gb", &["219GiB"], None);
    assert!(hot.iter().all(|slot| states(&tight).contains(&(slot, Resident))), "{tight:?}");
    assert_eq!((tight.roles[6].state, tight.give_up.as_slice()), (Swap, &["architect_general".to_owned()][..]));
    let production = all("sizing-512gb");
    assert!(production.roles.iter().all(|role| role.state == Resident), "{production:?}");
    assert!(all("sizing-1tb").roles.iter().all(|role| role.state == Resident));
    // The architect for coding needs 273.5 GiB of weights: beside all others 512 GB are too little, 256 GB for it alone too.
    assert_eq!(answered("sizing-1tb", &["server-512gb"], None).give_up, ["architect_coding"]);
    assert_eq!(answered("sizing-1tb", &["server-256gb"], None).roles[7].state, Nowhere);
}

#[test]
fn what_stands_last_in_the_order_of_priority_is_given_up_first() {
    let on = |machine: &str| answered("sizing-1tb", &[machine], None).give_up;
    let order = [
        "frontdoor",
        "workers",
        "coder_escalation",
        "worker_vision",
        "draft",
        "ingest",
        "architect_general",
        "architect_coding",
    ];
    let (small, middle) = (on("32GiB"), on("64GiB"));
    for given in [&small, &middle] {
        let ranks: Vec<usize> =
            given.iter().map(|slot| order.iter().position(|known| known == slot).expect("a role")).collect();
        assert!(ranks.is_sorted_by(|a, b| a > b), "{given:?}");
        assert!(!given.contains(&"frontdoor".to_owned()), "it is always needed: {given:?}");
    }
    assert!(small.len() > middle.len() && middle.len() >= 3, "{small:?} {middle:?}");
    assert_eq!(on("2TB"), Vec::<String>::new());
    // What would fit beside those that are needed more stays, though it is needed less than one that does not fit.
    assert_eq!(answered("cluster", &["mac-studio-512gb"], Some("MLX-8BIT")).give_up, ["coding"]);
}

#[test]
fn the_syndicate_is_resident_in_512_gb_with_its_judge_in_either_precision() {
    let document = answered("syndicate", &[], None);
    assert!(document.give_up.is_empty() && document.roles.iter().all(|role| role.state == Residency::Resident));
    let judge = document.roles.iter().find(|role| role.slot == "judge").expect("a judge");
    assert_eq!((judge.precision.as_str(), judge.bytes > 75_000_000_000), ("Q8_0", true));
    // Judge and analysts are then one model, and its weights are there once.
    let pure = answered("syndicate", &[], Some("F16"));
    assert!(pure.give_up.is_empty() && pure.total_bytes < 230_000_000_000, "{}", pure.total_bytes);
}

#[test]
fn the_clusters_largest_model_lies_on_one_of_its_machines_and_in_8_bits_on_neither() {
    let document = answered("cluster", &[], None);
    assert_eq!(document.roles[0].on, ["mac-studio-512gb unified"]);
    assert!(document.give_up.is_empty(), "{document:?}");
    let larger = answered("cluster", &[], Some("MLX-8BIT"));
    assert_eq!((larger.roles[0].state, larger.give_up.as_slice()), (Residency::None, &["coding".to_owned()][..]));
    let spanned = answered("cluster", &["alpha-beta"], Some("MLX-8BIT"));
    let memory = &spanned.memory[0];
    assert_eq!((spanned.roles[0].state, memory.band), (Residency::Resident, crate::core::sizing::Band::Critical));
    assert_eq!(spanned.give_up, ["fast"], "{spanned:?}");
}

#[test]
fn seven_managers_on_the_seeds_four_machines_of_32_gb_are_four() {
    let document = answered("reference", &["4x32GB"], None);
    let resident = document.roles.iter().filter(|role| role.state == Residency::Resident).count();
    assert_eq!((resident, document.give_up.len()), (4, 3));
    assert_eq!(document.give_up, ["UDM", "UAM", "ULM"]);
    let whole = answered("reference", &["griffith"], None);
    assert!(whole.give_up.is_empty());
}

#[test]
fn a_floor_of_f16_is_not_lowered_by_any_other_roster() {
    let known = tables::known();
    let refused = roster::roles(&known, Path::new("reference"), Some("Q8_0")).expect_err("below the floor");
    assert!(refused.to_string().contains("its floor is f16"), "{refused}");
    assert!(roster::roles(&known, Path::new("reference"), Some("F32")).is_ok());
}

#[test]
fn a_roster_file_is_taken_apart_and_what_is_unknown_in_it_is_refused() {
    let parse = |text: &str| roster::parse(text).map(|file| file.roster.slots.len());
    assert_eq!(parse("name = 'x'\n[[slot]]\nname = 'a'\nmodel = 'manager'\nprecision = 'F16'\n"), Ok(1));
    for bad in [
        "",
        "name = 'x'\nslot = 5\n",
        "name = 'x'\nslot = []\n",
        "name = 'x'\nmachines = 5\n[[slot]]\nname = 'a'\n",
        "name = 'x'\n[[slot]]\nname = 'a'\nmodel = 5\n",
        "name = 'x'\n[[slot]]\nname = 'a'\nmodle = 'manager'\n",
        "name = 'x'\nmodel = 'manager'\n[[slot]]\nname = 'a'\n",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_roster_that_comes_along_can_be_applied_to_a_node() {
    for (name, text) in roster::SHIPPED {
        let file = roster::parse(text).expect(name);
        let sent = toml::to_string(&file.roster).expect("TOML");
        let taken: crate::core::roster::SlotRoster = toml::from_str(&sent).expect(name);
        assert_eq!(taken, file.roster, "{name}");
    }
}

#[test]
fn places_are_names_sizes_or_several_of_a_kind() {
    let found: Vec<String> =
        named(&["H100", "2x32GiB", "den=24GB", "32GiB", "2xl40"]).into_iter().map(|place| place.name).collect();
    assert_eq!(found, ["h100", "32GiB", "32GiB-2", "den", "32GiB-3", "l40", "l40-2"]);
    for bad in ["", "=", "=5GiB", "x32GiB", "0x32GiB", "h1000", "den=0", "999999x1GiB", "a\u{7}=1GiB"] {
        assert!(places(&tables::known(), &[bad.to_owned()]).is_err(), "{bad:?}");
    }
}

/// A small model as a file of each kind.
#[test]
fn a_file_is_sized_by_its_own_tensors_and_its_settings_alone_agree() {
    use crate::store::make_model::{MakeModel, ModelDtype, make_model};
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("small.gguf");
    let shape = |out: &Path| MakeModel {
        out: out.to_owned(),
        layers: 2,
        hidden: 64,
        heads: 4,
        kv_heads: Some(2),
        ffn: 128,
        vocab: 300,
        context: 512,
        seed: 1,
        dtype: ModelDtype::F16,
    };
    let made = make_model(&shape(&out)).expect("made");
    let known = tables::known();
    let file = source::model(&known, &out.to_string_lossy()).expect("a GGUF file");
    assert_eq!((file.shape.parameters, file.shape.weights_bytes), (made.parameters, made.weights_bytes));
    assert_eq!((file.stored.as_deref(), file.active_parameters), (Some("F16"), made.parameters));
    let config = folder.path().join("config.json");
    let settings = r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 300,
        "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 512, "tie_word_embeddings": false}"#;
    std::fs::write(&config, settings).expect("written");
    let counted = source::model(&known, &config.to_string_lossy()).expect("settings");
    assert_eq!((counted.shape.parameters, counted.stored), (made.parameters, None));
    let name = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(counted.name, name.trim().to_owned());
    // A folder without its weights, a file that is none, and nothing at all.
    let nonsense = folder.path().join("x.gguf");
    std::fs::write(&nonsense, "nonsense").expect("written");
    for bad in [folder.path(), &nonsense, Path::new("/no/such/model")] {
        assert!(source::model(&known, &bad.to_string_lossy()).is_err(), "{}", bad.display());
    }
}

#[test]
fn a_folder_of_hugging_face_is_sized_by_its_headers() {
    let known = tables::known();
    let folder = |name: &str| format!("{}/../tests/oracle/{name}", env!("CARGO_MANIFEST_DIR"));
    for name in ["plain", "scaled"] {
        let measured = source::model(&known, &folder(name)).expect("a model");
        let counted = source::model(&known, &format!("{}/config.json", folder(name))).expect("settings");
        assert_eq!(measured.shape.parameters, counted.shape.parameters, "{name}");
        assert_eq!(measured.shape.layers, counted.shape.layers);
        assert!(measured.shape.weights_bytes >= 2 * measured.shape.parameters && measured.stored.is_some());
    }
    let adapter = source::model(&known, &folder("core")).expect_err("an adapter");
    assert!(adapter.to_string().contains("adapter"), "{adapter}");
}
