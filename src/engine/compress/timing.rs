//! A target of time, met by real executions: each layer and its smaller forms are timed side by side, the time is allotted
//! like any other budget, and the whole student is held against the teacher before it is accepted.

use std::time::{Duration, Instant};

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{
    action::Action,
    budget::{self, Choice, Choices},
    layer::Layer,
    network::Network,
    pace::Pace,
    plan::{Decision, Plan, Planned},
    rewrite,
    target::{Allocator, out_of_reach},
};
use crate::{
    domain::{problem::Problem, targets::Target},
    engine::{executor::Executor, latency},
    formats::{
        graph::{Graph, Port},
        shapes,
    },
};

/// Shares of a layer's multiply-accumulates at which its best smaller form is timed.
const LEVELS: [f64; 8] = [0.05, 0.1, 0.18, 0.28, 0.4, 0.55, 0.7, 0.85];

/// A smaller form counts as faster below this share of the layer's time: less may be noise.
const FASTER: f64 = 0.95;

/// Wall time for the layers of a network together, and at most for one form of one layer.
const BUDGET: Duration = Duration::from_secs(20);
const MOST_EACH: Duration = Duration::from_millis(100);
const LEAST_RUNS: usize = 7;
const MOST_RUNS: usize = 200;

/// Students that are held against the teacher, each allotted less time than the one before.
const ROUNDS: usize = 6;

/// Allotted times are lowered by a little more than was lacking.
const TIGHTER: f64 = 0.97;

/// What was measured of a layer, in milliseconds.
struct Timed {
    whole: f64,
    fastest: Option<f64>,
    forms: Vec<(Action, f64)>,
}

impl Timed {
    fn of(&self, action: Action) -> Option<f64> {
        self.forms.iter().find(|(form, _)| *form == action).map(|(_, ms)| *ms)
    }

    /// Why no form of the layer was a choice, where that is so.
    fn slower(&self) -> Option<String> {
        let fastest = self.fastest.filter(|_| self.forms.is_empty())?;
        let whole = self.whole;
        Some(format!("its smaller forms are no faster: {fastest:.3} ms at best, {whole:.3} ms as it is, measured"))
    }
}

/// What happens to each layer, and why.
///
/// # Errors
/// `invalid_compression` where the target is out of reach, naming what was reached; what libtorch and `pace` report.
pub fn decide<E: From<Problem>>(
    allocator: &Allocator<'_>,
    target: Target,
    device: Device,
    pace: Pace<'_, E>,
) -> Result<Vec<Decision>, E> {
    if target.value <= 1.0 {
        // The teacher itself; measured against itself, it would be now faster and now slower.
        return Ok(allocator.decisions(&vec![Action::Keep; allocator.layers.len()], |_, _| String::new()));
    }
    let Network { uploaded, whole } = allocator.network;
    let (teacher, shape) = (Executor::new(uploaded, device)?, &uploaded.input.shape);
    let (choices, timed) = time_layers(allocator, device, pace)?;
    let time =
        |network: &Executor| -> Result<u64, Problem> { Ok(nanoseconds(latency::nodes(network, shape)?.iter().sum())) };
    // Batch norms take their time, which a student without them has won already.
    let mut allowed = time(&teacher)? as f64 / target.value;
    let total = time(&Executor::new(whole, device)?)?;
    let (mut best, mut before) = (0.0_f64, None);
    for round in 0..=ROUNDS {
        let (actions, last) = match budget::allocate(&choices, total, allowed as u64) {
            Ok(actions) if round < ROUNDS => (actions, false),
            _ => (budget::cheapest(&choices), true),
        };
        if before.as_ref() != Some(&actions) {
            let student = Executor::new(&allocator.student(&actions)?, device)?;
            let measured = latency::compare(&teacher, &student, shape, 1).map_err(Problem::from)?;
            let reached = measured.teacher.p50 / measured.student.p50.max(f64::MIN_POSITIVE);
            if reached >= target.value {
                return Ok(explain(allocator, &actions, &timed));
            }
            best = best.max(reached);
            allowed *= reached / target.value;
        }
        if last {
            break;
        }
        allowed *= TIGHTER;
        before = Some(actions);
    }
    Err(unreached(target, best).into())
}

