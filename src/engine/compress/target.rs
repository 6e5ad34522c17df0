//! From a target to what happens to each layer.

use super::{
    action::Action,
    budget::{self, Choices, Currency},
    layer::Layer,
    measure::{self, Measure, Measures},
    plan::{Decision, Plan, Planned},
    rewrite,
};
use crate::{
    domain::{
        problem::{Cause, ErrorCode, Problem},
        targets::{Measured, Target},
    },
    formats::{facts, graph::Graph, onnx},
};

/// Whether each layer is among the names that shall stay as they are.
///
/// # Errors
/// `invalid_compression` for names that no layer has.
pub fn kept(layers: &[Layer], names: &[String]) -> Result<Vec<bool>, Problem> {
    let unknown = |name: &&String| !layers.iter().any(|layer| layer.answers_to(name));
    let causes: Vec<Cause> = names
        .iter()
        .filter(unknown)
        .map(|name| Cause {
            detail: format!("`{name}`: this model has no such layer"),
            param: Some("config.compression.keep".to_owned()),
            operator: None,
        })
        .collect();
    if causes.is_empty() {
        return Ok(layers.iter().map(|layer| names.iter().any(|name| layer.answers_to(name))).collect());
    }
    let known: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    let details: Vec<&str> = causes.iter().map(|cause| cause.detail.as_str()).collect();
    Err(Problem::new(ErrorCode::InvalidCompression, details.join("; "))
        .param("config.compression.keep")
        .hint(format!("The layers of this model: {}.", known.join(", ")))
        .errors(causes))
}

/// The choices of all layers of a network: computed once, whatever the number of targets.
pub struct Allocator<'a> {
    pub graph: &'a Graph,
    pub layers: &'a [Layer],
    pub kept: Vec<bool>,
    pub choices: Vec<Choices>,
    by: Measured,
}

impl<'a> Allocator<'a> {
    /// For targets that count `by`.
    ///
    /// # Errors
    /// `invalid_weights` for a weight with NaN or infinity, and what libtorch reports.
    pub fn new(
        graph: &'a Graph,
        layers: &'a [Layer],
        kept: Vec<bool>,
        measures: &Measures,
        by: Measured,
    ) -> Result<Self, Problem> {
        let currency = match by {
            Measured::Macs | Measured::Latency => Currency::Macs,
            Measured::Ratio | Measured::Parameters | Measured::Bytes => Currency::Parameters,
        };
        let default = Measure::default();
        let choices = layers.iter().zip(&kept).map(|(layer, &kept)| {
            if kept {
                return Ok(Choices::kept());
            }
            let measure = measure::of(measures, &layer.name, &default);
            Choices::new(layer, &layer.load(graph)?, measure, currency)
        });
        let choices = choices.collect::<Result<_, Problem>>()?;
        Ok(Self { graph, layers, kept, choices, by })
    }

    /// What happens to each layer, and why. A target of time is estimated by multiply-accumulates: nothing is measured here.
    ///
    /// # Errors
    /// `invalid_compression` where the target is out of reach, naming what can be reached.
    pub fn decide(&self, target: Target) -> Result<Vec<Decision>, Problem> {
        let parameters = self.graph.parameters();
        match target.by {
            Measured::Ratio => {
                let allowed = (parameters as f64 / target.value).floor() as u64;
                let actions = budget::allocate(&self.choices, parameters, allowed)
                    .map_err(|least| self.too_large_a_ratio(target, parameters as f64 / least as f64))?;
                Ok(self.decisions(&actions, |action, layer| {
                    let (after, before) = (action.cost(layer).parameters, layer.cost().parameters);
                    format!("the ratio leaves it {after} of {before} parameters")
                }))
            }
            Measured::Parameters => {
                let actions = budget::allocate(&self.choices, parameters, target.value as u64)
                    .map_err(|least| too_small(target, least))?;
                Ok(self.decisions(&actions, left_parameters))
            }
            Measured::Bytes => Ok(self.decisions(&self.within_bytes(target)?, left_parameters)),
            Measured::Macs => {
                let actions = budget::allocate(&self.choices, facts::facts(self.graph)?.0, target.value as u64)
                    .map_err(|least| too_small(target, least))?;
                Ok(self.decisions(&actions, left_macs))
            }
            Measured::Latency => self.estimate(target),
        }
    }

