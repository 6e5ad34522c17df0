//! From a configuration to what happens to each layer, as the compression table shows it.

use std::collections::BTreeMap;

use tch::Tensor;

use super::{
    action::Action,
    algebra, budget, evbmf,
    layer::{Layer, layers},
    measure::{self, Measure, Measures},
    svd,
    tucker::{self, Ranks},
};
use crate::{
    domain::{
        config::{Compression, LayerChoice, Method},
        problem::{Cause, ErrorCode, Problem},
        report::LayerRow,
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

/// Plans by the weights alone.
///
/// # Errors
/// `invalid_compression` for an unknown layer, impossible ranks, or a ratio out of reach; `invalid_weights` for a weight
/// with NaN or infinity.
pub fn plan(graph: &Graph, compression: &Compression) -> Result<Plan, Problem> {
    plan_with(graph, compression, &Measures::new())
}

/// Plans by the weights and by what is known of the layers' inputs.
///
/// # Errors
/// As [`plan`].
pub fn plan_with(graph: &Graph, compression: &Compression, measures: &Measures) -> Result<Plan, Problem> {
    let layers = layers(graph)?;
    let decisions = match (compression.method, compression.ratio, &compression.layers) {
        (Method::Tucker, Some(_), Some(_)) => return Err(both()),
        (Method::Tucker, Some(ratio), None) => by_ratio(graph, &layers, ratio, measures)?,
        (Method::Tucker, None, Some(choices)) => by_name(graph, &layers, choices)?,
        (Method::None, ..) => vec![keep("the method `none` compresses nothing"); layers.len()],
        (Method::Tucker, None, None) => vec![keep("neither a ratio nor a layer is asked for"); layers.len()],
    };
    let planned = layers.into_iter().zip(decisions).map(|(layer, (action, reason))| {
        let error = error(graph, &layer, action)?;
        Ok(Planned { layer, action, error, reason })
    });
    Ok(Plan { layers: planned.collect::<Result<_, Problem>>()? })
}

type Decision = (Action, String);

fn keep(reason: &str) -> Decision {
    (Action::Keep, reason.to_owned())
}

fn both() -> Problem {
    Problem::new(ErrorCode::InvalidCompression, "`ratio` and `layers` exclude each other")
        .param("config.compression")
        .hint("Leave out one of the two.")
}

fn error(graph: &Graph, layer: &Layer, action: Action) -> Result<f64, Problem> {
    match action {
        Action::Keep => Ok(0.0),
        Action::Tucker(ranks) => Ok(tucker::decompose(&layer.load(graph)?, ranks)?.error),
        Action::Svd { rank } => Ok(svd::decompose(&layer.load(graph)?.f_flatten(1, -1)?, rank)?.error),
    }
}

fn by_ratio(graph: &Graph, layers: &[Layer], ratio: f64, measures: &Measures) -> Result<Vec<Decision>, Problem> {
    let default = Measure::default();
    let mut choices = Vec::with_capacity(layers.len());
    for layer in layers {
        let measure = measure::of(measures, &layer.name, &default);
        choices.push(budget::Choices::new(layer, &layer.load(graph)?, measure)?);
    }
    let actions = budget::allocate(&choices, graph.parameters(), ratio)?;
    Ok(layers.iter().zip(actions).map(|(layer, action)| (action, budget_reason(layer, action))).collect())
}

fn budget_reason(layer: &Layer, action: Action) -> String {
    if let Some(obstacle) = &layer.obstacle {
        return obstacle.clone();
    }
    match action {
        Action::Keep => "the ratio is reached with less loss elsewhere".to_owned(),
        _ => format!("the ratio leaves it {} of {} parameters", action.cost(layer).parameters, layer.cost().parameters),
    }
}

fn by_name(graph: &Graph, layers: &[Layer], choices: &BTreeMap<String, LayerChoice>) -> Result<Vec<Decision>, Problem> {
    let mut causes = Vec::new();
    for (name, choice) in choices {
        let named: Vec<&Layer> = layers.iter().filter(|layer| layer.answers_to(name)).collect();
        if named.is_empty() {
            causes.push(cause(name, "this model has no such layer".to_owned()));
        }
        causes.extend(named.iter().filter_map(|layer| impossible(layer, choice)).map(|detail| cause(name, detail)));
    }
    if !causes.is_empty() {
        return Err(refuse(layers, causes));
    }
    let decide = |layer: &Layer| match choices.iter().find(|(name, _)| layer.answers_to(name)) {
        None => Ok(keep("not named in `layers`")),
        Some((_, choice)) => decide(graph, layer, choice),
    };
    layers.iter().map(decide).collect()
}

fn cause(name: &str, detail: String) -> Cause {
    Cause {
        detail: format!("`{name}`: {detail}"),
        param: Some(format!("config.compression.layers.{name}")),
        operator: None,
    }
}

fn refuse(layers: &[Layer], causes: Vec<Cause>) -> Problem {
    let details: Vec<&str> = causes.iter().map(|cause| cause.detail.as_str()).collect();
    let extents = |layer: &Layer| format!("{} (in {}, out {})", layer.name, layer.inputs, layer.outputs);
    let known: Vec<String> = layers.iter().map(extents).collect();
    Problem::new(ErrorCode::InvalidCompression, details.join("; "))
        .param("config.compression.layers")
        .hint(format!("The layers of this model: {}.", known.join(", ")))
        .errors(causes)
}

/// Why the ranks cannot be had, in words.
fn impossible(layer: &Layer, choice: &LayerChoice) -> Option<String> {
    let LayerChoice::Ranks { ranks } = choice else { return None };
    match ranks[..] {
        [rank] if layer.kernel.is_empty() => {
            let most = layer.inputs.min(layer.outputs);
            (!(1..=most).contains(&rank)).then(|| format!("rank {rank} lies outside 1 to {most}"))
        }
        [input, output] => {
            let fits = (1..=layer.inputs).contains(&input) && (1..=layer.outputs).contains(&output);
            let bounds = || format!("1 to {} in and 1 to {} out", layer.inputs, layer.outputs);
            (!fits).then(|| format!("ranks [{input}, {output}] lie outside {}", bounds()))
        }
        _ if layer.kernel.is_empty() => Some(format!("{ranks:?} is neither [rank] nor [in, out]")),
        _ => Some(format!("{ranks:?} is not [in, out]")),
    }
}

fn decide(graph: &Graph, layer: &Layer, choice: &LayerChoice) -> Result<Decision, Problem> {
    if let (Some(obstacle), false) = (&layer.obstacle, *choice == LayerChoice::Keep) {
        return Ok(keep(obstacle));
    }
    let (action, reason) = match choice {
        LayerChoice::Keep => return Ok(keep("kept as asked")),
        LayerChoice::Evbmf => return by_evbmf(layer, &layer.load(graph)?),
        LayerChoice::Ranks { ranks } => match ranks[..] {
            [rank] => (Action::Svd { rank }, "the rank as given"),
            [input, output] => (Action::tucker(layer, Ranks { input, output }), "the ranks as given"),
            _ => return Ok(keep("no ranks are given")),
        },
    };
    Ok((action, reason.to_owned()))
}

/// The ranks of both channel unfoldings. Both are the same matrix in a linear layer, which then becomes two layers.
fn by_evbmf(layer: &Layer, kernel: &Tensor) -> Result<Decision, Problem> {
    let rank = |mode| -> Result<usize, Problem> { Ok(evbmf::rank(&algebra::unfold(kernel, mode)?)?.max(1)) };
    let output = rank(0)?;
    let action = if layer.is_matrix() {
        Action::Svd { rank: output }
    } else {
        Action::tucker(layer, Ranks { input: rank(1)?, output })
    };
    if action.cost(layer).parameters >= layer.cost().parameters {
        return Ok(keep(&format!("the ranks by EVBMF, {:?}, would not make it smaller", action.ranks())));
    }
    Ok((action, "ranks by EVBMF".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::{fixture, rewrite::apply};

    fn choices(choices: &[(&str, LayerChoice)]) -> Compression {
        let layers = choices.iter().map(|(name, choice)| ((*name).to_owned(), choice.clone())).collect();
        Compression { method: Method::Tucker, ratio: None, layers: Some(layers) }
    }

    fn ratio(ratio: f64) -> Compression {
        Compression { method: Method::Tucker, ratio: Some(ratio), layers: None }
    }

    fn ranks(ranks: &[usize]) -> LayerChoice {
        LayerChoice::Ranks { ranks: ranks.to_vec() }
    }

    #[test]
    fn lists_every_convolution_and_linear_layer() {
        let graph = fixture::network();
        let plan = plan(&graph, &Compression { method: Method::None, ratio: None, layers: None }).unwrap();
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
    fn spends_where_a_layer_matters() {
        let graph = fixture::network();
        let after = |importance| {
            let measure = Measure { importance, ..Measure::default() };
            let measures = Measures::from([("conv2".to_owned(), measure)]);
            plan_with(&graph, &ratio(2.0), &measures).unwrap().rows()[3].parameters_after
        };
        assert!(after(100.0) > after(1.0) && after(1.0) > after(0.01));
    }

    #[test]
    fn refuses_weights_that_are_not_finite() {
        let mut graph = fixture::network();
        let constant = graph.weights.get_mut("conv2.weight").unwrap();
        *constant = crate::formats::graph::Tensor::f32(constant.shape.clone(), vec![f32::NAN; constant.len()]);
        assert_eq!(plan(&graph, &ratio(2.0)).unwrap_err().code, ErrorCode::InvalidWeights);
    }
}
