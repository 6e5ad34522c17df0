//! Tensors as PyTorch keeps them: the elements of a record, looked at through shape, strides and offset.

use super::{
    array::{Array, Offsets, strides},
    elements::{Stored, decode},
    lowering::{MAX_ELEMENTS, bounded},
    refusal::Refusal,
};

/// How a tensor lies in its record; strides and offset are counted in elements.
pub struct Strided {
    pub stored: Stored,
    pub shape: Vec<usize>,
    pub strides: Vec<i64>,
    pub offset: i64,
}

impl Strided {
    /// The tensor, row-major.
    ///
    /// # Errors
    /// More than [`MAX_ELEMENTS`] elements, strides that do not fit, and a view that reaches out of the record.
    pub fn read(&self, record: &[u8]) -> Result<Array, Refusal> {
        let count = bounded(&self.shape, MAX_ELEMENTS as usize)?;
        let view = View::new(self, count)?;
        let size = view.end.checked_mul(self.stored.size());
        let bytes = size
            .and_then(|size| record.get(..size))
            .ok_or_else(|| format!("it reaches to element {} of a record of {} bytes", view.end, record.len()))?;
        let shape = self.shape.clone();
        if view.plain {
            let bytes = &bytes[view.offset * self.stored.size()..];
            return Ok(Array { shape, elements: decode(self.stored, bytes, count)? });
        }
        // Elements before the view's end that it does not show are read too, and were sent.
        let all = Array { shape: vec![view.end], elements: decode(self.stored, bytes, view.end)? };
        let plan = Offsets::new(&shape, view.strides, view.offset as isize);
        Ok(all.pick(shape, plan))
    }
}

/// Which elements of the record are looked at.
struct View {
    offset: usize,
    strides: Vec<isize>,
    /// One more than the last element that is looked at.
    end: usize,
    /// Row-major without gaps.
    plain: bool,
}

impl View {
    fn new(tensor: &Strided, count: usize) -> Result<Self, Refusal> {
        let shape = &tensor.shape;
        let offset = usize::try_from(tensor.offset).map_err(|_| "its offset is negative")?;
        let given = tensor.strides.iter().map(|stride| isize::try_from(*stride).ok().filter(|stride| *stride >= 0));
        let given = given.collect::<Option<Vec<isize>>>().filter(|given| given.len() == shape.len());
        let given = given.ok_or_else(|| format!("its strides {:?} do not fit its shape {shape:?}", tensor.strides))?;
        let last = shape.iter().zip(&given).try_fold(offset, |last, (extent, stride)| {
            extent.saturating_sub(1).checked_mul(*stride as usize)?.checked_add(last)
        });
        let end = if count == 0 { Some(offset) } else { last.and_then(|last| last.checked_add(1)) };
        let end = end.ok_or("its strides overflow")?;
        let own = strides(shape);
        let plain = shape.iter().zip(&given).zip(&own).all(|((extent, given), own)| *extent <= 1 || given == own);
        Ok(Self { offset, strides: given, end, plain })
    }
}
