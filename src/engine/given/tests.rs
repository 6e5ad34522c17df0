//! Students that are given: what fits, what is refused, and what they begin with.

use tempfile::TempDir;

use super::*;
use crate::{
    domain::{
        config::JobConfig,
        ids::{JobId, TaskId},
        layout::Layout,
        presets::TeacherKind,
        task::TaskKind,
    },
    formats::onnx,
};

fn network(arch: Architecture, input: &[usize], classes: usize) -> Graph {
    let sizes = Sizes { input, classes, found: &Shapes::new() };
    let mut graph = architectures::blueprint(arch, sizes).unwrap().blank().unwrap();
    initial::initialise(&mut graph, 1);
    graph
}

fn teacher() -> Graph {
    network(Architecture::Lenet5, &[1, 32, 32], 10)
}

/// A job whose configuration is `config`, and the student's file where there is one.
fn given(config: &str, file: Option<&Graph>) -> Result<Given, Problem> {
    given_for(&teacher(), config, file)
}

fn given_for(teacher: &Graph, config: &str, file: Option<&Graph>) -> Result<Given, Problem> {
    let dir = TempDir::new().unwrap();
    let config = JobConfig::parse(config.as_bytes()).unwrap().with_student_file(file.is_some()).unwrap();
    if let Some(graph) = file {
        std::fs::write(dir.path().join("given-s.onnx"), onnx::export(graph).unwrap()).unwrap();
    }
    let spec = TaskSpec {
        job: JobId::new(),
        task: TaskId::new(),
        run: 1,
        kind: TaskKind::Inspect,
        settings: config.resolve(TeacherKind::PlainImage, "m").unwrap(),
        device: "cpu".to_owned(),
        threads: 1,
        model: "m.onnx".to_owned(),
        external_data: Vec::new(),
        generators: Vec::new(),
        eval: None,
        student: file.map(|_| "given-s.onnx".to_owned()),
        run_modules: false,
        extracting_seconds: 0.0,
        resume: None,
        checkpoint_seconds: None,
    };
    match read(&spec, dir.path(), teacher) {
        Ok(given) => Ok(given.expect("one was given")),
        Err(Stop::Failed(problem)) => Err(problem),
        Err(stop) => panic!("{stop:?}"),
    }
}

