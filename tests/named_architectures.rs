//! Networks that are built from their names answer as PyTorch's own modules do, with the same weights.

#[path = "fixtures/formula.rs"]
mod formula;

use std::collections::BTreeMap;

use kegd::{
    domain::architecture::Architecture,
    engine::executor::Executor,
    formats::{
        file,
        graph::{Graph, Tensor},
        imported::ImportOptions,
        sniff::Format,
    },
};
use rstest::rstest;
use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;
use tract_onnx::prelude::*;

#[derive(Deserialize)]
struct Case {
    input: Vec<usize>,
    /// Shapes of the whole state dict.
    weights: BTreeMap<String, Vec<usize>>,
    output: Vec<Vec<f32>>,
}

fn case(name: &str) -> Case {
    let mut cases: BTreeMap<String, Case> =
        serde_json::from_str(include_str!("fixtures/named_architectures.json")).unwrap();
    cases.remove(name).unwrap()
}

/// A file as `safetensors.torch.save_file(model.state_dict(), …)` writes it.
fn file_of(case: &Case, prefix: &str) -> Vec<u8> {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>, Dtype)> = case
        .weights
        .iter()
        .map(|(name, shape)| {
            let full = format!("{prefix}{name}");
            if name.ends_with("num_batches_tracked") {
                return (full, shape.clone(), 7i64.to_le_bytes().to_vec(), Dtype::I64);
            }
            let values = formula::weight(name, shape);
            let bytes = values.as_f32().unwrap().iter().flat_map(|value| value.to_le_bytes()).collect();
            (full, shape.clone(), bytes, Dtype::F32)
        })
        .collect();
    let views =
        tensors.iter().map(|(name, shape, bytes, kind)| (name, TensorView::new(*kind, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn read(bytes: &[u8], options: ImportOptions) -> Graph {
    let (format, imported) = file::read(bytes, &options).unwrap_or_else(|problem| panic!("{problem}: {problem:#?}"));
    assert_eq!(format, Format::Safetensors);
    imported.graph
}

fn options(arch: Architecture, case: &Case) -> ImportOptions {
    ImportOptions { arch: Some(arch), input_shape: Some(case.input.clone()), ..ImportOptions::default() }
}

fn input(case: &Case) -> Vec<f32> {
    let count = 2 * case.input.iter().product::<usize>();
    formula::uniform("x", count).into_iter().map(|u| (4.0 * u) as f32).collect()
}

fn assert_close(ours: &[f32], case: &Case) {
    let theirs = case.output.concat();
    assert_eq!(ours.len(), theirs.len());
    let scale = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
    let worst = ours.iter().zip(&theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0f32, f32::max);
    assert!(worst <= 2e-5 * scale, "differs by {worst} of {scale}");
}

#[rstest]
fn answers_as_pytorch_does(
    #[values("lenet5", "resnet14", "resnet20", "resnet32", "resnet56", "mlp", "resnet18", "mobilenet_v2")] name: &str,
) {
    let arch = Architecture::ALL.into_iter().find(|arch| arch.name() == name).unwrap();
    let case = case(name);
    let graph = read(&file_of(&case, ""), options(arch, &case));
    let shape: Vec<i64> = std::iter::once(2).chain(case.input.iter().map(|extent| *extent as i64)).collect();
    let x = tch::Tensor::from_slice(&input(&case)).view(shape.as_slice());
    let executor = Executor::new(&graph, tch::Device::Cpu).unwrap();
    let y = tch::no_grad(|| executor.forward(&x).unwrap());
    assert_close(&Vec::<f32>::try_from(y.flatten(0, -1)).unwrap(), &case);

    // And so does the ONNX file that is made of it, in another runtime.
    let bytes = kegd::formats::onnx::export(&graph).unwrap();
    let shape: Vec<usize> = std::iter::once(2).chain(case.input.iter().copied()).collect();
    let model = tract_onnx::onnx().model_for_read(&mut &bytes[..]).unwrap();
    let model = model.with_input_fact(0, f32::fact(shape.as_slice()).into()).unwrap();
    let runnable = model.into_optimized().unwrap().into_runnable().unwrap();
    let x = tract_ndarray::ArrayD::from_shape_vec(shape, input(&case)).unwrap();
    let answer = runnable.run(tvec!(x.into_tensor().into())).unwrap();
    let answer: Vec<f32> = answer[0].to_array_view::<f32>().unwrap().iter().copied().collect();
    assert_close(&answer, &case);
}

#[rstest]
#[case("module.")]
#[case("model.")]
#[case("model.module.")]
fn what_wrappers_put_before_names_is_taken_off(#[case] prefix: &str) {
    let case = case("resnet14");
    let options = options(Architecture::Resnet14, &case);
    let (_, imported) = file::read(&file_of(&case, prefix), &options).unwrap();
    assert_eq!(imported.graph, read(&file_of(&case, ""), options));
    assert!(imported.warnings[0].contains(prefix), "{:?}", imported.warnings);
}

#[test]
fn without_a_name_the_fitting_one_is_told() {
    for arch in Architecture::ALL {
        let bytes = file_of(&case(arch.name()), "");
        let problem = file::read(&bytes, &ImportOptions::default()).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("config.arch"));
        assert!(problem.hint.as_ref().unwrap().contains(&format!("{{\"arch\": \"{arch}\"}}")), "{problem:?}");
        assert_eq!(problem.errors.len(), 1, "{problem:?}");
    }
}

#[test]
fn the_input_is_the_architectures_own_with_the_channels_of_the_weights() {
    let case = case("resnet20");
    let only = ImportOptions { arch: Some(Architecture::Resnet20), ..ImportOptions::default() };
    let graph = read(&file_of(&case, ""), only);
    assert_eq!((graph.input.shape.as_slice(), graph.classes()), (&[1, 32, 32][..], 7));
    let other = ImportOptions {
        arch: Some(Architecture::Resnet20),
        input_shape: Some(vec![3, 32, 32]),
        ..ImportOptions::default()
    };
    let problem = file::read(&file_of(&case, ""), &other).unwrap_err();
    assert!(problem.detail.contains("the weights take 1 channels"), "{problem}");
}

#[test]
fn a_tensor_of_the_graph_has_the_values_of_the_file() {
    let case = case("lenet5");
    let graph = read(&file_of(&case, ""), options(Architecture::Lenet5, &case));
    let expected: BTreeMap<String, Tensor> =
        case.weights.iter().map(|(name, shape)| (name.clone(), formula::weight(name, shape))).collect();
    assert_eq!((graph.weights.clone(), graph.parameters()), (expected, 61_706));
}
