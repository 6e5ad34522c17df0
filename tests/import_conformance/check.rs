//! One case: each float input in turn is what a network would compute with, the others are its constants.

use std::collections::BTreeMap;

use kegd::{
    domain::problem::{ErrorCode, Problem},
    engine::executor::Executor,
    formats::{
        dim::Dim,
        graph::{Graph, Tensor},
        onnx::{
            export,
            piece::{self, Computed, Piece},
            proto::{TensorProto, tensor_proto::DataType},
        },
    },
};
use tch::{Device, no_grad};

use crate::{arrays, cases::Case, skips};

pub enum Verdict {
    /// `batched`: also with a batch of any size, and again after an export.
    Passed {
        batched: bool,
    },
    Skipped(String),
    Failed(String),
}

/// Why one way to run a case gives no result to compare.
enum Miss {
    Refused(String),
    Wrong(String),
}

pub fn verdict(case: &Case) -> Verdict {
    let listed = skips::reason(case);
    match (run(case), listed) {
        (Ok(_), Some(reason)) => Verdict::Failed(format!("it passes, but is listed as left out: {reason}")),
        (Ok(batched), None) => Verdict::Passed { batched },
        (Err(_), Some(reason)) => Verdict::Skipped(reason.to_owned()),
        (Err(Miss::Refused(reason) | Miss::Wrong(reason)), None) => match of_types(case) {
            Some(types) => Verdict::Skipped(types),
            None => Verdict::Failed(reason),
        },
    }
}

/// A reason that lies in the types of a case's values.
fn of_types(case: &Case) -> Option<String> {
    let values = || case.inputs.iter().chain(&case.outputs).map(|(_, value)| value);
    if let Some(reason) = values().find_map(|value| value.as_ref().err()) {
        return Some(reason.clone());
    }
    use DataType::{Bfloat16, Bool, Double, Float, Float16, Int32, Int64};
    let strange = values().flatten().map(|tensor| tensor.data_type()).find(|kind| {
        let kind = DataType::try_from(*kind).unwrap_or(DataType::Undefined);
        !matches!(kind, Float | Double | Float16 | Bfloat16 | Int64 | Int32 | Bool)
    });
    strange.map(|_| "types that no network computes with: strings, and integers other than int32 and int64".to_owned())
}

fn run(case: &Case) -> Result<bool, Miss> {
    let refused = |reason: &String| Miss::Refused(reason.clone());
    let mut inputs: BTreeMap<String, TensorProto> = BTreeMap::new();
    for (name, value) in &case.inputs {
        inputs.insert(name.clone(), value.as_ref().map_err(refused)?.clone());
    }
    let mut batched = true;
    for (name, value) in case.outputs.iter().take(skips::outputs(case)).filter(|(name, _)| !name.is_empty()) {
        let expected = constant(value.as_ref().map_err(refused)?)?;
        batched &= output(case, &inputs, (name, &expected))?;
    }
    Ok(batched)
}

fn constant(proto: &TensorProto) -> Result<Tensor, Miss> {
    piece::constant(proto).map_err(|problem| Miss::Refused(problem.detail))
}

/// Compares one output in every way that is possible; one has to be. The first float input must be computable.
fn output(case: &Case, inputs: &BTreeMap<String, TensorProto>, wanted: (&str, &Tensor)) -> Result<bool, Miss> {
    let mut candidates: Vec<(&str, Tensor)> = Vec::new();
    for (name, value) in &case.inputs {
        let value = constant(value.as_ref().map_err(|reason| Miss::Refused(reason.clone()))?)?;
        if value.as_f32().is_some() && !value.shape.is_empty() && !value.is_empty() {
            candidates.push((name, value));
        }
    }
    let folded = match piece::lower(&case.bytes, wanted.0, inputs, None) {
        Ok(Piece::Known(own)) => compare(&own, wanted.1, "with constants alone").map(|()| false),
        Ok(_) => Err(Miss::Refused("it is computed from nothing".to_owned())),
        Err(problem) => Err(miss(problem)),
    };
    if let (Err(Miss::Wrong(reason)), _) | (Err(Miss::Refused(reason)), true) = (&folded, candidates.is_empty()) {
        return Err(Miss::Wrong(reason.clone()));
    }
    let mut batched = false;
    for (index, (name, x)) in candidates.iter().enumerate() {
        match computed(case, inputs, wanted, (name, x)) {
            Err(Miss::Refused(_)) if index > 0 => {}
            Err(miss) => return Err(miss),
            Ok(also_batched) => batched |= also_batched,
        }
    }
    Ok(batched)
}

