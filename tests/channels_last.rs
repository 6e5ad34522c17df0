//! Files that take (N, H, W, C) mean (N, C, H, W) inside, and what is written of them takes (N, H, W, C) again.

#[path = "fixtures/build.rs"]
mod build;
#[path = "fixtures/channels_last.rs"]
mod networks;

use build::{Model, int, ints};
use kegd::{
    domain::layout::Layout,
    engine::executor::Executor,
    formats::{
        description::{About, describe},
        file::{self, write},
        graph::{Graph, Op},
        imported::{ImportOptions, Imported},
        layout, onnx,
        sniff::Format,
    },
};
use networks::{BEGINNINGS, Beginning, HEIGHT, WIDTH, first, last};
use tch::{CModule, Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-5;

fn read(bytes: &[u8]) -> Imported {
    file::read(bytes, &ImportOptions::default()).unwrap().1
}

/// As the file is, with nothing turned.
fn literally(bytes: &[u8]) -> Graph {
    onnx::import(bytes, &ImportOptions::default()).unwrap().graph
}

fn answer(graph: &Graph, x: &Tensor) -> Tensor {
    tch::no_grad(|| Executor::new(graph, Device::Cpu).unwrap().forward(x).unwrap())
}

#[track_caller]
fn near(a: &Tensor, b: &Tensor) {
    assert_eq!(a.size(), b.size());
    let worst = (a - b).abs().max().double_value(&[]);
    assert!(worst <= TOLERANCE, "differs by {worst}");
}

/// Three images (N, C, H, W) with values from 0 to 1.
fn images(channels: i64) -> Tensor {
    let values: Vec<f32> = (0..3 * channels * HEIGHT * WIDTH).map(|place| (place as f32 * 0.37).sin().abs()).collect();
    Tensor::from_slice(&values).view([3, channels, HEIGHT, WIDTH])
}

fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous()
}

#[test]
fn a_file_with_channels_last_is_read_as_its_twin_with_channels_first() {
    for beginning in BEGINNINGS {
        let bytes = last(beginning).bytes();
        let (graph, twin) = (read(&bytes).graph, read(&first(beginning).bytes()).graph);
        assert_eq!((graph.layout, &graph.input), (Layout::ChannelsLast, &twin.input), "{beginning:?}");
        assert_eq!(graph.declared_shape(), [HEIGHT as usize, WIDTH as usize, 3]);
        assert_eq!(graph.nodes.len(), twin.nodes.len(), "no Transpose is left: {:?}", graph.nodes);
        let x = images(3);
        near(&answer(&graph, &x), &answer(&twin, &x));
        near(&answer(&graph, &x), &answer(&literally(&bytes), &channels_last(&x)));
    }
}

#[test]
fn what_is_written_takes_images_as_the_upload_did() {
    let x = images(3);
    for beginning in BEGINNINGS {
        let graph = read(&last(beginning).bytes()).graph;
        let wanted = answer(&graph, &x);
        let bytes = onnx::export(&graph).unwrap();
        let written = literally(&bytes);
        assert_eq!((&*written.input.name, &*written.output.name), ("images:0", "scores:0"));
        assert_eq!(written.input.shape, [HEIGHT as usize, WIDTH as usize, 3], "{beginning:?}");
        near(&answer(&written, &channels_last(&x)), &wanted);
        assert_eq!(read(&bytes).graph, graph, "and comes back as it was: {beginning:?}");
        for format in [Format::Pt2, Format::TorchScript] {
            let files = write(&graph, format, &About::default()).unwrap();
            let options = ImportOptions { input_shape: Some(graph.declared_shape()), ..Default::default() };
            let again = file::read(&files[0].bytes, &options).unwrap().1.graph;
            assert_eq!((again.layout, &again.input.shape), (Layout::ChannelsLast, &graph.input.shape), "{format:?}");
            near(&answer(&again, &x), &wanted);
            if format == Format::TorchScript {
                let mut module = CModule::load_data(&mut &files[0].bytes[..]).unwrap();
                module.set_eval();
                near(&module.forward_ts(&[channels_last(&x)]).unwrap(), &wanted);
            }
        }
    }
}

#[test]
fn a_description_is_of_what_the_file_takes() {
    let description = describe(&read(&last(Beginning::Bare).bytes()).graph, &About::default());
    assert_eq!(description["input"]["shape"], serde_json::json!([HEIGHT, WIDTH, 3]));
    assert_eq!(
        (&description["layers"][0]["op"], &description["layers"][1]["name"]),
        (&"transpose".into(), &"conv1".into())
    );
}

#[test]
fn a_constant_that_is_read_elsewhere_too_stays_there_as_it_is() {
    let shift = |model: Model, shape: &[i64]| {
        model
            .output("y", &[-1, 3])
            .weight("shift", shape, &[0.1, 0.7, -0.4])
            .node("sub", "Sub", &["x", "shift"], &["centred"])
            .node_with("transpose", "Transpose", &["centred"], &["first"], vec![ints("perm", &[0, 3, 1, 2])])
            .node("pool", "GlobalAveragePool", &["first"], &["pooled"])
            .node("flatten", "Flatten", &["pooled"], &["flat"])
            .node("add", "Add", &["flat", "shift"], &["y"])
    };
    let bytes = shift(Model::empty().input("x", &[-1, HEIGHT, WIDTH, 3]), &[3]).bytes();
    let graph = read(&bytes).graph;
    assert_eq!(graph.layout, Layout::ChannelsLast);
    assert_eq!((&*graph.weights["shift"].shape, graph.weights.len()), (&[3][..], 2), "{:?}", graph.weights.keys());
    let x = images(3);
    near(&answer(&graph, &x), &answer(&literally(&bytes), &channels_last(&x)));
}

