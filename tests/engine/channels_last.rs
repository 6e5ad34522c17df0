//! A job for a teacher that takes (N, H, W, C): what goes in and what comes out is in its layout, and the rest is as for a
//! teacher that takes (N, C, H, W).

use std::path::Path;

use kegd::{
    domain::{
        config::{JobConfig, Settings},
        layout::Layout,
        presets::TeacherKind,
        problem::ErrorCode,
        report::{Inspection, Report},
        task::TaskKind,
    },
    engine::{self, observer::Stop},
    formats::{file, onnx},
};
use ndarray::{Array1, Array4, ArrayD, Axis};
use ndarray_npy::{NpzReader, NpzWriter, WritableElement};

use crate::{
    build::Model,
    common::engine::{Seen, task, turn},
    networks::{Beginning, first, last},
};

const CONFIG: &str = r#"{
    "input": {"mean": [0.48, 0.45, 0.4], "std": [0.23, 0.22, 0.22]},
    "compression": {"ratio": 2.0},
    "extraction": {"generators": 1, "epochs": 1, "steps_per_epoch": 6, "batch_size": 16},
    "distillation": {"samples_per_generator": 64, "epochs": 1, "batch_size": 16, "adversarial_steps": 2, "student_steps": 2}
}"#;

fn settings() -> Settings {
    JobConfig::parse(CONFIG.as_bytes()).unwrap().resolve(TeacherKind::PlainImage, "m").unwrap()
}

fn directory(model: &Model) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("model.onnx"), model.bytes()).unwrap();
    directory
}

fn write_eval<X: WritableElement + Clone>(directory: &Path, x: &ArrayD<X>) {
    let mut writer = NpzWriter::new(std::fs::File::create(directory.join("eval.npz")).unwrap());
    let labels = Array1::from_shape_fn(x.shape()[0], |row| (row % 5) as i64);
    // Arrays are written row by row, however they lie in memory.
    writer.add_array("x", &x.as_standard_layout()).unwrap();
    writer.add_array("y", &labels).unwrap();
    writer.finish().unwrap();
}

/// Images (N, C, H, W) of another size than the teacher's.
fn photographs() -> Array4<u8> {
    Array4::from_shape_fn((50, 3, 17, 15), |(n, c, h, w)| {
        ((n * 31 + c * 101 + h * w * (n + 1) + c * h * 7) % 256) as u8
    })
}

fn channels_last<X: Clone>(x: &Array4<X>) -> ArrayD<X> {
    x.clone().permuted_axes([0, 2, 3, 1]).into_dyn()
}

fn read<T: serde::de::DeserializeOwned>(directory: &Path, name: &str) -> T {
    serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap()
}

fn shape_of(directory: &Path, name: &str) -> Vec<usize> {
    let mut file = NpzReader::new(std::fs::File::open(directory.join(name)).unwrap()).unwrap();
    let x: ArrayD<f32> = file.by_name("x").unwrap();
    x.shape().to_vec()
}

fn inspect(directory: &Path, eval: bool) -> Result<(), Stop> {
    let mut inspect = task(TaskKind::Inspect, settings());
    inspect.eval = eval.then(|| "eval.npz".into());
    engine::run(&inspect, directory, &mut Seen::default())
}

#[test]
fn a_job_gives_and_takes_images_as_the_model_does() {
    let directory = directory(&last(Beginning::Normalised));
    let path = directory.path();
    write_eval(path, &channels_last(&photographs()));
    let _turn = turn();
    inspect(path, true).unwrap();
    let input = read::<Inspection>(path, "inspection.json").model.input;
    assert_eq!((&input.shape[..], input.layout), (&[None, Some(12), Some(10), Some(3)][..], Layout::ChannelsLast));
    assert_eq!(input.inside(), [3, 12, 10]);

    engine::run(&task(TaskKind::Extract { generator: 0 }, settings()), path, &mut Seen::default()).unwrap();
    let mut distill = task(TaskKind::Distill { target: 0 }, settings());
    distill.generators = vec!["generator-0.safetensors".into()];
    distill.eval = Some("eval.npz".into());
    engine::run(&distill, path, &mut Seen::default()).unwrap();
    for samples in ["samples-g0-e0001.npz", "bank.npz"] {
        assert_eq!(shape_of(path, samples)[1..], [12, 10, 3], "{samples}");
    }
    let report: Report = read(path, "report.json");
    assert_eq!(report.result.accuracy.map(|accuracy| accuracy.n), Some(50));
    assert_eq!(report.model.input, input);
    let student = std::fs::read(path.join("student.onnx")).unwrap();
    let literally = onnx::import(&student, &Default::default()).unwrap().graph;
    assert_eq!((&*literally.input.name, &literally.input.shape[..]), ("images:0", &[12, 10, 3][..]));
    let graph = file::read(&student, &Default::default()).unwrap().1.graph;
    assert_eq!((graph.layout, graph.input.shape), (Layout::ChannelsLast, vec![3, 12, 10]));
}

