//! Runs a graph on libtorch, with gradients to its input (a teacher) or to its weights (a student).

mod elementwise;
mod norm;
mod shape;
mod window;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use tch::{CModule, Device, Kind, TchError, Tensor, no_grad};

pub use self::norm::Statistics;

use crate::{
    domain::problem::{ErrorCode, Problem},
    engine::{learned, opaque, pieces},
    formats::graph::{self, Data, Graph, Node, Op},
};

/// Where an operator finds one of its inputs.
#[derive(Debug)]
enum Source {
    /// The value with this number.
    Value(usize),
    Weight(Tensor),
    Absent,
}

#[derive(Debug)]
struct Step {
    op: Op,
    sources: Vec<Source>,
    outputs: Vec<usize>,
    /// Values that no later step reads: dropped so that memory holds only what is alive.
    dead: Vec<usize>,
    /// What runs in the place of an opaque operator.
    module: Option<CModule>,
}

/// A graph with its weights on a device. Weights are frozen until [`Executor::train`].
#[derive(Debug)]
pub struct Executor {
    steps: Vec<Step>,
    /// Weights by initialiser name; the steps share the same storage.
    weights: BTreeMap<String, Tensor>,
    values: HashMap<String, usize>,
    input: usize,
    output: usize,
    device: Device,
    at_once: i64,
}

