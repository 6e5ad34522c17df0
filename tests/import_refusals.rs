//! What cannot be imported is refused with its own reason, and quickly.

#[path = "fixtures/build.rs"]
mod build;
#[path = "fixtures/refusal.rs"]
mod refusal;

use build::{Model, int, ints, port, typed_port};
use kegd::{
    domain::problem::{ErrorCode, Problem},
    formats::{
        file,
        onnx::{
            ImportOptions, Imported, export, import,
            proto::{
                FunctionProto, ModelProto, StringStringEntryProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
            },
        },
    },
};
use prost::Message;
use refusal::check;
use rstest::rstest;

fn read(model: &Model) -> Result<Imported, Problem> {
    import(&model.bytes(), &ImportOptions::default())
}

/// The refusal, which has the code and mentions every one of `words` in its detail, its causes or its hint.
#[track_caller]
fn refused(model: &Model, code: ErrorCode, words: &[&str]) -> Problem {
    check(read(model).expect_err("the model is refused"), code, words)
}

#[test]
fn the_plain_model_is_taken() {
    assert_eq!(read(&Model::linear()).unwrap().graph.classes(), 3);
}

#[test]
fn a_file_cut_short_is_refused_wherever_it_is_cut() {
    let bytes = std::fs::read("tests/fixtures/mlp_legacy14.onnx").unwrap();
    for len in (0..bytes.len()).step_by(7) {
        let problem = import(&bytes[..len], &ImportOptions::default()).expect_err("cut short");
        assert_eq!(problem.code, ErrorCode::InvalidModel, "cut at {len}: {}", problem.detail);
    }
}

#[test]
fn what_is_no_protobuf_is_refused() {
    let problem = import(b"\x00\x01random bytes", &ImportOptions::default()).expect_err("no protobuf");
    check(problem, ErrorCode::InvalidModel, &["does not decode", "cut short"]);
}

#[test]
fn opsets_out_of_range_are_refused() {
    for version in [1, 6, 24, 1000] {
        let model = Model { opset: vec![("", version)], ..Model::linear() };
        refused(&model, ErrorCode::InvalidModel, &["opset", &version.to_string(), "7 to 23"]);
    }
    refused(&Model { opset: vec![], ..Model::linear() }, ErrorCode::InvalidModel, &["opset"]);
    for version in [7, 13, 23] {
        read(&Model { opset: vec![("", version)], ..Model::linear() }).unwrap();
    }
}

#[test]
fn names_beyond_measure_are_refused() {
    let linear = |[input, layer, weight, output]: [&str; 4]| {
        let model = Model::empty().input(input, &[-1, 4]).output(output, &[-1, 3]);
        let model = model.node(layer, "Gemm", &[input, weight], &["h"]).weight(weight, &[4, 3], &[0.5; 12]);
        file::read(&model.node("act", "Relu", &["h"], &[output]).bytes(), &ImportOptions::default())
    };
    for index in 0..4 {
        let named = |name: &str| {
            let mut names = ["x", "fc", "w", "y"];
            names[index] = name;
            linear(names)
        };
        named(&"n".repeat(1024)).unwrap();
        let problem = named(&"n".repeat(1025)).expect_err("the name is too long");
        check(problem, ErrorCode::InvalidModel, &["1025 bytes", "at most 1024", "\"nnnnn", "shorter names"]);
    }
}

#[test]
fn ten_inputs_are_listed() {
    let mut model = Model::linear();
    model.graph.input = (0..10).map(|index| port(&format!("input{index}"), &[-1, 4])).collect();
    refused(&model, ErrorCode::NotAClassifier, &["10 inputs", "input0 (?, 4)", "input9"]);
    model.graph.input.clear();
    refused(&model, ErrorCode::NotAClassifier, &["no input"]);
}

#[test]
fn a_detection_head_is_refused() {
    let mut model = Model::linear();
    model.graph.output = vec![port("boxes", &[-1, 100, 4]), port("scores", &[-1, 100]), port("labels", &[-1, 100])];
    refused(&model, ErrorCode::NotAClassifier, &["3 outputs", "boxes (?, 100, 4)", "labels"]);
    let one =
        Model::empty().input("x", &[-1, 4, 8]).output("boxes", &[-1, 4, 8]).node("act", "Relu", &["x"], &["boxes"]);
    refused(&one, ErrorCode::NotAClassifier, &["boxes", "(N, 4, 8)", "(N, classes)"]);
}

