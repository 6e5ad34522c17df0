//! <https://onnx.ai/onnx/operators/onnx__Trilu.html> (from opset 14), of constants: causal masks.

use super::Lower;
use crate::formats::{
    dim::Dim,
    onnx::{
        array::{Array, Elements},
        call::Call,
        lowering::Lowering,
    },
    refusal::Refusal,
};

pub const OPERATORS: &[(&str, Lower)] = &[("Trilu", lower)];

fn lower(graph: &mut Lowering, call: &Call) -> Result<(), Refusal> {
    let array = call.constant(0)?.ok_or("its input is missing")?;
    let diagonal = match call.int_list(1)?.as_deref() {
        None => 0,
        Some([diagonal]) => *diagonal,
        Some(_) => return Err("its diagonal is not one number".into()),
    };
    let &[.., rows, columns] = array.shape.as_slice() else { return Err("it takes a triangle of no matrix".into()) };
    let upper = call.int("upper", 1)? != 0;
    let keeps = |index: usize| {
        let (row, column) = ((index / columns % rows) as i64, (index % columns) as i64);
        let above = column.saturating_sub(row).cmp(&diagonal);
        if upper { above.is_ge() } else { above.is_le() }
    };
    let elements = match &array.elements {
        Elements::F32(values) => Elements::F32(kept(values, 0.0, keeps)),
        Elements::Int(values) => Elements::Int(kept(values, Dim::fixed(0), keeps)),
        Elements::Bool(values) => Elements::Bool(kept(values, false, keeps)),
    };
    let shape = array.shape.clone();
    graph.known(call, Array { shape, elements })
}

fn kept<T: Copy>(values: &[T], zero: T, keeps: impl Fn(usize) -> bool) -> Vec<T> {
    values.iter().enumerate().map(|(index, value)| if keeps(index) { *value } else { zero }).collect()
}
