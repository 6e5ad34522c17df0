//! From a configuration to what happens to each layer, as the compression table shows it.

use tch::Device;

use super::{
    action::Action,
    layer::{Layer, layers},
    measure::Measures,
    named,
    network::Network,
    pace::Pace,
    svd,
    target::{self, Allocator},
    timing, tucker,
};
use crate::{
    domain::{
        config::{Compression, Method},
        problem::{ErrorCode, Problem},
        report::LayerRow,
        targets::Measured,
    },
    formats::graph::Graph,
};

/// One layer and what happens to it.
#[derive(Clone, Debug)]
pub struct Planned {
    pub layer: Layer,
    pub action: Action,
    /// ‖W − W̃‖ / ‖W‖.
    pub error: f64,
    /// Why this action, in words.
    pub reason: String,
}

/// Every convolution and linear layer, in the graph's order.
#[derive(Clone, Debug)]
pub struct Plan {
    pub layers: Vec<Planned>,
}

impl Plan {
    /// The compression table, without measured times.
    pub fn rows(&self) -> Vec<LayerRow> {
        self.layers.iter().map(Planned::row).collect()
    }

    /// Parameters of the student that it makes of `whole`.
    pub fn parameters(&self, whole: &Graph) -> u64 {
        let (before, after) = self.layers.iter().fold((0, 0), |(before, after), Planned { layer, action, .. }| {
            (before + layer.cost().parameters, after + action.cost(layer).parameters)
        });
        (whole.parameters() + after).saturating_sub(before)
    }

    /// What it decides: enough for [`repeat`].
    pub fn decisions(&self) -> Vec<Decision> {
        self.layers.iter().map(|planned| (planned.action, planned.reason.clone())).collect()
    }
}

impl Planned {
    fn row(&self) -> LayerRow {
        let (before, after) = (self.layer.cost(), self.action.cost(&self.layer));
        LayerRow {
            layer: self.layer.name.clone(),
            kind: self.layer.kind,
            action: self.action.word().to_owned(),
            ranks: self.action.ranks(),
            parameters_before: before.parameters,
            parameters_after: after.parameters,
            macs_before: before.macs,
            macs_after: after.macs,
            error: self.error,
            ms_before: None,
            ms_after: None,
            reason: self.reason.clone(),
        }
    }
}

/// Plans by the weights alone, for the first target.
///
/// # Errors
/// `invalid_compression` for an unknown layer, impossible ranks, or a target out of reach; `invalid_weights` for a weight
/// with NaN or infinity.
pub fn plan<'a>(network: impl Into<Network<'a>>, compression: &Compression) -> Result<Plan, Problem> {
    plan_with(network.into(), compression, &Measures::new(), &mut || Ok(()))
}

/// Plans by the weights and by what is known of the layers' inputs, for the first target.
///
/// # Errors
/// As [`plan`], and what `pace` reports.
fn plan_with<E: From<Problem>>(
    network: Network<'_>,
    compression: &Compression,
    measures: &Measures,
    pace: Pace<'_, E>,
) -> Result<Plan, E> {
    let layers = layers(network.whole)?;
    let decisions = match compression.target() {
        Some(target) => allocator(network, &layers, (compression, measures), pace)?.decide(target)?,
        None => untargeted(network.whole, &layers, compression)?,
    };
    planned(network.whole, layers, decisions, pace)
}

/// A plan for each target; one plan where there is no target.
///
/// # Errors
/// As [`plan`], and what `pace` reports.
pub fn plans<'a, E: From<Problem>>(
    network: impl Into<Network<'a>>,
    compression: &Compression,
    measures: &Measures,
    pace: Pace<'_, E>,
) -> Result<Vec<Plan>, E> {
    let (network, targets) = (network.into(), compression.targets());
    if targets.is_empty() {
        return Ok(vec![plan_with(network, compression, measures, pace)?]);
    }
    let layers = layers(network.whole)?;
    let allocator = allocator(network, &layers, (compression, measures), pace)?;
    targets.iter().map(|&target| planned(network.whole, layers.clone(), allocator.decide(target)?, pace)).collect()
}

