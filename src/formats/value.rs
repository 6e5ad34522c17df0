//! Named values of a file while it is imported, and the node of the file that is being lowered.

use std::rc::Rc;

use super::{array::Array, dim::Dim, refusal::Refusal};

/// A node of a file, of whatever format: what steps made of it are called after.
pub trait Site {
    fn name(&self) -> &str;

    /// Names of the values that it makes; an empty one is read by nobody.
    fn results(&self) -> &[String];
}

/// What is known about a named value of the file.
#[derive(Clone, Debug)]
pub enum Value {
    /// The elements are known: a weight, or folded arithmetic.
    Known(Known),
    /// Computed from the model's input; `name` is the value's name in the graph.
    Runtime { name: String, dims: Vec<Dim> },
    /// Numbers that places are computed from; they are no part of the graph.
    Indices(Indices),
    /// Computed by something that we have no rule for; reported once, where it began.
    Lost,
}

#[derive(Clone, Debug)]
pub struct Known {
    pub name: String,
    pub array: Rc<Array>,
    /// Axis 0 has extent 1 and stands for the batch: the same for every example.
    pub repeated: bool,
}

/// Whole numbers of shape (N, …).
#[derive(Clone, Debug)]
pub struct Indices {
    /// Those of the first example, of shape (1, …).
    pub first: Array,
    /// How much more those of the next example are.
    pub step: i64,
}

impl Value {
    pub fn dims(&self) -> Result<Vec<Dim>, Refusal> {
        match self {
            Self::Known(known) => {
                let mut dims = known.array.dims();
                if let (true, Some(first)) = (known.repeated, dims.first_mut()) {
                    *first = Dim::N;
                }
                Ok(dims)
            }
            Self::Runtime { dims, .. } => Ok(dims.clone()),
            Self::Indices(indices) => {
                Ok(std::iter::once(Dim::N).chain(indices.first.dims().into_iter().skip(1)).collect())
            }
            Self::Lost => Err(Refusal::unsupported("it reads what an unsupported node makes")),
        }
    }
}

/// An axis that may count from the end, as one that counts from the front.
pub fn normalise(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let from_front = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    let index = from_front.and_then(|axis| usize::try_from(axis).ok()).filter(|axis| *axis < rank);
    index.ok_or_else(|| format!("it names axis {axis} of a value with {rank} axes").into())
}
