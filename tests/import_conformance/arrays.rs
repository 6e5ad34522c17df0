//! Values of the suite and of libtorch, and when they are equal.

use kegd::formats::graph::{Data, Tensor};
use tch::Kind;

/// What ONNX's own runner asks for: |a - b| ≤ ABSOLUTE + RELATIVE · |b|.
const RELATIVE: f32 = 1e-3;
const ABSOLUTE: f32 = 1e-7;

/// Rounding of a sum near zero has the size of its terms, not of the sum: this much of the largest value is none.
const OF_THE_LARGEST: f32 = 2e-7;

pub fn to_torch(tensor: &Tensor) -> tch::Tensor {
    let shape: Vec<i64> = tensor.shape.iter().map(|extent| *extent as i64).collect();
    tch::Tensor::from_slice(tensor.as_f32().unwrap()).view(shape.as_slice())
}

pub fn from_torch(tensor: &tch::Tensor) -> Tensor {
    assert_eq!(tensor.kind(), Kind::Float);
    let shape = tensor.size().into_iter().map(|extent| extent as usize).collect();
    let mut values = vec![0.0; tensor.numel()];
    tensor.contiguous().copy_data(&mut values, tensor.numel());
    Tensor { shape, data: Data::F32(values) }
}

/// `None` where the two are equal, or how they differ.
pub fn difference(own: &Tensor, expected: &Tensor) -> Option<String> {
    if own.shape != expected.shape {
        return Some(format!("the shape is {:?} instead of {:?}", own.shape, expected.shape));
    }
    match (&own.data, &expected.data) {
        (Data::F32(a), Data::F32(b)) => floats(a, b),
        (a, b) if a == b => None,
        (a, b) => Some(format!("{a:?} instead of {b:?}").chars().take(300).collect()),
    }
}

fn floats(own: &[f32], expected: &[f32]) -> Option<String> {
    let largest = expected.iter().filter(|value| value.is_finite()).fold(0.0f32, |most, value| most.max(value.abs()));
    let equal = |a: f32, b: f32| {
        a == b
            || (a.is_nan() && b.is_nan())
            || (a - b).abs() <= ABSOLUTE + RELATIVE * b.abs() + OF_THE_LARGEST * largest
    };
    let wrong = own.iter().zip(expected).position(|(a, b)| !equal(*a, *b))?;
    Some(format!("element {wrong} is {} instead of {}", own[wrong], expected[wrong]))
}
