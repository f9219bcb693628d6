//! The schema and the parser accept the same texts: the examples, and every document that is one step away from a sound one.
//! The checker here knows the keywords that the schema uses, and a test sees to it that there are no others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ReadError, SCHEMA, parse};
use crate::core::placement::inventory::InventoryError;

const EXAMPLES: [&str; 5] = [
    include_str!("../../../inventories/one-griffith.json"),
    include_str!("../../../inventories/four-32gb.json"),
    include_str!("../../../inventories/five-20gb.json"),
    include_str!("../../../inventories/two-gpus-and-a-laptop.json"),
    include_str!("../../../inventories/forty-mixed.json"),
];

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

/// An inventory with every field that there is.
fn full() -> Value {
    json!({
        "strategy": "mixed",
        "nodes": [
            {"name": "a", "id": "0f".repeat(32), "role": "auto", "disk_free_bytes": 9, "load_bytes_per_s": 1,
             "link_bytes_per_s": 2, "holds": ["m"], "claimed": ["n"], "recent": true,
             "domains": [{"name": "ram", "kind": "ram", "total_bytes": 5, "free_bytes": 3, "reserve_bytes": 1}]},
            {"name": "b", "domains": []},
        ],
        "roster": {"slots": [
            {"name": "S", "artifact": "x", "base": "m", "weights_bytes": 1, "artifact_bytes": 2, "adapter_bytes": 3,
             "adapters": [{"domain": "d", "artifact": "y", "bytes": 4}], "kv_bytes_per_token": 5,
             "compute_bytes_per_token": 6, "context": 7, "context_max": 8, "parallel": 9, "overhead_bytes": 10,
             "replicas": 11, "policy": "pinned", "demand_per_hour": 12, "pinned_on": ["b"], "wanted_rank": 13, "last_wanted": 14},
            {"name": "T", "artifact": "t", "weights_bytes": 1, "context": 1},
        ]},
        "previous": {"replicas": [{"slot": "S", "node": "a", "domain": "ram", "bytes": 5}], "roles": {"a": "mixed"}, "digest": "0"},
    })
}

/// Does `value` satisfy `schema`, a part of `root`?
fn satisfies(root: &Value, schema: &Value, value: &Value) -> bool {
    let keywords = schema.as_object().expect("a schema is an object");
    keywords.iter().all(|(keyword, wants)| match keyword.as_str() {
        "$ref" => {
            let pointer = wants.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference within the file");
            satisfies(root, root.pointer(pointer).expect("a definition"), value)
        }
        "type" => match wants {
            Value::Array(types) => types.iter().any(|kind| is(kind, value)),
            kind => is(kind, value),
        },
        "properties" => value.as_object().is_none_or(|object| {
            let known = wants.as_object().expect("properties");
            object.iter().all(|(name, value)| known.get(name).is_none_or(|schema| satisfies(root, schema, value)))
        }),
        "required" => value.as_object().is_none_or(|object| {
            let names = wants.as_array().expect("names").iter().filter_map(Value::as_str);
            names.into_iter().all(|name| object.contains_key(name))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = |name: &String| keywords.get("properties").is_some_and(|known| known.get(name).is_some());
            object.iter().filter(|(name, _)| !known(name)).all(|(_, value)| match wants {
                Value::Bool(allowed) => *allowed,
                schema => satisfies(root, schema, value),
            })
        }),
        "propertyNames" => {
            value.as_object().is_none_or(|object| object.keys().all(|name| satisfies(root, wants, &json!(name))))
        }
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| satisfies(root, wants, item))),
        "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= wants.as_u64().expect("a count")),
        "enum" => wants.as_array().expect("words").contains(value),
        "minimum" => {
            value.as_number().is_none_or(|number| compared(number) >= i128::from(wants.as_u64().expect("a bound")))
        }
        "maximum" => {
            value.as_number().is_none_or(|number| compared(number) <= i128::from(wants.as_u64().expect("a bound")))
        }
        "minLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 >= wants.as_u64().expect("a length"))
        }
        "maxLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 <= wants.as_u64().expect("a length"))
        }
        "pattern" => value.as_str().is_none_or(|text| text.chars().all(alphabet(wants.as_str().expect("a pattern")))),
        "$schema" | "$defs" | "title" | "description" | "default" => true,
        other => panic!("the schema uses {other}, which this test does not know"),
    })
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        other => panic!("the schema uses the type {other}, which this test does not know"),
    }
}

fn compared(number: &serde_json::Number) -> i128 {
    let whole = number.as_u64().map(i128::from).or(number.as_i64().map(i128::from));
    // Fractions fail by their type.
    whole.unwrap_or(0)
}

/// All patterns here say which characters a text may have.
fn alphabet(pattern: &str) -> fn(char) -> bool {
    match pattern {
        r"^[^\u0000-\u001f\u007f-\u009f]*$" => |c| !c.is_control(),
        "^[A-Za-z0-9_-]*$" => |c| c.is_ascii_alphanumeric() || c == '-' || c == '_',
        "^[0-9A-Fa-f]*$" => |c| c.is_ascii_hexdigit(),
        other => panic!("the schema uses the pattern {other}, which this test does not know"),
    }
}

