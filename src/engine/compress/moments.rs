//! Second moments of what each layer reads and answers, over any inputs of the network: what a [`Measure`] is made of.

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{
    algebra,
    layer::{Layer, layers},
    measure::{Measure, Measures},
    target,
};
use crate::{
    domain::problem::Problem,
    engine::executor::Executor,
    formats::{
        facts,
        graph::{Graph, Op, Window},
    },
};

/// How far every moment is drawn towards that of inputs without any direction, (1 − λ) Σ + λ tr(Σ) / d · I: the inputs are
/// not the teacher's own, and what they never show may yet be there.
const SHRINKAGE: f64 = 0.03;

/// Elements that are held at once, of what layers read and of the widest patches (16 MiB of float32). With more, half of the
/// time goes to the system, which hands out memory by the page and takes it back after each operation.
const MOST_ELEMENTS: u64 = 1 << 22;

/// Multiply-accumulates that the inputs may take altogether, the network's own among them: less than ten seconds of a core.
const MOST_MACS: u64 = 1 << 38;

/// Inputs beyond which moments change no rank.
const MOST_INPUTS: u64 = 2000;

/// Outputs up to which the moment of a matrix's responses (out, out) is small, whatever its inputs. Beyond, a matrix with fewer
/// inputs is measured by the moment of these, (in, in): a classifier of 20,000 classes would need gigabytes for the other.
const MANY_OUTPUTS: usize = 1024;

/// Fewest inputs: a layer that is applied at one place learns no more directions than there are inputs.
const LEAST_INPUTS: u64 = 32;

/// Sums up what the layers of a network read and answer.
pub struct Meter<'g> {
    graph: &'g Graph,
    executor: &'g Executor,
    layers: Vec<(Layer, Sums)>,
    /// Multiply-accumulates of the whole network for one input: it runs through what is kept as well.
    network: u64,
}

impl<'g> Meter<'g> {
    /// For the layers of `graph` that can be decomposed, without those that are to be kept by these names; `executor` runs it,
    /// or one that makes the same values by the same names.
    ///
    /// # Errors
    /// `invalid_model` where nodes do not fit together, `invalid_weights` for a weight with NaN or infinity,
    /// `invalid_compression` for names that no layer has.
    pub fn new(graph: &'g Graph, executor: &'g Executor, keep: &[String]) -> Result<Self, Problem> {
        let layers = layers(graph)?;
        let kept = target::kept(&layers, keep)?;
        let measured = layers.into_iter().zip(kept).filter(|(layer, kept)| !kept && layer.obstacle.is_none());
        let sums = measured.map(|(layer, _)| {
            let sums = Sums::new(&layer, graph, executor.device())?;
            Ok((layer, sums))
        });
        let (network, _) = facts::facts(graph)?;
        Ok(Self { graph, executor, layers: sums.collect::<Result<_, Problem>>()?, network })
    }

    /// Whether there is no layer to measure.
    pub fn is_idle(&self) -> bool {
        self.layers.is_empty()
    }

    /// How many inputs are enough, and bearable.
    pub fn inputs(&self) -> u64 {
        let moments = self.layers.iter().map(|(layer, _)| work(layer)).fold(self.network, u64::saturating_add);
        (MOST_MACS / moments.max(1)).clamp(LEAST_INPUTS, MOST_INPUTS)
    }

    /// Elements that one input takes while it is read.
    fn elements(&self) -> u64 {
        let layers = self.layers.iter().map(|(layer, _)| layer);
        let read = layers.clone().map(|layer| layer.positions_in.max(1) * layer.inputs as u64).sum::<u64>();
        let widest = layers.map(|layer| places(layer) * (layer.inputs * layer.taps()) as u64).max();
        read + widest.unwrap_or(0)
    }

    /// Inputs of one batch: what is kept has its widest place too.
    fn at_once(&self) -> i64 {
        let room = (MOST_ELEMENTS / self.elements().max(1)).max(1);
        i64::try_from(room).unwrap_or(i64::MAX).min(self.executor.at_once())
    }