impl Executor {
    /// Puts the graph's weights on `device`.
    ///
    /// # Errors
    /// `invalid_model` where a node reads a value that nothing defines, and what libtorch reports.
    pub fn new(graph: &Graph, device: Device) -> Result<Self, Problem> {
        let mut weights = BTreeMap::new();
        for (name, tensor) in &graph.weights {
            weights.insert(name.clone(), to_tensor(tensor, device)?);
        }
        let mut values: HashMap<String, usize> = HashMap::from([(graph.input.name.clone(), 0)]);
        let mut steps = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            steps.push(step(node, &weights, &mut values, device)?);
        }
        let output = *values.get(&graph.output.name).ok_or_else(|| undefined(&graph.output.name, "the output"))?;
        mark_dead(&mut steps, output, values.len());
        // A network for batches of one size has no shapes for one input, and no pieces that are smaller than its batch.
        let at_once = pieces::at_once(graph).unwrap_or(pieces::MOST);
        Ok(Self { steps, weights, values, input: 0, output, device, at_once })
    }

    /// How many inputs it may run at once, where there are many and no gradients are wanted.
    pub fn at_once(&self) -> i64 {
        self.at_once
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// The graph's output for a batch `x` (N, …): (N, classes).
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        Ok(self.run(x, &[], Statistics::Running, |_| ())?.0)
    }

    /// Wall time of each node, in the graph's order.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn profile(&self, x: &Tensor) -> Result<Vec<Duration>, TchError> {
        let mut times = Vec::with_capacity(self.steps.len());
        let mut last = Instant::now();
        let _ = self.run(x, &[], Statistics::Running, |y| {
            if self.device.is_cuda() && y.numel() > 0 {
                // Reading a value waits for the GPU.
                let _ = y.f_flatten(0, -1).and_then(|flat| flat.f_double_value(&[0]));
            }
            times.push(last.elapsed());
            last = Instant::now();
        })?;
        Ok(times)
    }

    /// The output, and the named values on the way to it; names that the graph does not have are left out.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward_with(&self, x: &Tensor, names: &[String]) -> Result<(Tensor, Vec<Tensor>), TchError> {
        self.forward_by(x, names, Statistics::Running)
    }

    /// As [`Self::forward_with`], with batch norm by these statistics.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn forward_by(
        &self,
        x: &Tensor,
        names: &[String],
        statistics: Statistics,
    ) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let wanted: Vec<usize> = names.iter().filter_map(|name| self.values.get(name).copied()).collect();
        self.run(x, &wanted, statistics, |_| ())
    }

    fn run(
        &self,
        x: &Tensor,
        wanted: &[usize],
        statistics: Statistics,
        mut after: impl FnMut(&Tensor),
    ) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let mut alive: Vec<Option<Tensor>> = (0..self.values.len()).map(|_| None).collect();
        let mut kept: HashMap<usize, Tensor> = HashMap::new();
        alive[self.input] = Some(x.shallow_clone());
        if wanted.contains(&self.input) {
            kept.insert(self.input, x.shallow_clone());
        }
        for step in &self.steps {
            let inputs: Vec<Option<Tensor>> = step
                .sources
                .iter()
                .map(|source| match source {
                    Source::Value(value) => alive[*value].as_ref().map(Tensor::shallow_clone),
                    Source::Weight(weight) => Some(weight.shallow_clone()),
                    Source::Absent => None,
                })
                .collect();
            let outputs = match (&step.module, inputs.as_slice()) {
                (Some(module), [Some(x)]) => vec![module.forward_ts(&[x])?],
                _ => apply(&step.op, &inputs, statistics)?,
            };
            outputs.first().into_iter().for_each(&mut after);
            for (value, tensor) in step.outputs.iter().zip(outputs) {
                if wanted.contains(value) {
                    kept.insert(*value, tensor.shallow_clone());
                }
                alive[*value] = Some(tensor);
            }
            for &value in &step.dead {
                alive[value] = None;
            }
        }
        let output =
            alive[self.output].take().ok_or_else(|| TchError::Shape("the output was never computed".into()))?;
        Ok((output, wanted.iter().filter_map(|value| kept.get(value).map(Tensor::shallow_clone)).collect()))
    }

    /// Makes every float weight that a layer learns require a gradient, and returns them by name, in order.
    ///
    /// Running statistics and folded constants stay as they are: they are no parameters of the uploaded network.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn train(&self) -> Result<Vec<(String, Tensor)>, TchError> {
        let mut parameters: BTreeMap<String, Tensor> = BTreeMap::new();
        for step in &self.steps {
            for source in learned::inputs(&step.op).iter().filter_map(|&index| step.sources.get(index)) {
                if let Source::Weight(weight) = source
                    && let Some((name, weight)) =
                        self.weights.iter().find(|(_, known)| known.data_ptr() == weight.data_ptr())
                    && weight.kind() == Kind::Float
                    && learned::is_parameter(&step.op, weight.numel(), largest(weight)?)
                {
                    parameters.insert(name.clone(), weight.shallow_clone());
                }
            }
        }
        for weight in parameters.values() {
            let _ = weight.f_set_requires_grad(true)?;
        }
        Ok(parameters.into_iter().collect())
    }

    /// The running statistics of batch norm by name, in order; they share storage with those that run.
    pub fn statistics(&self) -> Vec<(String, Tensor)> {
        let norms = self.steps.iter().filter(|step| matches!(step.op, Op::BatchNorm { .. }));
        let sources = norms.flat_map(|step| step.sources.iter().skip(3));
        let pointers: Vec<_> = sources
            .filter_map(|source| match source {
                Source::Weight(weight) => Some(weight.data_ptr()),
                _ => None,
            })
            .collect();
        self.weights().into_iter().filter(|(_, weight)| pointers.contains(&weight.data_ptr())).collect()
    }

    /// All weights and constants by name, in order; they share storage with those that run.
    pub fn weights(&self) -> Vec<(String, Tensor)> {
        self.weights.iter().map(|(name, weight)| (name.clone(), weight.shallow_clone())).collect()
    }

    /// A copy of `graph` that carries the weights as they are now.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn write_back(&self, graph: &Graph) -> Result<Graph, Problem> {
        let mut graph = graph.clone();
        for (name, constant) in &mut graph.weights {
            if let (Some(weight), Data::F32(values)) = (self.weights.get(name), &mut constant.data) {
                let flat = no_grad(|| weight.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?.f_view([-1]))?;
                flat.f_copy_data(values, flat.numel())?;
            }
        }
        Ok(graph)
    }

    /// Takes values for its weights, by name.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn copy_from(&self, weights: &[(String, Tensor)]) -> Result<(), TchError> {
        no_grad(|| {
            for (name, value) in weights {
                if let Some(weight) = self.weights.get(name) {
                    weight.shallow_clone().f_copy_(value)?;
                }
            }
            Ok(())
        })
    }
}

/// Of the sizes of its values.
fn largest(weight: &Tensor) -> Result<f64, TchError> {
    if weight.numel() == 0 { Ok(0.0) } else { weight.f_detach()?.f_abs()?.f_max()?.f_double_value(&[]) }
}

fn step(
    node: &Node,
    weights: &BTreeMap<String, Tensor>,
    values: &mut HashMap<String, usize>,
    device: Device,
) -> Result<Step, Problem> {
    let mut sources = Vec::with_capacity(node.inputs.len());
    for name in &node.inputs {
        sources.push(if name.is_empty() {
            Source::Absent
        } else if let Some(value) = values.get(name) {
            Source::Value(*value)
        } else if let Some(weight) = weights.get(name) {
            Source::Weight(weight.shallow_clone())
        } else {
            return Err(undefined(name, &node.name));
        });
    }
    let outputs = node
        .outputs
        .iter()
        .map(|name| {
            let next = values.len();
            *values.entry(name.clone()).or_insert(next)
        })
        .collect();
    let module = match &node.op {
        Op::Opaque(module) => Some(opaque::load(&module.archive, device)?),
        _ => None,
    };
    Ok(Step { op: node.op.clone(), sources, outputs, dead: Vec::new(), module })
}

