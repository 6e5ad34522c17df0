//! Builds a graph layer by layer, and keeps track of shapes.

use std::collections::BTreeMap;

use super::{Blueprint, Shapes, Sizes};
use crate::{
    domain::{
        architecture::Architecture,
        problem::{ErrorCode, Problem},
    },
    formats::{
        dim::Dim,
        graph::{Binary, Node, Op, Port, Unary, Window},
        lowering::check_size,
        refusal::Refusal,
        shapes,
    },
};

/// Of `nn.BatchNorm2d`, where nothing else is said.
const EPSILON: f32 = 1e-5;

/// A value on its way through the network, by name.
#[derive(Clone, Debug)]
pub struct Value(String);

/// A square convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub groups: usize,
    pub bias: bool,
}

impl Conv {
    /// Stride 1, without padding, groups and bias.
    pub fn new(outputs: usize, kernel: usize) -> Self {
        Self { outputs, kernel, stride: 1, padding: 0, groups: 1, bias: false }
    }
}

pub struct Builder<'a> {
    architecture: Architecture,
    sizes: Sizes<'a>,
    nodes: Vec<Node>,
    parameters: Shapes,
    /// Of every value so far, the batch first.
    dims: BTreeMap<String, Vec<Dim>>,
}

impl<'a> Builder<'a> {
    /// With its input.
    ///
    /// # Errors
    /// `invalid_config` where the input has no elements, or too many.
    pub fn new(architecture: Architecture, sizes: Sizes<'a>) -> Result<(Self, Value), Problem> {
        let mut builder =
            Self { architecture, sizes, nodes: Vec::new(), parameters: Shapes::new(), dims: BTreeMap::new() };
        let dims = std::iter::once(Some(Dim::N)).chain(sizes.input.iter().map(|extent| fixed(*extent)));
        let dims: Option<Vec<Dim>> = dims.collect();
        let dims =
            dims.filter(|dims| dims.len() > 1).ok_or_else(|| builder.refuse("the input", "it is none".into()))?;
        check_size(&dims).map_err(|refusal| builder.refuse("the input", refusal))?;
        builder.dims.insert("input".to_owned(), dims);
        Ok((builder, Value("input".to_owned())))
    }

    /// Extents of a value without the batch.
    pub fn extents(&self, x: &Value) -> Vec<usize> {
        let dims = self.dims.get(&x.0).map_or(&[][..], Vec::as_slice);
        dims.iter().skip(1).map(|dim| dim.extent().unwrap_or(0)).collect()
    }

    /// Channels of an image, or features.
    pub fn channels(&self, x: &Value) -> usize {
        self.extents(x).first().copied().unwrap_or(0)
    }

    /// The width of a layer: that of its weight where one was found, `usual` elsewhere.
    pub fn width(&self, layer: &str, usual: usize) -> usize {
        let found = self.sizes.found.get(&format!("{layer}.weight")).and_then(|shape| shape.first().copied());
        found.filter(|width| *width > 0).unwrap_or(usual)
    }

    /// Whether a weight of that name was found.
    pub fn has(&self, weight: &str) -> bool {
        self.sizes.found.contains_key(weight)
    }

    /// # Errors
    /// `invalid_config` where the convolution does not fit its input; so do all that follow.
    pub fn conv(&mut self, x: &Value, layer: &str, conv: Conv) -> Result<Value, Problem> {
        let Conv { outputs, kernel, stride, padding, groups, bias } = conv;
        let inputs = self.channels(x) / groups.max(1);
        let weight = self.parameter(format!("{layer}.weight"), vec![outputs, inputs, kernel, kernel]);
        let bias = bias.then(|| self.parameter(format!("{layer}.bias"), vec![outputs]));
        let window = square(kernel, stride, padding);
        let inputs: Vec<String> = [Some(x.0.clone()), Some(weight), bias].into_iter().flatten().collect();
        self.push(layer, Op::Conv { window, groups }, inputs)
    }

    pub fn batch_norm(&mut self, x: &Value, layer: &str) -> Result<Value, Problem> {
        let channels = self.channels(x);
        let parts = ["weight", "bias", "running_mean", "running_var"];
        let parts = parts.map(|part| self.parameter(format!("{layer}.{part}"), vec![channels]));
        let inputs = std::iter::once(x.0.clone()).chain(parts).collect();
        self.push(layer, Op::BatchNorm { epsilon: EPSILON }, inputs)
    }

