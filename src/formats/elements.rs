//! Elements as files store them: little-endian, of many types. Here every float is float32, and every integer a [`Dim`].

use half::{bf16, f16};

use super::{array::Elements, dim::Dim, lowering::MAX_INTEGERS, refusal::Refusal};

/// A type of stored elements that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Float16,
    Bfloat16,
    Float32,
    Float64,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Bool,
}

impl Stored {
    pub fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Bfloat16 | Self::Float32 | Self::Float64)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Int8 | Self::Uint8 | Self::Bool => 1,
            Self::Float16 | Self::Bfloat16 | Self::Int16 | Self::Uint16 => 2,
            Self::Float32 | Self::Int32 | Self::Uint32 => 4,
            Self::Float64 | Self::Int64 => 8,
        }
    }
}

/// The `count` elements that `bytes` hold.
///
/// # Errors
/// Bytes of another length, and more integers than shape arithmetic has.
pub fn decode(stored: Stored, bytes: &[u8], count: usize) -> Result<Elements, Refusal> {
    Ok(match stored {
        Stored::Float32 => Elements::F32(words(bytes, count)?.map(f32::from_le_bytes).collect()),
        Stored::Float64 => Elements::F32(words(bytes, count)?.map(|word| f64::from_le_bytes(word) as f32).collect()),
        Stored::Float16 => Elements::F32(words(bytes, count)?.map(|word| f16::from_le_bytes(word).to_f32()).collect()),
        Stored::Bfloat16 => {
            Elements::F32(words(bytes, count)?.map(|word| bf16::from_le_bytes(word).to_f32()).collect())
        }
        Stored::Int64 => integers(words(bytes, count)?.map(i64::from_le_bytes))?,
        Stored::Int32 => integers(words(bytes, count)?.map(|word| i32::from_le_bytes(word).into()))?,
        Stored::Int16 => integers(words(bytes, count)?.map(|word| i16::from_le_bytes(word).into()))?,
        Stored::Int8 => integers(words(bytes, count)?.map(|word| i8::from_le_bytes(word).into()))?,
        Stored::Uint8 => integers(words(bytes, count)?.map(|word| u8::from_le_bytes(word).into()))?,
        Stored::Uint16 => integers(words(bytes, count)?.map(|word| u16::from_le_bytes(word).into()))?,
        Stored::Uint32 => integers(words(bytes, count)?.map(|word| u32::from_le_bytes(word).into()))?,
        Stored::Bool => Elements::Bool(words::<1>(bytes, count)?.map(|[byte]| byte != 0).collect()),
    })
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

/// Integers of shape arithmetic.
///
/// # Errors
/// More than [`MAX_INTEGERS`].
pub fn integers(values: impl Iterator<Item = i64>) -> Result<Elements, Refusal> {
    // Weights are floats; integers serve shape arithmetic and take more room here than in the file.
    let values: Vec<Dim> = values.take(MAX_INTEGERS + 1).map(Dim::fixed).collect();
    if values.len() > MAX_INTEGERS {
        return Err(Refusal::unsupported(format!(
            "it has more than {MAX_INTEGERS} integers; quantised weights are not read"
        )));
    }
    Ok(Elements::Int(values))
}