    /// What multiply-accumulates suggest; where they cannot be lowered as far, as far as they can.
    fn estimate(&self, target: Target) -> Result<Vec<Decision>, Problem> {
        let total = facts::facts(self.graph)?.0;
        let allowed = (total as f64 / target.value).floor() as u64;
        let actions =
            budget::allocate(&self.choices, total, allowed).unwrap_or_else(|_| budget::cheapest(&self.choices));
        let reason = |action: Action, layer: &Layer| {
            format!("estimated, since a plan measures no time: {}", left_macs(action, layer))
        };
        Ok(self.decisions(&actions, reason))
    }

    /// The parameters that a file of that size has room for: found by writing it, for the rest of it depends on the layers.
    fn within_bytes(&self, target: Target) -> Result<Vec<Action>, Problem> {
        const PARAMETER: u64 = 4;
        let (parameters, allowed) = (self.graph.parameters(), target.value as u64);
        let mut room = allowed / PARAMETER;
        // Each round leaves room for at least one parameter less.
        while let Ok(actions) = budget::allocate(&self.choices, parameters, room) {
            let student = self.student(&actions)?;
            let bytes = onnx::export(&student)?.len() as u64;
            if bytes <= allowed {
                return Ok(actions);
            }
            let next = room.min(student.parameters()).saturating_sub((bytes - allowed).div_ceil(PARAMETER));
            if next == room {
                break;
            }
            room = next;
        }
        let cheapest = budget::cheapest(&self.choices);
        let bytes = onnx::export(&self.student(&cheapest)?)?.len() as u64;
        if bytes <= allowed { Ok(cheapest) } else { Err(too_small(target, bytes)) }
    }

    /// The student's graph, its factors by the weights alone.
    ///
    /// # Errors
    /// `internal` where libtorch fails.
    pub fn student(&self, actions: &[Action]) -> Result<Graph, Problem> {
        let planned = |(layer, &action): (&Layer, &Action)| Planned {
            layer: layer.clone(),
            action,
            error: 0.0,
            reason: String::new(),
        };
        rewrite::apply(self.graph, &Plan { layers: self.layers.iter().zip(actions).map(planned).collect() })
    }

    /// The actions with their reasons; `reason` gives that of a layer that is decomposed.
    pub fn decisions(&self, actions: &[Action], reason: impl Fn(Action, &Layer) -> String) -> Vec<Decision> {
        let size = if self.by == Measured::Ratio { "ratio" } else { "target" };
        let layers = self.layers.iter().zip(&self.kept).zip(actions);
        let decide = |((layer, &kept), &action): ((&Layer, &bool), &Action)| {
            let reason = match (&layer.obstacle, action) {
                (Some(obstacle), _) => obstacle.clone(),
                _ if kept => "kept as asked".to_owned(),
                (None, Action::Keep) => format!("the {size} is reached with less loss elsewhere"),
                (None, action) => reason(action, layer),
            };
            (action, reason)
        };
        layers.map(decide).collect()
    }

    fn too_large_a_ratio(&self, target: Target, largest: f64) -> Problem {
        let largest = (largest * 100.0).floor() / 100.0;
        let every = if self.kept.contains(&true) { "every layer that is not kept" } else { "every layer" };
        let wanted = target.value;
        out_of_reach(
            target,
            format!(
                "a ratio of {wanted} is impossible: with {every} at rank 1 this model becomes {largest} times smaller"
            ),
            format!("Ask for a ratio of at most {largest}."),
        )
    }
}

fn left_parameters(action: Action, layer: &Layer) -> String {
    let (after, before) = (action.cost(layer).parameters, layer.cost().parameters);
    format!("the target leaves it {after} of {before} parameters")
}

fn left_macs(action: Action, layer: &Layer) -> String {
    let (after, before) = (action.cost(layer).macs, layer.cost().macs);
    format!("the target leaves it {after} of {before} MACs")
}

fn too_small(target: Target, least: u64) -> Problem {
    let (what, member) = match target.by {
        Measured::Macs => ("multiply-accumulates", "macs"),
        Measured::Bytes => ("bytes", "bytes"),
        _ => ("parameters", "parameters"),
    };
    out_of_reach(
        target,
        format!("a student of {} {what} is impossible: the smallest that this model becomes has {least}", target.value),
        format!("Ask for {member} of at least {least}, or keep fewer layers."),
    )
}

/// What is asked for cannot be had.
pub fn out_of_reach(target: Target, detail: String, hint: String) -> Problem {
    Problem::new(ErrorCode::InvalidCompression, detail)
        .param(format!("config.compression.{}", target.by.name()))
        .hint(hint)
}
