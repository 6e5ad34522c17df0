//! Values that are known while importing: weights, and the integers of shape arithmetic.

use super::{
    dim::Dim,
    graph::{Data, Tensor},
};

/// A dense array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub elements: Elements,
}

/// Elements by kind; integers may depend on the batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    F32(Vec<f32>),
    Int(Vec<Dim>),
    Bool(Vec<bool>),
}

impl Array {
    pub fn floats(shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { shape, elements: Elements::F32(values) }
    }

    /// A vector of integers.
    pub fn ints(values: Vec<Dim>) -> Self {
        Self { shape: vec![values.len()], elements: Elements::Int(values) }
    }

    pub fn len(&self) -> usize {
        match &self.elements {
            Elements::F32(values) => values.len(),
            Elements::Int(values) => values.len(),
            Elements::Bool(values) => values.len(),
        }
    }

    pub fn dims(&self) -> Vec<Dim> {
        self.shape.iter().map(|extent| Dim::fixed(*extent as i64)).collect()
    }

    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.elements {
            Elements::F32(values) => Some(values),
            _ => None,
        }
    }

    pub fn as_ints(&self) -> Option<&[Dim]> {
        match &self.elements {
            Elements::Int(values) => Some(values),
            _ => None,
        }
    }

    pub fn as_bools(&self) -> Option<&[bool]> {
        match &self.elements {
            Elements::Bool(values) => Some(values),
            _ => None,
        }
    }

    /// An array of `shape` with the elements at `plan`, whose indices lie within this one.
    pub fn pick(&self, shape: Vec<usize>, plan: impl Iterator<Item = usize>) -> Self {
        let elements = match &self.elements {
            Elements::F32(values) => Elements::F32(plan.map(|index| values[index]).collect()),
            Elements::Int(values) => Elements::Int(plan.map(|index| values[index]).collect()),
            Elements::Bool(values) => Elements::Bool(plan.map(|index| values[index]).collect()),
        };
        Self { shape, elements }
    }

    /// As a constant of the graph; `None` where an integer depends on the batch.
    pub fn into_tensor(self) -> Option<Tensor> {
        let data = match self.elements {
            Elements::F32(values) => Data::F32(values),
            Elements::Int(values) => Data::I64(values.into_iter().map(Dim::number).collect::<Option<_>>()?),
            Elements::Bool(values) => Data::Bool(values),
        };
        Some(Tensor { shape: self.shape, data })
    }
}

/// Number of elements of a shape; `None` on overflow.
pub fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, extent| product.checked_mul(*extent))
}

/// Row-major strides of a shape.
pub fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].wrapping_mul(shape[axis] as isize);
    }
    strides
}

/// Strides that read an operand of `shape` as if it were broadcast to `to`, as in NumPy.
pub fn broadcast_strides(shape: &[usize], to: &[usize]) -> Vec<isize> {
    let own = strides(shape);
    let added = to.len() - shape.len();
    let along = |axis: usize| match axis.checked_sub(added) {
        Some(index) if shape[index] != 1 => own[index],
        _ => 0,
    };
    (0..to.len()).map(along).collect()
}

/// The offsets that a strided view visits, row-major over `shape`.
pub struct Offsets {
    shape: Vec<usize>,
    strides: Vec<isize>,
    at: Vec<usize>,
    offset: isize,
    left: usize,
}

impl Offsets {
    pub fn new(shape: &[usize], strides: Vec<isize>, start: isize) -> Self {
        let left = shape.iter().product();
        Self { shape: shape.to_vec(), strides, at: vec![0; shape.len()], offset: start, left }
    }
}

impl Iterator for Offsets {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let current = self.offset;
        for axis in (0..self.shape.len()).rev() {
            self.at[axis] += 1;
            self.offset = self.offset.wrapping_add(self.strides[axis]);
            if self.at[axis] < self.shape[axis] {
                break;
            }
            self.offset = self.offset.wrapping_sub(self.strides[axis].wrapping_mul(self.shape[axis] as isize));
            self.at[axis] = 0;
        }
        Some(current as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}