/// A plan for the first target, where one of time is met by measurements on `device`, with as many threads as the process has.
///
/// # Errors
/// As [`plan`], what libtorch reports, and what `pace` does.
pub fn plan_measured<'a, E: From<Problem>>(
    network: impl Into<Network<'a>>,
    compression: &Compression,
    (measures, device): (&Measures, Device),
    pace: Pace<'_, E>,
) -> Result<Plan, E> {
    let network = network.into();
    match compression.target() {
        Some(target) if target.by == Measured::Latency => {
            let layers = layers(network.whole)?;
            let allocator = allocator(network, &layers, (compression, measures), pace)?;
            let decisions = timing::decide(&allocator, target, device, pace)?;
            planned(network.whole, layers, decisions, pace)
        }
        _ => plan_with(network, compression, measures, pace),
    }
}

/// The plan that came to these decisions before.
///
/// # Errors
/// `internal` where they are of another network, and what `pace` reports.
pub fn repeat<E: From<Problem>>(graph: &Graph, decisions: Vec<Decision>, pace: Pace<'_, E>) -> Result<Plan, E> {
    let layers = layers(graph)?;
    if layers.len() != decisions.len() {
        return Err(Problem::new(ErrorCode::Internal, "a plan that was kept belongs to another network").into());
    }
    planned(graph, layers, decisions, pace)
}

pub(super) fn planned<E: From<Problem>>(
    graph: &Graph,
    layers: Vec<Layer>,
    decisions: Vec<Decision>,
    pace: Pace<'_, E>,
) -> Result<Plan, E> {
    let planned = layers.into_iter().zip(decisions).map(|(layer, (action, reason))| {
        let error = error(graph, &layer, action)?;
        pace()?;
        Ok(Planned { layer, action, error, reason })
    });
    Ok(Plan { layers: planned.collect::<Result<_, E>>()? })
}

pub(super) fn allocator<'a, E: From<Problem>>(
    network: Network<'a>,
    layers: &'a [Layer],
    (compression, measures): (&Compression, &Measures),
    pace: Pace<'_, E>,
) -> Result<Allocator<'a>, E> {
    let kept = target::kept(layers, compression.keep.as_deref().unwrap_or_default())?;
    let by = compression.target().map_or(Measured::Ratio, |target| target.by);
    Allocator::new(network, layers, (kept, measures), by, pace)
}

fn untargeted(graph: &Graph, layers: &[Layer], compression: &Compression) -> Result<Vec<Decision>, Problem> {
    match (compression.method, &compression.layers) {
        (Method::Tucker, Some(choices)) => named::decide(graph, layers, choices),
        (Method::None, _) => Ok(vec![keep("the method `none` compresses nothing"); layers.len()]),
        (Method::Tucker, None) => Ok(vec![keep("neither a target nor a layer is asked for"); layers.len()]),
    }
}

/// What happens to a layer, and why.
pub type Decision = (Action, String);

pub(super) fn keep(reason: &str) -> Decision {
    (Action::Keep, reason.to_owned())
}

