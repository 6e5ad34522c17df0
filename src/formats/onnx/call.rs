//! One node of the file while it is lowered: its attributes with their types checked, and its inputs.

pub use crate::formats::value::{Known, Value, normalise};

use super::{
    array::Array,
    proto::{AttributeProto, NodeProto, TensorProto, attribute_proto::AttributeType},
    tensor::external,
};
use crate::formats::{
    dim::{Dim, show},
    refusal::Refusal,
    value::Site,
};

/// One node, read-only.
pub struct Call<'a> {
    pub node: &'a NodeProto,
    /// Opset version of the default domain.
    pub opset: i64,
    /// Absent optional inputs are `None`.
    pub inputs: Vec<Option<Value>>,
    /// The node's outputs, without those behind the last one that is read.
    pub results: &'a [String],
}

impl Site for Call<'_> {
    fn name(&self) -> &str {
        self.node.name()
    }

    fn results(&self) -> &[String] {
        self.results
    }
}

impl Call<'_> {
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.results.iter().map(String::as_str)
    }

    pub fn input(&self, index: usize) -> Result<&Value, Refusal> {
        self.optional(index).ok_or_else(|| format!("its input {index} is missing").into())
    }

    pub fn optional(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// Inputs that are there, in order.
    pub fn present(&self) -> impl Iterator<Item = &Value> {
        self.inputs.iter().flatten()
    }

    pub fn dims(&self, index: usize) -> Result<Vec<Dim>, Refusal> {
        self.input(index)?.dims()
    }

    /// The constant at `index`, if there is an input at all.
    pub fn constant(&self, index: usize) -> Result<Option<&Array>, Refusal> {
        match self.optional(index) {
            None => Ok(None),
            Some(Value::Known(known)) if !known.repeated => Ok(Some(&known.array)),
            Some(_) => Err(Refusal::unsupported(format!("its input {index} is not a constant"))),
        }
    }

    /// Constant integers, which may depend on the batch.
    pub fn dim_list(&self, index: usize) -> Result<Option<Vec<Dim>>, Refusal> {
        let Some(array) = self.constant(index)? else { return Ok(None) };
        let ints = array.as_ints().ok_or_else(|| format!("its input {index} is not of integers"))?;
        Ok(Some(ints.to_vec()))
    }

    /// Constant integers that do not depend on the batch.
    pub fn int_list(&self, index: usize) -> Result<Option<Vec<i64>>, Refusal> {
        let Some(dims) = self.dim_list(index)? else { return Ok(None) };
        let numbers = dims.iter().map(|dim| dim.number()).collect::<Option<_>>();
        numbers
            .map(Some)
            .ok_or_else(|| Refusal::unsupported(format!("its input {index} depends on the batch: {}", show(&dims))))
    }

    /// One constant float (of any shape with one element); absent where the input is.
    pub fn float_scalar(&self, index: usize) -> Result<Option<f32>, Refusal> {
        match self.constant(index)? {
            None => Ok(None),
            Some(array) => match (array.as_f32(), array.as_ints()) {
                (Some([value]), _) => Ok(Some(*value)),
                (_, Some([dim])) if !dim.is_batched() => Ok(Some(dim.fixed as f32)),
                _ => Err(format!("its input {index} is not one number").into()),
            },
        }
    }

    fn attribute(&self, name: &str, kind: AttributeType) -> Result<Option<&AttributeProto>, Refusal> {
        let Some(attribute) = self.node.attribute.iter().find(|attribute| attribute.name() == name) else {
            return Ok(None);
        };
        if attribute.r#type() != kind {
            return Err(format!("its attribute {name} has type {:?} instead of {kind:?}", attribute.r#type()).into());
        }
        Ok(Some(attribute))
    }

    pub fn int(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        Ok(self.attribute(name, AttributeType::Int)?.map_or(default, AttributeProto::i))
    }

    pub fn float(&self, name: &str, default: f32) -> Result<f32, Refusal> {
        match self.attribute(name, AttributeType::Float)?.map_or(default, AttributeProto::f) {
            value if value.is_finite() => Ok(value),
            value => Err(format!("its attribute {name} is {value}").into()),
        }
    }

    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>, Refusal> {
        Ok(self.attribute(name, AttributeType::Ints)?.map(|attribute| attribute.ints.as_slice()))
    }

    pub fn floats(&self, name: &str) -> Result<Option<&[f32]>, Refusal> {
        Ok(self.attribute(name, AttributeType::Floats)?.map(|attribute| attribute.floats.as_slice()))
    }

    pub fn text<'s>(&'s self, name: &str, default: &'s str) -> Result<&'s str, Refusal> {
        match self.attribute(name, AttributeType::String)? {
            None => Ok(default),
            Some(attribute) => {
                std::str::from_utf8(attribute.s()).map_err(|_| format!("its attribute {name} is not text").into())
            }
        }
    }

    pub fn tensor(&self, name: &str) -> Result<Option<&TensorProto>, Refusal> {
        let tensor = self.attribute(name, AttributeType::Tensor)?.and_then(|attribute| attribute.t.as_ref());
        match tensor.and_then(external) {
            None => Ok(tensor),
            Some(place) => Err(Refusal::unsupported(format!(
                "its attribute {name} lies in the side file \"{}\", from which only initialisers are read; save the model \
                 with onnx.save(model, file, save_as_external_data=True, convert_attribute=False)",
                place.file
            ))),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.node.attribute.iter().any(|attribute| attribute.name() == name)
    }

    /// Axes from input `index` or, as older opsets have it, the attribute `axes`; normalised to `0..rank`.
    pub fn axes(&self, index: usize, rank: usize) -> Result<Option<Vec<usize>>, Refusal> {
        let given = match self.ints("axes")? {
            Some(axes) => Some(axes.to_vec()),
            None => self.int_list(index)?,
        };
        given.map(|axes| axes.into_iter().map(|axis| normalise(axis, rank)).collect()).transpose()
    }

    /// The attribute `axis`, normalised to `0..rank`.
    pub fn axis(&self, default: i64, rank: usize) -> Result<usize, Refusal> {
        normalise(self.int("axis", default)?, rank)
    }
}
