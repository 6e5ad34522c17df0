//! Tensors of an archive: raw elements in records of their own, looked at through shape, strides and offset.

use std::{collections::HashMap, rc::Rc};

use super::{container::Container, schema::TensorMeta};
use crate::{
    domain::problem::Problem,
    formats::{
        array::{Array, Offsets, strides},
        elements::{Stored, decode},
        lowering::{MAX_ELEMENTS, bounded},
        problems::invalid,
        refusal::Refusal,
    },
};

/// Reads tensors by name, each once.
pub struct Tensors<'c, 'a> {
    container: &'c Container<'a>,
    read: HashMap<&'c str, Rc<Array>>,
    /// How many elements may still be read: each takes at least a byte of the file, but views may repeat them.
    left: usize,
}

impl<'c, 'a> Tensors<'c, 'a> {
    /// `length`: of the file, in bytes.
    pub fn new(container: &'c Container<'a>, length: usize) -> Self {
        Self { container, read: HashMap::new(), left: length.saturating_add(1 << 24) }
    }

    /// The tensor of that name in a state dictionary, or among the constants.
    ///
    /// # Errors
    /// `invalid_model`: it is missing, a pickle, of a type that is not read, or lies outside its record.
    pub fn get(&mut self, name: &'c str) -> Result<Rc<Array>, Problem> {
        if let Some(array) = self.read.get(name) {
            return Ok(Rc::clone(array));
        }
        let container = self.container;
        let places = [("data/weights/", &container.weights), ("data/constants/", &container.constants)];
        let found = places.iter().find_map(|(folder, list)| Some((folder, list.config.get(name)?)));
        let (folder, payload) = found.ok_or_else(|| {
            invalid(format!("The archive lacks the tensor \"{name}\"."))
                .hint("Was it edited, or saved without its weights? Save it anew with torch.export.save.")
        })?;
        if payload.use_pickle {
            return Err(invalid(format!("The tensor \"{name}\" is kept as a Python pickle.")).hint(
                "A pickle runs code when it is read, so it is never opened here. Export a model whose weights are plain \
                 tensors.",
            ));
        }
        let record = container.archive.get(&format!("{folder}{}", payload.path_name)).ok_or_else(|| {
            invalid(format!("The archive lacks the record \"{folder}{}\" of \"{name}\".", payload.path_name))
        })?;
        let meta = payload.tensor_meta.as_ref();
        let meta = meta.ok_or_else(|| invalid(format!("The tensor \"{name}\" has no shape.")))?;
        let array = self
            .decode(record, meta)
            .map_err(|refusal| invalid(format!("The tensor \"{name}\": {}.", refusal.reason())))?;
        let array = Rc::new(array);
        self.read.insert(name, Rc::clone(&array));
        Ok(array)
    }

    fn decode(&mut self, record: &[u8], meta: &TensorMeta) -> Result<Array, Refusal> {
        const STRIDED: i64 = 7;
        if meta.layout.is_some_and(|layout| layout != STRIDED) {
            return Err(Refusal::unsupported("it is sparse"));
        }
        let stored = stored(meta.dtype)?;
        let shape = meta.sizes.iter().map(|size| size.number().and_then(|size| usize::try_from(size).ok()));
        let shape = shape.collect::<Option<Vec<usize>>>().ok_or("an extent is open or negative")?;
        let count = bounded(&shape, MAX_ELEMENTS as usize)?;
        self.left = self.left.checked_sub(count).ok_or("the tensors have more elements than the file has bytes")?;
        let view = View::new(meta, &shape, count)?;
        let size = view.end.checked_mul(stored.size());
        let bytes = size
            .and_then(|size| record.get(..size))
            .ok_or_else(|| format!("it reaches to element {} of a record of {} bytes", view.end, record.len()))?;
        if view.plain {
            let bytes = &bytes[view.offset * stored.size()..];
            return Ok(Array { shape, elements: decode(stored, bytes, count)? });
        }
        // Elements before the view's end that it does not show are read too, and were sent.
        let all = Array { shape: vec![view.end], elements: decode(stored, bytes, view.end)? };
        let plan = Offsets::new(&shape, view.strides, view.offset as isize);
        Ok(all.pick(shape, plan))
    }
}

/// Where the elements of a tensor lie in its record.
struct View {
    offset: usize,
    strides: Vec<isize>,
    /// One more than the last element that is looked at.
    end: usize,
    /// Row-major without gaps.
    plain: bool,
}

impl View {
    fn new(meta: &TensorMeta, shape: &[usize], count: usize) -> Result<Self, Refusal> {
        let number = |value: i64| usize::try_from(value).ok();
        let offset = match &meta.storage_offset {
            None => Some(0),
            Some(offset) => offset.number().and_then(number),
        };
        let offset = offset.ok_or("its offset is negative")?;
        let given = meta.strides.iter().map(|stride| stride.number().and_then(|stride| isize::try_from(stride).ok()));
        let given = given.collect::<Option<Vec<isize>>>().ok_or("a stride is open")?;
        if given.len() != shape.len() || given.iter().any(|stride| *stride < 0) {
            return Err(format!("its strides {given:?} do not fit its shape {shape:?}").into());
        }
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

/// A type as the schema counts them.
pub fn stored(kind: i64) -> Result<Stored, Refusal> {
    Ok(match kind {
        1 => Stored::Uint8,
        2 => Stored::Int8,
        3 => Stored::Int16,
        4 => Stored::Int32,
        5 => Stored::Int64,
        6 => Stored::Float16,
        7 => Stored::Float32,
        8 => Stored::Float64,
        12 => Stored::Bool,
        13 => Stored::Bfloat16,
        28 => Stored::Uint16,
        other => return Err(Refusal::unsupported(format!("it is of type {other}, which is not read"))),
    })
}
