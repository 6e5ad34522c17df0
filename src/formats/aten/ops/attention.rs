//! <https://pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html>: softmax(q · kᵀ · scale +
//! mask) · v, over the last two axes.

use super::Lower;
use crate::formats::{
    array::Array,
    aten::{call::Call, lower::Context},
    dim::show,
    graph::{Binary, Op},
    refusal::Refusal,
    value::Value,
};

pub const OPERATORS: &[(&str, Lower)] =
    &[("scaled_dot_product_attention", lower), ("_scaled_dot_product_flash_attention_for_cpu", lower)];

fn lower(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    call.only("dropout_p", 0.0)?;
    if call.flag("is_causal", false)? || call.flag("enable_gqa", false)? {
        return Err(Refusal::unsupported("it is causal, or shares keys among groups of queries"));
    }
    let (q, k, v) = (call.tensor("query")?, call.tensor("key")?, call.tensor("value")?);
    let dims = q.dims()?;
    let (rank, width) = (dims.len(), dims.last().and_then(|dim| dim.extent()));
    let width = width.filter(|width| *width > 0 && rank >= 3);
    let width = width.ok_or_else(|| Refusal::unsupported(format!("its query is {}", show(&dims))))?;
    let scale = call.attribute("scale", 1.0 / (width as f64).sqrt())?;
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    let keys = graph.step(call, Op::Transpose { perm }, &[Some(k)], "keys")?;
    let products = graph.step(call, Op::MatMul, &[Some(q), Some(&keys)], "products")?;
    let scale = graph.constant(call, "scale", Array::floats(vec![], vec![scale]));
    let mut scores = graph.step(call, Op::Binary(Binary::Mul), &[Some(&products), Some(&scale)], "scores")?;
    if let Some(mask) = call.optional("attn_mask")? {
        scores = masked(graph, call, &scores, mask)?;
    }
    let weights = graph.step(call, Op::Softmax { axis: rank - 1 }, &[Some(&scores)], "weights")?;
    graph.finish(call, Op::MatMul, &[Some(&weights), Some(v)])
}

/// A mask of floats is added; one of booleans says where to look, and then must let through everything.
fn masked(graph: &mut Context, call: &Call, scores: &Value, mask: &Value) -> Result<Value, Refusal> {
    if let Value::Known(known) = mask
        && let Some(bools) = known.array.as_bools()
    {
        return match bools.iter().all(|open| *open) {
            true => Ok(scores.clone()),
            false => Err(Refusal::unsupported("its mask hides places")),
        };
    }
    graph.step(call, Op::Binary(Binary::Add), &[Some(scores), Some(mask)], "masked")
}
