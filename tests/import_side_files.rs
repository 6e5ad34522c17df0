//! ONNX models whose tensors lie in side files: found by name, read within what was sent, refused with a remedy.

#[path = "fixtures/build.rs"]
mod build;
#[path = "fixtures/refusal.rs"]
mod refusal;

use build::{Model, tensor};
use kegd::{
    domain::problem::{ErrorCode, Problem},
    formats::onnx::{
        ImportOptions, Imported, import,
        proto::{
            AttributeProto, StringStringEntryProto, TensorProto,
            attribute_proto::AttributeType,
            tensor_proto::{DataLocation, DataType},
        },
    },
};
use refusal::check;

/// The model, read with one side file of zeros.
fn read(model: &Model, name: &str, len: usize) -> Result<Imported, Problem> {
    let external = [(name.to_owned(), vec![0; len])].into();
    import(&model.bytes(), &ImportOptions { external, ..Default::default() })
}

/// The refusal of a model that was sent without a side file.
#[track_caller]
fn refused_alone(model: &Model, code: ErrorCode, words: &[&str]) -> Problem {
    check(import(&model.bytes(), &ImportOptions::default()).expect_err("no side file"), code, words)
}

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

/// A linear layer whose weight lies in a side file.
fn with_side_file(location: &str, offset: &str) -> Model {
    let mut model = Model::empty().node("fc", "Gemm", &["x", "w"], &["y"]);
    model.graph.initializer.push(TensorProto {
        data_type: Some(DataType::Float as i32),
        data_location: Some(DataLocation::External as i32),
        external_data: vec![entry("location", location), entry("offset", offset), entry("length", "48")],
        ..tensor("w", &[4, 3])
    });
    model
}

#[test]
fn side_files_are_found_by_name_and_never_opened_as_paths() {
    let imported = read(&with_side_file("m.onnx.data", "16"), "m.onnx.data", 64).unwrap();
    assert_eq!(imported.side_bytes, 64, "a model is as large as all of its files");
    read(&with_side_file("./weights/m.data", "0"), "m.data", 48).unwrap();
    let ways = ["external_data=@m.onnx.data", "--external-data m.onnx.data", "external_data=False"];
    let problem = refused_alone(&with_side_file("m.onnx.data", "0"), ErrorCode::InvalidModel, &ways);
    assert_eq!(problem.param.as_deref(), Some("external_data"));
    refused_alone(&with_side_file("/proc/self/environ", "0"), ErrorCode::InvalidModel, &["was not sent"]);
    for (offset, len) in [("17", 64), ("18446744073709551615", 64), ("-1", 64), ("0", 47)] {
        let problem = read(&with_side_file("m", offset), "m", len).expect_err("out of range");
        check(problem, ErrorCode::InvalidModel, &["\"w\"", "outside"]);
    }
}

/// Places in a side file may repeat: what is read is bounded by what was sent.
#[test]
fn one_side_file_is_no_thousand() {
    let count = 1 << 20;
    let names: Vec<String> = (0..24).map(|index| format!("w{index}")).collect();
    let mut model = Model::linear().output("z", &[-1, 3]);
    for name in &names {
        model.graph.initializer.push(TensorProto {
            data_type: Some(DataType::Float as i32),
            data_location: Some(DataLocation::External as i32),
            // As many names for it as there are tensors.
            external_data: vec![entry("location", &format!("{name}/m.data"))],
            ..tensor(name, &[count])
        });
    }
    let inputs: Vec<&str> = ["y"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let model = model.node("sum", "Sum", &inputs, &["z"]);
    let problem = read(&model, "m.data", 4 * count as usize).expect_err("too much");
    check(problem, ErrorCode::InvalidModel, &["more elements than the file and its side files have bytes"]);
    let mut twice = with_side_file("a/m.data", "0");
    twice.graph.initializer.extend(with_side_file("b/m.data", "0").graph.initializer);
    twice.graph.initializer[1].name = Some("other".into());
    let imported = read(&twice, "m.data", 64).unwrap();
    assert_eq!(imported.side_bytes, 64, "one file by two names");
}

#[test]
fn constants_of_nodes_in_side_files_have_their_remedy() {
    let mut value = with_side_file("m.data", "0").graph.initializer.remove(0);
    value.name = None;
    let attribute = AttributeProto {
        name: Some("value".into()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(value),
        ..Default::default()
    };
    let model = Model::empty().node_with("constant", "Constant", &[], &["w"], vec![attribute]).node(
        "fc",
        "Gemm",
        &["x", "w"],
        &["y"],
    );
    let words = ["\"constant\"", "\"m.data\"", "convert_attribute=False"];
    refused_alone(&model, ErrorCode::UnsupportedOperators, &words);
}