#[test]
fn a_file_keeps_its_weights_unless_told_otherwise() {
    let own = network(Architecture::Resnet14, &[1, 32, 32], 10);
    let kept = given("{}", Some(&own)).unwrap();
    assert_eq!(kept.graph.weights, own.weights);
    assert!(kept.rows().unwrap().iter().all(|row| row.action == "given" && row.parameters_after > 0));
    let anew = given(r#"{"student": {"init": "anew"}}"#, Some(&own)).unwrap();
    assert_ne!(anew.graph.weights["fc.weight"], own.weights["fc.weight"]);
    assert_eq!(anew.graph.nodes, kept.graph.nodes);
    assert_eq!(anew.facts().unwrap().format.as_deref(), Some("onnx"));
}

#[test]
fn a_name_is_built_for_the_teacher() {
    let named = given(r#"{"student": {"arch": "resnet20"}, "seed": 3}"#, None).unwrap();
    assert_eq!((&named.graph.input, &named.graph.output), (&teacher().input, &teacher().output));
    let again = given(r#"{"student": {"arch": "resnet20"}, "seed": 3}"#, None).unwrap();
    assert_eq!(named.graph, again.graph);
    let facts = named.facts().unwrap();
    assert_eq!((facts.format, facts.parameters > 200_000), (None, true));
    assert_eq!(named.rows().unwrap()[0].reason, "a layer of `resnet20`, with random weights");
}

#[test]
fn ports_and_softmax_are_the_teachers() {
    let mut teacher = teacher();
    rename(&mut teacher, "input", "image");
    teacher.nodes.push(Node {
        name: "softmax".to_owned(),
        op: Op::Softmax { axis: 1 },
        inputs: vec!["logits".to_owned()],
        outputs: vec!["probabilities".to_owned()],
    });
    teacher.output.name = "probabilities".to_owned();
    let student = named(Architecture::Mlp, &teacher).unwrap();
    assert_eq!((&student.input, &student.output), (&teacher.input, &teacher.output));
    assert!(student.logits().is_some());
    crate::formats::shapes::infer(&student, 2).unwrap();
    // A name that is taken stays with whoever has it.
    teacher.output.name = "fc1.weight".to_owned();
    let student = named(Architecture::Lenet5, &teacher).unwrap();
    assert_eq!(student.output.name, "logits");
}

#[test]
fn what_does_not_fit_the_teacher_is_refused() {
    for (graph, words) in [
        (
            network(Architecture::Resnet14, &[3, 32, 32], 10),
            "takes inputs of [3, 32, 32], and the teacher inputs of [1, 32, 32]",
        ),
        (network(Architecture::Mlp, &[1024], 10), "takes inputs of [1024]"),
        (network(Architecture::Lenet5, &[1, 32, 32], 7), "tells 7 classes apart, and the teacher 10"),
    ] {
        let problem = given("{}", Some(&graph)).err().unwrap();
        assert_eq!((problem.code, problem.param.as_deref()), (ErrorCode::InvalidConfig, Some("student")));
        assert!(problem.detail.contains(words) && problem.hint.is_some(), "{problem}");
    }
    let sizes = Architecture::Lenet5;
    let small = network(Architecture::Mlp, &[12], 10);
    let problem = named(sizes, &small).unwrap_err();
    assert_eq!(problem.param.as_deref(), Some("config.student.arch"));
}

#[test]
fn deep_networks_without_norms_are_warned_of() {
    let warned = given(r#"{"student": {"arch": "mlp"}}"#, None).unwrap().warnings;
    assert!(warned[0].contains("no batch norm"), "{warned:?}");
    assert!(given(r#"{"student": {"arch": "resnet14"}}"#, None).unwrap().warnings.is_empty());
}

#[test]
fn a_file_may_have_its_channels_elsewhere_than_the_teachers_and_keeps_them_there() {
    let student = |layout| Graph { layout, ..network(Architecture::Resnet14, &[1, 32, 32], 10) };
    let (first, last) = (student(Layout::ChannelsFirst), student(Layout::ChannelsLast));
    let teacher_last = Graph { layout: Layout::ChannelsLast, ..teacher() };
    for (teacher, student) in [(teacher(), &last), (teacher_last.clone(), &first)] {
        let taken = given_for(&teacher, "{}", Some(student)).unwrap();
        assert_eq!((taken.graph.layout, &taken.graph.input.shape), (student.layout, &teacher.input.shape));
        let (own, theirs) = (student.declared_shape(), teacher.declared_shape());
        let words = [format!("as {own:?}"), format!("the teacher as {theirs:?}")];
        assert!(words.iter().all(|words| taken.warnings[0].contains(words)), "{:?}", taken.warnings);
    }
    assert!(given_for(&teacher_last, "{}", Some(&last)).unwrap().warnings.is_empty());
    let named = given_for(&teacher_last, r#"{"student": {"arch": "resnet14"}}"#, None).unwrap().graph;
    assert_eq!((named.layout, named.input.shape), (Layout::ChannelsLast, vec![1, 32, 32]));
}

#[test]
fn a_file_of_which_it_cannot_be_seen_where_its_channels_are_is_refused() {
    let colours = Graph { layout: Layout::ChannelsLast, ..network(Architecture::Resnet14, &[3, 32, 32], 10) };
    let student = network(Architecture::Mlp, &[32, 32, 3], 10);
    let problem = given_for(&colours, "{}", Some(&student)).err().unwrap();
    assert_eq!((problem.code, problem.param.as_deref()), (ErrorCode::InvalidConfig, Some("student")));
    assert!(problem.detail.contains("[32, 32, 3]") && problem.hint.unwrap().contains("nchw"), "{}", problem.detail);
}

#[test]
fn a_teacher_of_which_it_cannot_be_seen_may_have_a_student_of_which_it_can() {
    let teacher = network(Architecture::Mlp, &[32, 32, 3], 10);
    let student = Graph { layout: Layout::ChannelsLast, ..network(Architecture::Resnet14, &[3, 32, 32], 10) };
    let taken = given_for(&teacher, "{}", Some(&student)).unwrap().graph;
    assert_eq!((taken.layout, taken.input.shape), (Layout::ChannelsFirst, vec![32, 32, 3]));
}
