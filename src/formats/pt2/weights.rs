//! Tensors of an archive: raw elements in records of their own, looked at through shape, strides and offset.

use std::{collections::HashMap, rc::Rc};

use super::{container::Container, schema::TensorMeta};
use crate::{
    domain::problem::Problem,
    formats::{
        array::Array,
        elements::Stored,
        lowering::{MAX_ELEMENTS, bounded},
        problems::invalid,
        refusal::Refusal,
        strided::Strided,
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
        let number = |value: &Option<i64>, what: &str| value.ok_or_else(|| format!("{what} is open"));
        let strides =
            meta.strides.iter().map(|stride| number(&stride.number(), "a stride")).collect::<Result<_, _>>()?;
        let offset = meta.storage_offset.as_ref().map_or(Ok(0), |offset| number(&offset.number(), "its offset"))?;
        Strided { stored, shape, strides, offset }.read(record)
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
