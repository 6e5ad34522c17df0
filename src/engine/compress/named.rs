//! What is asked for of layers by their names.

use std::collections::BTreeMap;

use tch::Tensor;

use super::{
    action::Action,
    algebra, evbmf,
    layer::{Layer, meant},
    plan::{Decision, keep},
    tucker::Ranks,
};
use crate::{
    domain::{
        layer_choice::LayerChoice,
        problem::{Cause, ErrorCode, Problem},
    },
    formats::graph::Graph,
};

/// The choices by name, and every other layer as it is.
///
/// # Errors
/// `invalid_compression`, listing every unknown layer, every one named twice and every rank that cannot be had.
pub fn decide(
    graph: &Graph,
    layers: &[Layer],
    choices: &BTreeMap<String, LayerChoice>,
) -> Result<Vec<Decision>, Problem> {
    let mut causes = Vec::new();
    let mut chosen: Vec<Option<(&String, &LayerChoice)>> = vec![None; layers.len()];
    for (name, choice) in choices {
        let meant = meant(layers, name);
        if !meant.contains(&true) {
            causes.push(cause(name, "this model has no such layer".to_owned()));
        }
        for ((layer, chosen), _) in layers.iter().zip(&mut chosen).zip(meant).filter(|(_, meant)| *meant) {
            if let Some((other, _)) = chosen.replace((name, choice)) {
                causes.push(cause(name, format!("`{other}` is another name of the same layer")));
            }
            causes.extend(impossible(layer, choice).map(|detail| cause(name, detail)));
        }
    }
    if !causes.is_empty() {
        return Err(refuse(layers, causes));
    }
    let of_layer = |(layer, chosen): (&Layer, Option<(_, &LayerChoice)>)| match chosen {
        None => Ok(keep("not named in `layers`")),
        Some((_, choice)) => by_choice(graph, layer, choice),
    };
    layers.iter().zip(chosen).map(of_layer).collect()
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

fn by_choice(graph: &Graph, layer: &Layer, choice: &LayerChoice) -> Result<Decision, Problem> {
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
