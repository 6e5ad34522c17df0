//! Archives of torch.export that cannot be taken are refused with their own reason, and quickly; whatever the bytes are,
//! importing ends with an answer.

#[path = "fixtures/records.rs"]
mod records;
#[path = "fixtures/refusal.rs"]
mod refusal;

use kegd::{
    domain::problem::{ErrorCode, Problem},
    formats::{imported::ImportOptions, pt2, sniff::Format},
};
use proptest::prelude::*;
use records::Records;
use refusal::{check, digest};
use serde_json::{Value, json};
use zip::CompressionMethod;

fn plain() -> Records {
    Records::of("lenet5")
}

#[track_caller]
fn refused(bytes: &[u8], code: ErrorCode, words: &[&str]) -> Problem {
    check(pt2::import(bytes, &ImportOptions::default()).expect_err("the archive is refused"), code, words)
}

fn node<'p>(program: &'p mut Value, name: &str) -> &'p mut Value {
    let nodes = program["graph_module"]["graph"]["nodes"].as_array_mut().unwrap();
    nodes.iter_mut().find(|node| node["name"] == name).unwrap()
}

#[test]
fn the_plain_archive_is_taken() {
    assert_eq!(pt2::import(&plain().bytes(), &ImportOptions::default()).unwrap().graph.classes(), 10);
}

/// An example of no rows fixes no batch.
#[test]
fn an_empty_batch_is_none() {
    let empty = plain().program(|program| {
        program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"][0] = json!({"as_int": 0});
    });
    let imported = pt2::import(&empty.bytes(), &ImportOptions::default()).unwrap();
    assert!(imported.warnings.iter().all(|warning| !warning.contains("batch")), "{:?}", imported.warnings);
}

#[test]
fn other_kinds_of_archives_have_their_remedies() {
    let compiled = plain().with("data/aotinductor/model/model.so", b"\x7fELF");
    refused(&compiled.bytes(), ErrorCode::UnsupportedFormat, &["AOTInductor", "torch.export.save"]);
    let mut next = plain();
    *next.get("archive_version") = b"1".to_vec();
    refused(&next.bytes(), ErrorCode::UnsupportedFormat, &["version \"1\"", "version 0"]);
    refused(&plain().without("archive_version").bytes(), ErrorCode::UnsupportedFormat, &["which version"]);
    let mut big = plain();
    *big.get("byteorder") = b"big".to_vec();
    refused(&big.bytes(), ErrorCode::UnsupportedFormat, &["little-endian"]);
    let old = Records(vec![
        ("serialized_exported_program.json".into(), b"{}".to_vec()),
        ("serialized_state_dict.pt".into(), b"PK\x03\x04".to_vec()),
        ("version".into(), b"8.1".to_vec()),
    ]);
    refused(&old.bytes(), ErrorCode::UnsupportedFormat, &["2.7 or older", "torch.export.load", "pickle"]);
    let pickled = plain().with("data/weights/model.pt", b"PK\x03\x04");
    refused(&pickled.bytes(), ErrorCode::UnsupportedFormat, &["pickles", "torch.export.save"]);
    let schema = plain().program(|program| program["schema_version"]["major"] = json!(9));
    refused(&schema.bytes(), ErrorCode::UnsupportedFormat, &["schema 9.", "torch 2.8 to 2.11"]);
    let program = plain().get("models/model.json").clone();
    let several = plain().with("models/other.json", &program);
    refused(&several.bytes(), ErrorCode::InvalidModel, &["2 programs", "model, other"]);
    refused(&plain().without("models/model.json").bytes(), ErrorCode::InvalidModel, &["no exported program"]);
}

#[test]
fn archives_are_read_as_they_are_stored() {
    refused(&plain().pack(CompressionMethod::Deflated), ErrorCode::InvalidModel, &["compressed"]);
    let whole = plain().bytes();
    for length in (0..whole.len()).step_by(997) {
        refused(&whole[..length], ErrorCode::InvalidModel, &["cut short"]);
    }
}

#[test]
fn every_unknown_operator_is_listed() {
    let strange = plain().program(|program| {
        node(program, "relu")["target"] = json!("torch.ops.aten.fft_fft2.default");
        node(program, "relu_1")["target"] = json!("torch.ops.mine.relu.default");
    });
    let words = ["2 of the model's nodes", "aten.fft_fft2.default node \"relu\"", "mine.relu.default node \"relu_1\""];
    let problem = refused(&strange.bytes(), ErrorCode::UnsupportedOperators, &words);
    assert_eq!(problem.errors[0].operator.as_deref(), Some("aten.fft_fft2.default"));
    assert_eq!(problem.errors[1].param.as_deref(), Some("relu_1"));
}

