//! The operators we know: from an operator's name to the function that lowers a node of it.
//!
//! Specifications: <https://onnx.ai/onnx/operators/>.

mod activation;
mod arithmetic;
mod attention;
mod blocks;
mod clip;
mod concat;
mod constant;
mod conv;
mod expand;
mod gather;
mod gemm;
mod group_norm;
mod identity;
mod logic;
mod lrn;
mod norm;
mod pad;
mod pool;
mod reduce;
mod reduce_norms;
mod reshape;
mod resize;
mod scatter;
mod shape;
mod slice;
mod softmax;
mod split;
mod tile;
mod transpose;
mod triangle;
mod unary;
mod window;

use super::{call::Call, lowering::Lowering};
use crate::formats::refusal::Refusal;

/// Turns one node into graph nodes or known values.
pub type Lower = fn(&mut Lowering, &Call) -> Result<(), Refusal>;

const OPERATORS: &[&[(&str, Lower)]] = &[
    activation::OPERATORS,
    arithmetic::OPERATORS,
    attention::OPERATORS,
    blocks::OPERATORS,
    clip::OPERATORS,
    concat::OPERATORS,
    constant::OPERATORS,
    conv::OPERATORS,
    expand::OPERATORS,
    gather::OPERATORS,
    gemm::OPERATORS,
    group_norm::OPERATORS,
    identity::OPERATORS,
    logic::OPERATORS,
    lrn::OPERATORS,
    norm::OPERATORS,
    pad::OPERATORS,
    pool::OPERATORS,
    reduce::OPERATORS,
    reduce_norms::OPERATORS,
    reshape::OPERATORS,
    resize::OPERATORS,
    scatter::OPERATORS,
    shape::OPERATORS,
    slice::OPERATORS,
    softmax::OPERATORS,
    split::OPERATORS,
    tile::OPERATORS,
    transpose::OPERATORS,
    triangle::OPERATORS,
    unary::OPERATORS,
];

/// The rule for an operator of the default domain.
pub fn find(op_type: &str) -> Option<Lower> {
    OPERATORS.iter().copied().flatten().find(|(name, _)| *name == op_type).map(|(_, lower)| *lower)
}

/// Names of all operators that we know, in alphabetical order.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = OPERATORS.iter().copied().flatten().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names
}