fn mark_dead(steps: &mut [Step], output: usize, values: usize) {
    let mut last = vec![None; values];
    for (index, step) in steps.iter().enumerate() {
        for source in &step.sources {
            if let Source::Value(value) = source {
                last[*value] = Some(index);
            }
        }
    }
    for (value, reader) in last.into_iter().enumerate() {
        if let Some(index) = reader
            && value != output
        {
            steps[index].dead.push(value);
        }
    }
}

fn undefined(name: &str, reader: &str) -> Problem {
    Problem::new(ErrorCode::InvalidModel, format!("{reader} reads `{name}`, which nothing defines"))
}

fn to_tensor(constant: &graph::Tensor, device: Device) -> Result<Tensor, TchError> {
    let shape: Vec<i64> = constant.shape.iter().map(|&extent| extent as i64).collect();
    let flat = match &constant.data {
        Data::F32(values) => Tensor::f_from_slice(values)?,
        Data::I64(values) => Tensor::f_from_slice(values)?,
        Data::Bool(values) => Tensor::f_from_slice(values)?,
    };
    flat.f_view(shape.as_slice())?.f_to_device(device)
}

/// Applies one operator. An absent optional input is `None`; a missing required one is an error, not a panic.
fn apply(op: &Op, inputs: &[Option<Tensor>], statistics: Statistics) -> Result<Vec<Tensor>, TchError> {
    let required = |index: usize| {
        inputs
            .get(index)
            .and_then(Option::as_ref)
            .ok_or_else(|| TchError::Shape(format!("{op:?} lacks its input {index}")))
    };
    let optional = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let x = required(0)?;
    let y = match op {
        Op::Conv { window, groups } => window::conv(x, required(1)?, optional(2), window, *groups)?,
        Op::ConvTranspose { window, groups, output_padding } => {
            window::conv_transpose(x, required(1)?, optional(2), window, *groups, output_padding)?
        }
        Op::MaxPool { window } => window::max_pool(x, window)?,
        Op::AveragePool { window, count_include_pad } => window::average_pool(x, window, *count_include_pad)?,
        Op::GlobalAveragePool => x.f_mean_dim(window::spatial(x), true, Kind::Float)?,
        Op::GlobalMaxPool => x.f_amax(window::spatial(x), true)?,
        Op::Gemm { alpha, beta, trans_b } => gemm(x, required(1)?, optional(2), (*alpha, *beta), *trans_b)?,
        Op::MatMul => x.f_matmul(required(1)?)?,
        Op::BatchNorm { epsilon } => {
            let parameters = (required(1)?, required(2)?, required(3)?, required(4)?);
            norm::batch_norm(x, parameters, *epsilon, statistics)?
        }
        Op::LayerNorm { axis, epsilon } => norm::layer_norm(x, (required(1)?, optional(2)), *axis, *epsilon)?,
        Op::InstanceNorm { epsilon } => {
            let (scale, bias) = (required(1)?, required(2)?);
            let none: Option<&Tensor> = None;
            x.f_instance_norm(Some(scale), Some(bias), none, none, true, 0.0, f64::from(*epsilon), true)?
        }
        Op::Concat { axis } => {
            let all: Vec<&Tensor> = inputs.iter().flatten().collect();
            Tensor::f_cat(&all, *axis as i64)?
        }
        Op::Split { axis, sizes } => {
            let sizes: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
            return x.f_split_with_sizes(sizes, *axis as i64);
        }
        Op::Binary(kind) => elementwise::binary(*kind, x, required(1)?)?,
        Op::PRelu => elementwise::prelu(x, required(1)?)?,
        other => match elementwise::unary(other, x)? {
            Some(y) => y,
            None => shape::reshape(other, x)?,
        },
    };
    Ok(vec![y])
}

fn gemm(a: &Tensor, b: &Tensor, c: Option<&Tensor>, scale: (f32, f32), trans_b: bool) -> Result<Tensor, TchError> {
    let (alpha, beta) = scale;
    let b = if trans_b { b.f_transpose(0, 1)? } else { b.shallow_clone() };
    let product = a.f_matmul(&b)?;
    let product = if alpha == 1.0 { product } else { product.f_mul_scalar(f64::from(alpha))? };
    match c {
        None => Ok(product),
        Some(c) if beta == 1.0 => product.f_add(c),
        Some(c) => product.f_add(&c.f_mul_scalar(f64::from(beta))?),
    }
}