#[test]
fn one_class_is_no_classifier() {
    let model =
        Model::empty().output("y", &[-1, 1]).node("fc", "Gemm", &["x", "w"], &["y"]).weight("w", &[4, 1], &[1.0; 4]);
    refused(&model, ErrorCode::NotAClassifier, &["(N, 1)", "two or more"]);
}

#[test]
fn an_output_that_ignores_the_input_is_refused() {
    let constant = Model::empty().node("only", "Identity", &["w"], &["y"]).weight("w", &[1, 3], &[0.0; 3]);
    refused(&constant, ErrorCode::NotAClassifier, &["does not depend on the input"]);
    let same = Model::empty().output("y", &[-1, 4]).node("same", "Identity", &["x"], &["y"]);
    refused(&same, ErrorCode::NotAClassifier, &["unchanged"]);
    refused(&Model::empty(), ErrorCode::InvalidModel, &["No node makes", "y"]);
}

#[test]
fn inputs_that_are_not_floats_or_have_no_batch_are_refused() {
    let mut model = Model::linear();
    model.graph.input = vec![typed_port("x", &[-1, 4], DataType::Uint8)];
    refused(&model, ErrorCode::NotAClassifier, &["uint8", "not of floats"]);
    refused(&Model::linear().input("x", &[4]), ErrorCode::NotAClassifier, &["x (4)", "batch"]);
    for data_type in [DataType::Float16, DataType::Double] {
        model.graph.input = vec![typed_port("x", &[-1, 4], data_type)];
        read(&model).unwrap();
    }
}

#[test]
fn open_extents_are_asked_for() {
    let model = Model::linear().input("x", &[-1, -1]);
    let problem = refused(&model, ErrorCode::InvalidModel, &["x (?, ?)", "config.input.shape"]);
    assert_eq!(problem.param.as_deref(), Some("config.input.shape"));
    let given = |shape: &[usize]| ImportOptions { input_shape: Some(shape.to_vec()), ..Default::default() };
    assert_eq!(import(&model.bytes(), &given(&[4])).unwrap().graph.input.shape, [4]);
    for wrong in [&[5][..], &[4, 4], &[0], &[]] {
        let problem = import(&Model::linear().bytes(), &given(wrong)).expect_err("contradicts the file");
        check(problem, ErrorCode::InvalidConfig, &["config.input.shape", "x (?, 4)"]);
    }
}

#[test]
fn unsupported_operators_are_reported_together() {
    let mut model = Model::empty()
        .node("first", "NonMaxSuppression", &["x"], &["a"])
        .node("second", "TopK", &["a"], &["b"])
        .node("third", "Relu", &["b"], &["c"])
        .node("fourth", "TopK", &["c"], &["y"])
        .node("unused", "Loop", &["x"], &["z"]);
    let words = ["TopK (2)", "NonMaxSuppression (1)", "\"first\"", "\"second\"", "\"fourth\"", "GET /formats"];
    let problem = refused(&model, ErrorCode::UnsupportedOperators, &words);
    assert_eq!(problem.errors.len(), 3);
    model = Model::linear();
    model.graph.node[0].domain = Some("com.example".to_owned());
    refused(&model, ErrorCode::UnsupportedOperators, &["com.example", "\"fc\""]);
}

#[test]
fn what_mixes_examples_is_refused() {
    let mean = Model::linear()
        .output("z", &[-1, 3])
        .node_with("mean", "ReduceMean", &["y"], &["m"], vec![ints("axes", &[0])])
        .node("minus", "Sub", &["y", "m"], &["z"]);
    refused(&mean, ErrorCode::UnsupportedOperators, &["\"mean\"", "along the batch"]);
    let first = Model::linear()
        .output("z", &[-1, 3])
        .node("first", "Slice", &["y", "zero", "one", "zero"], &["z"])
        .ints("zero", &[0])
        .ints("one", &[1]);
    refused(&first, ErrorCode::UnsupportedOperators, &["\"first\"", "some of the examples"]);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let mut values = [0.5; 12];
    values[7] = f32::NAN;
    let nan = Model::empty().node("fc", "Gemm", &["x", "w"], &["y"]).weight("w", &[4, 3], &values);
    refused(&nan, ErrorCode::InvalidWeights, &["\"w\"", "NaN"]);
    let folded = Model::linear()
        .output("z", &[-1, 3])
        .node("infinite", "Div", &["one", "zero"], &["inf"])
        .node("times", "Mul", &["y", "inf"], &["z"])
        .weight("one", &[1], &[1.0])
        .weight("zero", &[1], &[0.0]);
    refused(&folded, ErrorCode::InvalidWeights, &["\"inf\""]);
}

