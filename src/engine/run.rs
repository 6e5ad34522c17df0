//! One run of a task: reads what the specification names in its directory, and leaves its results there.

use std::path::Path;

use tch::Device;

use super::{
    evalset, extract,
    finish::{self, Inputs},
    given,
    observer::{Observer, Stop},
    opaque, reading,
    teacher::Teacher,
    ticker::Ticker,
};
use crate::{
    domain::{
        config::InputConfig,
        job::{Phase, Progress},
        model::{InputFacts, ModelFacts},
        problem::{ErrorCode, Problem},
        report::{Inspection, LayerRow},
        students::PlannedStudent,
        targets::Target,
        task::{TaskKind, TaskSpec},
    },
    engine::compress::{self, Network, plan::Plan},
    formats::{
        facts, file,
        graph::Graph,
        imported::{ImportOptions, Imported},
        layout, onnx,
        sniff::{self, Format},
    },
    protocol::Role,
};

/// Does what `spec` says, with every file in `dir`.
///
/// # Errors
/// A planned failure, or [`Stop::Canceled`] when the observer says so.
pub fn run(spec: &TaskSpec, dir: &Path, observer: &mut dyn Observer) -> Result<(), Stop> {
    super::cuda::load();
    tch::set_num_threads(spec.threads.max(1) as i32);
    let device = device(&spec.device)?;
    // A job moves forward: only its first task is said to import, though every one reads the model.
    let phase = match spec.kind {
        TaskKind::Inspect => Phase::Importing,
        TaskKind::Extract { .. } => Phase::Extracting,
        TaskKind::Distill { .. } => Phase::Compressing,
    };
    observer.progress(Progress { fraction: 0.0, phase, step: 0, steps: 1, eta_seconds: None })?;
    let model = Model::load(spec, dir)?;
    match spec.kind {
        TaskKind::Inspect => inspect(&model, (spec, device), dir, observer),
        TaskKind::Extract { generator } => {
            let teacher = Teacher::new(model.imported.graph, device)?;
            extract::extract(&teacher, spec, generator, dir, observer)
        }
        TaskKind::Distill { .. } => {
            let Model { mut imported, facts } = model;
            let given = given::read(spec, dir, &imported.graph)?;
            imported.warnings.extend(given.iter().flat_map(|given| given.warnings.clone()));
            let inputs = Inputs {
                given,
                teacher: Teacher::new(imported.graph, device)?,
                model: facts,
                warnings: imported.warnings,
                generators: spec.generators.iter().map(|name| dir.join(name)).collect(),
                eval: spec.eval.as_ref().map(|name| dir.join(name)),
            };
            finish::finish(inputs, spec, dir, observer)
        }
    }
}

/// `cpu` or `cuda:N`, and only what is there.
pub(super) fn device(name: &str) -> Result<Device, Problem> {
    let index = match name.strip_prefix("cuda:") {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => 0,
        None => return Err(no_device(name)),
        Some(index) => index.parse().map_err(|_| no_device(name))?,
    };
    if (index as i64) < tch::Cuda::device_count() { Ok(Device::Cuda(index)) } else { Err(no_device(name)) }
}

fn no_device(name: &str) -> Problem {
    Problem::new(ErrorCode::InvalidConfig, format!("there is no device `{name}` here"))
        .param("config.device")
        .hint("`auto` takes whichever is free; GET /workers of a service lists its devices.")
}

/// The imported model with its facts.
pub(super) struct Model {
    pub imported: Imported,
    pub facts: ModelFacts,
}

impl Model {
    pub fn load(spec: &TaskSpec, dir: &Path) -> Result<Self, Stop> {
        let bytes = std::fs::read(dir.join(&spec.model))?;
        let external = super::files::side_files(spec, dir)?;
        let settings = &spec.settings;
        let options = ImportOptions { input_shape: settings.input.shape.clone(), external, arch: settings.arch };
        let (format, imported) = match file::read(&bytes, &options) {
            Err(problem) if problem.code == ErrorCode::UnsupportedOperators => {
                unknown(problem, &bytes, &options, spec)?
            }
            read => read.map_err(|problem| doubt_shape(problem, settings.input.shape.as_deref()))?,
        };
        let imported = layout::by_normalisation(imported, settings.input.mean.as_ref().map(Vec::len));
        let graph = &imported.graph;
        let (macs, _) = facts::facts(graph)?;
        let shape = std::iter::once(None).chain(graph.declared_shape().into_iter().map(Some)).collect();
        let (name, layout) = (graph.input.name.clone(), graph.layout);
        let facts = ModelFacts {
            format: format.name().to_owned(),
            bytes: bytes.len() as u64 + imported.side_bytes,
            sha256: super::files::sha256(&bytes),
            parameters: graph.parameters(),
            macs,
            input: InputFacts { name, shape, dtype: "float32".to_owned(), layout },
            classes: graph.classes(),
            has_batch_norm: imported.has_batch_norm,
            ends_in_softmax: imported.ends_in_softmax,
        };
        check_settings(graph, spec)?;
        Ok(Self { imported, facts })
    }
}

