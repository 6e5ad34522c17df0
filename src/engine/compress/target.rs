//! From a target to what happens to each layer.

use super::{
    action::Action,
    budget::{self, Choices, Currency},
    layer::{Layer, meant},
    measure::Measures,
    network::Network,
    pace::Pace,
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
    let (mut kept, mut causes) = (vec![false; layers.len()], Vec::new());
    for name in names {
        let meant = meant(layers, name);
        if !meant.contains(&true) {
            causes.push(Cause {
                detail: format!("`{name}`: this model has no such layer"),
                param: Some("config.compression.keep".to_owned()),
                operator: None,
            });
        }
        kept.iter_mut().zip(meant).for_each(|(kept, meant)| *kept |= meant);
    }
    if causes.is_empty() {
        return Ok(kept);
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
    pub network: Network<'a>,
    pub layers: &'a [Layer],
    pub kept: Vec<bool>,
    pub choices: Vec<Choices>,
    by: Measured,
}

impl<'a> Allocator<'a> {
    /// For targets that count `by`.
    ///
    /// # Errors
    /// `invalid_weights` for a weight with NaN or infinity, what libtorch reports, and what `pace` does.
    pub fn new<E: From<Problem>>(
        network: Network<'a>,
        layers: &'a [Layer],
        (kept, measures): (Vec<bool>, &Measures),
        by: Measured,
        pace: Pace<'_, E>,
    ) -> Result<Self, E> {
        let currency = match by {
            Measured::Macs | Measured::Latency => Currency::Macs,
            Measured::Ratio | Measured::Parameters | Measured::Bytes => Currency::Parameters,
        };
        let choices = layers.iter().zip(&kept).map(|(layer, &kept)| {
            if kept {
                return Ok(Choices::kept());
            }
            let choices = Choices::new(layer, &layer.load(network.whole)?, measures.get(&layer.name), currency)?;
            pace()?;
            Ok(choices)
        });
        let choices = choices.collect::<Result<_, E>>()?;
        Ok(Self { network, layers, kept, choices, by })
    }

    /// The same network, where a layer's loss counts with the square root of its parameters: a large layer is spared at the
    /// expense of small ones.
    pub fn sparing_the_large(&self) -> Self {
        let weight = |layer: &Layer| (layer.cost().parameters as f64).sqrt();
        let choices = self.layers.iter().zip(&self.choices).map(|(layer, choices)| choices.weighed(weight(layer)));
        Self { choices: choices.collect(), kept: self.kept.clone(), ..*self }
    }

    /// What happens to each layer, and why. A target of time is estimated by multiply-accumulates: nothing is measured here.
    ///
    /// # Errors
    /// `invalid_compression` where the target is out of reach, naming what can be reached.
    pub fn decide(&self, target: Target) -> Result<Vec<Decision>, Problem> {
        let parameters = self.network.whole.parameters();
        match target.by {
            Measured::Ratio => {
                let uploaded = self.network.uploaded.parameters() as f64;
                let allowed = (uploaded / target.value).floor() as u64;
                let actions = budget::allocate(&self.choices, parameters, allowed)
                    .map_err(|least| self.too_large_a_ratio(target, uploaded / least as f64))?;
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
                let actions = budget::allocate(&self.choices, facts::facts(self.network.whole)?.0, target.value as u64)
                    .map_err(|least| too_small(target, least))?;
                Ok(self.decisions(&actions, left_macs))
            }
            Measured::Latency => self.estimate(target),
        }
    }

    /// What multiply-accumulates suggest; where they cannot be lowered as far, as far as they can.
    fn estimate(&self, target: Target) -> Result<Vec<Decision>, Problem> {
        let total = facts::facts(self.network.whole)?.0;
        let allowed = (total as f64 / target.value).floor() as u64;
        let actions =
            budget::allocate(&self.choices, total, allowed).unwrap_or_else(|_| budget::cheapest(&self.choices));
        let reason = |action: Action, layer: &Layer| {
            format!("estimated, since a plan measures no time: {}", left_macs(action, layer))
        };
        Ok(self.decisions(&actions, reason))
    }

    /// The parameters that a file of that size has room for: found by writing it, for the rest of it depends on the layers. No number in it changes its size.
    fn within_bytes(&self, target: Target) -> Result<Vec<Action>, Problem> {
        const PARAMETER: u64 = 4;
        let (parameters, allowed) = (self.network.whole.parameters(), target.value as u64);
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

    /// The student's shape: its nodes, with made-up weights.
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
        rewrite::sketch(self.network.whole, &Plan { layers: self.layers.iter().zip(actions).map(planned).collect() })
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::{
        domain::config::JobConfig,
        domain::{config::Compression, presets::TeacherKind},
        engine::compress::{fixture, plan, plans},
    };

    fn compression(json: &str) -> Compression {
        let config = JobConfig::parse(format!(r#"{{"compression": {json}}}"#).as_bytes()).unwrap();
        config.resolve(TeacherKind::PlainImage, "m").unwrap().compression
    }

    /// Parameters, multiply-accumulates and bytes of the file.
    fn sizes(graph: &Graph) -> [u64; 3] {
        [graph.parameters(), facts::facts(graph).unwrap().0, onnx::export(graph).unwrap().len() as u64]
    }

    #[rstest]
    #[case("parameters", 0)]
    #[case("macs", 1)]
    #[case("bytes", 2)]
    fn spends_no_more_than_asked_for_and_nearly_all_of_it(#[case] member: &str, #[case] size: usize) {
        let graph = fixture::network();
        let whole = sizes(&graph)[size];
        let student = |count: u64| {
            let plan = plan(&graph, &compression(&format!(r#"{{"{member}": {count}}}"#)))?;
            Ok::<_, Problem>(sizes(&rewrite::apply(&graph, &plan)?)[size])
        };
        // The small network's file is more names and attributes than weights.
        for share in if member == "bytes" { [0.8, 0.9, 1.0] } else { [0.5, 0.75, 1.0] } {
            let asked = (whole as f64 * share) as u64;
            let spent = student(asked).unwrap();
            assert!(spent <= asked && spent as f64 > 0.9 * asked as f64, "{spent} of {asked} {member}");
        }
        let problem = student(1).unwrap_err();
        assert_eq!(problem.param, Some(format!("config.compression.{member}")));
        let least: u64 = problem.detail.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(problem.hint.unwrap().contains(&least.to_string()));
        assert_eq!(student(least).unwrap(), least, "what is said to be reached is");
        assert!(student(least - 1).is_err());
    }

    #[test]
    fn kept_layers_stay_under_any_target() {
        let graph = fixture::network();
        for target in [r#""ratio": 1.5"#, r#""parameters": 1300"#, r#""macs": 15000"#, r#""latency": 1.5"#] {
            let plan = plan(&graph, &compression(&format!(r#"{{{target}, "keep": ["conv1", "/fc1/Gemm"]}}"#))).unwrap();
            for (name, reason) in plan
                .rows()
                .iter()
                .map(|row| (row.layer.as_str(), row))
                .filter(|(name, _)| ["conv1", "fc1"].contains(name))
            {
                assert_eq!(
                    (reason.action.as_str(), reason.reason.as_str()),
                    ("keep", "kept as asked"),
                    "{name}, {target}"
                );
            }
            assert!(plan.layers.iter().any(|planned| planned.action != Action::Keep), "{target}");
        }
        let problem = plan(&graph, &compression(r#"{"ratio": 2, "keep": ["conv2", "conv9"]}"#)).unwrap_err();
        assert_eq!(problem.param.as_deref(), Some("config.compression.keep"));
        assert!(problem.detail.contains("`conv9`: this model has no such layer"), "{problem}");
        assert!(problem.hint.unwrap().contains("conv2"));
        let all = r#"{"ratio": 2, "keep": ["conv1", "/point/Conv", "conv2", "fc1", "fc2", "/fc3/MatMul"]}"#;
        let problem = plan(&graph, &compression(all)).unwrap_err();
        assert!(problem.detail.contains("every layer that is not kept"), "{problem}");
    }

    #[test]
    fn a_sweep_plans_each_target_as_if_it_were_alone() {
        let graph = fixture::network();
        let swept =
            plans::<Problem>(&graph, &compression(r#"{"ratio": [2, 1.5, 3]}"#), &Measures::new(), &mut || Ok(()))
                .unwrap();
        for (plan, alone) in swept.iter().zip(["2", "1.5", "3"]) {
            let alone = super::super::plan(&graph, &compression(&format!(r#"{{"ratio": {alone}}}"#))).unwrap();
            assert_eq!(plan.rows(), alone.rows());
        }
        assert!(
            plans::<Problem>(&graph, &compression(r#"{"ratio": [2, 900]}"#), &Measures::new(), &mut || Ok(())).is_err(),
            "one that cannot be had refuses all"
        );
    }

    #[test]
    fn a_plan_of_time_says_that_it_is_an_estimate() {
        let graph = fixture::network();
        for latency in ["2", "900"] {
            let plan = plan(&graph, &compression(&format!(r#"{{"latency": {latency}}}"#))).unwrap();
            let decomposed = plan.layers.iter().filter(|planned| planned.action != Action::Keep);
            assert!(decomposed.clone().count() > 0);
            assert!(decomposed.into_iter().all(|planned| planned.reason.contains("a plan measures no time")));
        }
    }
}