#[test]
fn shapes_that_lie_are_refused() {
    let short = Model::empty().node("fc", "Gemm", &["x", "w"], &["y"]).weight("w", &[4, 3], &[0.5; 11]);
    refused(&short, ErrorCode::InvalidModel, &["\"w\"", "12 elements", "11"]);
    let negative = Model::empty().node("fc", "Gemm", &["x", "w"], &["y"]).weight("w", &[-4, -3], &[0.5; 12]);
    refused(&negative, ErrorCode::InvalidModel, &["\"w\"", "[-4, -3]"]);
    let wide = Model::empty().node("fc", "Gemm", &["x", "w"], &["y"]).weight("w", &[5, 3], &[0.5; 15]);
    refused(&wide, ErrorCode::InvalidModel, &["\"fc\"", "(N, 4) by (5, 3)"]);
    refused(&Model::linear().output("y", &[-1, 7]), ErrorCode::InvalidModel, &["declares", "y (?, 7)", "(N, 3)"]);
    let reshaped =
        Model::linear().output("z", &[-1, 3]).node("view", "Reshape", &["y", "shape"], &["z"]).ints("shape", &[-1, 5]);
    refused(&reshaped, ErrorCode::InvalidModel, &["\"view\"", "(-1, 5)", "number of elements"]);
}

#[test]
fn names_that_do_not_fit_are_refused() {
    let missing = Model::empty().node("fc", "Gemm", &["x", "w"], &["y"]);
    refused(&missing, ErrorCode::InvalidModel, &["\"fc\"", "\"w\"", "nothing makes", "initialiser may be missing"]);
    let twice = Model::linear().node("again", "Relu", &["x"], &["y"]);
    refused(&twice, ErrorCode::InvalidModel, &["Two values", "\"y\""]);
    let weights = Model::linear().weight("w", &[4, 3], &[0.5; 12]);
    refused(&weights, ErrorCode::InvalidModel, &["Two initialisers", "\"w\""]);
    let circle = Model::empty().node("a", "Add", &["x", "q"], &["p"]).node("b", "Relu", &["p"], &["q"]).node(
        "c",
        "Relu",
        &["q"],
        &["y"],
    );
    refused(&circle, ErrorCode::InvalidModel, &["circle", "\"a\""]);
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let model = Model::empty()
        .node("second", "Relu", &["h"], &["y"])
        .node("first", "Gemm", &["x", "w"], &["h"])
        .weight("w", &[4, 3], &[0.5; 12]);
    let names: Vec<String> = read(&model).unwrap().graph.nodes.into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["first", "second"]);
}

#[test]
fn initialisers_that_are_listed_as_inputs_are_none() {
    let mut model = Model::linear();
    model.graph.input.push(port("w", &[4, 3]));
    assert_eq!(read(&model).unwrap().graph.input.name, "x");
}

#[test]
fn huge_sizes_are_refused_before_they_are_allocated() {
    let huge = i64::from(i32::MAX);
    let started = std::time::Instant::now();
    let filled = Model::empty()
        .node("fill", "ConstantOfShape", &["shape"], &["w"])
        .node("fc", "Gemm", &["x", "w"], &["y"])
        .ints("shape", &[huge, huge]);
    refused(&filled, ErrorCode::InvalidModel, &["\"fill\"", "elements"]);
    let expanded = Model::linear()
        .output("z", &[-1, 3])
        .node("grow", "Expand", &["one", "shape"], &["b"])
        .node("add", "Add", &["y", "b"], &["z"])
        .weight("one", &[1], &[1.0])
        .ints("shape", &[huge, huge, 3]);
    refused(&expanded, ErrorCode::InvalidModel, &["\"grow\""]);
    let padded = Model::linear()
        .output("z", &[-1, 3])
        .node("pad", "Pad", &["y", "pads"], &["z"])
        .ints("pads", &[0, huge, 0, huge]);
    refused(&padded, ErrorCode::InvalidModel, &["\"pad\"", "elements"]);
    let input = Model::linear().input("x", &[-1, huge, huge]);
    refused(&input, ErrorCode::InvalidModel, &["\"x\"", "elements"]);
    let mut joined = Model::linear().output("h30", &[-1, 3]);
    joined.graph.node[0].output = vec!["h0".to_owned()];
    for step in 0..30 {
        let (from, to) = (format!("h{step}"), format!("h{}", step + 1));
        joined = joined.node_with(&to, "Concat", &[&from, &from], &[&to], vec![int("axis", 1)]);
    }
    refused(&joined, ErrorCode::InvalidModel, &["elements"]);
    let counted = Model::linear().output("z", &[-1, 3]).node("count", "Range", &["from", "to", "by"], &["r"]).node(
        "add",
        "Add",
        &["y", "r"],
        &["z"],
    );
    refused(
        &counted.ints("from", &[0]).ints("to", &[huge * huge]).ints("by", &[1]),
        ErrorCode::InvalidModel,
        &["\"count\""],
    );
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "took {:?}", started.elapsed());
}