/// Where a model does not fit together by the shape that somebody gave for its input, the shape may be what is wrong.
fn doubt_shape(problem: Problem, given: Option<&[usize]>) -> Problem {
    match given {
        Some(given) if problem.code == ErrorCode::InvalidModel && problem.hint.is_none() => problem
            .param("config.input.shape")
            .hint(format!("The input was taken to be {given:?}, by config.input.shape: is that what the model takes?")),
        _ => problem,
    }
}

/// A teacher with operators that have no rule: a TorchScript module can still be asked, where that is permitted, and where it
/// is not itself to be compressed.
fn unknown(
    problem: Problem,
    bytes: &[u8],
    options: &ImportOptions,
    spec: &TaskSpec,
) -> Result<(Format, Imported), Problem> {
    let head = &bytes[..bytes.len().min(sniff::HEAD)];
    if sniff::sniff(head, bytes.len() as u64)? != Format::TorchScript {
        return Err(problem);
    }
    match (spec.settings.student, spec.run_modules) {
        (Some(_), true) => Ok((Format::TorchScript, opaque::import(bytes, options)?)),
        (Some(_), false) => Err(problem.hint(
            "A module with such operators can teach a student as it is, but then its code runs, and this service does not \
             allow that: whoever runs it may (KEGD_RUN_MODULES=true).",
        )),
        (None, _) => Err(problem.hint(
            "It can still teach a student of your own: send one as `student`, or name one in config, as \
             {\"student\": {\"arch\": \"resnet18\"}}.",
        )),
    }
}

/// What a configuration says of the model must fit the model.
fn check_settings(graph: &Graph, spec: &TaskSpec) -> Result<(), Problem> {
    let (settings, classes) = (&spec.settings, graph.classes());
    if let Some(names) = &settings.classes
        && names.len() != classes
    {
        let detail = format!("config.classes has {} names, but the model has {classes} classes", names.len());
        return Err(Problem::new(ErrorCode::InvalidConfig, detail)
            .param("config.classes")
            .hint("Give one name for each output of the model, or leave `classes` out."));
    }
    let channels = graph.input.shape.first().copied().unwrap_or(0);
    if let Some(mean) = &settings.input.mean
        && mean.len() != channels
    {
        let detail =
            format!("config.input.mean has {} values, but the model's input has {channels} channels", mean.len());
        return Err(Problem::new(ErrorCode::InvalidConfig, detail).param("config.input.mean").hint(
            layout::doubt(graph).unwrap_or("Give one mean and one standard deviation for each channel.".into()),
        ));
    }
    check_pixels(&graph.input.shape, &settings.input)
}

/// The largest mean of a channel of pixels from 0 to 1, and what some subtract before they scale.
const MOST_MEAN: f64 = 2.0;

/// Refuses a normalisation of images in units of pixels from 0 to 255. Features are no pixels, and have any mean.
fn check_pixels(shape: &[usize], input: &InputConfig) -> Result<(), Problem> {
    let is_image = shape.len() == 3;
    let beyond = input.mean.iter().flatten().find(|mean| is_image && mean.abs() > MOST_MEAN);
    let Some(mean) = beyond else { return Ok(()) };
    Err(Problem::new(ErrorCode::InvalidConfig, format!("config.input.mean: {mean} is no mean of pixels from 0 to 1"))
        .param("config.input.mean")
        .hint("`mean` and `std` have the units of the 0..1 image: divide both by 255."))
}

/// A student as it is planned.
struct Sketch {
    plan: Vec<LayerRow>,
    parameters: u64,
}

