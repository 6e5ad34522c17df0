//! Weights that belong to a network, nearly do, or do not.

use std::collections::BTreeMap;

use proptest::prelude::*;
use safetensors::{Dtype, serialize, tensor::TensorView};

use super::*;
use crate::formats::{architectures::blueprint as named, graph::Graph};

/// A LeNet5 for 28 x 28 would not do: the architecture's own input.
fn lenet() -> Graph {
    let sizes = Sizes { input: &[1, 32, 32], classes: 10, found: &Shapes::new() };
    named(Architecture::Lenet5, sizes).unwrap().blank().unwrap()
}

type Raw = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn raw() -> Raw {
    let weights = lenet().weights;
    let raw = |(name, tensor): (String, Tensor)| {
        let bytes = crate::formats::safetensors::to_bytes(&tensor);
        (name, (Dtype::F32, tensor.shape, bytes))
    };
    weights.into_iter().map(raw).collect()
}

fn file(raw: &Raw) -> Vec<u8> {
    let views = raw
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    serialize(views, None).unwrap()
}

fn options(arch: Architecture) -> ImportOptions {
    ImportOptions { arch: Some(arch), ..ImportOptions::default() }
}

fn refusal(raw: &Raw, options: &ImportOptions) -> Problem {
    import(&file(raw), options).expect_err("refused")
}

#[test]
fn every_difference_is_listed() {
    let mut raw = raw();
    raw.remove("fc1.bias");
    raw.insert("extra.weight".to_owned(), (Dtype::F32, vec![2], vec![0; 8]));
    raw.insert("conv2.bias".to_owned(), (Dtype::F32, vec![3], vec![0; 12]));
    let problem = refusal(&raw, &options(Architecture::Lenet5));
    assert_eq!((problem.code, problem.param.as_deref()), (ErrorCode::InvalidModel, Some("config.arch")));
    assert!(problem.detail.contains("1 missing, 1 unexpected, 1 of another shape"), "{problem}");
    let causes: Vec<&str> = problem.errors.iter().map(|cause| cause.detail.as_str()).collect();
    assert_eq!(
        causes,
        [
            "`fc1.bias` is missing: [84] is expected",
            "`conv2.bias` has the shape [3]: [16] is expected",
            "`extra.weight` of [2] is unexpected",
        ]
    );
}

