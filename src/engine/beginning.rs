//! The student before it learns: the compressed teacher, or a network that was given.

use super::{
    checkpoint::Keeper,
    compress::{
        self, Network,
        layer::Layer,
        plan::{Plan, Planned},
    },
    executor::Executor,
    given::Given,
    latency,
    observer::{Observer, Stop},
    reading,
    student::Student,
    teacher::Teacher,
    ticker::Ticker,
    trial,
};
use crate::{
    domain::{
        architecture::Architecture,
        config::{Form, Settings},
        given::Init,
        job::Phase,
        problem::Problem,
        report::LayerRow,
    },
    formats::{
        description::{About, Decomposition},
        graph::{Graph, Node},
    },
};

pub struct Beginning {
    pub graph: Graph,
    pub rows: Vec<LayerRow>,
    origin: Origin,
}

enum Origin {
    Compressed(Plan),
    Given(Given),
}

impl Beginning {
    /// # Errors
    /// As planning and compressing.
    pub fn new(
        teacher: &Teacher,
        given: Option<Given>,
        settings: &Settings,
        keeper: &mut Keeper<'_>,
        (observer, share): (&mut dyn Observer, (f64, f64)),
    ) -> Result<Self, Stop> {
        if let Some(given) = given {
            return Ok(Self { graph: given.graph.clone(), rows: given.rows()?, origin: Origin::Given(given) });
        }
        let whole = &compress::absorb(&teacher.graph)?;
        let distillation = &settings.distillation;
        // Two students are planned and made where one is chosen after a trial, and then that one again.
        let students = if distillation.trial_steps > 0 { 2 } else { 1 };
        let steps = students * compress::pace::steps(whole)? + trial::steps(distillation);
        let mut ticker = Ticker::new(observer, Phase::Compressing, share, steps);
        let plan = plan((teacher, whole), settings, keeper, &mut ticker)?;
        let graph = compress::apply_paced(whole, &plan, &mut || ticker.tick())?;
        Ok(Self { graph, rows: plan.rows(), origin: Origin::Compressed(plan) })
    }

    /// Ready to learn.
    ///
    /// # Errors
    /// Where the graph cannot run.
    pub fn student(&self, teacher: &Teacher, settings: &Settings) -> Result<Student, Problem> {
        let student = Student::new(self.graph.clone(), teacher.device(), settings.distillation.average_decay)?;
        match &self.origin {
            Origin::Given(given) if given.how.init == Init::Anew => Ok(student.learning_statistics()?),
            _ => Ok(student),
        }
    }

    /// The table of the layers, with what each takes in milliseconds in the teacher and in the student.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn timed(
        &self,
        (teacher, before): (&Graph, &Executor),
        (student, after): (&Graph, &Executor),
    ) -> Result<Vec<LayerRow>, Stop> {
        let shape = &teacher.input.shape;
        let after = latency::nodes(after, shape)?;
        let mut rows = self.rows.clone();
        match &self.origin {
            Origin::Compressed(plan) => {
                let before = latency::nodes(before, shape)?;
                for (row, Planned { layer, .. }) in rows.iter_mut().zip(&plan.layers) {
                    let node = teacher.nodes.iter().position(|node| layer.is(node));
                    row.ms_before = node.and_then(|node| before.get(node).copied());
                    row.ms_after = Some(time_of(student, &after, layer));
                }
            }
            Origin::Given(_) => {
                for (row, layer) in rows.iter_mut().zip(compress::layer::layers(student)?) {
                    row.ms_after = after.get(layer.node).copied();
                }
            }
        }
        Ok(rows)
    }

    /// What the student's files say of it. `arch` is the teacher's.
    pub fn about(&self, arch: Option<Architecture>) -> About {
        match &self.origin {
            Origin::Given(given) => About { architecture: given.how.arch, decompositions: Vec::new() },
            Origin::Compressed(_) => {
                let decomposed = self.rows.iter().filter(|row| row.action != "keep");
                let decomposition = |row: &LayerRow| Decomposition {
                    layer: row.layer.clone(),
                    action: row.action.clone(),
                    ranks: row.ranks.clone(),
                };
                About { architecture: arch, decompositions: decomposed.map(decomposition).collect() }
            }
        }
    }

    /// What the figures of a given student mean, in words.
    pub fn note(&self) -> Option<String> {
        let Origin::Given(given) = &self.origin else { return None };
        let weights = match given.how.init {
            Init::Weights => "the weights of its file",
            Init::Anew => "random weights",
        };
        Some(format!(
            "The student is no compressed teacher: its network was given, and began with {weights}. Where the report says `compressed`, it is that network before it learned anything."
        ))
    }

    /// Why nothing is predicted of this student, where its kind is the reason, or what it is judged by.
    pub fn unpredictable(&self, teacher: &Teacher, settings: &Settings) -> Option<String> {
        let reason = if matches!(self.origin, Origin::Given(_)) {
            "the calibration saw compressed teachers alone, and this student is none."
        } else if teacher.has_record(settings.extraction.batch_norm) {
            "the held-out generator keeps to what batch norm recorded (extraction.batch_norm), and small students agree with their \
             teachers on its inputs whatever they lose."
        } else if teacher.graph.input.shape.len() == 3 && settings.extraction.form == Form::Smooth {
            "the held-out generator is of the kind that the student learned from (extraction.form), which the calibration never saw."
        } else {
            return None;
        };
        Some(format!("The loss of accuracy is not predicted: {reason}"))
    }
}

/// What becomes of each layer of `whole`: of the teacher, without the batch norms that its layers take in. What was measured
/// to decide it is kept: measured again, it might come to another student.
fn plan(
    (teacher, whole): (&Teacher, &Graph),
    settings: &Settings,
    keeper: &mut Keeper<'_>,
    ticker: &mut Ticker<'_>,
) -> Result<Plan, Stop> {
    let pace = &mut || ticker.tick();
    if let Some(decided) = keeper.plan() {
        return compress::plan::repeat(whole, decided.to_vec(), pace);
    }
    let compression = &settings.compression;
    let measures = reading::measures((teacher, whole), settings)?;
    let network = Network { uploaded: &teacher.graph, whole };
    let measures = (&measures, teacher.device());
    let plan = if settings.distillation.trial_steps == 0 {
        compress::plan_measured(network, compression, measures, pace)?
    } else {
        match compress::alternatives(network, compression, measures, pace)? {
            (plan, None) => plan,
            (one, Some(other)) => trial::nearer((teacher, whole), settings, (one, other), ticker)?,
        }
    };
    if compression.target().is_some() {
        keeper.keep_plan(plan.decisions());
    }
    Ok(plan)
}

/// Milliseconds of a layer, or of the nodes that took its place: their names begin with the layer's and a dot.
fn time_of(graph: &Graph, times: &[f64], layer: &Layer) -> f64 {
    let replaced = |node: &Node| node.name.strip_prefix(&layer.name).is_some_and(|rest| rest.starts_with('.'));
    let belongs = |node: &Node| layer.is(node) || replaced(node);
    graph.nodes.iter().zip(times).filter(|(node, _)| belongs(node)).fold(0.0, |sum, (_, time)| sum + time)
}