#[test]
fn programs_that_contradict_themselves() {
    let missing = plain().program(|program| {
        node(program, "relu")["inputs"][0]["arg"]["as_tensor"]["name"] = json!("nothing");
    });
    refused(&missing.bytes(), ErrorCode::InvalidModel, &["\"nothing\"", "which nothing before it makes"]);
    // A circle is what reads a later value.
    let circle = plain().program(|program| {
        node(program, "relu")["inputs"][0]["arg"]["as_tensor"]["name"] = json!("relu_1");
    });
    refused(&circle.bytes(), ErrorCode::InvalidModel, &["\"relu_1\""]);
    let twice = plain().program(|program| {
        node(program, "relu")["outputs"][0]["as_tensor"]["name"] = json!("conv2d");
    });
    refused(&twice.bytes(), ErrorCode::InvalidModel, &["\"conv2d\" is made twice"]);
    let no_json = plain().program(|program| *program = json!([1, 2]));
    refused(&no_json.bytes(), ErrorCode::InvalidModel, &["models/model.json"]);
    let outputs = plain().program(|program| {
        let spec = program["graph_module"]["signature"]["output_specs"][0].clone();
        program["graph_module"]["signature"]["output_specs"] = json!([spec.clone(), spec]);
    });
    refused(&outputs.bytes(), ErrorCode::NotAClassifier, &["2 outputs"]);
    let bytes = plain().program(|program| program["graph_module"]["graph"]["tensor_values"]["x"]["dtype"] = json!(1));
    refused(&bytes.bytes(), ErrorCode::NotAClassifier, &["not of floats"]);
}

#[test]
fn tensors_that_lie() {
    let weight = |change: fn(&mut Value)| plain().weights(|config| change(&mut config["conv1.weight"])).bytes();
    let meta = |key: &'static str, value: Value| {
        plain().weights(|config| config["conv1.weight"]["tensor_meta"][key] = value).bytes()
    };
    let of = |numbers: &[i64]| numbers.iter().map(|number| json!({"as_int": number})).collect::<Value>();
    let named = &["conv1.weight"];
    refused(&weight(|weight| weight["use_pickle"] = json!(true)), ErrorCode::InvalidModel, &["pickle", "conv1.weight"]);
    refused(&weight(|weight| weight["path_name"] = json!("../../etc/passwd")), ErrorCode::InvalidModel, named);
    refused(&weight(|weight| weight["tensor_meta"] = Value::Null), ErrorCode::InvalidModel, &["no shape"]);
    for sizes in [&[1 << 62, 1, 5, 5][..], &[6, -1, 5, 5], &[1 << 20, 1 << 20, 1, 1], &[6, 1, 5, 6]] {
        refused(&meta("sizes", of(sizes)), ErrorCode::InvalidModel, named);
    }
    for strides in [&[i64::MAX, i64::MAX, 1, 1][..], &[-25, 25, 5, 1], &[25, 25, 5], &[2600, 25, 5, 1]] {
        refused(&meta("strides", of(strides)), ErrorCode::InvalidModel, named);
    }
    for offset in [1, -1, i64::MAX] {
        refused(&meta("storage_offset", json!({"as_int": offset})), ErrorCode::InvalidModel, named);
    }
    refused(&meta("dtype", json!(9)), ErrorCode::InvalidModel, &["type 9"]);
    refused(&meta("layout", json!(1)), ErrorCode::InvalidModel, &["sparse"]);
    let missing = plain().weights(|config| drop(config.as_object_mut().unwrap().remove("conv1.weight")));
    refused(&missing.bytes(), ErrorCode::InvalidModel, &["lacks the tensor \"conv1.weight\""]);
    let mut diverged = plain();
    diverged.get("weights/weight_0")[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(&diverged.bytes(), ErrorCode::InvalidWeights, named);
}