    /// Takes in `inputs` (N, …), on the executor's device.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn read(&mut self, inputs: &Tensor) -> Result<(), TchError> {
        no_grad(|| {
            for batch in inputs.f_split(self.at_once(), 0)? {
                let values = self.values(&batch)?;
                for (layer, sums) in &mut self.layers {
                    let node = &self.graph.nodes[layer.node];
                    if let Some(value) = values.get(node.inputs[0].as_str()) {
                        sums.add(&patches(&node.op, layer, value)?)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// What the layers' inputs have told, by layer.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn measures(self) -> Result<Measures, Problem> {
        let mut measures = Measures::new();
        for (layer, sums) in self.layers {
            if let Some(measure) = sums.measure(&layer, self.graph)? {
                measures.insert(layer.name, measure);
            }
        }
        Ok(measures)
    }

    /// What the layers read while the network runs on a batch, by the value's name.
    fn values(&self, batch: &Tensor) -> Result<BTreeMap<&'g str, Tensor>, TchError> {
        let mut names: Vec<&'g str> =
            self.layers.iter().map(|(layer, _)| self.graph.nodes[layer.node].inputs[0].as_str()).collect();
        // The executor gives what nodes compute, and the input is no node's.
        names.retain(|name| *name != self.graph.input.name);
        names.sort_unstable();
        names.dedup();
        let wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (_, tensors) = self.executor.forward_with(batch, &wanted)?;
        let mut values: BTreeMap<&str, Tensor> = names.into_iter().zip(tensors).collect();
        values.insert(&self.graph.input.name, batch.shallow_clone());
        Ok(values)
    }
}

/// Places at which a layer answers; a linear layer without further axes has one.
fn places(layer: &Layer) -> u64 {
    layer.positions_out.max(1)
}

/// Whether a layer is measured by what it answers, and not by what it reads.
fn answers(layer: &Layer) -> bool {
    layer.is_matrix() && layer.outputs <= layer.inputs.max(MANY_OUTPUTS)
}

/// Multiply-accumulates of a layer's moments for one input.
fn work(layer: &Layer) -> u64 {
    let (inputs, outputs, taps) = (layer.inputs as u64, layer.outputs as u64, layer.taps() as u64);
    let each = if answers(layer) { outputs * (inputs + outputs) } else { taps * inputs * (inputs + taps) };
    places(layer) * each
}

/// The patches that a layer multiplies its weight with, (n, channels, taps); of a matrix, (n, in, 1).
fn patches(op: &Op, layer: &Layer, value: &Tensor) -> Result<Tensor, TchError> {
    let size = [-1, layer.inputs as i64, layer.taps() as i64];
    match op {
        Op::Conv { window, .. } => slide(window, value)?.f_transpose(1, 2)?.f_reshape(size),
        _ => value.f_reshape(size),
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

/// Running sums over patches. Each batch in its own precision is exact enough; the sum over batches is not.
struct Sums {
    /// The weight (out, in) of a matrix that is measured by its responses, in float32.
    matrix: Option<Tensor>,
    /// Of responses (out, out), or of inputs over channels (in, in).
    first: Option<Tensor>,
    /// Of inputs over taps (taps, taps).
    taps: Option<Tensor>,
    /// Σ x².
    energy: f64,
    rows: i64,
}

impl Sums {
    fn new(layer: &Layer, graph: &Graph, device: Device) -> Result<Self, Problem> {
        let matrix = match answers(layer) {
            true => Some(layer.load(graph)?.f_flatten(1, -1)?.f_to_kind(Kind::Float)?.f_to_device(device)?),
            false => None,
        };
        Ok(Self { matrix, first: None, taps: None, energy: 0.0, rows: 0 })
    }

    fn add(&mut self, patches: &Tensor) -> Result<(), TchError> {
        self.rows += patches.size()[0];
        self.energy += patches.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?;
        if let Some(matrix) = &self.matrix {
            return summed(&mut self.first, &patches.f_squeeze_dim(2)?.f_matmul(&matrix.f_tr()?)?);
        }
        let size = patches.size();
        summed(&mut self.first, &patches.f_transpose(1, 2)?.f_reshape([-1, size[1]])?)?;
        summed(&mut self.taps, &patches.f_reshape([-1, size[2]])?)
    }

    /// The mean, shrunk; `None` where the inputs said nothing.
    ///
    /// For a matrix W both ways say the same. With the moment S of its inputs, of trace `energy / rows`, its responses have
    /// (1 − λ) W S Wᵀ + λ e W Wᵀ = W ((1 − λ) S + λ e I) Wᵀ, where e is the trace over the inputs' number: `channels` below, of
    /// which the root Σ^½ gives W Σ^½ the same squared singular values.
    fn measure(self, layer: &Layer, graph: &Graph) -> Result<Option<Measure>, Problem> {
        let Self { first: Some(first), rows, energy, .. } = self else { return Ok(None) };
        let extent = (layer.inputs * layer.taps()) as f64;
        // An input that is always zero says nothing about its layer, nor does one that overflows, here or in the answers.
        let even = energy / rows as f64 / extent;
        if even <= 0.0 || !even.is_finite() || !first.f_sum(Kind::Double)?.f_double_value(&[])?.is_finite() {
            return Ok(None);
        }
        let first = first.f_mul_scalar((1.0 - SHRINKAGE) / rows as f64)?;
        let Some(taps) = self.taps else {
            let weight = layer.load(graph)?.f_flatten(1, -1)?;
            let directionless = weight.f_matmul(&weight.f_tr()?)?.f_mul_scalar(SHRINKAGE * even)?;
            return Ok(Some(Measure::Responses(first.f_add(&directionless)?)));
        };
        let toward = |moment: &Tensor, each: f64| {
            moment.f_add(&algebra::identity(moment.size()[0])?.f_mul_scalar(SHRINKAGE * each)?)
        };
        let channels = toward(&first, even * layer.taps() as f64)?;
        let taps = taps.f_mul_scalar((1.0 - SHRINKAGE) / energy)?;
        Ok(Some(Measure::Inputs { channels, taps: toward(&taps, 1.0 / layer.taps() as f64)? }))
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
    use crate::engine::compress::{algebra, fixture, measure};

    /// Moments of inputs without any direction are those of the weight alone, but for their scale.
    #[test]
    fn even_inputs_say_what_the_weight_says() {
        let graph = fixture::wide();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let mut meter = Meter::new(&graph, &executor, &[]).unwrap();
        meter.read(&Tensor::eye(1024, (Kind::Float, Device::Cpu))).unwrap();
        let measures = meter.measures().unwrap();
        let layer = layers(&graph).unwrap().remove(0);
        let weight = layer.load(&graph).unwrap();
        let found = measure::spectrum(&weight, measures.get("large")).unwrap();
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
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let mut meter = Meter::new(&graph, &executor, &[]).unwrap();
        meter.read(&inputs).unwrap();
        let measures = meter.measures().unwrap();
        let layers: Vec<Layer> = layers(&graph).unwrap().into_iter().filter(|layer| layer.obstacle.is_none()).collect();
        let names: Vec<String> = layers.iter().map(|layer| graph.nodes[layer.node].outputs[0].clone()).collect();
        let (_, responses) = executor.forward_with(&inputs, &names).unwrap();
        assert_eq!((measures.len(), responses.len()), (6, 6));
        for (layer, response) in layers.iter().zip(responses) {
            let places = response.size().iter().product::<i64>() / layer.outputs as i64;
            let scale = if layer.name == "fc1" { 0.5 } else { 1.0 };
            let actual = algebra::energy(&response).unwrap() / places as f64 / (scale * scale);
            let weight = layer.load(&graph).unwrap();
            let known = measures.get(&layer.name);
            let predicted = match layer.is_matrix() {
                true => measure::spectrum(&weight, known).unwrap().iter().sum(),
                false => algebra::energy(&measure::whiten(&weight, known).unwrap()).unwrap(),
            };
            // Of a kernel, channels and taps are told apart, and of all of them a little is shrunk away.
            let close = if layer.is_matrix() { 0.1 } else { 0.3 };
            assert!((predicted / actual - 1.0).abs() < close, "{}: {predicted} for {actual}", layer.name);
        }
    }

    /// Of what is too large for a float nothing is known, and the plan is that of the weights.
    #[test]
    fn answers_that_overflow_say_nothing() {
        let graph = fixture::wide();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let mut meter = Meter::new(&graph, &executor, &[]).unwrap();
        meter.read(&Tensor::full([4, 1024], 1e37, (Kind::Float, Device::Cpu))).unwrap();
        assert!(meter.measures().unwrap().is_empty());
    }

    #[test]
    fn large_networks_get_fewer_inputs() {
        let graph = fixture::network();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let meter = Meter::new(&graph, &executor, &[]).unwrap();
        assert_eq!(meter.inputs(), MOST_INPUTS);
    }

    /// The responses' moment is AᵀA of these rows A: the answers and, for what is shrunk, the weight once more.
    #[test]
    fn many_outputs_are_measured_by_their_inputs_and_have_the_spectrum_of_their_responses() {
        let graph = fixture::tall();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let mut meter = Meter::new(&graph, &executor, &[]).unwrap();
        let inputs = fixture::random(5, &[50, 12]);
        meter.read(&inputs.to_kind(Kind::Float)).unwrap();
        let measures = meter.measures().unwrap();
        let Some(known @ Measure::Inputs { channels, .. }) = measures.get("head") else { panic!("{measures:?}") };
        assert_eq!(channels.size(), [12, 12]);

        let weight = layers(&graph).unwrap().remove(0).load(&graph).unwrap();
        let even = algebra::energy(&inputs).unwrap() / 50.0 / 12.0;
        let answers = inputs.matmul(&weight.tr()) * ((1.0 - SHRINKAGE) / 50.0).sqrt();
        let rows = Tensor::cat(&[answers, weight.tr() * (SHRINKAGE * even).sqrt()], 0);
        let expected = algebra::spectrum(&rows).unwrap();
        let found = measure::spectrum(&weight, Some(known)).unwrap();
        assert_eq!(found.len(), 12);
        // Batches are summed in float32.
        assert!(
            found.iter().zip(&expected).all(|(found, one)| (found / one - 1.0).abs() < 1e-5),
            "{found:?} {expected:?}"
        );
        assert!(expected[12] < 1e-9 * expected[0]);
    }

    #[test]
    fn what_is_kept_is_not_measured() {
        let graph = fixture::tall();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let keep = |names: &[&str]| -> Result<Measures, Problem> {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut meter = Meter::new(&graph, &executor, &names)?;
            meter.read(&fixture::random(5, &[50, 12]).to_kind(Kind::Float))?;
            meter.measures()
        };
        assert!(keep(&["head"]).unwrap().is_empty());
        assert_eq!(keep(&["tail"]).unwrap_err().param.as_deref(), Some("config.compression.keep"));
    }
    /// An image runs through what is kept too, whose cost and width bound how many there are.
    #[test]
    fn what_is_kept_costs_as_much_as_ever() {
        let graph = fixture::heavy();
        let executor = Executor::new(&graph, Device::Cpu).unwrap();
        let meter = |keep: &[String]| Meter::new(&graph, &executor, keep).unwrap();
        let kept = meter(&["body".to_owned()]);
        assert_eq!((kept.layers.len(), kept.inputs(), kept.at_once()), (1, LEAST_INPUTS, 1));
        assert_eq!(meter(&[]).inputs(), LEAST_INPUTS);
        assert!(!kept.is_idle() && meter(&["body".to_owned(), "head".to_owned()]).is_idle());
    }
}