fn miss(problem: Problem) -> Miss {
    let causes: Vec<String> = problem.errors.into_iter().map(|cause| cause.detail).collect();
    let reason = format!("{} {}", problem.detail, causes.join(" "));
    match problem.code {
        ErrorCode::UnsupportedOperators => Miss::Refused(reason),
        _ => Miss::Wrong(reason),
    }
}

fn compare(own: &Tensor, expected: &Tensor, how: &str) -> Result<(), Miss> {
    match arrays::difference(own, expected) {
        None => Ok(()),
        Some(difference) => Err(Miss::Wrong(format!("{how}: {difference}"))),
    }
}

/// With `name` computed: as it is, and, where that can be, as a batch of any size.
fn computed(
    case: &Case,
    inputs: &BTreeMap<String, TensorProto>,
    (output, expected): (&str, &Tensor),
    (name, x): (&str, &Tensor),
) -> Result<bool, Miss> {
    let mut known = inputs.clone();
    known.remove(name);
    let lower = |batch| {
        let input = Computed { name, shape: &x.shape, batch };
        piece::lower(&case.bytes, output, &known, Some(input)).map_err(miss)
    };
    let how = format!("computed from \"{name}\"");
    match lower(false)? {
        Piece::Known(own) => return compare(&own, expected, &how).map(|()| false),
        Piece::Unchanged => compare(x, expected, &how)?,
        Piece::Computed { graph, .. } => compare(&forward(&graph, x)?, expected, &how)?,
    }
    match lower(true) {
        Ok(Piece::Unchanged) => Ok(true),
        Ok(Piece::Computed { graph, dims }) => in_a_batch((&graph, &dims), (x, expected), &how).map(|()| true),
        // Along the batch nothing can be computed; neither is anything wrong with refusing more than was asked.
        Ok(Piece::Known(_)) | Err(_) => Ok(false),
    }
}

fn forward(graph: &Graph, x: &Tensor) -> Result<Tensor, Miss> {
    let executor = Executor::new(graph, Device::Cpu).map_err(|problem| Miss::Wrong(problem.detail))?;
    let y = no_grad(|| executor.forward(&arrays::to_torch(x))).map_err(|error| Miss::Wrong(error.to_string()))?;
    Ok(arrays::from_torch(&y))
}

/// The examples once, and twice: each is answered by itself. The same from a file that was written and read again.
fn in_a_batch((graph, dims): (&Graph, &[Dim]), (x, expected): (&Tensor, &Tensor), how: &str) -> Result<(), Miss> {
    let Some(axis) = dims.iter().position(|dim| dim.is_batched()) else {
        return Err(Miss::Wrong(format!("{how}: the batch is lost")));
    };
    let twice = |tensor: &Tensor, axis: usize| {
        let tensor = arrays::to_torch(tensor);
        arrays::from_torch(&tch::Tensor::cat(&[&tensor, &tensor], axis as i64))
    };
    let (x2, expected2) = (twice(x, 0), twice(expected, axis));
    compare(&forward(graph, x)?, expected, &format!("{how} in a batch"))?;
    compare(&forward(graph, &x2)?, &expected2, &format!("{how} in a larger batch"))?;
    let bytes = export(graph).map_err(|problem| Miss::Wrong(format!("{how}: the export fails: {}", problem.detail)))?;
    let input = Computed { name: &graph.input.name, shape: &x.shape, batch: true };
    match piece::lower(&bytes, &graph.output.name, &BTreeMap::new(), Some(input)).map_err(miss)? {
        Piece::Computed { graph, .. } => compare(&forward(&graph, &x2)?, &expected2, &format!("{how}, exported")),
        _ => Err(Miss::Wrong(format!("{how}: the exported file computes nothing"))),
    }
}
