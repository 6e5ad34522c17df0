//! The numbers of a tensor, whatever their width.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::{Dtype, tensor::TensorView};

use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::{
        array::Elements,
        elements::{Stored, decode},
    },
};

/// The elements as float32.
///
/// # Errors
/// `invalid_weights` where they are no floats of 16, 32 or 64 bits.
pub fn floats(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, Problem> {
    let stored = match view.dtype() {
        Dtype::F32 => Some(Stored::Float32),
        Dtype::F64 => Some(Stored::Float64),
        Dtype::F16 => Some(Stored::Float16),
        Dtype::BF16 => Some(Stored::Bfloat16),
        _ => None,
    };
    let count = view.shape().iter().product();
    match stored.map(|stored| decode(stored, view.data(), count)) {
        Some(Ok(Elements::F32(values))) => Ok(values),
        _ => {
            let kind = view.dtype();
            let detail = format!("`{name}` is of type {kind:?}; weights are read as F16, BF16, F32 or F64.");
            Err(Problem::new(ErrorCode::InvalidWeights, detail)
                .param("model")
                .hint("Quantised weights are not read: save the network as it was before it was quantised."))
        }
    }
}

/// What the student has otherwise.
pub fn notes(named: &BTreeMap<String, TensorView<'_>>) -> Option<String> {
    let kinds = named.values().map(TensorView::dtype).filter(|dtype| *dtype != Dtype::F32);
    let kinds: BTreeSet<String> = kinds.map(|dtype| format!("{dtype:?}")).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    (!kinds.is_empty()).then(|| format!("The weights are {}; the student's are F32.", kinds.join(" and ")))
}