/// Accuracy of the file in `directory` on the set there.
fn score(directory: &Path) -> f64 {
    let mut score = task(TaskKind::Inspect, settings());
    score.eval = Some("eval.npz".into());
    engine::score(&score, directory, &[]).unwrap()[0].accuracy
}

#[test]
fn an_evaluation_set_is_read_in_the_models_layout() {
    let _turn = turn();
    let (last, first) = (directory(&last(Beginning::Normalised)), directory(&first(Beginning::Normalised)));
    let bytes = photographs();
    let floats = bytes.mapv(|byte| f32::from(byte) / 64.0 - 2.0);
    write_eval(last.path(), &channels_last(&bytes));
    write_eval(first.path(), &bytes.into_dyn());
    let resized = score(last.path());
    assert_eq!(resized, score(first.path()));
    // Some are right and some are wrong, so that images in disorder would show.
    assert!((0.02..0.98).contains(&resized), "{resized}");
    write_eval(last.path(), &channels_last(&floats));
    write_eval(first.path(), &floats.clone().into_dyn());
    assert_eq!(score(last.path()), score(first.path()));

    write_eval(last.path(), &floats.into_dyn());
    let Err(Stop::Failed(problem)) = inspect(last.path(), true) else { panic!("channels first were accepted") };
    assert_eq!(problem.code, ErrorCode::InvalidEval);
    assert!(problem.detail.contains("one input of the model is [12, 10, 3]"), "{problem}");
}

#[test]
fn grey_images_need_no_axis_of_channels() {
    let shape = [-1, 12, 10, 1];
    let weight: Vec<f32> = (0..120 * 5).map(|place| (place as f32).sin()).collect();
    let model = Model::empty().input("x", &shape).output("y", &[-1, 5]).weight("w", &[120, 5], &weight);
    let model = model.node("flatten", "Flatten", &["x"], &["f"]).node("fc", "Gemm", &["f", "w"], &["y"]);
    let directory = directory(&model);
    let settings = JobConfig::default().resolve(TeacherKind::PlainImage, "m").unwrap();
    let x = Array4::from_shape_fn((30, 1, 12, 10), |(n, _, h, w)| ((n + 1) as f32 * (h * 10 + w) as f32 * 0.3).sin());
    let accuracy = |x: ArrayD<f32>| {
        write_eval(directory.path(), &x);
        let mut score = task(TaskKind::Inspect, settings.clone());
        score.eval = Some("eval.npz".into());
        engine::score(&score, directory.path(), &[]).unwrap()[0].accuracy
    };
    let _turn = turn();
    let (with, without) = (accuracy(channels_last(&x)), accuracy(x.index_axis(Axis(1), 0).to_owned().into_dyn()));
    assert_eq!(with, without);
}

#[test]
fn a_normalisation_of_other_channels_names_what_may_be_wrong() {
    let _turn = turn();
    let weight = vec![0.1; 360 * 3];
    let model = Model::empty().input("x", &[-1, 12, 10, 3]).weight("w", &[360, 3], &weight);
    let model = model.node("flatten", "Flatten", &["x"], &["f"]).node("fc", "Gemm", &["f", "w"], &["y"]);
    let Err(Stop::Failed(problem)) = inspect(directory(&model).path(), false) else { panic!("it was accepted") };
    assert_eq!(problem.param.as_deref(), Some("config.input.mean"));
    assert!(problem.hint.as_deref().is_some_and(|hint| hint.contains("--inputs-as-nchw")), "{problem:?}");
}
