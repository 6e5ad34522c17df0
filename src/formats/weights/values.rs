//! The numbers of a tensor, whatever their width.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::{Dtype, tensor::TensorView};

use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::elements::{brain, half},
};

/// The elements as float32.
///
/// # Errors
/// `invalid_weights` where they are no floats of 16, 32 or 64 bits.
pub fn floats(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, Problem> {
    let bytes = view.data();
    let halves = || bytes.as_chunks::<2>().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    Ok(match view.dtype() {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F64 => bytes.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        Dtype::F16 => halves().map(half).collect(),
        Dtype::BF16 => halves().map(brain).collect(),
        other => {
            let detail = format!("`{name}` is of type {other:?}; weights are read as F16, BF16, F32 or F64.");
            return Err(Problem::new(ErrorCode::InvalidWeights, detail)
                .param("model")
                .hint("Quantised weights are not read: save the network as it was before it was quantised."));
        }
    })
}

/// What the student has otherwise.
pub fn notes(named: &BTreeMap<String, TensorView<'_>>) -> Option<String> {
    let kinds = named.values().map(TensorView::dtype).filter(|dtype| *dtype != Dtype::F32);
    let kinds: BTreeSet<String> = kinds.map(|dtype| format!("{dtype:?}")).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    (!kinds.is_empty()).then(|| format!("The weights are {}; the student's are F32.", kinds.join(" and ")))
}
