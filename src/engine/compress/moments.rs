//! Second moments of what each layer reads and answers, and of how the logits move with it, over any inputs of the network:
//! what a [`Measure`] is made of.
//!
//! For a random direction v of the logits f, with E[v vᵀ] = I, the gradient g of vᵀ f to what a layer answers has
//! E[g gᵀ] = Jᵀ J, J being the logits' Jacobian: one pass backwards for a batch, whatever the number of classes.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{
    algebra,
    layer::{Layer, layers},
    measure::{Measure, Measures, Signal},
};
use crate::{
    domain::{model::LayerKind, problem::Problem},
    engine::{executor::Executor, losses},
    formats::graph::{Graph, Op, Window},
};

/// How far every moment is drawn towards one without any direction, (1 − λ) Σ + λ tr(Σ) / d · I: the inputs are
/// not the teacher's own, and what they never show may yet be there.
const SHRINKAGE: f64 = 0.03;

/// Elements that are held at once, of what layers read and answer and of the widest patches (256 MiB of float32).
const MOST_ELEMENTS: u64 = 1 << 26;

/// Multiply-accumulates that the inputs may take altogether, the network's own among them: less than ten seconds of a core.
const MOST_MACS: u64 = 1 << 38;

/// Inputs beyond which moments change no rank.
const MOST_INPUTS: u64 = 2000;

/// Fewest inputs: a layer that is applied at one place learns no more directions than there are inputs.
const LEAST_INPUTS: u64 = 32;

/// Sums up what the layers of a network read and answer.
pub struct Meter<'g> {
    graph: &'g Graph,
    executor: &'g Executor,
    layers: Vec<(Layer, Sums)>,
    /// Σ ‖f‖² over inputs, of the centred logits f.
    spread: f64,
}

impl<'g> Meter<'g> {
    /// For the layers of `graph` that can be decomposed; `executor` runs the graph, or all of it but its last softmax.
    ///
    /// # Errors
    /// `invalid_model` where nodes do not fit together, `invalid_weights` for a weight with NaN or infinity.
    pub fn new(graph: &'g Graph, executor: &'g Executor) -> Result<Self, Problem> {
        let layers = layers(graph)?.into_iter().filter(|layer| layer.obstacle.is_none());
        let sums = layers.map(|layer| {
            let sums = Sums::new(&layer, graph, executor.device())?;
            Ok((layer, sums))
        });
        Ok(Self { graph, executor, layers: sums.collect::<Result<_, Problem>>()?, spread: 0.0 })
    }

    /// How many inputs are enough, and bearable.
    pub fn inputs(&self) -> u64 {
        let macs: u64 = self.layers.iter().map(|(layer, _)| work(layer) + 2 * layer.cost().macs).sum();
        (MOST_MACS / macs.max(1)).clamp(LEAST_INPUTS, MOST_INPUTS)
    }

    /// Elements that one input takes while it is read.
    fn elements(&self) -> u64 {
        let layers = self.layers.iter().map(|(layer, _)| layer);
        let read = layers.clone().map(|layer| layer.positions_in.max(1) * layer.inputs as u64).sum::<u64>();
        let answered = layers.clone().map(|layer| places(layer) * layer.outputs as u64).sum::<u64>();
        let widest = layers.map(|layer| places(layer) * (layer.inputs * layer.taps()) as u64).max();
        // Gradients are as large as what they are of.
        2 * (read + answered) + widest.unwrap_or(0)
    }