/// One element looked at as very many, and small programs that compute large values.
#[test]
fn little_that_becomes_much() {
    let vast = plain().weights(|config| {
        let meta = &mut config["fc1.bias"]["tensor_meta"];
        (meta["sizes"], meta["strides"]) = (json!([{"as_int": 1 << 27}]), json!([{"as_int": 0}]));
    });
    refused(&vast.bytes(), ErrorCode::InvalidModel, &["fc1.bias"]);
    let padded = plain().program(|program| {
        let relu = node(program, "relu");
        relu["target"] = json!("torch.ops.aten.constant_pad_nd.default");
        let pad = json!({"name": "pad", "arg": {"as_ints": [1_i64 << 40, 1_i64 << 40]}, "kind": 1});
        relu["inputs"].as_array_mut().unwrap().push(pad);
    });
    refused(&padded.bytes(), ErrorCode::InvalidModel, &["relu"]);
    let full = plain().program(|program| {
        let relu = node(program, "relu");
        relu["target"] = json!("torch.ops.aten.new_zeros.default");
        let size = json!({"name": "size", "arg": {"as_ints": [1 << 20, 1 << 20]}, "kind": 1});
        relu["inputs"].as_array_mut().unwrap().push(size);
    });
    refused(&full.bytes(), ErrorCode::InvalidModel, &["relu"]);
    let deep = plain().program(|program| *program = (0..100).fold(json!(1), |inner, _| json!([inner])));
    refused(&deep.bytes(), ErrorCode::InvalidModel, &["models/model.json"]);
    let mut nested = plain();
    *nested.get("models/model.json") = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
    refused(&nested.bytes(), ErrorCode::InvalidModel, &["models/model.json"]);
}

/// The program of "odds" with a call of `operator` on what is changed in place, just before that, which the output reads.
fn seen_before_a_change(operator: &str, further: Value) -> Vec<u8> {
    let seen = Records::of("odds").program(|program| {
        let nodes = program["graph_module"]["graph"]["nodes"].as_array_mut().unwrap();
        let change = nodes.iter().position(|node| node["target"] == "torch.ops.aten.add_.Tensor").unwrap();
        let mut inputs = vec![json!({"name": "self", "arg": nodes[change]["inputs"][0]["arg"], "kind": 1})];
        inputs.extend(further.as_array().unwrap().iter().cloned());
        let outputs = json!([{"as_tensor": {"name": "seen"}}]);
        let node = json!({"target": operator, "name": "seen", "metadata": {}, "inputs": inputs, "outputs": outputs});
        nodes.insert(change, node);
        let extra = json!({"name": "unused", "arg": {"as_tensor": {"name": "seen"}}, "kind": 1});
        nodes.last_mut().unwrap()["inputs"].as_array_mut().unwrap().push(extra);
    });
    seen.bytes()
}

/// What a change in place does to values that share its memory.
#[test]
fn changes_in_place_reach_who_reads_later() {
    let cut =
        json!([{"name": "dim", "arg": {"as_int": 1}, "kind": 1}, {"name": "start", "arg": {"as_int": 1}, "kind": 1}]);
    let viewed = seen_before_a_change("torch.ops.aten.slice.Tensor", cut);
    refused(&viewed, ErrorCode::UnsupportedOperators, &["in place", "\"seen\" is a view"]);
    let copied = seen_before_a_change("torch.ops.aten.contiguous.default", json!([]));
    refused(&copied, ErrorCode::UnsupportedOperators, &["in place", "\"seen\" may be a copy"]);
    pt2::import(&seen_before_a_change("torch.ops.aten.alias.default", json!([])), &ImportOptions::default()).unwrap();
}

const SEEDS: &[&str] = &["mlp", "gates_core", "shuffle", "attention", "odds", "signal_core", "patches_fixed"];

const EDGES: &[i64] = &[i64::MIN, -(1 << 40), -2, -1, 0, 1, 2, 3, 7, 1 << 16, 1 << 31, 1 << 40, i64::MAX];

/// All numbers of a document, to be changed.
fn numbers<'v>(value: &'v mut Value, found: &mut Vec<&'v mut Value>) {
    match value {
        Value::Number(_) => found.push(value),
        Value::Array(values) => values.iter_mut().for_each(|value| numbers(value, found)),
        Value::Object(members) => members.iter_mut().for_each(|(_, value)| numbers(value, found)),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn bytes_changed(which in 0..SEEDS.len(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = Records::of(SEEDS[which]).bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        digest(&bytes, &ImportOptions::default(), Format::Pt2);
    }

    #[test]
    fn numbers_changed(which in 0..SEEDS.len(), in_weights: bool, changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..EDGES.len()), 1..4)) {
        let record = if in_weights { "weights_config.json" } else { "models/model.json" };
        let changed = Records::of(SEEDS[which]).edit(record, |value| {
            let mut found = Vec::new();
            numbers(value, &mut found);
            for (at, edge) in changes {
                let at = at.index(found.len());
                *found[at] = json!(EDGES[edge]);
            }
        });
        digest(&changed.bytes(), &ImportOptions::default(), Format::Pt2);
    }
}