fn unreached(target: Target, best: f64) -> Problem {
    // Below 1, no student is faster; the hint must not name a factor that is refused.
    let best = (best * 100.0).floor() / 100.0;
    let hint = if best > 1.0 {
        format!("Ask for a latency of at most {best}, for fewer parameters (`ratio`) instead, or for another device.")
    } else {
        "Smaller layers are no faster here: ask for a ratio, or for another device.".to_owned()
    };
    let wanted = target.value;
    out_of_reach(
        target,
        format!(
            "a student {wanted} times as fast is out of reach here: the fastest one measured was {best} times as fast"
        ),
        hint,
    )
}

fn explain(allocator: &Allocator<'_>, actions: &[Action], timed: &[Option<Timed>]) -> Vec<Decision> {
    let mut decisions = allocator.decisions(actions, |_, _| String::new());
    for ((action, reason), timed) in decisions.iter_mut().zip(timed) {
        let Some(timed) = timed else { continue };
        if let Some(slower) = timed.slower() {
            *reason = slower;
        } else if let Some(ms) = timed.of(*action) {
            *reason = format!("{ms:.3} ms instead of {:.3} ms, measured alone", timed.whole);
        }
    }
    decisions
}

fn time_layers<E: From<Problem>>(
    allocator: &Allocator<'_>,
    device: Device,
    pace: Pace<'_, E>,
) -> Result<(Vec<Choices>, Vec<Option<Timed>>), E> {
    let whole = allocator.network.whole;
    let shapes = shapes::infer(whole, 1)?;
    let forms: Vec<Vec<Choice>> = allocator.choices.iter().map(|choices| choices.thinned(&LEVELS)).collect();
    let count = forms.iter().map(|forms| forms.len() + 1).sum::<usize>().max(1);
    let each = MOST_EACH.min(BUDGET / count as u32);
    let (mut choices, mut timed) = (Vec::with_capacity(forms.len()), Vec::with_capacity(forms.len()));
    for (layer, forms) in allocator.layers.iter().zip(forms) {
        let alone = shapes.get(&whole.nodes[layer.node].inputs[0]);
        let alone = alone.and_then(|shape| Some((alone_with(whole, layer, shape)?, shape)));
        let Some((alone, shape)) = alone.filter(|_| !forms.is_empty()) else {
            choices.push(Choices::kept());
            timed.push(None);
            continue;
        };
        let ms = race(&alone, layer, &forms, (shape, device, each))?;
        pace()?;
        let whole = ms[0];
        let measured: Vec<(Choice, f64)> = forms.into_iter().zip(ms[1..].iter().copied()).collect();
        let fastest = measured.iter().map(|(_, ms)| *ms).min_by(f64::total_cmp);
        let faster: Vec<(Choice, f64)> = measured.into_iter().filter(|(_, ms)| *ms < FASTER * whole).collect();
        let priced = faster.iter().map(|(choice, ms)| Choice { cost: nanoseconds(*ms), ..*choice });
        choices.push(Choices::priced(nanoseconds(whole), priced));
        timed.push(Some(Timed {
            whole,
            fastest,
            forms: faster.iter().map(|(choice, ms)| (choice.action, *ms)).collect(),
        }));
    }
    Ok((choices, timed))
}

/// Median milliseconds of a layer, and of each of its forms. In turn, so that what slows the machine slows all of them.
fn race(
    alone: &Graph,
    layer: &Layer,
    forms: &[Choice],
    (shape, device, each): (&[usize], Device, Duration),
) -> Result<Vec<f64>, Problem> {
    let mut networks = vec![Executor::new(alone, device)?];
    for form in forms {
        let planned = Planned { layer: layer.at(0), action: form.action, error: 0.0, reason: String::new() };
        networks.push(Executor::new(&rewrite::sketch(alone, &Plan { layers: vec![planned] })?, device)?);
    }
    let extents: Vec<i64> = shape.iter().map(|&extent| extent as i64).collect();
    let x = Tensor::f_randn(extents, (Kind::Float, device))?;
    let mut runs: Vec<Vec<f64>> = vec![Vec::new(); networks.len()];
    // Kernels are chosen, and memory is taken, at the first run.
    for network in &networks {
        run(network, &x)?;
    }
    let begin = Instant::now();
    while runs[0].len() < LEAST_RUNS || (runs[0].len() < MOST_RUNS && begin.elapsed() < each * networks.len() as u32) {
        for (network, runs) in networks.iter().zip(&mut runs) {
            runs.push(run(network, &x)?);
        }
    }
    Ok(runs.into_iter().map(median).collect())
}

