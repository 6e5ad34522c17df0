//! Tensors of the file as arrays: <https://onnx.ai/onnx/repo-docs/IR.html#tensors-and-attributes>.

use std::collections::BTreeMap;

use super::{
    array::{Array, Elements},
    lowering::{MAX_ELEMENTS, MAX_INTEGERS, bounded},
    proto::{
        TensorProto,
        tensor_proto::{DataLocation, DataType},
    },
};
use crate::formats::{dim::Dim, refusal::Refusal};

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
    let shape = tensor.dims.iter().map(|extent| usize::try_from(*extent).ok()).collect::<Option<Vec<_>>>();
    let shape = shape.ok_or_else(|| format!("it has the shape {:?}", tensor.dims))?;
    let count = bounded(&shape, MAX_ELEMENTS as usize)?;
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
    Ok(match data_type {
        Float => Elements::F32(words(bytes, count)?.map(f32::from_le_bytes).collect()),
        Double => Elements::F32(words(bytes, count)?.map(|word| f64::from_le_bytes(word) as f32).collect()),
        Float16 => Elements::F32(words(bytes, count)?.map(|word| half(u16::from_le_bytes(word))).collect()),
        Bfloat16 => Elements::F32(words(bytes, count)?.map(|word| brain(u16::from_le_bytes(word))).collect()),
        Int64 => integers(words(bytes, count)?.map(i64::from_le_bytes))?,
        Int32 => integers(words(bytes, count)?.map(|word| i32::from_le_bytes(word).into()))?,
        Int16 => integers(words(bytes, count)?.map(|word| i16::from_le_bytes(word).into()))?,
        Int8 => integers(words(bytes, count)?.map(|word| i8::from_le_bytes(word).into()))?,
        Uint8 => integers(words(bytes, count)?.map(|word| u8::from_le_bytes(word).into()))?,
        Uint16 => integers(words(bytes, count)?.map(|word| u16::from_le_bytes(word).into()))?,
        Uint32 => integers(words(bytes, count)?.map(|word| u32::from_le_bytes(word).into()))?,
        Bool => Elements::Bool(words::<1>(bytes, count)?.map(|[byte]| byte != 0).collect()),
        other => return Err(unread(other)),
    })
}

fn from_fields(data_type: DataType, tensor: &TensorProto, count: usize) -> Result<Elements, Refusal> {
    use DataType::*;
    let small = || exact(&tensor.int32_data, count);
    Ok(match data_type {
        Float => Elements::F32(exact(&tensor.float_data, count)?.to_vec()),
        Double => Elements::F32(exact(&tensor.double_data, count)?.iter().map(|value| *value as f32).collect()),
        Float16 => Elements::F32(small()?.iter().map(|value| half(*value as u16)).collect()),
        Bfloat16 => Elements::F32(small()?.iter().map(|value| brain(*value as u16)).collect()),
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

/// Little-endian words, exactly `count` of them.
fn words<const SIZE: usize>(bytes: &[u8], count: usize) -> Result<impl Iterator<Item = [u8; SIZE]>, Refusal> {
    let (words, rest) = bytes.as_chunks::<SIZE>();
    if words.len() != count || !rest.is_empty() {
        return Err(
            format!("its shape has {count} elements of {SIZE} bytes, but its data {} bytes", bytes.len()).into()
        );
    }
    Ok(words.iter().copied())
}

fn exact<T>(values: &[T], count: usize) -> Result<&[T], Refusal> {
    if values.len() != count {
        return Err(format!("its shape has {count} elements, but its data {}", values.len()).into());
    }
    Ok(values)
}

fn integers(values: impl Iterator<Item = i64>) -> Result<Elements, Refusal> {
    // Weights are floats; integers serve shape arithmetic and take more room here than in the file.
    let values: Vec<Dim> = values.take(MAX_INTEGERS + 1).map(Dim::fixed).collect();
    if values.len() > MAX_INTEGERS {
        return Err(Refusal::unsupported(format!(
            "it has more than {MAX_INTEGERS} integers; quantised weights are not read"
        )));
    }
    Ok(Elements::Int(values))
}

/// IEEE 754 binary16 to binary32.
pub fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(bits >> 15) << 31, u32::from(bits >> 10) & 0x1f, u32::from(bits) & 0x3ff);
    let magnitude = match exponent {
        0 => return f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        0x1f => 0x7f80_0000 | (fraction << 13),
        _ => ((exponent + 127 - 15) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | magnitude)
}

/// The upper half of a binary32.
pub fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_exact() {
        for (bits, value) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 5.960_464_5e-8), (0x3555, 0.333_251_95)]
        {
            assert_eq!(half(bits), value);
        }
        assert_eq!(half(0x7c00), f32::INFINITY);
        assert!(half(0x7e00).is_nan());
        assert_eq!(brain(0x3f80), 1.0);
    }
}
