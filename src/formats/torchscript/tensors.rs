//! Tensors of the code. Several of them may share memory, and a change of one in place is one of all.

use crate::formats::{refusal::Refusal, value::Value};

#[derive(Default)]
pub struct Tensors {
    all: Vec<Tensor>,
}

struct Tensor {
    value: Value,
    /// The first tensor with this memory.
    memory: usize,
    /// Whether a change in place of one that shares its memory made another value of it, which is not followed.
    stale: bool,
}

impl Tensors {
    /// A tensor with memory of its own, or, as a view, with that of `source`.
    pub fn add(&mut self, value: Value, source: Option<usize>) -> usize {
        let memory = source.map_or(self.all.len(), |source| self.all[source].memory);
        self.all.push(Tensor { value, memory, stale: false });
        self.all.len() - 1
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn value(&self, index: usize) -> Result<&Value, Refusal> {
        let tensor = &self.all[index];
        if tensor.stale {
            return Err(Refusal::unsupported("it reads a view of what was changed in place"));
        }
        Ok(&tensor.value)
    }

    /// After a change in place: other names of the same value get what it became, views of it become stale.
    pub fn change(&mut self, index: usize, value: &Value) {
        let (memory, before) = (self.all[index].memory, self.all[index].value.clone());
        for (other, tensor) in self.all.iter_mut().enumerate().filter(|(_, tensor)| tensor.memory == memory) {
            if other == index || is_same(&tensor.value, &before) {
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
    }
}
