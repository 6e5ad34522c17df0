//! The planned decompositions, carried out on the graph: one node becomes two or three.

use std::collections::{BTreeMap, VecDeque};

use super::{
    action::Action,
    algebra,
    factors::{Factors, Stage},
    layer::{Layer, drop_unused, uses},
    pace::Pace,
    plan::{Plan, Planned},
};
use crate::{
    domain::problem::Problem,
    formats::{
        free_names::FreeNames,
        graph::{Graph, Node},
    },
};

/// The student's graph: the same input and output, the planned layers decomposed by their weights alone.
///
/// # Errors
/// `internal` where libtorch fails.
pub fn apply(graph: &Graph, plan: &Plan) -> Result<Graph, Problem> {
    apply_paced(graph, plan, &mut || Ok(()))
}

/// As [`apply`], telling of each layer.
///
/// # Errors
/// `internal` where libtorch fails, and what `pace` reports.
pub fn apply_paced<E: From<Problem>>(graph: &Graph, plan: &Plan, pace: Pace<'_, E>) -> Result<Graph, E> {
    rewrite(graph, plan, |layer, action| {
        let factors = Factors::new(&layer.load(graph)?, action)?;
        pace()?;
        Ok(factors)
    })
}

/// The student's shape: as [`apply`], with made-up factors. Enough to time it or to write it, and no work.
///
/// # Errors
/// `internal` where libtorch fails.
pub fn sketch(graph: &Graph, plan: &Plan) -> Result<Graph, Problem> {
    rewrite(graph, plan, |layer, action| Ok(Factors::made_up(layer, action)?))
}

fn rewrite<E: From<Problem>>(
    graph: &Graph,
    plan: &Plan,
    mut factors: impl FnMut(&Layer, Action) -> Result<Factors, E>,
) -> Result<Graph, E> {
    let mut rewriter = Rewriter::new(graph);
    let mut planned: VecDeque<&Planned> = plan.layers.iter().filter(|planned| planned.action != Action::Keep).collect();
    for (index, node) in graph.nodes.iter().enumerate() {
        match planned.pop_front_if(|planned| planned.layer.node == index) {
            None => rewriter.student.nodes.push(node.clone()),
            Some(Planned { layer, action, .. }) => {
                let stages = factors(layer, *action)?.stages(&node.op).map_err(Problem::from)?;
                rewriter.replace(node, layer, stages)?;
            }
        }
    }
    Ok(rewriter.finish())
}

/// Builds the student node by node, with names that nothing else has.
struct Rewriter<'a> {
    teacher: &'a Graph,
    uses: BTreeMap<&'a str, usize>,
    student: Graph,
    names: FreeNames,
}

impl<'a> Rewriter<'a> {
    fn new(teacher: &'a Graph) -> Self {
        let mut student = teacher.clone();
        student.nodes.clear();
        let nodes = teacher.nodes.iter().flat_map(|node| node.outputs.iter().chain([&node.name]));
        let names = nodes.chain(teacher.weights.keys()).chain([&teacher.input.name]).cloned().collect();
        Self { teacher, uses: uses(teacher), student, names }
    }

    fn replace(&mut self, node: &Node, layer: &Layer, stages: Vec<Stage>) -> Result<(), Problem> {
        let count = stages.len();
        let mut value = node.inputs[0].clone();
        for (index, stage) in stages.into_iter().enumerate() {
            let last = index + 1 == count;
            let name = self.names.give(&format!("{}.{}", layer.name, stage.suffix));
            let weight = self.names.give(&format!("{name}.weight"));
            self.student.weights.insert(weight.clone(), algebra::store(&stage.weight)?);
            let mut inputs = vec![value, weight];
            if last {
                inputs.extend(node.inputs.get(2).map(|bias| self.bias(bias, &name)));
            }
            value = if last { node.outputs[0].clone() } else { self.names.give(&format!("{name}.output")) };
            self.student.nodes.push(Node { name, op: stage.op, inputs, outputs: vec![value.clone()] });
        }
        Ok(())
    }

    /// The bias under the name of its new layer, so that the weights read as a state dict; one that others use as well
    /// stays, or it would be counted twice.
    fn bias(&mut self, bias: &str, layer: &str) -> String {
        match self.teacher.weights.get(bias) {
            Some(constant) if self.uses.get(bias) == Some(&1) => {
                let name = self.names.give(&format!("{layer}.bias"));
                self.student.weights.insert(name.clone(), constant.clone());
                name
            }
            _ => bias.to_owned(),
        }
    }

