//! The method's own network and figures: Yoo et al., "Knowledge Extraction with No Observable Data" (NeurIPS 2019), the
//! LeNet5 for MNIST that its authors published.
//!
//! Neither the network nor the data belong to this project, so these tests run only where both lie:
//! `KEGD_PUBLISHED_TEACHER=lenet5.onnx KEGD_MNIST=mnist.npz cargo test --test published_teacher -- --ignored`,
//! the data as one `.npz` with `x_test` (10,000, 28, 28) and `y_test` in bytes.

use std::{collections::BTreeMap, fs::File, path::PathBuf};

use kegd::{
    domain::{config::Compression, layer_choice::LayerChoice},
    engine::{
        compress::{self, plan::Plan},
        executor::Executor,
    },
    formats::{
        graph::Graph,
        onnx::{ImportOptions, import},
    },
};
use ndarray::{Array1, Array3};
use tch::{Device, Kind, Tensor, no_grad};

fn file(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("set {variable} to a file")).into()
}

fn teacher() -> Graph {
    let bytes = std::fs::read(file("KEGD_PUBLISHED_TEACHER")).unwrap();
    import(&bytes, &ImportOptions::default()).unwrap().graph
}

/// Test images as the teacher takes them, (10,000, 1, 32, 32), and their classes.
fn mnist() -> (Tensor, Tensor) {
    let mut npz = ndarray_npy::NpzReader::new(File::open(file("KEGD_MNIST")).unwrap()).unwrap();
    let x: Array3<u8> = npz.by_name("x_test").unwrap();
    let y: Array1<u8> = npz.by_name("y_test").unwrap();
    let x = Tensor::from_slice(x.as_slice().unwrap()).view([-1, 1, 28, 28]).to_kind(Kind::Float) / 255.0;
    let x = (x.upsample_bilinear2d([32, 32], false, None, None) - 0.1307) / 0.3081;
    (x, Tensor::from_slice(y.as_slice().unwrap()).to_kind(Kind::Int64))
}

/// Test accuracy in percent.
fn accuracy(graph: &Graph) -> f64 {
    let (x, y) = mnist();
    let executor = Executor::new(graph, Device::Cpu).unwrap();
    let logits: Vec<Tensor> = no_grad(|| x.split(500, 0).iter().map(|x| executor.forward(x).unwrap()).collect());
    let hits = Tensor::cat(&logits, 0).argmax(-1, false).eq_tensor(&y).to_kind(Kind::Double);
    100.0 * f64::try_from(hits.mean(Kind::Double)).unwrap()
}

fn choices(choices: &[(&str, LayerChoice)]) -> Compression {
    let layers: BTreeMap<_, _> = choices.iter().map(|(name, choice)| ((*name).to_owned(), choice.clone())).collect();
    Compression { layers: Some(layers), ..Compression::default() }
}

fn compress(teacher: &Graph, compression: &Compression) -> (Plan, Graph) {
    let plan = compress::plan(teacher, compression).unwrap();
    let student = compress::apply(teacher, &plan).unwrap();
    (plan, student)
}

/// Table 2 of the paper with iteration run to convergence; the paper's own figures, 85.18, 67.35 and 50.01, stop early.
#[test]
#[ignore = "needs KEGD_PUBLISHED_TEACHER and KEGD_MNIST"]
fn gives_the_papers_students() {
    let teacher = teacher();
    assert_eq!(teacher.parameters(), 61_706);
    assert!((accuracy(&teacher) - 98.91).abs() < 0.02);
    let evbmf = || LayerChoice::Evbmf;
    let third = LayerChoice::Ranks { ranks: vec![5, 8] };
    let students = [
        (choices(&[("conv3", evbmf())]), [vec![], vec![7, 11]], 17_063, 85.2),
        (choices(&[("conv2", evbmf()), ("conv3", evbmf())]), [vec![3, 4], vec![7, 11]], 15_045, 67.2),
        (choices(&[("conv2", evbmf()), ("conv3", third)]), [vec![3, 4], vec![5, 8]], 13_728, 51.9),
    ];
    for (compression, ranks, parameters, expected) in students {
        let (plan, student) = compress(&teacher, &compression);
        let rows = plan.rows();
        let of = |name: &str| rows.iter().find(|row| row.layer == name).unwrap().ranks.clone();
        assert_eq!([of("conv2"), of("conv3")], ranks);
        assert_eq!(student.parameters(), parameters);
        let actual = accuracy(&student);
        println!("{parameters} parameters: {actual:.2} %");
        assert!((actual - expected).abs() <= 0.3, "{actual} % for {expected}");
    }
}

/// At the size of the paper's third student, which starts at 51.9 % and ends at 89.9 after training.
#[test]
#[ignore = "needs KEGD_PUBLISHED_TEACHER and KEGD_MNIST"]
fn allocates_better_than_the_paper() {
    let teacher = teacher();
    for (ratio, least) in [(2.5, 98.0), (3.62, 96.0), (4.0, 96.0), (4.1, 96.0), (4.49, 95.5)] {
        let compression = Compression { ratio: Some(ratio.into()), ..Compression::default() };
        let (plan, student) = compress(&teacher, &compression);
        assert!(teacher.parameters() as f64 / student.parameters() as f64 >= ratio);
        let actual = accuracy(&student);
        let row = |row: kegd::domain::report::LayerRow| {
            format!("{} {} {:?} {:.3}", row.layer, row.action, row.ranks, row.error)
        };
        let rows: Vec<String> = plan.rows().into_iter().map(row).collect();
        println!("{ratio}x, {} parameters: {actual:.2} %, {}", student.parameters(), rows.join(", "));
        assert!(actual >= least, "{actual} % at {ratio}x");
    }
}