impl Sketch {
    /// # Errors
    /// `invalid_compression` where no file can hold the student: told here, before anything is trained for it.
    fn new(plan: &Plan, whole: &Graph) -> Result<Self, Problem> {
        let parameters = plan.parameters(whole);
        onnx::check_parameters(parameters)?;
        Ok(Self { plan: plan.rows(), parameters })
    }
}

/// The plans by their targets, where there are several.
fn sweep(targets: &[Target], plans: Vec<Sketch>) -> Vec<PlannedStudent> {
    if targets.len() < 2 {
        return Vec::new();
    }
    let planned = |(target, Sketch { plan, parameters }): (&Target, _)| PlannedStudent {
        by: target.by,
        target: target.value,
        plan,
        parameters,
    };
    targets.iter().zip(plans).map(planned).collect()
}

fn inspect(
    model: &Model,
    (spec, device): (&TaskSpec, Device),
    dir: &Path,
    observer: &mut dyn Observer,
) -> Result<(), Stop> {
    let graph = &model.imported.graph;
    if let Some(name) = &spec.eval {
        evalset::check_headers(&dir.join(name), (&graph.input.shape, graph.layout))?;
    }
    let (_, layers) = facts::facts(graph)?;
    let given = given::read(spec, dir, graph)?;
    let compression = &spec.settings.compression;
    let plans: Vec<Sketch> = match &given {
        Some(given) => {
            given.check_export(&model.facts.format)?;
            vec![Sketch { plan: given.rows()?, parameters: given.facts()?.parameters }]
        }
        None => {
            let whole = &compress::absorb(graph)?;
            let steps = compress::pace::steps(whole)? * compression.targets().len().max(1) as u64;
            let mut ticker = Ticker::new(observer, Phase::Importing, (0.0, 1.0), steps);
            let measures = reading::measures((&Teacher::new(graph.clone(), device)?, whole), &spec.settings)?;
            let network = Network { uploaded: graph, whole };
            let plans = compress::plans(network, compression, &measures, &mut || ticker.tick())?;
            plans.iter().map(|plan| Sketch::new(plan, whole)).collect::<Result<_, _>>()?
        }
    };
    let warnings = given.iter().flat_map(|given| &given.warnings).chain(&model.imported.warnings).cloned().collect();
    let inspection = Inspection {
        model: model.facts.clone(),
        kind: facts::kind(graph),
        layers,
        planned_parameters: plans.first().map_or(0, |first| first.parameters),
        plan: plans.first().map(|first| first.plan.clone()).unwrap_or_default(),
        sweep: sweep(&compression.targets(), plans),
        student: given.as_ref().map(given::Given::facts).transpose()?,
        warnings,
    };
    super::files::write_json(&dir.join("inspection.json"), &inspection)?;
    observer.artifact(&dir.join("inspection.json"), Role::Inspection);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_somebody_gave_is_doubted_where_the_model_does_not_fit_together() {
        let broken = || Problem::new(ErrorCode::InvalidModel, "a weight does not fit");
        let doubted = doubt_shape(broken(), Some(&[1, 12, 12]));
        assert_eq!(doubted.param.as_deref(), Some("config.input.shape"));
        assert!(doubted.hint.unwrap().contains("[1, 12, 12], by config.input.shape"));
        assert_eq!(doubt_shape(broken(), None).param, None);
        let told = doubt_shape(broken().hint("known better"), Some(&[1, 12, 12]));
        assert_eq!((told.hint.as_deref(), told.param), (Some("known better"), None));
    }

    #[test]
    fn a_normalisation_in_units_of_bytes_is_refused_for_images_alone() {
        let check = |input: &[usize], mean: f64, std: f64| {
            let config = InputConfig { mean: Some(vec![mean; 3]), std: Some(vec![std; 3]), ..InputConfig::default() };
            check_pixels(input, &config)
        };
        for (mean, std) in [(0.0, 1.0 / 255.0), (0.5, 0.5), (0.408, 1.0 / 255.0), (-2.0, 1.0)] {
            check(&[3, 8, 8], mean, std).unwrap();
        }
        for mean in [103.94, -123.68] {
            let problem = check(&[3, 8, 8], mean, 58.0).unwrap_err();
            assert_eq!(problem.param.as_deref(), Some("config.input.mean"));
            assert!(problem.hint.unwrap().contains("divide both by 255"));
        }
        check(&[3], 103.94, 58.0).unwrap();
    }
}