#[test]
fn windows_that_do_not_fit_are_refused() {
    let conv = |attributes| {
        Model::empty()
            .input("x", &[-1, 2, 8, 8])
            .node_with("conv", "Conv", &["x", "w"], &["h"], attributes)
            .node("pool", "GlobalAveragePool", &["h"], &["g"])
            .node("flat", "Flatten", &["g"], &["y"])
            .weight("w", &[3, 2, 3, 3], &[0.5; 54])
    };
    read(&conv(vec![])).unwrap();
    for (attributes, words) in [
        (vec![ints("strides", &[0, 1])], ["0", "stride"]),
        (vec![ints("strides", &[1])], ["strides", "2 sizes"]),
        (vec![ints("pads", &[-1, 0, 0, 0])], ["pads", "[-1, 0, 0, 0]"]),
        (vec![ints("dilations", &[9, 9])], ["larger than its input", "8"]),
        (vec![ints("kernel_shape", &[5, 5])], ["kernel_shape", "(3, 2, 3, 3)"]),
        (vec![int("group", 0)], ["0 groups", "conv"]),
        (vec![int("group", 3)], ["3 groups", "does not fit"]),
        (vec![int("strides", 1)], ["strides", "type"]),
    ] {
        refused(&conv(attributes), ErrorCode::InvalidModel, &words);
    }
}

#[test]
fn what_the_student_will_differ_in_is_told() {
    assert_eq!(read(&Model::linear()).unwrap().warnings, [""; 0]);
    let mut model = Model::linear();
    model.graph.input = vec![typed_port("x", &[8, 4], DataType::Float16)];
    let trace = StringStringEntryProto {
        key: Some("pkg.torch.onnx.stack_trace".to_owned()),
        value: Some("File \"/home/ada/secret/net.py\", line 7".to_owned()),
    };
    model.graph.node[0].metadata_props.push(trace);
    let imported = read(&model).unwrap();
    for (warning, word) in imported.warnings.iter().zip(["batch to 8", "float16", "paths and source lines"]) {
        assert!(warning.contains(word), "{warning}");
    }
    assert_eq!(imported.warnings.len(), 3);
    let bytes = export(&imported.graph).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
}

/// Since opset 14 an attribute says so, before it further outputs did.
#[rstest]
#[case(17, 1, &["z", "mean", "var"], true)]
#[case(9, 0, &["z", "mean", "var", "saved_mean", "saved_var"], true)]
#[case(17, 0, &["z", "", ""], false)]
#[case(9, 0, &["z"], false)]
fn batch_norm_in_training_mode_is_used_with_its_running_statistics(
    #[case] opset: i64,
    #[case] mode: i64,
    #[case] outputs: &[&str],
    #[case] is_told: bool,
) {
    let attributes = if opset < 14 { vec![] } else { vec![int("training_mode", mode)] };
    let model = Model { opset: vec![("", opset)], ..Model::linear() }
        .output("z", &[-1, 3])
        .node_with("bn", "BatchNormalization", &["y", "s", "b", "m", "v"], outputs, attributes)
        .weight("s", &[3], &[1.0; 3])
        .weight("b", &[3], &[0.0; 3])
        .weight("m", &[3], &[0.0; 3])
        .weight("v", &[3], &[1.0; 3]);
    let imported = read(&model).unwrap();
    assert!(imported.has_batch_norm);
    let says = |warning: &String| warning.contains("\"bn\"") && warning.contains("running statistics");
    assert_eq!(imported.warnings.iter().any(says), is_told, "{:?}", imported.warnings);
}

