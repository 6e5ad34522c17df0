//! Which nodes the output needs, in an order in which every value is made before it is read.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::{model::invalid, proto::NodeProto};
use crate::domain::problem::Problem;

/// Indices of the nodes that `output` depends on, sorted; in the file's order where that is a valid one.
///
/// # Errors
/// `invalid_model` where nodes depend on each other in a circle, naming one of them.
pub fn needed(nodes: &[NodeProto], output: &str) -> Result<Vec<usize>, Problem> {
    let mut maker: HashMap<&str, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        maker.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), index)));
    }
    let sources = |index: usize| nodes[index].input.iter().filter_map(|name| maker.get(name.as_str()).copied());
    let mut alive = vec![false; nodes.len()];
    let mut open: Vec<usize> = maker.get(output).copied().into_iter().collect();
    while let Some(index) = open.pop() {
        if !std::mem::replace(&mut alive[index], true) {
            open.extend(sources(index).filter(|source| !alive[*source]));
        }
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waiting = vec![0usize; nodes.len()];
    let total = alive.iter().filter(|alive| **alive).count();
    for index in (0..nodes.len()).filter(|index| alive[*index]) {
        for source in sources(index) {
            readers[source].push(index);
            waiting[index] += 1;
        }
    }
    let ready = (0..nodes.len()).filter(|index| alive[*index] && waiting[*index] == 0).map(Reverse);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.collect();
    let mut order = Vec::with_capacity(total);
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in &readers[index] {
            waiting[reader] -= 1;
            if waiting[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    match (0..nodes.len()).find(|index| alive[*index] && waiting[*index] > 0) {
        Some(index) => Err(invalid(format!(
            "The graph runs in a circle: {} \"{}\" needs its own result.",
            nodes[index].op_type(),
            nodes[index].name()
        ))),
        None => Ok(order),
    }
}
