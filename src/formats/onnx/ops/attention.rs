//! <https://onnx.ai/onnx/operators/onnx__Attention.html> (from opset 23): scaled dot-product attention, in terms of products and
//! a softmax. Classifiers answer at once, so a cache of earlier keys and values is refused; so is a mask that is computed.

use super::Lower;
use crate::formats::{
    dim::{Dim, show},
    graph::{Binary, Op, Unary},
    lowering::tile,
    onnx::{
        array::{Array, Elements},
        call::{Call, Value},
        lowering::{Lowering, MAX_ELEMENTS, bounded},
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Attention", lower)];

/// What masks out: below every score, and finite, so that a row that is all masked out has a softmax.
const MASKED: f32 = f32::MIN;

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    if (4..7).any(|index| call.optional(index).is_some()) || call.outputs().count() > 1 {
        return Err(Refusal::unsupported("it keeps keys and values for later, or gives its scores away"));
    }
    let rank = call.dims(0)?.len();
    let query = heads(graph, call, 0, "q_num_heads")?;
    let (key, value) = (heads(graph, call, 1, "kv_num_heads")?, heads(graph, call, 2, "kv_num_heads")?);
    let count = query.dims()?[1];
    let (key, value) = (shared(graph, call, key, count)?, shared(graph, call, value, count)?);
    let scores = scores(graph, call, &query, &key)?;
    let scores = masked(graph, call, scores)?;
    let weights = graph.step(call, Op::Softmax { axis: 3 }, &[Some(&scores)], "weights")?;
    if rank == 4 {
        return graph.finish(call, Op::MatMul, &[Some(&weights), Some(&value)]);
    }
    let answer = graph.step(call, Op::MatMul, &[Some(&weights), Some(&value)], "heads")?;
    let turned = graph.step(call, Op::Transpose { perm: vec![0, 2, 1, 3] }, &[Some(&answer)], "turned")?;
    let &[batch, length, heads, size] = turned.dims()?.as_slice() else { return Err("its heads are lost".into()) };
    let width = heads.times(size).ok_or("its extents overflow")?;
    graph.reshape(call, &turned, &[batch, length, width])
}

/// An input as (N, heads, length, size).
fn heads(graph: &mut Lowering, call: &Call, index: usize, attribute: &str) -> Result<Value, Refusal> {
    let x = call.input(index)?;
    let dims = x.dims()?;
    match *dims.as_slice() {
        [_, _, _, _] => Ok(x.clone()),
        [batch, length, width] => {
            let count = Dim::fixed(call.int(attribute, 0)?);
            let size = width.over(count).filter(|size| size.times(count) == Some(width));
            let size = size.ok_or_else(|| format!("{} does not fall into {count} heads", show(&dims)))?;
            let apart = graph.reshaped(call, x, &[batch, length, count, size], "apart")?;
            graph.step(call, Op::Transpose { perm: vec![0, 2, 1, 3] }, &[Some(&apart)], "head")
        }
        _ => Err(format!("its input {index} has the shape {}", show(&dims)).into()),
    }
}

/// Each head of keys or values once for each query head that shares it.
fn shared(graph: &mut Lowering, call: &Call, value: Value, count: Dim) -> Result<Value, Refusal> {
    let dims = value.dims()?;
    let times = count.over(dims[1]).filter(|times| times.times(dims[1]) == Some(count)).and_then(Dim::number);
    let times = times.ok_or_else(|| format!("{} heads of keys do not serve {count} of queries", dims[1]))?;
    if times == 1 {
        return Ok(value);
    }
    let mut apart = dims.clone();
    apart.insert(2, Dim::ONE);
    let apart = graph.reshaped(call, &value, &apart, "single")?;
    let repeated = tile::repeat(graph, call, &apart, (2, times))?;
    graph.reshaped(call, &repeated, &[dims[0], count, dims[2], dims[3]], "shared")
}

/// (N, heads, queries, keys), scaled, and capped where the node says so.
fn scores(graph: &mut Lowering, call: &Call, query: &Value, key: &Value) -> Result<Value, Refusal> {
    let size = query.dims()?[3].number().ok_or("its heads are as wide as the batch")?;
    let scale = call.float("scale", (1.0 / (size as f64).sqrt()) as f32)?;
    // Shared between both sides, as the specification has it, so that no product overflows.
    let root = graph.constant(call, "scale", Array::floats(vec![], vec![scale.sqrt()]));
    let query = graph.step(call, Op::Binary(Binary::Mul), &[Some(query), Some(&root)], "query")?;
    let key = graph.step(call, Op::Binary(Binary::Mul), &[Some(key), Some(&root)], "key")?;
    let key = graph.step(call, Op::Transpose { perm: vec![0, 1, 3, 2] }, &[Some(&key)], "key_turned")?;
    let scores = graph.step(call, Op::MatMul, &[Some(&query), Some(&key)], "scores")?;
    let cap = call.float("softcap", 0.0)?;
    if cap <= 0.0 {
        return Ok(scores);
    }
    let cap = graph.constant(call, "cap", Array::floats(vec![], vec![cap]));
    let small = graph.step(call, Op::Binary(Binary::Div), &[Some(&scores), Some(&cap)], "small")?;
    let bent = graph.step(call, Op::Unary(Unary::Tanh), &[Some(&small)], "bent")?;
    graph.step(call, Op::Binary(Binary::Mul), &[Some(&bent), Some(&cap)], "capped")
}

/// The scores with the constant mask added, and the future masked out where the node is causal.
fn masked(graph: &mut Lowering, call: &Call, mut scores: Value) -> Result<Value, Refusal> {
    if let Some(mask) = call.constant(3)? {
        let values = match &mask.elements {
            Elements::Bool(values) => values.iter().map(|seen| if *seen { 0.0 } else { MASKED }).collect(),
            Elements::F32(values) => values.iter().map(|value| value.max(MASKED)).collect(),
            Elements::Int(_) => return Err("its mask is of integers".into()),
        };
        graph.charge(mask.len())?;
        let mask = graph.constant(call, "mask", Array::floats(mask.shape.clone(), values));
        scores = graph.step(call, Op::Binary(Binary::Add), &[Some(&scores), Some(&mask)], "masked")?;
    }
    if call.int("is_causal", 0)? == 0 {
        return Ok(scores);
    }
    let dims = scores.dims()?;
    let (Some(rows), Some(columns)) = (dims[2].extent(), dims[3].extent()) else {
        return Err(Refusal::unsupported(format!("its scores {} have the batch in them", show(&dims))));
    };
    graph.charge(bounded(&[rows, columns], MAX_ELEMENTS as usize)?)?;
    let future = |index: usize| if index % columns > index / columns { MASKED } else { 0.0 };
    let mask = Array::floats(vec![rows, columns], (0..rows * columns).map(future).collect());
    let mask = graph.constant(call, "causal", mask);
    graph.step(call, Op::Binary(Binary::Add), &[Some(&scores), Some(&mask)], "causal_scores")
}
