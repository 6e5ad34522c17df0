//! Tensors of the file as arrays: <https://onnx.ai/onnx/repo-docs/IR.html#tensors-and-attributes>.

use std::collections::BTreeMap;

use half::{bf16, f16};

use super::{
    array::{Array, Elements},
    lowering::{MAX_ELEMENTS, bounded},
    proto::{
        TensorProto,
        tensor_proto::{DataLocation, DataType},
    },
};
use crate::formats::{
    elements::{Stored, decode, integers},
    refusal::Refusal,
};

/// A tensor whose data lies in the file itself.
///
/// # Errors
/// Types we do not read, sizes that do not fit the shape, and data that lies elsewhere.
pub fn read(tensor: &TensorProto) -> Result<Array, Refusal> {
    read_with(tensor, &BTreeMap::new())
}

/// The same, with the side files that were sent, by name. A location is looked up as a name and never opened as a path.
///
/// # Errors
/// As [`read`].
pub fn read_with(tensor: &TensorProto, files: &BTreeMap<String, Vec<u8>>) -> Result<Array, Refusal> {
    let (shape, count) = size(tensor)?;
    let data_type = DataType::try_from(tensor.data_type()).unwrap_or(DataType::Undefined);
    if tensor.segment.is_some() {
        return Err(Refusal::unsupported("it is stored in segments"));
    }
    let bytes = match external(tensor) {
        Some(place) => Some(place.slice(files)?),
        None => tensor.raw_data.as_deref(),
    };
    let elements = match bytes {
        Some(bytes) => from_bytes(data_type, bytes, count)?,
        None => from_fields(data_type, tensor, count)?,
    };
    Ok(Array { shape, elements })
}

/// The shape that a tensor claims, and its number of elements.
///
/// # Errors
/// Negative extents, and more than [`MAX_ELEMENTS`] elements.
pub fn size(tensor: &TensorProto) -> Result<(Vec<usize>, usize), Refusal> {
    let shape = tensor.dims.iter().map(|extent| usize::try_from(*extent).ok()).collect::<Option<Vec<_>>>();
    let shape = shape.ok_or_else(|| format!("it has the shape {:?}", tensor.dims))?;
    let count = bounded(&shape, MAX_ELEMENTS as usize)?;
    Ok((shape, count))
}

/// Where the data of a tensor lies outside the file.
pub struct Place<'a> {
    pub file: &'a str,
    offset: usize,
    length: Option<usize>,
}

/// The side file of a tensor, if it has one.
pub fn external(tensor: &TensorProto) -> Option<Place<'_>> {
    if tensor.data_location() != DataLocation::External {
        return None;
    }
    let entry = |key| tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value());
    let number = |key| entry(key).map(|value| value.parse().unwrap_or(usize::MAX));
    Some(Place {
        file: entry("location").unwrap_or_default(),
        offset: number("offset").unwrap_or(0),
        length: number("length"),
    })
}

impl Place<'_> {
    /// The uploaded file that is meant: by the whole location, or by its last part, since a client uploads files and not
    /// folders.
    pub fn find<'f>(&self, files: &'f BTreeMap<String, Vec<u8>>) -> Option<&'f [u8]> {
        let last = self.file.rsplit(['/', '\\']).next().unwrap_or_default();
        files.get(self.file).or_else(|| files.get(last)).map(Vec::as_slice)
    }

    fn slice<'f>(&self, files: &'f BTreeMap<String, Vec<u8>>) -> Result<&'f [u8], Refusal> {
        let file = self.find(files).ok_or_else(|| format!("its data lies in \"{}\", which was not sent", self.file))?;
        let end = match self.length {
            Some(length) => self.offset.checked_add(length),
            None => Some(file.len()),
        };
        end.and_then(|end| file.get(self.offset..end))
            .ok_or_else(|| format!("its data lies outside the {} bytes of \"{}\"", file.len(), self.file).into())
    }
}

fn from_bytes(data_type: DataType, bytes: &[u8], count: usize) -> Result<Elements, Refusal> {
    use DataType::*;
    let stored = match data_type {
        Float => Stored::Float32,
        Double => Stored::Float64,
        Float16 => Stored::Float16,
        Bfloat16 => Stored::Bfloat16,
        Int64 => Stored::Int64,
        Int32 => Stored::Int32,
        Int16 => Stored::Int16,
        Int8 => Stored::Int8,
        Uint8 => Stored::Uint8,
        Uint16 => Stored::Uint16,
        Uint32 => Stored::Uint32,
        Bool => Stored::Bool,
        other => return Err(unread(other)),
    };
    decode(stored, bytes, count)
}

fn from_fields(data_type: DataType, tensor: &TensorProto, count: usize) -> Result<Elements, Refusal> {
    use DataType::*;
    let small = || exact(&tensor.int32_data, count);
    Ok(match data_type {
        Float => Elements::F32(exact(&tensor.float_data, count)?.to_vec()),
        Double => Elements::F32(exact(&tensor.double_data, count)?.iter().map(|value| *value as f32).collect()),
        Float16 => Elements::F32(small()?.iter().map(|value| f16::from_bits(*value as u16).to_f32()).collect()),
        Bfloat16 => Elements::F32(small()?.iter().map(|value| bf16::from_bits(*value as u16).to_f32()).collect()),
        Int64 => integers(exact(&tensor.int64_data, count)?.iter().copied())?,
        Int32 | Int16 | Int8 | Uint16 | Uint8 => integers(small()?.iter().map(|value| i64::from(*value)))?,
        Uint32 => integers(exact(&tensor.uint64_data, count)?.iter().map(|value| *value as i64))?,
        Bool => Elements::Bool(small()?.iter().map(|value| *value != 0).collect()),
        other => return Err(unread(other)),
    })
}

fn unread(data_type: DataType) -> Refusal {
    Refusal::unsupported(format!("it is of type {}, which is not read", data_type.as_str_name()))
}

fn exact<T>(values: &[T], count: usize) -> Result<&[T], Refusal> {
    if values.len() != count {
        return Err(format!("its shape has {count} elements, but its data {}", values.len()).into());
    }
    Ok(values)
}