    pub fn linear(&mut self, x: &Value, layer: &str, outputs: usize) -> Result<Value, Problem> {
        let weight = self.parameter(format!("{layer}.weight"), vec![outputs, self.channels(x)]);
        let bias = self.parameter(format!("{layer}.bias"), vec![outputs]);
        self.push(layer, Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true }, vec![x.0.clone(), weight, bias])
    }

    pub fn relu(&mut self, x: &Value, name: &str) -> Result<Value, Problem> {
        self.apply(x, name, Op::Unary(Unary::Relu))
    }

    pub fn max_pool(&mut self, x: &Value, name: &str, window: (usize, usize, usize)) -> Result<Value, Problem> {
        let (kernel, stride, padding) = window;
        self.apply(x, name, Op::MaxPool { window: square(kernel, stride, padding) })
    }

    pub fn add(&mut self, a: &Value, b: &Value, name: &str) -> Result<Value, Problem> {
        self.push(name, Op::Binary(Binary::Add), vec![a.0.clone(), b.0.clone()])
    }

    /// (N, …) as (N, features).
    pub fn flatten(&mut self, x: &Value, name: &str) -> Result<Value, Problem> {
        let features = self.extents(x).into_iter().try_fold(1i64, |size, extent| size.checked_mul(extent as i64));
        let features = features.ok_or_else(|| self.refuse(name, "its extents overflow".into()))?;
        self.apply(x, name, Op::Reshape { shape: vec![-1, features] })
    }

    /// An operator of one input, without weights.
    pub fn apply(&mut self, x: &Value, name: &str, op: Op) -> Result<Value, Problem> {
        self.push(name, op, vec![x.0.clone()])
    }

    /// Why this architecture cannot be built as asked.
    pub fn refuse(&self, place: &str, refusal: Refusal) -> Problem {
        let (architecture, input) = (self.architecture, self.sizes.input);
        let detail = format!("`{architecture}` does not work on an input of {input:?}: {place}: {}.", refusal.reason());
        Problem::new(ErrorCode::InvalidConfig, detail).param("config.input.shape").hint(format!(
            "It was made for {:?}. Give the input's shape without the batch: {{\"input\": {{\"shape\": {:?}}}}}.",
            architecture.input(),
            architecture.input()
        ))
    }

    fn parameter(&mut self, name: String, shape: Vec<usize>) -> String {
        self.parameters.insert(name.clone(), shape);
        name
    }

    fn push(&mut self, name: &str, op: Op, inputs: Vec<String>) -> Result<Value, Problem> {
        let dims = self.dims_of(&op, &inputs).map_err(|refusal| self.refuse(name, refusal))?;
        let output = format!("{name}.output");
        self.dims.insert(output.clone(), dims);
        self.nodes.push(Node { name: name.to_owned(), op, inputs, outputs: vec![output.clone()] });
        Ok(Value(output))
    }

    fn dims_of(&self, op: &Op, inputs: &[String]) -> Result<Vec<Dim>, Refusal> {
        let known = |name: &String| -> Option<Vec<Dim>> {
            let constant = || self.parameters.get(name)?.iter().map(|extent| fixed(*extent)).collect();
            self.dims.get(name).cloned().or_else(constant)
        };
        let inputs: Vec<Option<Vec<Dim>>> = inputs.iter().map(known).collect();
        let inputs: Vec<Option<&[Dim]>> = inputs.iter().map(Option::as_deref).collect();
        let dims = shapes::outputs(op, &inputs)?.into_iter().next().unwrap_or_default();
        check_size(&dims)?;
        Ok(dims)
    }

    /// `logits` is what the network answers.
    pub fn finish(mut self, logits: Value) -> Blueprint {
        let output = "logits".to_owned();
        for name in self.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs)) {
            if *name == logits.0 {
                name.clone_from(&output);
            }
        }
        let input = Port { name: "input".to_owned(), shape: self.sizes.input.to_vec() };
        let output = Port { name: output, shape: vec![self.sizes.classes] };
        Blueprint { input, output, nodes: self.nodes, parameters: self.parameters }
    }
}

fn fixed(extent: usize) -> Option<Dim> {
    i64::try_from(extent).ok().map(Dim::fixed)
}

fn square(kernel: usize, stride: usize, padding: usize) -> Window {
    Window {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        pads_begin: vec![padding; 2],
        pads_end: vec![padding; 2],
        ceil: false,
    }
}