    /// Takes in `inputs` (N, …), on the executor's device.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn read(&mut self, inputs: &Tensor) -> Result<(), TchError> {
        let batch = (MOST_ELEMENTS / self.elements().max(1)).clamp(1, inputs.size()[0].max(1) as u64);
        for batch in inputs.f_split(batch as i64, 0)? {
            let (logits, values) = self.values(&batch)?;
            let gradients = self.gradients(&logits, &values)?;
            no_grad(|| {
                self.spread += losses::spread(&logits)? * batch.size()[0] as f64;
                for ((layer, sums), gradient) in self.layers.iter_mut().zip(gradients) {
                    let node = &self.graph.nodes[layer.node];
                    if let Some(value) = values.get(node.inputs[0].as_str()) {
                        sums.read(&patches(&node.op, layer, value)?)?;
                    }
                    if let Some(gradient) = gradient {
                        sums.moved(&at_places(layer, &gradient)?)?;
                    }
                }
                Ok::<_, TchError>(())
            })?;
        }
        Ok(())
    }

    /// What the layers' inputs have told, by layer.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn measures(self) -> Result<Measures, Problem> {
        let mut measures = Measures::new();
        for (layer, sums) in self.layers {
            if let Some(measure) = sums.measure(&layer, self.graph, self.spread)? {
                measures.insert(layer.name, measure);
            }
        }
        Ok(measures)
    }

    /// The logits of a batch, and by name what the layers read and answer on the way to them.
    fn values(&self, batch: &Tensor) -> Result<(Tensor, BTreeMap<&'g str, Tensor>), TchError> {
        let nodes = self.layers.iter().map(|(layer, _)| &self.graph.nodes[layer.node]);
        let mut names: Vec<&'g str> =
            nodes.flat_map(|node| [node.inputs[0].as_str(), node.outputs[0].as_str()]).collect();
        // The executor gives what nodes compute, and the input is no node's.
        names.retain(|name| *name != self.graph.input.name);
        names.sort_unstable();
        names.dedup();
        let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let batch = batch.f_detach()?.f_set_requires_grad(true)?;
        let (logits, tensors) = self.executor.forward_with(&batch, &wanted)?;
        let mut values: BTreeMap<&str, Tensor> = names.into_iter().zip(tensors).collect();
        values.insert(&self.graph.input.name, batch);
        Ok((logits, values))
    }

    /// How a random direction of the logits moves with what each layer answers; `None` where it does not.
    fn gradients(&self, logits: &Tensor, values: &BTreeMap<&str, Tensor>) -> Result<Vec<Option<Tensor>>, TchError> {
        let answer = |layer: &Layer| values.get(self.graph.nodes[layer.node].outputs[0].as_str());
        let answers: Vec<Option<&Tensor>> = self.layers.iter().map(|(layer, _)| answer(layer)).collect();
        let depends = |value: &&Tensor| logits.requires_grad() && value.requires_grad();
        let of: Vec<&Tensor> = answers.iter().copied().flatten().filter(depends).collect();
        if of.is_empty() {
            return Ok(answers.iter().map(|_| None).collect());
        }
        let direction = Tensor::f_randn(logits.size(), (Kind::Float, Device::Cpu))?.f_to_device(logits.device())?;
        // What is added to all logits changes no answer.
        let along = logits.f_mul(&losses::centred(&direction)?)?.f_sum(Kind::Float)?;
        let mut gradients = Tensor::f_run_backward(&[&along], &of, false, false)?.into_iter();
        let of_each = answers.iter().map(|value| value.filter(|value| depends(value)).and_then(|_| gradients.next()));
        Ok(of_each.map(|gradient| gradient.filter(Tensor::defined)).collect())
    }
}

/// Places at which a layer answers; a linear layer without further axes has one.
fn places(layer: &Layer) -> u64 {
    layer.positions_out.max(1)
}

/// Multiply-accumulates of a layer's moments for one input.
fn work(layer: &Layer) -> u64 {
    let (inputs, outputs, taps) = (layer.inputs as u64, layer.outputs as u64, layer.taps() as u64);
    let read = if layer.is_matrix() { outputs * (inputs + outputs) } else { taps * inputs * (inputs + taps) };
    places(layer) * (read + outputs * outputs)
}

/// The patches that a layer multiplies its weight with, (n, channels, taps); of a matrix, (n, in, 1).
fn patches(op: &Op, layer: &Layer, value: &Tensor) -> Result<Tensor, TchError> {
    let size = [-1, layer.inputs as i64, layer.taps() as i64];
    match op {
        Op::Conv { window, .. } => slide(window, value)?.f_transpose(1, 2)?.f_reshape(size),
        _ => value.f_reshape(size),
    }
}