fn error(graph: &Graph, layer: &Layer, action: Action) -> Result<f64, Problem> {
    match action {
        Action::Keep => Ok(0.0),
        Action::Tucker(ranks) => Ok(tucker::decompose(&layer.load(graph)?, ranks)?.error),
        Action::Svd { rank } => svd::error(&layer.load(graph)?.f_flatten(1, -1)?, rank),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::layer_choice::LayerChoice,
        engine::compress::{
            fixture,
            measure::Measure,
            rewrite::{apply, apply_paced},
            tucker::Ranks,
        },
    };

    fn choices(choices: &[(&str, LayerChoice)]) -> Compression {
        let layers = choices.iter().map(|(name, choice)| ((*name).to_owned(), choice.clone())).collect();
        Compression { layers: Some(layers), ..Compression::default() }
    }

    fn ratio(ratio: f64) -> Compression {
        Compression { ratio: Some(ratio.into()), ..Compression::default() }
    }

    fn ranks(ranks: &[usize]) -> LayerChoice {
        LayerChoice::Ranks { ranks: ranks.to_vec() }
    }

    #[test]
    fn lists_every_convolution_and_linear_layer() {
        let graph = fixture::network();
        let plan = plan(&graph, &Compression { method: Method::None, ..Compression::default() }).unwrap();
        let names: Vec<&str> = plan.layers.iter().map(|planned| planned.layer.name.as_str()).collect();
        assert_eq!(names, ["conv1", "/depth/Conv", "/point/Conv", "conv2", "fc1", "fc2", "/fc3/MatMul"]);
        assert!(plan.layers.iter().all(|planned| planned.action == Action::Keep));
        assert_eq!(apply(&graph, &plan).unwrap(), graph);
    }

    #[test]
    fn takes_a_layer_by_its_node_or_its_weight() {
        let graph = fixture::network();
        let of = |name: &str| plan(&graph, &choices(&[(name, ranks(&[2, 3]))])).unwrap().layers[0].action;
        assert_eq!(of("conv1"), Action::Tucker(Ranks { input: 2, output: 3 }));
        assert_eq!(of("/conv1/Conv"), of("conv1"));
    }

    #[test]
    fn a_layers_own_name_goes_before_the_name_of_anothers_node() {
        let graph = fixture::numbered();
        let asked = choices(&[("linear_1", ranks(&[4])), ("linear_2", ranks(&[2])), ("linear_3", LayerChoice::Keep)]);
        let actions: Vec<Action> = plan(&graph, &asked).unwrap().layers.iter().map(|planned| planned.action).collect();
        assert_eq!(actions, [Action::Svd { rank: 4 }, Action::Svd { rank: 2 }, Action::Keep]);
        let kept = Compression { keep: Some(vec!["linear_1".to_owned()]), ..ratio(1.5) };
        let reasons: Vec<String> = plan(&graph, &kept).unwrap().rows().into_iter().map(|row| row.reason).collect();
        assert_eq!(reasons.iter().position(|reason| reason == "kept as asked"), Some(0));
        assert_eq!(reasons.iter().filter(|reason| *reason == "kept as asked").count(), 1);
        let twice =
            plan(&fixture::network(), &choices(&[("conv1", ranks(&[2, 3])), ("/conv1/Conv", LayerChoice::Keep)]));
        assert!(twice.unwrap_err().detail.contains("is another name of the same layer"));
    }

    #[test]
    fn refuses_every_impossible_choice_at_once() {
        let wrong = choices(&[
            ("conv9", LayerChoice::Evbmf),
            ("conv2", ranks(&[13, 4])),
            ("fc1", ranks(&[0])),
            ("conv1", ranks(&[2])),
            ("fc2", ranks(&[1, 2, 3])),
        ]);
        let problem = plan(&fixture::network(), &wrong).unwrap_err();
        assert_eq!(problem.code, ErrorCode::InvalidCompression);
        assert_eq!(problem.errors.len(), 5);
        for words in
            ["`conv9`: this model has no such layer", "1 to 12 in and 1 to 10 out", "rank 0 lies outside 1 to 10"]
        {
            assert!(problem.detail.contains(words), "{}", problem.detail);
        }
        assert!(problem.hint.unwrap().contains("conv2 (in 12, out 10)"));
    }

    #[test]
    fn keeps_what_has_no_channel_rank() {
        let graph = fixture::network();
        let kept = plan(&graph, &choices(&[("/depth/Conv", LayerChoice::Evbmf)])).unwrap();
        assert_eq!(kept.layers[1].action, Action::Keep);
        assert!(kept.layers[1].reason.contains("depthwise"));
        let shared = plan(&fixture::shared(), &choices(&[("tied", ranks(&[2]))])).unwrap();
        assert!(
            shared.layers.iter().all(|planned| planned.action == Action::Keep && planned.reason.contains("shared"))
        );
    }

    #[rstest::rstest]
    #[case(1.0)]
    #[case(1.3)]
    #[case(2.0)]
    #[case(2.9)]
    fn reaches_the_ratio_and_no_less_than_it_can(#[case] wanted: f64) {
        let graph = fixture::network();
        let student = apply(&graph, &plan(&graph, &ratio(wanted)).unwrap()).unwrap();
        let reached = graph.parameters() as f64 / student.parameters() as f64;
        assert!(reached >= wanted && reached < 1.05 * wanted, "{reached}");
    }

    #[test]
    fn counts_a_bias_that_layers_share_once() {
        let mut graph = fixture::shared();
        let weight = graph.weights["tied.weight"].clone();
        let bias = crate::formats::graph::Tensor::f32(vec![6], vec![0.0; 6]);
        graph.weights.extend([("two.weight".to_owned(), weight), ("zeros".to_owned(), bias)]);
        graph.nodes[2].inputs[1] = "two.weight".to_owned();
        graph.nodes[0].inputs.push("zeros".to_owned());
        graph.nodes[2].inputs.push("zeros".to_owned());
        let student = apply(&graph, &plan(&graph, &ratio(2.5)).unwrap()).unwrap();
        assert_eq!((graph.parameters(), student.parameters()), (78, 30));
        assert!(student.weights.contains_key("zeros"));
    }

    #[test]
    fn a_weight_of_zeros_costs_nothing_to_shrink() {
        let mut graph = fixture::network();
        let constant = graph.weights.get_mut("conv2.weight").unwrap();
        *constant = crate::formats::graph::Tensor::f32(constant.shape.clone(), vec![0.0; constant.len()]);
        let plan = plan(&graph, &ratio(2.0)).unwrap();
        assert_eq!(plan.layers[3].action, Action::Tucker(Ranks { input: 1, output: 1 }));
        let student = apply(&graph, &plan).unwrap();
        assert!(graph.parameters() >= 2 * student.parameters());
        assert!(plan.layers.iter().all(|planned| planned.layer.name == "conv2" || planned.action == Action::Keep));
    }

    #[test]
    fn names_the_largest_ratio_possible() {
        let graph = fixture::network();
        let problem = plan(&graph, &ratio(900.0)).unwrap_err();
        assert_eq!(
            (problem.code, problem.param.as_deref()),
            (ErrorCode::InvalidCompression, Some("config.compression.ratio"))
        );
        let hint = problem.hint.unwrap();
        let largest: f64 = hint.trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
        let student = apply(&graph, &plan(&graph, &ratio(largest)).unwrap()).unwrap();
        assert!(graph.parameters() as f64 / student.parameters() as f64 >= largest);
        assert!(plan(&graph, &ratio(largest + 0.02)).is_err());
    }

    #[test]
    fn spends_where_inputs_have_many_directions() {
        let graph = fixture::network();
        let after = |alive: i64| {
            // Of conv2's twelve inputs so many are ever there, and the others are zero.
            let there: Vec<f64> = (0..12).map(|channel| f64::from(u8::from(channel < alive))).collect();
            let channels = tch::Tensor::from_slice(&there).diag(0);
            let taps = tch::Tensor::eye(9, (tch::Kind::Double, Device::Cpu)) / 9.0;
            let measures = Measures::from([("conv2".to_owned(), Measure::Inputs { channels, taps })]);
            let plan = plan_with::<Problem>((&graph).into(), &ratio(2.0), &measures, &mut || Ok(())).unwrap();
            plan.rows()[3].parameters_after
        };
        assert!(after(2) < after(12));
    }

    #[test]
    fn tells_that_it_goes_on_and_ends_when_told() {
        let graph = fixture::network();
        let steps = crate::engine::compress::pace::steps(&graph).unwrap();
        let run = |most: u64| {
            let mut calls = 0;
            let mut pace = || {
                calls += 1;
                if calls > most { Err(Problem::new(ErrorCode::Internal, "told to end")) } else { Ok(()) }
            };
            let plans = plans(&graph, &ratio(2.0), &Measures::new(), &mut pace);
            let student = plans.and_then(|plans| apply_paced(&graph, &plans[0], &mut pace));
            (student.map(|_| ()), calls)
        };
        let (whole, calls) = run(steps);
        whole.unwrap();
        assert!(calls > steps / 2 && calls <= steps, "{calls}");
        for most in [0, calls - 1] {
            let (ended, calls) = run(most);
            assert_eq!((ended.unwrap_err().detail.as_str(), calls), ("told to end", most + 1));
        }
    }

    #[test]
    fn refuses_weights_that_are_not_finite() {
        let mut graph = fixture::network();
        let constant = graph.weights.get_mut("conv2.weight").unwrap();
        *constant = crate::formats::graph::Tensor::f32(constant.shape.clone(), vec![f32::NAN; constant.len()]);
        assert_eq!(plan(&graph, &ratio(2.0)).unwrap_err().code, ErrorCode::InvalidWeights);
    }
}