    fn finish(mut self) -> Graph {
        drop_unused(&mut self.student);
        self.student
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::{
        domain::{config::Compression, layer_choice::LayerChoice, model::LayerKind},
        engine::{
            compress::{fixture, plan::plan, svd, tucker},
            executor::Executor,
        },
    };

    fn by_name(graph: &Graph, ranks: &[(&str, &[usize])]) -> Plan {
        let choice =
            |(name, ranks): &(&str, &[usize])| ((*name).to_owned(), LayerChoice::Ranks { ranks: ranks.to_vec() });
        let layers = Some(ranks.iter().map(choice).collect());
        plan(graph, &Compression { layers, ..Compression::default() }).unwrap()
    }

    fn output(graph: &Graph) -> Tensor {
        let shape: Vec<i64> = [4].into_iter().chain(graph.input.shape.iter().map(|&extent| extent as i64)).collect();
        Executor::new(graph, Device::Cpu).unwrap().forward(&fixture::random(1, &shape).to_kind(Kind::Float)).unwrap()
    }

    /// The teacher with each planned weight replaced by what its factors multiply to.
    fn approximated(graph: &Graph, plan: &Plan) -> Graph {
        let mut graph = graph.clone();
        for Planned { layer, action, .. } in &plan.layers {
            let kernel = layer.load(&graph).unwrap();
            let rebuilt = match *action {
                Action::Keep => continue,
                Action::Tucker(ranks) => tucker::decompose(&kernel, ranks).unwrap().kernel().unwrap(),
                Action::Svd { rank } => {
                    let svd = svd::decompose(&kernel.flatten(1, -1), rank).unwrap();
                    svd.second.matmul(&svd.first).view_as(&kernel)
                }
            };
            let constant = graph.weights.get_mut(&layer.weight).unwrap();
            let stored: Vec<i64> = constant.shape.iter().map(|&extent| extent as i64).collect();
            let rebuilt = if rebuilt.size() == stored { rebuilt } else { rebuilt.tr() };
            *constant = algebra::store(&rebuilt).unwrap();
        }
        graph
    }

    const RANKS: &[(&str, &[usize])] = &[
        ("conv1", &[2, 3]),
        ("/point/Conv", &[4, 5]),
        ("conv2", &[12, 4]),
        ("fc1", &[6]),
        ("fc2", &[4, 3]),
        ("/fc3/MatMul", &[2]),
    ];

    #[test]
    fn computes_what_the_approximated_weights_compute() {
        let graph = fixture::network();
        let plan = by_name(&graph, RANKS);
        let student = apply(&graph, &plan).unwrap();
        let (expected, actual) = (output(&approximated(&graph, &plan)), output(&student));
        let scale = f64::try_from(expected.abs().max()).unwrap();
        let difference = f64::try_from((&expected - &actual).abs().max()).unwrap();
        assert!(difference < 1e-5 * scale, "{difference} of {scale}");
        assert!(f64::try_from((&output(&graph) - &actual).abs().max()).unwrap() > 0.1 * scale);
    }

    #[test]
    fn has_the_parameters_that_the_plan_says() {
        let graph = fixture::network();
        let plan = by_name(&graph, RANKS);
        let saved: i64 = plan.rows().iter().map(|row| row.parameters_before as i64 - row.parameters_after as i64).sum();
        let student = apply(&graph, &plan).unwrap();
        assert_eq!(student.parameters() as i64, graph.parameters() as i64 - saved);
        let all: u64 = student.weights.values().map(|constant| constant.len() as u64).sum();
        assert_eq!(all, student.parameters(), "no constant is left over");
    }

    #[test]
    fn a_sketch_has_the_nodes_and_shapes_of_the_student() {
        let graph = fixture::network();
        let plan = by_name(&graph, RANKS);
        let (student, sketch) = (apply(&graph, &plan).unwrap(), sketch(&graph, &plan).unwrap());
        assert_eq!(student.nodes, sketch.nodes);
        let shapes = |graph: &Graph| -> Vec<_> {
            graph.weights.iter().map(|(name, weight)| (name.clone(), weight.shape.clone())).collect()
        };
        assert_eq!(shapes(&student), shapes(&sketch));
    }

    #[test]
    fn names_nodes_and_weights_after_the_layer() {
        let graph = fixture::network();
        let student = apply(&graph, &by_name(&graph, RANKS)).unwrap();
        let names: Vec<&str> = student.nodes.iter().map(|node| node.name.as_str()).collect();
        let expected = [
            &["conv1.in", "conv1.core", "conv1.out", "/Relu", "/depth/Conv"][..],
            &["/point/Conv.in", "/point/Conv.core", "/point/Conv.out", "/Relu_1"],
            // The full-rank in side is left out.
            &["conv2.core", "conv2.out", "/pool", "/flatten", "fc1.in", "fc1.out", "/Relu_2"],
            &["fc2.in", "fc2.core", "fc2.out", "/Relu_3", "/fc3/MatMul.in", "/fc3/MatMul.out", "/fc3/Add"],
        ];
        assert_eq!(names, expected.concat());
        assert!(student.weights.contains_key("conv1.core.weight") && student.weights.contains_key("conv1.out.bias"));
        assert!(!student.weights.contains_key("conv1.bias"));
        assert_eq!((&student.input, &student.output), (&graph.input, &graph.output));
    }

    #[test]
    fn counts_multiplications_at_the_resolution_of_each_stage() {
        let graph = fixture::network();
        let rows = by_name(&graph, RANKS).rows();
        let row = |name: &str| rows.iter().find(|row| row.layer == name).unwrap();
        // conv1: 12 x 10 pixels in, 6 x 5 out.
        assert_eq!(row("conv1").macs_before, 8 * 3 * 9 * 30);
        assert_eq!(row("conv1").macs_after, 3 * 2 * 120 + 2 * 3 * 9 * 30 + 3 * 8 * 30);
        assert_eq!(row("conv1").parameters_after, 3 * 2 + 2 * 3 * 9 + 3 * 8 + 8);
        assert_eq!(row("/depth/Conv").macs_before, 8 * 9 * 30);
        assert_eq!(row("/depth/Conv").kind, LayerKind::DepthwiseConv);
        assert_eq!(row("fc1").macs_after, 10 * 6 + 6 * 14);
        assert_eq!(row("/fc3/MatMul").macs_before, 9 * 6);
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let mut graph = fixture::network();
        graph.nodes[1].name = "conv1.in".to_owned();
        let student = apply(&graph, &by_name(&graph, RANKS)).unwrap();
        assert_eq!((student.nodes[0].name.as_str(), student.nodes[3].name.as_str()), ("conv1.in_2", "conv1.in"));
    }
}