#[test]
fn dropout_in_training_mode_is_left_out_and_told() {
    let warnings = |mode: i32| {
        let mut model =
            Model::linear().output("z", &[-1, 3]).node("drop", "Dropout", &["y", "ratio", "mode"], &["z", "mask"]);
        model.graph.initializer.push(TensorProto {
            data_type: Some(DataType::Bool as i32),
            int32_data: vec![mode],
            ..build::tensor("mode", &[])
        });
        read(&model.weight("ratio", &[], &[0.5])).unwrap().warnings
    };
    assert_eq!(warnings(0), [""; 0]);
    let told = warnings(1);
    assert!(told.len() == 1 && told[0].contains("Dropout \"drop\" was exported in training mode"), "{told:?}");
}

/// An input that is left out elsewhere reads nothing.
#[test]
fn outputs_that_are_left_out_need_no_rule() {
    let model = Model::empty()
        .input("x", &[-1, 1, 4, 4])
        .output("y", &[-1, 9])
        .node_with("pool", "MaxPool", &["x"], &["p", ""], vec![ints("kernel_shape", &[2, 2])])
        .node("clip", "Clip", &["p", "", "six"], &["c"])
        .node("flat", "Flatten", &["c"], &["y"])
        .weight("six", &[], &[6.0]);
    assert_eq!(read(&model).unwrap().graph.classes(), 9);
}

/// A classifier of scikit-learn's as skl2onnx writes it: the class of each input, and the probabilities of all classes.
fn with_labels(label: DataType, probabilities: &[i64]) -> Model {
    let mut model = Model { opset: vec![("", 17), ("ai.onnx.ml", 1)], ..Model::empty() }
        .node("fc", "MatMul", &["x", "w"], &["h"])
        .node("shares", "Softmax", &["h"], &["probabilities"])
        .node("best", "ArgMax", &["probabilities"], &["index"])
        .node("pick", "ArrayFeatureExtractor", &["classes", "index"], &["label"])
        .weight("w", &[4, 3], &[0.5; 12])
        .ints("classes", &[3, 5, 8]);
    model.graph.node[3].domain = Some("ai.onnx.ml".to_owned());
    model.graph.output = vec![typed_port("label", &[-1], label), port("probabilities", probabilities)];
    model
}

#[test]
fn labels_beside_the_probabilities_are_left_out_and_told() {
    for label in [DataType::Int64, DataType::String] {
        let imported = read(&with_labels(label, &[-1, 3])).unwrap();
        assert_eq!((imported.graph.output.name.as_str(), imported.graph.nodes.len()), ("probabilities", 2));
        assert_eq!(imported.warnings, ["The model has 2 outputs; the student has \"probabilities\" alone."]);
    }
    for (label, probabilities) in
        [(DataType::Float, &[-1, 3][..]), (DataType::Int64, &[-1, 3, 1]), (DataType::Undefined, &[-1, 3])]
    {
        let problem = refused(&with_labels(label, probabilities), ErrorCode::NotAClassifier, &["2 outputs", "label"]);
        assert!(!problem.hint.unwrap().contains("zipmap"));
    }
}

#[test]
fn probabilities_by_name_have_their_remedy() {
    let mut model =
        with_labels(DataType::Int64, &[-1, 3]).node("zip", "ZipMap", &["probabilities"], &["output_probability"]);
    model.graph.node[4].domain = Some("ai.onnx.ml".to_owned());
    model.graph.output[1] = ValueInfoProto { name: Some("output_probability".to_owned()), ..ValueInfoProto::default() };
    refused(&model, ErrorCode::NotAClassifier, &["2 outputs", "options={'zipmap': False}"]);
}

#[test]
fn functions_of_the_file_have_their_remedy() {
    let mut model = Model::linear().output("z", &[-1, 3]).node("act", "relu", &["y"], &["z"]);
    model.graph.node[1].domain = Some("pkg.torch".to_owned());
    let words = ["pkg.torch", "\"act\""];
    let without = refused(&model, ErrorCode::UnsupportedOperators, &words);
    let mut file = ModelProto::decode(&model.bytes()[..]).unwrap();
    for (domain, is_this_one) in [("pkg.other", false), ("pkg.torch", true)] {
        let (name, domain) = (Some("relu".to_owned()), Some(domain.to_owned()));
        file.functions = vec![FunctionProto { name, domain, ..FunctionProto::default() }];
        let problem = import(&file.encode_to_vec(), &ImportOptions::default()).expect_err("the model is refused");
        let problem = check(problem, ErrorCode::UnsupportedOperators, &words);
        assert_eq!(problem.hint.as_ref().unwrap().contains("onnx.inliner.inline_local_functions"), is_this_one);
        assert_eq!(problem.hint == without.hint, !is_this_one);
    }
}
