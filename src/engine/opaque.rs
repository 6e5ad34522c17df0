//! Teachers that can but be asked: TorchScript modules with operators that have no rule here, run by libtorch's own interpreter.

use std::{io::Cursor, sync::Arc};

use tch::{CModule, Device, Kind, TchError, Tensor, no_grad};

use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::{
        graph::{Graph, Node, Op, Opaque, Port, Unary},
        imported::{ImportOptions, Imported},
        layout, torchscript,
    },
};

/// The opset that a graph is written with as ONNX; this one never is.
const OPSET: i64 = 18;
/// How many inputs show what the answers look like.
const TRIED: i64 = 8;
/// How far from 1 probabilities may add up.
const ROUNDING: f64 = 1e-3;
/// Below it, the logarithm of a probability is that of this one.
const SMALLEST: f32 = 1e-12;

/// Reads a module as one operator.
///
/// # Errors
/// `not_a_classifier` where it does not answer with one row of scores for each input, and why libtorch does not run it.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported, Problem> {
    let input = torchscript::port(bytes, options)?;
    let module = load(bytes, Device::Cpu)?;
    let answer = ask(&module, &input.shape).map_err(|error| cannot_run(&error))?;
    let classes = classes(&answer)?;
    let parameters = module.named_parameters().map_err(|error| cannot_run(&error))?;
    let parameters = parameters.iter().map(|(_, tensor)| tensor.numel() as u64).sum();
    let op = Op::Opaque(Opaque { archive: Arc::from(bytes), classes, parameters });
    let (nodes, output) =
        if are_probabilities(&answer)? { with_logits(op, &input.name) } else { alone(op, &input.name) };
    let output = Port { name: output.to_owned(), shape: vec![classes] };
    let (layout, weights) = Default::default();
    let graph = Graph { input, layout, output, nodes, weights, opset: OPSET, metadata: [].into() };
    let warning = "The module has operators that are not known: it teaches as it is, nothing in it can be compressed, and its \
        multiply-accumulates are not counted.";
    Ok(layout::settle(Imported::new(graph, vec![warning.to_owned()])))
}

/// The module of an archive, as after `.eval()`; no gradient reaches its weights.
///
/// # Errors
/// `invalid_model` where libtorch does not load it.
pub fn load(archive: &[u8], device: Device) -> Result<CModule, Problem> {
    let mut module =
        CModule::load_data_on_device(&mut Cursor::new(archive), device).map_err(|error| cannot_run(&error))?;
    module.f_set_eval().map_err(|error| cannot_run(&error))?;
    for (_, weight) in module.named_parameters().map_err(|error| cannot_run(&error))? {
        let _ = weight.f_set_requires_grad(false).map_err(|error| cannot_run(&error))?;
    }
    Ok(module)
}

fn cannot_run(error: &TchError) -> Problem {
    let text = error.to_string();
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    Problem::new(ErrorCode::InvalidModel, format!("libtorch does not run the module: {first}."))
        .param("model")
        .hint("Does it run in Python, for a batch of two, with torch.jit.load? Give config.input.shape where it is another one.")
}

fn ask(module: &CModule, shape: &[usize]) -> Result<Tensor, TchError> {
    let extents: Vec<i64> = std::iter::once(TRIED).chain(shape.iter().map(|extent| *extent as i64)).collect();
    no_grad(|| {
        let x = Tensor::f_randn(&extents, (Kind::Float, Device::Cpu))?;
        module.forward_ts(&[x])?.f_to_kind(Kind::Float)
    })
}

fn classes(answer: &Tensor) -> Result<usize, Problem> {
    match answer.size()[..] {
        [TRIED, classes] if classes >= 2 => Ok(classes as usize),
        _ => {
            let shape = answer.size();
            let detail = format!("To {TRIED} inputs, the module answers with {shape:?}.");
            Err(Problem::new(ErrorCode::NotAClassifier, detail)
                .param("model")
                .hint("A classifier answers with one row of two or more class scores for each input: (N, classes)."))
        }
    }
}

fn are_probabilities(answer: &Tensor) -> Result<bool, TchError> {
    let sums = answer.f_sum_dim_intlist([1].as_slice(), false, Kind::Float)?;
    let apart = sums.f_sub_scalar(1.0)?.f_abs()?.f_max()?.f_double_value(&[])?;
    Ok(apart <= ROUNDING && answer.f_min()?.f_double_value(&[])? >= 0.0)
}

fn node(op: Op, input: &str, output: &str) -> Node {
    Node { name: output.to_owned(), op, inputs: vec![input.to_owned()], outputs: vec![output.to_owned()] }
}

fn alone(op: Op, input: &str) -> (Vec<Node>, &'static str) {
    (vec![node(op, input, "scores")], "scores")
}

/// Probabilities are their own softmax's: that of their logarithms, which are the logits that losses compare.
fn with_logits(op: Op, input: &str) -> (Vec<Node>, &'static str) {
    let clip = Op::Clip { min: Some(SMALLEST), max: None };
    let log = Op::Unary(Unary::Log);
    let nodes = vec![
        node(op, input, "answer"),
        node(clip, "answer", "positive"),
        node(log, "positive", "scores"),
        node(Op::Softmax { axis: 1 }, "scores", "probabilities"),
    ];
    (nodes, "probabilities")
}