/// The rows (n, out) of what a layer answers, or of its gradient.
fn at_places(layer: &Layer, value: &Tensor) -> Result<Tensor, TchError> {
    let rows = [-1, layer.outputs as i64];
    if layer.kind == LayerKind::Linear { value.f_reshape(rows) } else { value.f_movedim_int(1, -1)?.f_reshape(rows) }
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

/// Running sums over patches. Each batch in its own precision is exact enough; the sum over batches is not.
struct Sums {
    /// The weight (out, in) of a matrix, in float32.
    matrix: Option<Tensor>,
    /// Of responses (out, out), or of inputs over channels (in, in).
    first: Option<Tensor>,
    /// Of inputs over taps (taps, taps).
    taps: Option<Tensor>,
    /// Σ x².
    energy: f64,
    rows: i64,
    /// Σ g gᵀ, (out, out).
    gradients: Option<Tensor>,
}

impl Sums {
    fn new(layer: &Layer, graph: &Graph, device: Device) -> Result<Self, Problem> {
        let matrix = match layer.is_matrix() {
            true => Some(layer.load(graph)?.f_flatten(1, -1)?.f_to_kind(Kind::Float)?.f_to_device(device)?),
            false => None,
        };
        Ok(Self { matrix, first: None, taps: None, energy: 0.0, rows: 0, gradients: None })
    }

    fn read(&mut self, patches: &Tensor) -> Result<(), TchError> {
        self.rows += patches.size()[0];
        self.energy += patches.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
        if let Some(matrix) = &self.matrix {
            return summed(&mut self.first, &patches.f_squeeze_dim(2)?.f_matmul(&matrix.f_tr()?)?);
        }
        let size = patches.size();
        summed(&mut self.first, &patches.f_transpose(1, 2)?.f_reshape([-1, size[1]])?)?;
        summed(&mut self.taps, &patches.f_reshape([-1, size[2]])?)
    }

    /// Takes in how the logits move with what the layer answers, (n, out).
    fn moved(&mut self, gradients: &Tensor) -> Result<(), TchError> {
        summed(&mut self.gradients, gradients)
    }

    /// The means, shrunk; `None` where the inputs said nothing. `spread` is the sum over inputs that the gradients are relative
    /// to.
    fn measure(self, layer: &Layer, graph: &Graph, spread: f64) -> Result<Option<Measure>, Problem> {
        let Self { first: Some(first), gradients: Some(gradients), rows, energy, .. } = self else { return Ok(None) };
        let extent = (layer.inputs * layer.taps()) as f64;
        let even = energy / rows as f64 / extent;
        let moving = gradients.f_trace()?.f_double_value(&[])? / layer.outputs as f64;
        // An input that is always zero says nothing about its layer, nor does one that overflows, here or in the answers.
        let answers = first.f_sum(Kind::Double)?.f_double_value(&[])?;
        let finite = [even, answers, moving / spread].iter().all(|value| value.is_finite());
        if even <= 0.0 || moving <= 0.0 || !finite {
            return Ok(None);
        }
        let toward = |moment: &Tensor, scale: f64, each: f64| {
            let directionless = algebra::identity(moment.size()[0])?.f_mul_scalar(SHRINKAGE * each)?;
            moment.f_mul_scalar((1.0 - SHRINKAGE) * scale)?.f_add(&directionless)
        };
        let sensitivity = toward(&gradients, 1.0 / spread, moving / spread)?;
        let scale = 1.0 / rows as f64;
        let signal = match self.taps {
            None => {
                let weight = layer.load(graph)?.f_flatten(1, -1)?;
                let directionless = weight.f_matmul(&weight.f_tr()?)?.f_mul_scalar(SHRINKAGE * even)?;
                Signal::Responses(first.f_mul_scalar((1.0 - SHRINKAGE) * scale)?.f_add(&directionless)?)
            }
            Some(taps) => Signal::Inputs {
                channels: toward(&first, scale, even * layer.taps() as f64)?,
                taps: toward(&taps, 1.0 / energy, 1.0 / layer.taps() as f64)?,
            },
        };
        Ok(Some(Measure { signal, sensitivity }))
    }
}

/// Adds `rows`ᵀ `rows`.
fn summed(sum: &mut Option<Tensor>, rows: &Tensor) -> Result<(), TchError> {
    let gram = rows.f_tr()?.f_matmul(rows)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    *sum = Some(match sum.take() {
        None => gram,
        Some(sum) => sum.f_add(&gram)?,
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::{algebra, fixture, measure::View};

    fn measures(graph: &Graph, inputs: &Tensor) -> Measures {
        let executor = Executor::new(graph, Device::Cpu).unwrap();
        let mut meter = Meter::new(graph, &executor).unwrap();
        meter.read(inputs).unwrap();
        meter.measures().unwrap()
    }

    /// Moments of inputs without any direction are those of the weight alone, but for their scale.
    #[test]
    fn even_inputs_say_what_the_weight_says() {
        let graph = fixture::wide();
        let known = measures(&graph, &Tensor::eye(1024, (Kind::Float, Device::Cpu))).remove("large").unwrap();
        let layer = layers(&graph).unwrap().remove(0);
        let weight = layer.load(&graph).unwrap();
        let found = View::Responses(&known).spectrum(&weight).unwrap();
        let plain = algebra::spectrum(&weight).unwrap();
        assert!(found.iter().zip(&plain).all(|(found, one)| (found * 1024.0 - one).abs() < 1e-4 * plain[0]));
    }

    /// Without shrinkage, the energy of a measure is the mean energy of the layer's responses without its bias.
    #[test]
    fn tells_the_energy_of_every_layers_responses() {
        let mut graph = fixture::network();
        for node in &mut graph.nodes {
            node.inputs.truncate(2);
        }
        let inputs = fixture::random(5, &[300, 3, 12, 10]).to_kind(Kind::Float);
        let measures = measures(&graph, &inputs);
        let layers: Vec<Layer> = layers(&graph).unwrap().into_iter().filter(|layer| layer.obstacle.is_none()).collect();
        let names: Vec<String> = layers.iter().map(|layer| graph.nodes[layer.node].outputs[0].clone()).collect();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let (_, responses) = executor.forward_with(&inputs, &names).unwrap();
        assert_eq!((measures.len(), responses.len()), (6, 6));
        for (layer, response) in layers.iter().zip(responses) {
            let places = response.size().iter().product::<i64>() / layer.outputs as i64;
            let scale = if layer.name == "fc1" { 0.5 } else { 1.0 };
            let actual = algebra::energy(&response).unwrap() / places as f64 / (scale * scale);
            let weight = layer.load(&graph).unwrap();
            let view = View::Responses(&measures[&layer.name]);
            let predicted = match layer.is_matrix() {
                true => view.spectrum(&weight).unwrap().iter().sum(),
                false => algebra::energy(&view.whiten(&weight).unwrap()).unwrap(),
            };
            // Of a kernel, channels and taps are told apart, and of all of them a little is shrunk away.
            let close = if layer.is_matrix() { 0.1 } else { 0.3 };
            assert!((predicted / actual - 1.0).abs() < close, "{}: {predicted} for {actual}", layer.name);
        }
    }

    /// One random direction for each input comes to what all rows of the Jacobian say.
    #[test]
    fn tells_how_the_logits_move_with_every_layers_answers() {
        let graph = fixture::network();
        let inputs = fixture::random(6, &[2000, 3, 12, 10]).to_kind(Kind::Float);
        let measures = measures(&graph, &inputs);
        let layers: Vec<Layer> = layers(&graph).unwrap().into_iter().filter(|layer| layer.obstacle.is_none()).collect();
        let names: Vec<String> = layers.iter().map(|layer| graph.nodes[layer.node].outputs[0].clone()).collect();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let (logits, answers) = executor.forward_with(&inputs.set_requires_grad(true), &names).unwrap();
        let centred = losses::centred(&logits).unwrap();
        for (layer, answer) in layers.iter().zip(&answers) {
            let mut whole: Option<Tensor> = None;
            for class in 0..6 {
                let of = centred.select(1, class).sum(Kind::Float);
                let row = Tensor::run_backward(&[&of], &[answer], true, false).remove(0);
                summed(&mut whole, &at_places(layer, &row).unwrap()).unwrap();
            }
            let exact = whole.unwrap() / algebra::energy(&centred.to_kind(Kind::Double)).unwrap();
            let found = &measures[&layer.name].sensitivity;
            let error = algebra::relative_error(&exact, found).unwrap();
            assert!(error < 0.2, "{}: {error}", layer.name);
        }
    }

    /// Of what is too large for a float nothing is known, and the plan is that of the weights.
    #[test]
    fn answers_that_overflow_say_nothing() {
        let inputs = Tensor::full([4, 1024], 1e37, (Kind::Float, Device::Cpu));
        assert!(measures(&fixture::wide(), &inputs).is_empty());
    }

    #[test]
    fn large_networks_get_fewer_inputs() {
        let graph = fixture::network();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let meter = Meter::new(&graph, &executor).unwrap();
        assert_eq!(meter.inputs(), MOST_INPUTS);
    }
}
