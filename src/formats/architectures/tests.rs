//! Networks by name: their shapes, their parameters, and sizes that fit none.

use super::*;
use crate::domain::problem::ErrorCode;

fn fresh(architecture: Architecture, input: &[usize], classes: usize) -> Result<Blueprint, Problem> {
    blueprint(architecture, Sizes { input, classes, found: &Shapes::new() })
}

fn parameters(blueprint: &Blueprint) -> usize {
    let learned = blueprint.parameters.iter().filter(|(name, _)| !name.contains("running_"));
    learned.map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

#[test]
fn parameters_are_those_that_are_published() {
    // LeNet5 and ResNet14: the KegNet paper's teachers. ResNets for small images: He et al., table 6, less their projections.
    // The others: torchvision's pages.
    for (architecture, expected) in [
        (Architecture::Lenet5, 61_706),
        (Architecture::Resnet20, 269_722),
        (Architecture::Resnet56, 853_018),
        (Architecture::Resnet18, 11_689_512),
        (Architecture::MobilenetV2, 3_504_872),
    ] {
        let blueprint = fresh(architecture, architecture.input(), architecture.classes()).unwrap();
        assert_eq!(parameters(&blueprint), expected, "{architecture}");
    }
}

#[test]
fn every_architecture_takes_the_input_it_was_made_for() {
    for architecture in Architecture::ALL {
        let graph = fresh(architecture, architecture.input(), 7).unwrap().blank().unwrap();
        assert_eq!((graph.input.shape.as_slice(), graph.classes()), (architecture.input(), 7));
        let shapes = crate::formats::shapes::infer(&graph, 3).unwrap();
        assert_eq!(shapes[&graph.output.name], [3, 7], "{architecture}");
    }
}

#[test]
fn an_image_is_a_list_of_pixels_to_a_perceptron() {
    let blueprint = fresh(Architecture::Mlp, &[1, 28, 28], 10).unwrap();
    assert_eq!(blueprint.parameters["0.weight"], [100, 784]);
    assert_eq!(blueprint.parameters["30.weight"], [10, 100]);
}

#[test]
fn inputs_that_do_not_fit_are_named() {
    for (architecture, input, words) in [
        (Architecture::Lenet5, &[1, 8, 8][..], "conv2"),
        (Architecture::Resnet20, &[784], "conv1"),
        (Architecture::Resnet18, &[3], "conv1"),
        (Architecture::Mlp, &[], "the input"),
        (Architecture::Mlp, &[0], "the input"),
        (Architecture::MobilenetV2, &[3, 1 << 20, 1 << 20], "the input"),
        (Architecture::Mlp, &[usize::MAX], "the input"),
    ] {
        let problem = fresh(architecture, input, 10).unwrap_err();
        assert_eq!(problem.code, ErrorCode::InvalidConfig);
        assert!(problem.detail.contains(words), "{problem}");
    }
}

#[test]
fn widths_are_those_of_the_weights() {
    let found = Shapes::from([
        ("conv1.weight".to_owned(), vec![4, 1, 5, 5]),
        ("fc1.weight".to_owned(), vec![30, 120]),
        // Of no use: the widths of the others stay.
        ("conv2.weight".to_owned(), vec![0]),
        ("conv3.weight".to_owned(), vec![]),
    ]);
    let blueprint = blueprint(Architecture::Lenet5, Sizes { input: &[1, 32, 32], classes: 10, found: &found }).unwrap();
    assert_eq!(blueprint.parameters["conv2.weight"], [16, 4, 5, 5]);
    assert_eq!(blueprint.parameters["conv3.weight"], [120, 16, 5, 5]);
    assert_eq!(blueprint.parameters["fc2.weight"], [10, 30]);
}

#[test]
fn a_shortcut_without_parameters_needs_an_even_number_of_channels_more() {
    let found = Shapes::from([("layer2.0.conv1.weight".to_owned(), vec![31, 16, 3, 3])]);
    let sizes = Sizes { input: &[3, 32, 32], classes: 10, found: &found };
    let problem = blueprint(Architecture::Resnet20, sizes).unwrap_err();
    assert!(problem.detail.contains("from 16 to 31 channels"), "{problem}");
}

#[test]
fn what_would_take_all_memory_is_not_made() {
    let problem = fresh(Architecture::Mlp, &[1 << 24], 10).unwrap().blank().unwrap_err();
    assert!(problem.detail.contains("more than"), "{problem}");
    let found = Shapes::from([("0.weight".to_owned(), vec![1 << 40, 1]), ("3.weight".to_owned(), vec![1 << 40, 1])]);
    // Shapes alone: a file could claim any.
    assert!(blueprint(Architecture::Mlp, Sizes { input: &[1], classes: 2, found: &found }).is_err());
}
