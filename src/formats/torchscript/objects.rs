//! Modules of the pickle as values of the code: attributes, and tensors under their names in the state dictionary.

use std::{collections::HashMap, rc::Rc};

use super::{
    item::{Item, MAX_LIST, Module, Run},
    pickle::{Pickled, Strided},
    tensors::Tensors,
};
use crate::formats::{
    archive::Archive,
    array::Array,
    aten::Context,
    dim::Dim,
    elements::Stored,
    problems::MAX_NAME,
    refusal::Refusal,
    strided,
    value::{Known, Value},
};

/// How deep lists of attributes may nest.
const MAX_NESTING: usize = 8;

pub struct Objects<'a> {
    archive: &'a Archive<'a>,
    constants: &'a [Pickled],
    /// Tensors that were read, by where they lie in memory, which is theirs as long as they are held here.
    read: HashMap<*const Strided, (Rc<Strided>, usize)>,
    /// How many elements may still be read: each takes at least a byte of the file, but views may repeat them.
    left: usize,
    /// Tensors with NaN or infinity.
    pub not_finite: Vec<String>,
    /// Whether a module says that it was saved while training.
    pub in_training: bool,
}

impl<'a> Objects<'a> {
    /// `length`: of the file, in bytes.
    pub fn new(archive: &'a Archive<'a>, constants: &'a [Pickled], length: usize) -> Self {
        let left = length.saturating_add(1 << 24);
        Self { archive, constants, read: HashMap::new(), left, not_finite: Vec::new(), in_training: false }
    }

    /// `CONSTANTS.c<number>`. Those of one number are numbers: a trace computes shapes with them.
    pub fn constant(&mut self, number: &str, context: &mut Context, tensors: &mut Tensors) -> Run<Item> {
        let found = number.parse::<usize>().ok().and_then(|number| self.constants.get(number)).cloned();
        let found = found.ok_or_else(|| format!("the archive has no constant {number}"))?;
        let item = self.item(&found, &format!("constant_{number}"), 0, (context, &mut *tensors))?;
        let Item::Tensor(index) = item else { return Ok(item) };
        Ok(scalar(tensors.value(index)?).unwrap_or(Item::Tensor(index)))
    }

    pub fn attribute(
        &mut self,
        module: &Module,
        name: &str,
        context: &mut Context,
        tensors: &mut Tensors,
    ) -> Run<Item> {
        let found = module.object.get(name);
        let found = found.ok_or_else(|| format!("\"{}\" has no attribute \"{name}\"", module.object.class))?;
        if name == "training" {
            // A teacher is asked, and does not learn: the student mimics what it answers then.
            self.in_training |= matches!(found, Pickled::Bool(true));
            return Ok(Item::Bool(false));
        }
        let path = if module.path.is_empty() { name.to_owned() } else { format!("{}.{name}", module.path) };
        // Paths are names of layers and weights, and are told with each cause of a refusal.
        if path.len() > MAX_NAME {
            return Err(format!("an attribute's name has {} bytes, more than {MAX_NAME}", path.len()).into());
        }
        self.item(&found, &path, 0, (context, tensors))
    }

    fn item(
        &mut self,
        pickled: &Pickled,
        path: &str,
        depth: usize,
        (context, tensors): (&mut Context, &mut Tensors),
    ) -> Run<Item> {
        if depth > MAX_NESTING {
            return Err(format!("\"{path}\" nests more than {MAX_NESTING} deep").into());
        }
        let mut several = |members: &[Pickled]| -> Run<Vec<Item>> {
            if members.len() > MAX_LIST {
                return Err(format!("\"{path}\" has more than {MAX_LIST} members").into());
            }
            let one = |(index, member): (usize, &Pickled)| {
                self.item(member, &format!("{path}.{index}"), depth + 1, (&mut *context, &mut *tensors))
            };
            members.iter().enumerate().map(one).collect()
        };
        Ok(match pickled {
            Pickled::None => Item::None,
            Pickled::Bool(truth) => Item::Bool(*truth),
            Pickled::Int(number) => Item::int(*number),
            Pickled::Float(number) => Item::Float(*number),
            Pickled::Text(text) => Item::Text(Rc::clone(text)),
            Pickled::Tuple(members) => Item::tuple(several(members)?)?,
            Pickled::List(members) => {
                let members = members.borrow().clone();
                Item::list(several(&members)?)?
            }
            Pickled::Dict(pairs) => {
                let pairs: Vec<Pickled> =
                    pairs.borrow().iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
                Item::dict(several(&pairs)?)?
            }
            Pickled::Object(object) => Item::Module(Module { object: Rc::clone(object), path: path.into() }),
            Pickled::Tensor(tensor) => Item::Tensor(self.tensor(tensor, path, context, tensors)?),
            Pickled::Global(_) | Pickled::Storage(_) | Pickled::Opaque => Item::None,
        })
    }