/// Does the parser accept the text, as far as a schema could say?
fn parses(text: &str) -> bool {
    use InventoryError::{BaseIsAdapter, FreeBeyondTotal, Twice};
    matches!(
        parse(text),
        Ok(_) | Err(ReadError::Inventory(BaseIsAdapter { .. } | FreeBeyondTotal { .. } | Twice { .. }))
    )
}

/// JSON pointers to everything in `value`.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(name, value)| places(value, &format!("{here}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| places(value, &format!("{here}/{index}"), found));
        }
        _ => {}
    }
}

fn all_places(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    places(value, "", &mut found);
    found
}

fn check(root: &Value, document: &Value, what: &str) {
    let text = document.to_string();
    let (by_schema, by_parser) = (satisfies(root, root, document), parses(&text));
    assert_eq!(by_schema, by_parser, "{what}: by the schema {by_schema}, {:?}", parse(&text).err());
}

#[test]
fn every_example_satisfies_the_schema_and_is_read() {
    let root = schema();
    for text in EXAMPLES {
        let document: Value = serde_json::from_str(text).expect("an example is JSON");
        assert!(satisfies(&root, &root, &document));
        parse(text).expect("an example is an inventory");
    }
    assert!(satisfies(&root, &root, &full()) && parse(&full().to_string()).is_ok());
}

#[test]
fn schema_and_parser_agree_on_every_value_put_in_any_place() {
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(1.5),
        json!((1u64 << 20) + 1),
        json!((1u64 << 30) + 1),
        json!(1u64 << 32),
        json!((1u64 << 50) + 1),
        json!(u64::MAX),
        json!(1e30),
        json!(""),
        json!("x"),
        json!("ram"),
        json!("rom"),
        json!("a b"),
        json!("bell\u{7}"),
        json!("x".repeat(33)),
        json!("é".repeat(64)),
        json!("x".repeat(65)),
        json!("x".repeat(257)),
        json!("0F".repeat(32)),
        json!([]),
        json!({}),
        json!([1]),
        json!({"ram": null}),
        json!(["a", "b", "c", "d", "e"]),
    ];
    let (root, full) = (schema(), full());
    for place in all_places(&full) {
        for value in &values {
            let mut document = full.clone();
            *document.pointer_mut(&place).expect("the place is there") = value.clone();
            check(&root, &document, &format!("{value} at {place:?}"));
        }
    }
}

#[test]
fn schema_and_parser_agree_on_what_is_left_out_and_what_is_new() {
    let (root, full) = (schema(), full());
    let mut objects = 0;
    for place in all_places(&full) {
        let Some(object) = full.pointer(&place).and_then(Value::as_object) else { continue };
        objects += 1;
        for name in object.keys() {
            let mut document = full.clone();
            let object = document.pointer_mut(&place).and_then(Value::as_object_mut).expect("an object");
            object.remove(name);
            check(&root, &document, &format!("{place}/{name} left out"));
        }
        for (name, value) in
            [("unheard_of", json!(1)), ("unheard_of", json!("x")), ("", json!("x")), ("\u{7}", json!(1))]
        {
            let mut document = full.clone();
            let object = document.pointer_mut(&place).and_then(Value::as_object_mut).expect("an object");
            object.insert(name.to_owned(), value.clone());
            check(&root, &document, &format!("a new field {name:?}: {value} in {place:?}"));
        }
    }
    assert_eq!(objects, 11);
}

#[test]
fn schema_and_parser_agree_on_how_many_there_may_be() {
    let (root, full) = (schema(), full());
    for (place, max) in [("/nodes/0/domains", 32), ("/roster/slots", 256), ("/roster/slots/0/adapters", 32)] {
        for count in [max, max + 1] {
            let mut document = full.clone();
            let list = document.pointer_mut(place).expect("a list");
            let mut item = list[0].clone();
            let items = (0..count).map(|index| {
                let name = if item.get("domain").is_some() { "domain" } else { "name" };
                item[name] = json!(format!("n{index}"));
                item.clone()
            });
            *list = items.collect();
            check(&root, &document, &format!("{count} in {place}"));
        }
    }
    for (place, max) in [("/nodes/0/holds", 16_384), ("/nodes/0/claimed", 16_384), ("/nodes", 16_384)] {
        for count in [max, max + 1] {
            let mut document = full.clone();
            let node = |index| json!({"name": format!("n{index}"), "domains": []});
            let items =
                (0..count).map(|index| if place == "/nodes" { node(index) } else { json!(format!("a{index}")) });
            *document.pointer_mut(place).expect("a list") = items.collect();
            check(&root, &document, &format!("{count} in {place}"));
        }
    }
}

#[test]
fn every_field_is_described_and_every_size_has_its_unit() {
    let root = schema();
    let mut described = BTreeSet::new();
    for place in all_places(&root) {
        let Some(properties) = place.strip_suffix("/properties").and_then(|_| root.pointer(&place)) else { continue };
        for (name, field) in properties.as_object().expect("properties") {
            let target =
                field.get("$ref").and_then(Value::as_str).and_then(|it| root.pointer(&it[1..])).unwrap_or(field);
            let description = target["description"].as_str().unwrap_or_default();
            assert!(description.ends_with('.'), "{place}/{name}");
            let sized = name.ends_with("_bytes") || name.contains("bytes_per") || name == "bytes";
            assert!(!sized || description.contains("bytes"), "{place}/{name}: {description}");
            described.insert(name.clone());
        }
    }
    assert!(described.len() > 30, "{described:?}");
}