fn run(network: &Executor, x: &Tensor) -> Result<f64, TchError> {
    let nodes = no_grad(|| network.profile(x))?;
    Ok(nodes.iter().sum::<Duration>().as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn nanoseconds(ms: f64) -> u64 {
    (ms * 1e6).max(1.0) as u64
}

/// The network of one layer. None for a layer that reads more than one computed value: it cannot be run alone.
fn alone_with(graph: &Graph, layer: &Layer, shape: &[usize]) -> Option<Graph> {
    let node = graph.nodes[layer.node].clone();
    let mut weights = std::collections::BTreeMap::new();
    for name in node.inputs[1..].iter().filter(|name| !name.is_empty()) {
        weights.insert(name.clone(), graph.weights.get(name)?.clone());
    }
    let input = Port { name: node.inputs[0].clone(), shape: shape.get(1..)?.to_vec() };
    let output = Port { name: node.outputs[0].clone(), shape: Vec::new() };
    Some(Graph {
        input,
        layout: Default::default(),
        output,
        nodes: vec![node],
        weights,
        opset: graph.opset,
        metadata: [].into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            config::Compression,
            problem::ErrorCode,
            targets::{Measured, OneOrMore},
        },
        engine::compress::{fixture, layer::layers, measure::Measures, plan_measured},
    };

    fn faster(times: f64, keep: &[&str]) -> Compression {
        let keep = Some(keep.iter().map(|name| (*name).to_owned()).collect());
        Compression { latency: Some(OneOrMore::One(times)), keep, ..Compression::default() }
    }

    fn planned(graph: &Graph, compression: &Compression) -> Result<Plan, Problem> {
        plan_measured(graph, compression, (&Measures::new(), Device::Cpu), &mut || Ok(()))
    }

    #[test]
    fn small_layers_are_no_faster_in_two_and_are_left_alone() {
        let graph = fixture::network();
        let layers = layers(&graph).unwrap();
        let kept = vec![false; layers.len()];
        let allocator = Allocator::new::<Problem>(
            (&graph).into(),
            &layers,
            (kept, &Measures::new()),
            Measured::Latency,
            &mut || Ok(()),
        )
        .unwrap();
        let (choices, timed) = time_layers::<Problem>(&allocator, Device::Cpu, &mut || Ok(())).unwrap();
        assert_eq!((choices.len(), timed.len()), (layers.len(), layers.len()));
        // 14 x 10 numbers: an operator's own cost is most of the time, and two of them take longer than one.
        let fc1 = layers.iter().position(|layer| layer.name == "fc1").unwrap();
        let measured = timed[fc1].as_ref().unwrap();
        assert!(measured.whole > 0.0 && measured.fastest.unwrap() > 0.0);
        assert!(measured.slower().unwrap().contains("no faster"), "{:?}", measured.forms);
        let actions = budget::cheapest(&choices);
        assert_eq!(actions[fc1], Action::Keep);
        assert!(explain(&allocator, &actions, &timed)[fc1].1.contains("measured"));
    }

    #[test]
    fn a_target_out_of_reach_names_what_was_reached() {
        let problem = planned(&fixture::network(), &faster(500.0, &[])).unwrap_err();
        assert_eq!(problem.code, ErrorCode::InvalidCompression);
        assert_eq!(problem.param.as_deref(), Some("config.compression.latency"));
        assert!(problem.detail.contains("times as fast") && problem.hint.is_some(), "{problem}");
    }

    #[test]
    fn what_the_upload_took_beside_its_layers_is_won_already() {
        // Its large layer has faster forms, which are not needed.
        let whole = fixture::wide();
        let uploaded = fixture::slower(&whole);
        let (compression, measures) = (faster(1.5, &[]), Measures::new());
        let planned = |network: Network<'_>| {
            plan_measured::<Problem>(network, &compression, (&measures, Device::Cpu), &mut || Ok(()))
        };
        let plan = planned(Network { uploaded: &uploaded, whole: &whole }).unwrap();
        assert!(plan.layers.iter().all(|planned| planned.action == Action::Keep));
    }

    #[test]
    fn a_large_layer_becomes_as_fast_as_asked_for() {
        let graph = fixture::wide();
        let plan = planned(&graph, &faster(2.0, &["last"])).unwrap();
        let rows = plan.rows();
        assert_eq!((rows[0].action.as_str(), rows[1].action.as_str()), ("svd", "keep"), "{rows:?}");
        assert!(rows[0].reason.contains("ms instead of") && rows[1].reason == "kept as asked", "{rows:?}");
        assert!(2 * rows[0].macs_after < rows[0].macs_before);
    }
}
