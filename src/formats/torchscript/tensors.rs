//! Tensors of the code. Several of them may share memory, and a change of one in place is one of all.

use crate::formats::{refusal::Refusal, value::Value};

#[derive(Default)]
pub struct Tensors {
    all: Vec<Tensor>,
}

struct Tensor {
    value: Value,
    /// The first tensor that may have this memory.
    memory: usize,
    /// The first tensor that certainly has it.
    certain: usize,
    /// Whether a change in place of one that shares its memory made another value of it, which is not followed.
    stale: bool,
}

impl Tensors {
    /// A tensor with memory of its own, or, as a view, with that of `source`.
    pub fn add(&mut self, value: Value, source: Option<usize>) -> usize {
        let own = self.all.len();
        let (memory, certain) = source.map_or((own, own), |source| (self.all[source].memory, self.all[source].certain));
        self.all.push(Tensor { value, memory, certain, stale: false });
        own
    }

    /// A tensor that is `source`, or a copy of it.
    pub fn add_perhaps_copied(&mut self, value: Value, source: usize) -> usize {
        let index = self.add(value, Some(source));
        self.all[index].certain = index;
        index
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn value(&self, index: usize) -> Result<&Value, Refusal> {
        let tensor = &self.all[index];
        if tensor.stale {
            return Err(Refusal::unsupported(
                "it reads a view of what was changed in place, or what may be a copy of it",
            ));
        }
        Ok(&tensor.value)
    }

    /// After a change in place: other names of the same value get what it became; views of it, and what may be a copy, become
    /// stale.
    pub fn change(&mut self, index: usize, value: &Value) {
        let Tensor { memory, certain, value: before, .. } = &self.all[index];
        let (memory, certain, before) = (*memory, *certain, before.clone());
        if is_same(&before, value) {
            return;
        }
        for (other, tensor) in self.all.iter_mut().enumerate().filter(|(_, tensor)| tensor.memory == memory) {
            if other == index || (tensor.certain == certain && is_same(&tensor.value, &before)) {
                tensor.value = value.clone();
            } else {
                tensor.stale = true;
            }
        }
    }
}

fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Runtime { name: a, .. }, Value::Runtime { name: b, .. }) => a == b,
        (Value::Known(a), Value::Known(b)) => a.name == b.name,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::dim::Dim;

    fn value(name: &str) -> Value {
        Value::Runtime { name: name.into(), dims: vec![Dim::N] }
    }

    #[test]
    fn a_change_reaches_aliases_and_spoils_views() {
        let mut tensors = Tensors::default();
        let x = tensors.add(value("x"), None);
        let alias = tensors.add(value("x"), Some(x));
        let view = tensors.add(value("row"), Some(alias));
        let other = tensors.add(value("x"), None);
        tensors.change(alias, &value("y"));
        let name = |index| match tensors.value(index) {
            Ok(Value::Runtime { name, .. }) => name.clone(),
            _ => "stale".into(),
        };
        assert_eq!([x, alias, view, other].map(name), ["y", "y", "stale", "x"]);
        let perhaps = tensors.add_perhaps_copied(value("y"), x);
        let its_own = tensors.add(value("y"), Some(perhaps));
        tensors.change(perhaps, &value("y"));
        tensors.change(perhaps, &value("z"));
        let name = |index| matches!(tensors.value(index), Ok(Value::Runtime { name, .. }) if name == "z");
        assert_eq!([perhaps, its_own, x, alias].map(name), [true, true, false, false]);
        assert!(tensors.value(x).is_err());
    }
}
