//! Python's functions, those of the compiler's own, and what is asked of tensors that are not computed.

use super::{
    item::{Item, Run},
    machine::Machine,
    objects::scalar,
    plain::{converted, extreme, format, range},
};
use crate::formats::{
    dim::{Dim, product},
    refusal::Refusal,
    value::normalise,
};

/// Float32, as libtorch counts types: every float is one here.
const FLOAT: i64 = 6;

impl Machine<'_> {
    /// A function of Python's, of `ops.prim`, or of the compiler's own.
    pub fn python(&mut self, name: &str, args: Vec<Item>) -> Run<Item> {
        if args.iter().any(Item::is_lost) {
            return Ok(Item::Lost);
        }
        match (name, args.as_slice()) {
            ("getattr", [Item::Module(module), Item::Text(attribute)]) => {
                self.objects.attribute(module, attribute, &mut self.context, &mut self.tensors)
            }
            ("int" | "float" | "bool" | "ops.prim.NumToTensor", [value]) => converted(name, &self.as_number(value)?),
            ("str", [value]) => Ok(Item::Text(value.show().into())),
            ("range", _) => range(&args),
            ("ops.prim.unchecked_unwrap_optional" | "ops.prim.data" | "ops.prim.unchecked_cast", [value, ..]) => {
                Ok(value.clone())
            }
            ("ops.prim.RaiseException", _) => {
                let said = args.first().map(Item::show).unwrap_or_default();
                Err(format!("the code raises \"{said}\"").into())
            }
            ("ops.prim.dtype", [Item::Tensor(_)]) => Ok(Item::int(FLOAT)),
            ("ops.prim.device", [Item::Tensor(_)]) => Ok(Item::Text("cpu".into())),
            ("ops.prim.shape", [Item::Tensor(_)]) => self.torch("size", args, Vec::new()),
            ("ops.prim.type", [Item::Text(_)]) => Ok(args[0].clone()),
            // A teacher is differentiated by its input, and fused kernels that cannot be are not taken.
            ("ops.prim.requires_grad", [Item::Tensor(_)]) => Ok(Item::Bool(true)),
            (
                "ops.prim.is_cuda"
                | "ops.prim.is_quantized"
                | "ops.prim.is_sparse"
                | "ops.prim.is_mkldnn"
                | "ops.prim.is_nested",
                [Item::Tensor(_)],
            ) => Ok(Item::Bool(false)),
            ("ops.prim.min" | "ops.prim.max", _) => extreme(name == "ops.prim.max", &args),
            ("ops.prim.abs", [Item::Int(dim)]) if dim.number().is_some() => {
                Ok(Item::int(dim.number().unwrap_or_default().saturating_abs()))
            }
            _ => {
                self.report(name.strip_prefix("ops.").unwrap_or(name), "the operator is not known");
                Ok(Item::Lost)
            }
        }
    }

    /// A tensor that is a known number, as that; what is none stays as it is.
    fn as_number(&self, item: &Item) -> Run<Item> {
        let Item::Tensor(index) = item else { return Ok(item.clone()) };
        let number = scalar(self.tensors.value(*index)?);
        number.ok_or_else(|| Refusal::unsupported("it takes a computed value for a number").into())
    }

    fn dims(&self, tensor: usize) -> Run<Vec<Dim>> {
        Ok(self.tensors.value(tensor)?.dims()?)
    }

    /// What is asked of a tensor's shape, and of values whatever they are. `None` where the operator is none of these.
    pub fn question(&mut self, operator: &str, args: &[Item]) -> Option<Run<Item>> {
        let dims = |index: &usize| self.dims(*index);
        Some(match (operator, args) {
            ("__is__", [a, b]) => Ok(Item::Bool(is_none(a) && is_none(b))),
            ("__isnot__", [a, b]) => Ok(Item::Bool(is_none(a) != is_none(b))),
            ("warn" | "manual_seed", _) => Ok(Item::None),
            ("is_grad_enabled", _) => Ok(Item::Bool(true)),
            ("is_scripting" | "is_autocast_enabled", _) => Ok(Item::Bool(false)),
            ("is_floating_point", [Item::Tensor(_)]) => Ok(Item::Bool(true)),
            ("is_complex", [Item::Tensor(_)]) => Ok(Item::Bool(false)),
            ("dim", [Item::Tensor(index)]) => dims(index).map(|dims| Item::int(dims.len() as i64)),
            ("numel", [Item::Tensor(index)]) => {
                dims(index).and_then(|dims| Ok(Item::Int(product(&dims).ok_or("its extents overflow")?)))
            }
            ("len", [Item::Tensor(index)]) => {
                dims(index).and_then(|dims| Ok(Item::Int(*dims.first().ok_or("it has no axes")?)))
            }
            ("size", [Item::Tensor(index)]) => {
                dims(index).and_then(|dims| Item::list(dims.into_iter().map(Item::Int).collect()))
            }
            ("size", [Item::Tensor(index), axis]) => dims(index).and_then(|dims| {
                let axis = normalise(axis.whole()?, dims.len())?;
                Ok(Item::Int(dims[axis]))
            }),
            ("append", [Item::List(list), member]) => list.append(member.clone()).map(|()| args[0].clone()),
            ("format", [Item::Text(pattern), values @ ..]) => Ok(format(pattern, values)),
            ("device", [device]) => Ok(device.clone()),
            _ => return None,
        })
    }
}

fn is_none(item: &Item) -> bool {
    matches!(item, Item::None)
}
