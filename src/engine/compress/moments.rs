//! Second moments of what each layer reads, over any inputs of the network: what [`Measure`] and the refit need.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{
    layer::{Layer, layers},
    measure::{Measure, Measures},
    refit::shrink,
};
use crate::{
    domain::problem::Problem,
    engine::executor::Executor,
    formats::graph::{Graph, Op, Window},
};

/// Inputs that run at once.
const BATCH: i64 = 250;

/// Widest patch, in elements, whose moment is kept: (d, d) in float64 takes 134 MB at this width.
const MAX_WIDTH: usize = 4096;

/// The second moment of every layer that can be decomposed, over the patches of `inputs` (N, …), shrunk by `lambda` (see
/// [`shrink`]). The network runs on the inputs' device. Layers with very wide patches are left out.
///
/// # Errors
/// What libtorch reports.
pub fn measure(graph: &Graph, inputs: &Tensor, lambda: f64) -> Result<Measures, Problem> {
    let mut layers = layers(graph)?;
    layers.retain(|layer| layer.obstacle.is_none() && layer.inputs * layer.taps() <= MAX_WIDTH);
    let executor = Executor::new(graph, inputs.device())?;
    let mut moments: Vec<Moment> = layers.iter().map(|_| Moment::default()).collect();
    no_grad(|| -> Result<(), TchError> {
        for batch in inputs.f_split(BATCH, 0)? {
            let values = values(graph, &executor, &batch, &layers)?;
            for (layer, moment) in layers.iter().zip(&mut moments) {
                let node = &graph.nodes[layer.node];
                if let Some(value) = values.get(node.inputs[0].as_str()) {
                    moment.add(&patches(&node.op, value)?)?;
                }
            }
        }
        Ok(())
    })?;
    let mut measures = Measures::new();
    for (layer, moment) in layers.into_iter().zip(moments) {
        let second_moment = moment.mean()?.map(|mean| shrink(&mean, lambda)).transpose()?;
        measures.insert(layer.name, Measure { second_moment, ..Measure::default() });
    }
    Ok(measures)
}

/// What the layers read while the network runs on a batch, by the value's name.
fn values<'a>(
    graph: &'a Graph,
    executor: &Executor,
    batch: &Tensor,
    layers: &[Layer],
) -> Result<BTreeMap<&'a str, Tensor>, TchError> {
    let mut names: Vec<&str> = layers.iter().map(|layer| graph.nodes[layer.node].inputs[0].as_str()).collect();
    // The executor gives what nodes compute, and the input is no node's.
    names.retain(|name| *name != graph.input.name);
    names.sort_unstable();
    names.dedup();
    let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let (_, tensors) = executor.forward_with(batch, &wanted)?;
    let mut values: BTreeMap<&str, Tensor> = names.into_iter().zip(tensors).collect();
    values.insert(&graph.input.name, batch.shallow_clone());
    Ok(values)
}

/// What a layer multiplies its weight with, as rows (n, d), d in the order of the weight's flattening.
fn patches(op: &Op, value: &Tensor) -> Result<Tensor, TchError> {
    match op {
        Op::Conv { window, .. } => {
            let columns = slide(window, value)?;
            columns.f_transpose(1, 2)?.f_flatten(0, 1)
        }
        _ => value.f_flatten(0, -2),
    }
}

/// (N, d, places) of (N, C, spatial…); one spatial axis is taken as two, the first of extent 1.
fn slide(window: &Window, value: &Tensor) -> Result<Tensor, TchError> {
    let two = |extents: &[usize], missing: i64| -> [i64; 2] {
        match *extents {
            [first, second] => [first as i64, second as i64],
            _ => [missing, extents.first().map_or(missing, |&extent| extent as i64)],
        }
    };
    let (begin, end) = (two(&window.pads_begin, 0), two(&window.pads_end, 0));
    let planes = if window.kernel.len() == 1 { value.f_unsqueeze(2)? } else { value.shallow_clone() };
    let padded = planes.f_constant_pad_nd([begin[1], end[1], begin[0], end[0]])?;
    padded.f_im2col(two(&window.kernel, 1), two(&window.dilations, 1), [0, 0], two(&window.strides, 1))
}

/// A running sum of x xᵀ.
#[derive(Default)]
struct Moment {
    sum: Option<Tensor>,
    rows: i64,
}

impl Moment {
    fn add(&mut self, rows: &Tensor) -> Result<(), TchError> {
        // The product of one batch in its own precision is exact enough; the sum over batches is not.
        let gram = rows.f_tr()?.f_matmul(rows)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
        self.rows += rows.size()[0];
        self.sum = Some(match &self.sum {
            None => gram,
            Some(sum) => sum.f_add(&gram)?,
        });
        Ok(())
    }

    fn mean(&self) -> Result<Option<Tensor>, TchError> {
        self.sum.as_ref().map(|sum| sum.f_div_scalar(self.rows as f64)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::{algebra, fixture};

    /// ‖W Σ^½‖² is the mean energy of the layer's responses without its bias, whatever the geometry.
    #[test]
    fn predicts_the_energy_of_every_layers_responses() {
        let mut graph = fixture::network();
        for node in &mut graph.nodes {
            node.inputs.truncate(2);
        }
        let inputs = fixture::random(5, &[300, 3, 12, 10]).to_kind(Kind::Float);
        let measures = measure(&graph, &inputs, 0.0).unwrap();
        let layers: Vec<Layer> = layers(&graph).unwrap().into_iter().filter(|layer| layer.obstacle.is_none()).collect();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let names: Vec<String> = layers.iter().map(|layer| graph.nodes[layer.node].outputs[0].clone()).collect();
        let (_, responses) = executor.forward_with(&inputs, &names).unwrap();
        assert_eq!((measures.len(), responses.len()), (6, 6));
        for (layer, response) in layers.iter().zip(responses) {
            let places = response.size().iter().product::<i64>() / layer.outputs as i64;
            let scale = if layer.name == "fc1" { 0.5 } else { 1.0 };
            let actual = algebra::energy(&response).unwrap() / places as f64 / (scale * scale);
            let predicted = measures[&layer.name].energy(&layer.load(&graph).unwrap()).unwrap();
            assert!((predicted / actual - 1.0).abs() < 1e-4, "{}: {predicted} for {actual}", layer.name);
        }
    }
}