#[test]
fn another_architecture_that_fits_is_named() {
    let problem = refusal(&raw(), &options(Architecture::Resnet20));
    assert!(problem.hint.unwrap().contains(r#"{"arch": "lenet5"}"#));
    assert_eq!(problem.errors.len(), 100, "the list is bounded");
}

#[test]
fn what_is_close_is_told_where_nothing_fits() {
    let mut raw = raw();
    raw.remove("fc2.bias");
    let problem = refusal(&raw, &ImportOptions::default());
    assert!(problem.errors[0].detail.contains("`lenet5` is close, but for: 1 missing"), "{problem:?}");
    assert!(problem.hint.unwrap().contains("torch.onnx.export"));
    let strange = Raw::from([("a".to_owned(), (Dtype::F32, vec![1], vec![0; 4]))]);
    let problem = refusal(&strange, &ImportOptions::default());
    assert!(problem.errors.is_empty() && problem.hint.unwrap().contains("mobilenet_v2"));
}

#[test]
fn a_compressed_student_is_said_to_be_one() {
    let mut graph = lenet();
    let bytes = crate::formats::safetensors::export(&graph).unwrap();
    assert!(
        import(&bytes, &options(Architecture::Lenet5)).is_ok(),
        "one that was not compressed is the network itself"
    );
    graph.weights.insert("conv3.core.weight".to_owned(), Tensor::f32(vec![1], vec![0.0]));
    let bytes = crate::formats::safetensors::export(&graph).unwrap();
    for options in [options(Architecture::Lenet5), ImportOptions::default()] {
        let problem = import(&bytes, &options).expect_err("refused");
        assert!(problem.hint.unwrap().contains("student?format=onnx"));
    }
}

#[test]
fn a_broken_file_is_said_to_be_broken() {
    let whole = file(&raw());
    for cut in [0, 7, 8, 20, whole.len() / 2, whole.len() - 1] {
        let problem = import(&whole[..cut], &options(Architecture::Lenet5)).expect_err("refused");
        assert_eq!(problem.code, ErrorCode::InvalidModel, "cut at {cut}");
        assert!(problem.hint.is_some());
    }
    assert_eq!(refusal(&Raw::new(), &options(Architecture::Lenet5)).code, ErrorCode::InvalidModel);
}

#[test]
fn weights_that_are_no_numbers_are_refused() {
    let mut raw = raw();
    for (name, value) in [("conv1.bias", f32::NAN), ("fc1.weight", f32::INFINITY)] {
        raw.get_mut(name).unwrap().2[..4].copy_from_slice(&value.to_le_bytes());
    }
    let problem = refusal(&raw, &options(Architecture::Lenet5));
    assert_eq!(problem.code, ErrorCode::InvalidWeights);
    assert!(problem.detail.contains("\"conv1.bias\", \"fc1.weight\""), "{problem}");
}

fn set(raw: &mut Raw, name: &str, dtype: Dtype, bytes: Vec<u8>) {
    let tensor = raw.get_mut(name).unwrap();
    (tensor.0, tensor.2) = (dtype, bytes);
}

#[test]
fn floats_of_every_width_become_float32() {
    let mut raw = raw();
    set(&mut raw, "conv1.bias", Dtype::F16, [0x3800u16; 6].iter().flat_map(|bits| bits.to_le_bytes()).collect());
    set(&mut raw, "conv2.bias", Dtype::BF16, [0x3f00u16; 16].iter().flat_map(|bits| bits.to_le_bytes()).collect());
    set(&mut raw, "conv3.bias", Dtype::F64, [0.5f64; 120].iter().flat_map(|value| value.to_le_bytes()).collect());
    let imported = import(&file(&raw), &options(Architecture::Lenet5)).unwrap();
    for name in ["conv1.bias", "conv2.bias", "conv3.bias"] {
        assert!(imported.graph.weights[name].as_f32().unwrap().iter().all(|value| *value == 0.5), "{name}");
    }
    assert_eq!(imported.warnings, ["The weights are BF16 and F16 and F64; the student's are F32."]);
    set(&mut raw, "conv1.bias", Dtype::I8, vec![1; 6]);
    let problem = refusal(&raw, &options(Architecture::Lenet5));
    assert!(problem.detail.contains("`conv1.bias` is of type I8"), "{problem}");
}

#[test]
fn inputs_that_the_weights_do_not_take_are_refused() {
    let of = |shape: &[usize]| {
        let options = ImportOptions { input_shape: Some(shape.to_vec()), ..options(Architecture::Lenet5) };
        refusal(&raw(), &options)
    };
    for (shape, words) in [
        (&[3, 32, 32][..], "the weights take 1 channels"),
        (&[1024], "3 axes beside the batch"),
        (&[1, 4, 4], "conv1"),
        // The fully connected layer of this one would be wider.
        (&[1, 40, 40], "1 of another shape"),
    ] {
        let problem = of(shape);
        assert!(problem.detail.contains(words), "{problem}");
    }
    let side = ImportOptions { external: [("w.bin".to_owned(), vec![0])].into(), ..options(Architecture::Lenet5) };
    assert_eq!(refusal(&raw(), &side).param.as_deref(), Some("external_data"));
}

#[test]
fn one_class_is_no_classifier() {
    let mut raw = raw();
    raw.insert("fc2.weight".to_owned(), (Dtype::F32, vec![1, 84], vec![0; 336]));
    raw.insert("fc2.bias".to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
    assert_eq!(refusal(&raw, &options(Architecture::Lenet5)).code, ErrorCode::NotAClassifier);
}

proptest! {
    #[test]
    fn no_bytes_bring_it_down(mut bytes in prop::collection::vec(any::<u8>(), 0..400), header in 0u64..500) {
        if bytes.len() >= 8 {
            bytes[..8].copy_from_slice(&header.to_le_bytes());
        }
        for arch in [None, Some(Architecture::Lenet5), Some(Architecture::Mlp)] {
            let _ = import(&bytes, &ImportOptions { arch, ..ImportOptions::default() });
        }
    }

    #[test]
    fn no_shapes_bring_it_down(
        shapes in prop::collection::vec(prop::collection::vec(prop_oneof![0usize..4, Just(1 << 31), any::<usize>()], 0..5), 14)
    ) {
        let names = [
            "conv1.weight", "conv2.weight", "conv3.weight", "fc1.weight", "fc2.weight", "fc.weight", "0.weight", "3.weight",
            "6.weight", "features.0.0.weight", "features.1.conv.0.0.weight", "classifier.1.weight",
            "layer1.0.conv1.weight", "layer2.0.conv1.weight",
        ];
        let found: Shapes = names.iter().map(|name| (*name).to_owned()).zip(shapes).collect();
        let _ = suggestion::missing(&found);
    }
}