/// Of one channel, putting it first and reshaping are the same.
#[test]
fn grey_images_may_be_reshaped() {
    for shape in [vec![-1, 1, HEIGHT, WIDTH], vec![-1, HEIGHT * WIDTH]] {
        let model = Model::empty().input("x", &[-1, HEIGHT, WIDTH, 1]).ints("shape", &shape);
        let model =
            model.node("reshape", "Reshape", &["x", "shape"], &["h"]).node("flatten", "Flatten", &["h"], &["f"]);
        let weight: Vec<f32> = (0..HEIGHT * WIDTH * 3).map(|place| (place as f32).cos()).collect();
        let bytes = model.weight("w", &[HEIGHT * WIDTH, 3], &weight).node("fc", "Gemm", &["f", "w"], &["y"]).bytes();
        let graph = read(&bytes).graph;
        assert_eq!(
            (graph.layout, &*graph.input.shape),
            (Layout::ChannelsLast, &[1, HEIGHT as usize, WIDTH as usize][..])
        );
        near(&answer(&graph, &images(1)), &answer(&literally(&bytes), &channels_last(&images(1))));
        assert_eq!(graph.nodes.len(), 2, "one reshape is enough: {:?}", graph.nodes);
        assert_eq!(read(&onnx::export(&graph).unwrap()).graph, graph);
    }
}

/// Flattens (H, W, 3) before anything else: rows of a matrix, not pixels, say what is what.
fn flattened(shape: &[i64]) -> Vec<u8> {
    let size: i64 = shape[1..].iter().product();
    let weight: Vec<f32> = (0..size * 3).map(|place| (place as f32).cos()).collect();
    let model = Model::empty().input("x", shape).node("flatten", "Flatten", &["x"], &["f"]);
    model.weight("w", &[size, 3], &weight).node("fc", "Gemm", &["f", "w"], &["y"]).bytes()
}

#[test]
fn what_only_looks_so_is_left_as_it_is_and_warned_of() {
    let imported = read(&flattened(&[-1, HEIGHT, WIDTH, 3]));
    assert_eq!((imported.graph.layout, &*imported.graph.input.shape), (Layout::ChannelsFirst, &[12, 10, 3][..]));
    let warning = imported.warnings.iter().find(|warning| warning.contains("12 channels of 10 x 3 pixels"));
    assert!(warning.is_some_and(|warning| warning.contains("--inputs-as-nchw")), "{:?}", imported.warnings);
    // One reader that needs the channels last is enough.
    let transpose = vec![ints("perm", &[0, 3, 1, 2])];
    let two = Model::empty()
        .input("x", &[-1, HEIGHT, WIDTH, 3])
        .node_with("first", "Transpose", &["x"], &["a"], transpose)
        .node_with("flat", "Flatten", &["a"], &["b"], vec![int("axis", 1)])
        .node("other", "Flatten", &["x"], &["c"])
        .node("both", "Add", &["b", "c"], &["d"])
        .weight("w", &[HEIGHT * WIDTH * 3, 3], &vec![0.1; 9 * (HEIGHT * WIDTH) as usize])
        .node("fc", "Gemm", &["d", "w"], &["y"]);
    let imported = read(&two.bytes());
    assert!(imported.graph.layout.is_channels_first() && imported.warnings.iter().any(|one| one.contains("nchw")));
}

/// Nine sensors at a time look like a grey image; nine means tell that they are not.
#[test]
fn a_normalisation_tells_which_axis_has_the_channels() {
    let read = |channels| layout::by_normalisation(read(&flattened(&[-1, 9, 16, 1])), channels).graph;
    let taken = read(None);
    assert_eq!((taken.layout, &*taken.input.shape), (Layout::ChannelsLast, &[1, 9, 16][..]));
    assert_eq!((read(Some(1)), read(Some(3))), (taken.clone(), taken.clone()));
    let declared = read(Some(9));
    assert_eq!((declared.layout, &*declared.input.shape), (Layout::ChannelsFirst, &[9, 16, 1][..]));
    let x = Tensor::arange(2 * 9 * 16, (Kind::Float, Device::Cpu)) / 100.0;
    near(&answer(&declared, &x.view([2, 9, 16, 1])), &answer(&taken, &x.view([2, 1, 9, 16])));
}

#[test]
fn files_with_channels_first_are_left_alone() {
    for shape in [[-1, 3, 32, 32], [-1, 1, 28, 28], [-1, 3, 4, 3], [-1, 12, 10, 2]] {
        let imported = read(&flattened(&shape));
        let own: Vec<usize> = shape[1..].iter().map(|extent| *extent as usize).collect();
        assert_eq!((imported.graph.layout, imported.graph.input.shape), (Layout::ChannelsFirst, own));
        assert!(imported.warnings.is_empty(), "{:?}", imported.warnings);
    }
    let twin = read(&first(Beginning::Normalised).bytes()).graph;
    assert_eq!(twin, literally(&first(Beginning::Normalised).bytes()));
    assert!(matches!(twin.nodes[0].op, Op::Binary(_)));
}

/// As Keras exports a network that takes images of any size.
#[test]
fn open_extents_are_given_as_the_file_has_them() {
    let mut model = last(Beginning::Bare);
    model.graph.input = vec![build::port("images:0", &[-1, -1, -1, 3])];
    let read = |shape: &[usize]| {
        file::read(&model.bytes(), &ImportOptions { input_shape: Some(shape.to_vec()), ..Default::default() })
    };
    let graph = read(&[12, 10, 3]).unwrap().1.graph;
    assert_eq!((graph.layout, &*graph.input.shape), (Layout::ChannelsLast, &[3, 12, 10][..]));
    assert_eq!(read(&[3, 12, 10]).unwrap_err().param.as_deref(), Some("config.input.shape"));
}
