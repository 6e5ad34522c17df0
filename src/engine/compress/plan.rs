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
    Cause { detail: format!("`{name}`: {detail}"), param: Some(format!("config.compression.layers.{name}")) }
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
