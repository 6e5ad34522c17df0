//! One call of an operator while it is lowered: its arguments by the names of the operator's schema.
//!
//! Schemas: <https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/native_functions.yaml>.

use crate::formats::{
    array::{Array, Elements},
    dim::{Dim, show},
    refusal::Refusal,
    value::{Known, Site, Value, normalise},
};

/// An argument as the file has it, with the values that it names looked up.
#[derive(Clone, Debug)]
pub enum Arg {
    None,
    Tensor(Value),
    Tensors(Vec<Value>),
    /// A list of tensors in which some are None.
    Optional(Vec<Option<Value>>),
    Int(Dim),
    Ints(Vec<Dim>),
    Float(f64),
    Floats(Vec<f64>),
    Bool(bool),
    Text(String),
    /// Devices, layouts and the like, which do not change a result.
    Other,
}

/// One call, read-only.
pub struct Call {
    /// The operator without its namespace: `conv2d`, `add_`.
    pub operator: String,
    pub name: String,
    /// Names of the values it makes, without trailing ones that nobody reads.
    pub outputs: Vec<String>,
    pub args: Vec<(String, Arg)>,
}

impl Site for Call {
    fn name(&self) -> &str {
        &self.name
    }

    fn results(&self) -> &[String] {
        &self.outputs
    }
}

impl Call {
    /// The argument of that name; absent where it is left to its default, or is None.
    pub fn arg(&self, name: &str) -> Option<&Arg> {
        let found = self.args.iter().find(|(own, _)| own == name).map(|(_, arg)| arg);
        found.filter(|arg| !matches!(arg, Arg::None))
    }

    fn wrong(&self, name: &str, what: &str) -> Refusal {
        format!("its argument {name} is not {what}").into()
    }

    pub fn tensor(&self, name: &str) -> Result<&Value, Refusal> {
        self.optional(name)?.ok_or_else(|| format!("its argument {name} is missing").into())
    }

    pub fn optional(&self, name: &str) -> Result<Option<&Value>, Refusal> {
        match self.arg(name) {
            None => Ok(None),
            Some(Arg::Tensor(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(name, "a tensor")),
        }
    }

    /// The tensor that most operators work on: `self`, or `input`.
    pub fn x(&self) -> Result<&Value, Refusal> {
        self.tensor(if self.arg("self").is_some() { "self" } else { "input" })
    }

    pub fn tensors(&self, name: &str) -> Result<Vec<&Value>, Refusal> {
        match self.arg(name) {
            Some(Arg::Tensors(values)) => Ok(values.iter().collect()),
            _ => Err(self.wrong(name, "a list of tensors")),
        }
    }

    /// Every value among the arguments.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.args.iter().flat_map(|(_, arg)| match arg {
            Arg::Tensor(value) => vec![value],
            Arg::Tensors(values) => values.iter().collect(),
            Arg::Optional(values) => values.iter().flatten().collect(),
            _ => Vec::new(),
        })
    }

    /// A whole number that may depend on the batch.
    pub fn dim(&self, name: &str) -> Result<Option<Dim>, Refusal> {
        match self.arg(name) {
            None => Ok(None),
            Some(Arg::Int(dim)) => Ok(Some(*dim)),
            Some(_) => Err(self.wrong(name, "a whole number")),
        }
    }

    pub fn dims(&self, name: &str) -> Result<Option<Vec<Dim>>, Refusal> {
        match self.arg(name) {
            None => Ok(None),
            Some(Arg::Ints(dims)) => Ok(Some(dims.clone())),
            Some(Arg::Int(dim)) => Ok(Some(vec![*dim])),
            // An empty list has no type.
            Some(Arg::Tensors(values)) if values.is_empty() => Ok(Some(Vec::new())),
            Some(_) => Err(self.wrong(name, "a list of whole numbers")),
        }
    }

    pub fn int(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        let Some(dim) = self.dim(name)? else { return Ok(default) };
        dim.number().ok_or_else(|| depends(name, &[dim]))
    }

    pub fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Refusal> {
        let Some(dims) = self.dims(name)? else { return Ok(None) };
        let numbers = dims.iter().map(|dim| dim.number()).collect::<Option<_>>();
        numbers.map(Some).ok_or_else(|| depends(name, &dims))
    }

    pub fn float(&self, name: &str, default: f64) -> Result<f64, Refusal> {
        match self.arg(name) {
            None => Ok(default),
            Some(Arg::Float(value)) => Ok(*value),
            Some(Arg::Bool(value)) => Ok(f64::from(u8::from(*value))),
            Some(Arg::Int(dim)) => dim.number().map(|number| number as f64).ok_or_else(|| depends(name, &[*dim])),
            Some(_) => Err(self.wrong(name, "a number")),
        }
    }

    /// A finite attribute.
    pub fn attribute(&self, name: &str, default: f64) -> Result<f32, Refusal> {
        match self.float(name, default)? as f32 {
            value if value.is_finite() => Ok(value),
            value => Err(format!("its argument {name} is {value}").into()),
        }
    }

    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.arg(name) {
            None => Ok(default),
            Some(Arg::Bool(value)) => Ok(*value),
            Some(Arg::Int(dim)) => Ok(*dim != Dim::fixed(0)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    pub fn text<'s>(&'s self, name: &str, default: &'s str) -> Result<&'s str, Refusal> {
        match self.arg(name) {
            None => Ok(default),
            Some(Arg::Text(text)) => Ok(text),
            Some(_) => Err(self.wrong(name, "text")),
        }
    }

    /// One axis, normalised to `0..rank`.
    pub fn axis(&self, name: &str, default: i64, rank: usize) -> Result<usize, Refusal> {
        normalise(self.int(name, default)?, rank)
    }

    /// Axes without repetition, normalised and in order; all of them where none are given.
    pub fn axes(&self, name: &str, rank: usize) -> Result<Vec<usize>, Refusal> {
        let given = self.ints(name)?.unwrap_or_default();
        if given.is_empty() {
            return Ok((0..rank).collect());
        }
        let mut axes = given.into_iter().map(|axis| normalise(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    /// Refuses another value than the one that has a rule.
    pub fn only(&self, name: &str, value: f64) -> Result<(), Refusal> {
        match self.float(name, value)? {
            given if given == value => Ok(()),
            given => Err(Refusal::unsupported(format!("its argument {name} is {given}, not {value}"))),
        }
    }
}

fn depends(name: &str, dims: &[Dim]) -> Refusal {
    Refusal::unsupported(format!("its argument {name} depends on the batch: {}", show(dims)))
}

/// The integers of a known value: a number, or a list.
pub fn known_ints(value: &Value) -> Option<Vec<Dim>> {
    match value {
        Value::Known(Known { array, repeated: false, .. }) => array.as_ints().map(<[Dim]>::to_vec),
        _ => None,
    }
}

/// The whole number that a value of shape arithmetic is.
pub fn scalar_of(value: &Value) -> Option<Dim> {
    match known_ints(value)?.as_slice() {
        [dim] => Some(*dim),
        _ => None,
    }
}

/// One whole number as a value of shape arithmetic.
pub fn scalar(dim: Dim) -> Array {
    Array { shape: vec![], elements: Elements::Int(vec![dim]) }
}
