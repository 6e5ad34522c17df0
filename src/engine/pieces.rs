//! How many inputs a network runs at once, so that its widest place fits into memory.

use crate::{
    domain::problem::Problem,
    formats::{
        graph::{Graph, Op},
        shapes,
    },
};

/// Inputs of one piece, where the network is small enough.
pub const MOST: i64 = 250;

/// Elements that a node may read and make of one piece (1 GiB of float32). A network whose widest node has a million for each
/// input is below it with [`MOST`] of them.
const ELEMENTS: u64 = 1 << 28;

/// Elements of a module without rules at its widest place, for each that goes in or out. VGG16 has 43 at 224 x 224 pixels.
const OPAQUE: u64 = 64;

/// Elements of all values of a batch that a network learns from (2 GiB of float32), below which no batch is too large.
const LEARNED: u64 = 1 << 29;

/// How many inputs the network may run at once, without gradients; 1 at least.
///
/// # Errors
/// `invalid_model` where shapes do not fit.
pub fn at_once(graph: &Graph) -> Result<i64, Problem> {
    let widest = touched(graph)?.into_iter().max().unwrap_or(1).max(1);
    Ok((ELEMENTS / widest).clamp(1, MOST as u64) as i64)
}

/// Whether a batch of that many inputs, with gradients, may be too large for a machine on which nothing was tried.
///
/// # Errors
/// `invalid_model` where shapes do not fit.
pub fn may_be_too_large(graph: &Graph, batch: u64) -> Result<bool, Problem> {
    let all = touched(graph)?.into_iter().fold(0, u64::saturating_add);
    // Of what a module holds on the way nothing is known.
    Ok(graph.is_opaque() || all.saturating_mul(batch) > LEARNED)
}

/// Elements that each node reads and makes of one input, weights aside.
fn touched(graph: &Graph) -> Result<Vec<u64>, Problem> {
    let shapes = shapes::infer(graph, 1)?;
    let size = |name: &String| {
        let extents = shapes.get(name).map_or(&[0][..], Vec::as_slice);
        extents.iter().fold(1, |size: u64, &extent| size.saturating_mul(extent as u64))
    };
    let of_node = graph.nodes.iter().map(|node| {
        let all = node.inputs.iter().chain(&node.outputs).map(size).fold(0, u64::saturating_add);
        if matches!(node.op, Op::Opaque(_)) { all.saturating_mul(OPAQUE) } else { all }
    });
    Ok(of_node.collect())
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        engine::compress::fixture,
        formats::graph::{Node, Port, Tensor},
    };

    /// Classifies four numbers by way of four maps of 4096 x 4096, which are views and take no memory.
    pub fn wide() -> Graph {
        let extent = 4096;
        let slice =
            Op::Slice { axes: vec![2, 3], starts: vec![0, 0], ends: vec![extent, extent], steps: vec![extent, extent] };
        let ops = [
            ("corner", Op::Reshape { shape: vec![-1, 4, 1, 1] }),
            ("maps", Op::Expand { shape: vec![-1, 4, extent, extent] }),
            ("points", slice),
            ("row", Op::Reshape { shape: vec![-1, 4] }),
            ("y", Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true }),
        ];
        let mut nodes: Vec<Node> = Vec::new();
        for (name, op) in ops {
            let mut inputs = vec![nodes.last().map_or("x", |node| &node.outputs[0]).to_owned()];
            inputs.extend(matches!(op, Op::Gemm { .. }).then(|| "weight".to_owned()));
            nodes.push(Node { name: name.to_owned(), op, inputs, outputs: vec![name.to_owned()] });
        }
        let weight = Tensor::f32(vec![3, 4], (0..12).map(|value| value as f32 / 7.0).collect());
        Graph {
            input: Port { name: "x".to_owned(), shape: vec![4] },
            output: Port { name: "y".to_owned(), shape: vec![3] },
            nodes,
            weights: BTreeMap::from([("weight".to_owned(), weight)]),
            opset: 17,
            layout: Default::default(),
            metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn a_wide_network_runs_few_inputs_at_once_and_a_small_one_as_many_as_ever() {
        assert_eq!(at_once(&fixture::network()).unwrap(), 250);
        assert_eq!(at_once(&wide()).unwrap(), 3);
    }

    #[test]
    fn a_batch_that_learns_is_measured_by_all_values() {
        assert!(!may_be_too_large(&fixture::network(), 4096).unwrap());
        assert!(may_be_too_large(&wide(), 4).unwrap() && !may_be_too_large(&wide(), 3).unwrap());
    }
}