    fn tensor(&mut self, tensor: &Rc<Strided>, path: &str, context: &mut Context, tensors: &mut Tensors) -> Run<usize> {
        if let Some((_, index)) = self.read.get(&Rc::as_ptr(tensor)) {
            return Ok(*index);
        }
        let array = self.array(tensor).map_err(|refusal| match refusal {
            Refusal::Unsupported(reason) => Refusal::Unsupported(format!("the tensor \"{path}\": {reason}")),
            Refusal::Invalid(reason) => Refusal::Invalid(format!("the tensor \"{path}\": {reason}")),
        })?;
        if array.as_f32().is_some_and(|values| values.iter().any(|value| !value.is_finite())) {
            self.not_finite.push(path.to_owned());
        }
        let known = Known { name: context.unused(path), array: Rc::new(array), repeated: false };
        let index = tensors.add(Value::Known(known), None);
        self.read.insert(Rc::as_ptr(tensor), (Rc::clone(tensor), index));
        Ok(index)
    }

    fn array(&mut self, tensor: &Strided) -> Result<Array, Refusal> {
        let stored = stored(&tensor.storage.kind)?;
        let extents = tensor.shape.iter().map(|extent| usize::try_from(*extent).ok());
        let shape = extents.collect::<Option<Vec<usize>>>().ok_or("an extent is negative")?;
        let count = shape.iter().try_fold(1usize, |count, extent| count.checked_mul(*extent));
        self.left = count
            .and_then(|count| self.left.checked_sub(count))
            .ok_or("the tensors have more elements than the file has bytes")?;
        let record = &tensor.storage.record;
        let bytes = self.archive.get(record).ok_or_else(|| format!("the archive lacks its record \"{record}\""))?;
        strided::Strided { stored, shape, strides: tensor.strides.clone(), offset: tensor.offset }.read(bytes)
    }
}

/// The number that a known value of one element without axes is.
pub fn scalar(value: &Value) -> Option<Item> {
    let Value::Known(Known { array, .. }) = value else { return None };
    if !array.shape.is_empty() {
        return None;
    }
    let int = array.as_ints().and_then(|ints| ints.first()).map(|dim: &Dim| Item::Int(*dim));
    let float = array.as_f32().and_then(|floats| floats.first()).map(|float| Item::Float((*float).into()));
    let truth = array.as_bools().and_then(|truths| truths.first()).map(|truth| Item::Bool(*truth));
    int.or(float).or(truth)
}

/// The type of the elements in a storage.
///
/// # Errors
/// Types that are not read.
pub fn stored(kind: &str) -> Result<Stored, Refusal> {
    Ok(match kind {
        "FloatStorage" => Stored::Float32,
        "DoubleStorage" => Stored::Float64,
        "HalfStorage" => Stored::Float16,
        "BFloat16Storage" => Stored::Bfloat16,
        "LongStorage" => Stored::Int64,
        "IntStorage" => Stored::Int32,
        "ShortStorage" => Stored::Int16,
        "CharStorage" => Stored::Int8,
        "ByteStorage" => Stored::Uint8,
        "BoolStorage" => Stored::Bool,
        other => return Err(Refusal::unsupported(format!("it lies in a {other}, which is not read"))),
    })
}
