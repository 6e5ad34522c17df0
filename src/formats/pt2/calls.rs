//! Nodes of a program as calls of operators, with the values they name looked up.

use super::schema::{Argument, Float, Node, OptionalTensor, SymIntArgument};
use crate::formats::{
    aten::{Arg, Call, Context, scalar_of},
    dim::Dim,
    value::Value,
};

/// The operator of a target: `torch.ops.aten.conv2d.default` is `conv2d`, and Python's own keep their module.
pub fn operator(target: &str) -> Option<&str> {
    match target.strip_prefix("torch.ops.aten.") {
        Some(rest) => rest.split('.').next(),
        None if target.starts_with("_operator.") => Some(target),
        None => None,
    }
}

/// Names of the values that an argument reads.
pub fn names(argument: &Argument) -> Vec<&str> {
    match argument {
        Argument::AsTensor(tensor) | Argument::AsOptionalTensor(OptionalTensor::AsTensor(tensor)) => vec![&tensor.name],
        Argument::AsTensors(tensors) => tensors.iter().map(|tensor| tensor.name.as_str()).collect(),
        Argument::AsOptionalTensors(tensors) => tensors
            .iter()
            .filter_map(|tensor| match tensor {
                OptionalTensor::AsTensor(tensor) => Some(tensor.name.as_str()),
                OptionalTensor::AsNone(_) => None,
            })
            .collect(),
        Argument::AsSymInt(SymIntArgument::AsName(name)) => vec![name],
        Argument::AsSymInts(ints) => ints
            .iter()
            .filter_map(|int| match int {
                SymIntArgument::AsName(name) => Some(name.as_str()),
                SymIntArgument::AsInt(_) => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Names of the values that a node makes; of some, nobody reads them, and they have none.
pub fn outputs(node: &Node) -> Vec<String> {
    let of_one = |output: &Argument| match output {
        Argument::AsNone(_) => vec![String::new()],
        other => names(other).into_iter().map(str::to_owned).collect(),
    };
    node.outputs.iter().flat_map(of_one).collect()
}

/// The name of the node's first tensor, which is what views look at and what operators in place change.
pub fn source(node: &Node) -> Option<&str> {
    node.inputs.first().and_then(|input| names(&input.arg).first().copied())
}

/// The node as a call; `outputs` without those that nobody reads.
///
/// # Errors
/// The name of a value that nothing makes.
pub fn call(context: &Context, node: &Node, operator: &str, outputs: Vec<String>) -> Result<Call, String> {
    let mut args = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        args.push((input.name.clone(), arg(context, &input.arg)?));
    }
    let name = node.name.clone().or_else(|| outputs.first().cloned()).unwrap_or_default();
    Ok(Call { operator: operator.to_owned(), name, outputs, args })
}

fn arg(context: &Context, argument: &Argument) -> Result<Arg, String> {
    let value = |name: &str| -> Result<Value, String> { context.value(name).cloned().ok_or_else(|| name.to_owned()) };
    let int = |int: &SymIntArgument| match int {
        SymIntArgument::AsInt(number) => Ok(Some(Dim::fixed(*number))),
        SymIntArgument::AsName(name) => Ok::<_, String>(scalar_of(&value(name)?)),
    };
    Ok(match argument {
        Argument::AsNone(_) | Argument::AsOptionalTensor(OptionalTensor::AsNone(_)) => Arg::None,
        Argument::AsTensor(tensor) | Argument::AsOptionalTensor(OptionalTensor::AsTensor(tensor)) => {
            Arg::Tensor(value(&tensor.name)?)
        }
        Argument::AsTensors(tensors) => {
            Arg::Tensors(tensors.iter().map(|tensor| value(&tensor.name)).collect::<Result<_, _>>()?)
        }
        Argument::AsOptionalTensors(tensors) => {
            let one = |tensor: &OptionalTensor| match tensor {
                OptionalTensor::AsTensor(tensor) => value(&tensor.name).map(Some),
                OptionalTensor::AsNone(_) => Ok(None),
            };
            Arg::Optional(tensors.iter().map(one).collect::<Result<_, _>>()?)
        }
        Argument::AsInt(number) | Argument::AsScalarType(number) => Arg::Int(Dim::fixed(*number)),
        Argument::AsInts(numbers) => Arg::Ints(numbers.iter().copied().map(Dim::fixed).collect()),
        Argument::AsSymInt(one) => int(one)?.map_or(Arg::Other, Arg::Int),
        Argument::AsSymInts(ints) => {
            let dims = ints.iter().map(int).collect::<Result<Option<Vec<Dim>>, _>>()?;
            dims.map_or(Arg::Other, Arg::Ints)
        }
        Argument::AsFloat(number) => Arg::Float(float(number)),
        Argument::AsFloats(numbers) => Arg::Floats(numbers.iter().map(float).collect()),
        Argument::AsBool(truth) => Arg::Bool(*truth),
        Argument::AsString(text) => Arg::Text(text.clone()),
        _ => Arg::Other,
    })
}

/// As JSON has no infinities, they are written as words.
fn float(number: &Float) -> f64 {
    match number {
        Float::Number(number) => *number,
        Float::Text(text) => match text.as_str() {
            "Infinity" => f64::INFINITY,
            "-Infinity" => f64::NEG_INFINITY,
            _ => f64::NAN,
        },
    }
}
