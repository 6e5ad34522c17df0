//! The state of an import of ATen calls, beside that of every import: what shares memory with what, and what is a transposed
//! weight.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
};

use super::{call::Call, ops};
use crate::formats::{dim::Dim, lowering::Lowering, refusal::Refusal, value::Value};

pub struct Context {
    pub lowering: Lowering,
    /// Weights by the names of their transposes.
    pub transposed: HashMap<String, Value>,
    /// Matrices of weights, and what they are repeated to, by the names of what repeats them: one for each row of a batched
    /// product, which stays one.
    pub repeated: HashMap<String, (Value, Vec<Dim>)>,
    /// The value whose memory a value of the file may share, by name.
    shared: HashMap<String, String>,
    /// The value whose memory it certainly shares.
    certain: HashMap<String, String>,
    /// The number of the last call that reads a value of the file.
    last_read: HashMap<String, usize>,
}

impl Deref for Context {
    type Target = Lowering;

    fn deref(&self) -> &Lowering {
        &self.lowering
    }
}

impl DerefMut for Context {
    fn deref_mut(&mut self) -> &mut Lowering {
        &mut self.lowering
    }
}

impl Context {
    /// `last_read`: the number of the last call that reads each value.
    pub fn new(lowering: Lowering, last_read: HashMap<String, usize>) -> Self {
        let (shared, certain) = (HashMap::new(), HashMap::new());
        Self { lowering, transposed: HashMap::new(), repeated: HashMap::new(), shared, certain, last_read }
    }

    /// Whether any call reads the value of that name.
    pub fn is_read(&self, name: &str) -> bool {
        self.last_read.contains_key(name)
    }

    /// The value whose memory `name` shares, or itself.
    fn root<'a>(&'a self, name: &'a str) -> &'a str {
        self.shared.get(name).map_or(name, String::as_str)
    }

    fn certain_root<'a>(&'a self, name: &'a str) -> &'a str {
        self.certain.get(name).map_or(name, String::as_str)
    }

    /// Notes that the results of a call share memory with `source`, or may.
    fn share(&mut self, call: &Call, source: &str) {
        let (root, certain) = (self.root(source).to_owned(), self.certain_root(source).to_owned());
        for output in &call.outputs {
            self.shared.insert(output.clone(), root.clone());
            let own = if ops::may_copy(&call.operator) { output } else { &certain };
            self.certain.insert(output.clone(), own.clone());
        }
    }

    /// After a call in place: whoever reads the changed value later gets what it became.
    fn changed(&mut self, call: &Call, number: usize, source: &str) -> Result<(), Refusal> {
        let result = call.outputs.first().and_then(|output| self.value(output)).cloned();
        let result = result.ok_or("it makes nothing")?;
        let root = self.root(source).to_owned();
        let before = self.value(source).cloned();
        let same = |value: Option<&Value>| match (value, &before) {
            (Some(Value::Runtime { name, .. }), Some(Value::Runtime { name: own, .. })) => name == own,
            (Some(Value::Known(known)), Some(Value::Known(own))) => known.name == own.name,
            (Some(Value::Lost), _) | (_, Some(Value::Lost)) => true,
            _ => false,
        };
        if same(Some(&result)) {
            self.share(call, source);
            return Ok(());
        }
        let relatives = self.shared.iter().filter(|(_, own)| **own == root).map(|(name, _)| name.clone());
        let relatives: Vec<String> = relatives.chain([root.clone()]).collect();
        for name in relatives.into_iter().filter(|name| !call.outputs.contains(name)) {
            if self.last_read.get(&name).is_none_or(|last| *last <= number) {
                continue;
            }
            if self.certain_root(&name) != self.certain_root(source) {
                let reason = format!("it changes \"{source}\" in place, and \"{name}\" may be a copy of it or not");
                return Err(Refusal::unsupported(reason));
            }
            if !same(self.value(&name)) {
                let reason = format!("it changes \"{source}\" in place, of which \"{name}\" is a view");
                return Err(Refusal::unsupported(reason));
            }
            self.define(&name, result.clone());
        }
        self.share(call, source);
        Ok(())
    }
}

/// Lowers one call, the `number`th of the file; `source` is the name of its first tensor.
///
/// # Errors
/// What the operator's rule refuses, and operators without one.
pub fn lower(context: &mut Context, call: &Call, number: usize, source: Option<&str>) -> Result<(), Refusal> {
    if call.values().any(|value| matches!(value, Value::Lost)) {
        return if ops::is_known(&call.operator) { Ok(()) } else { Err(unknown()) };
    }
    let view = lower_alone(context, call)?;
    match source {
        Some(source) if is_in_place(&call.operator) => context.changed(call, number, source),
        Some(source) if view => {
            context.share(call, source);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Lowers one call, whatever else may share memory with its operands; gives whether its results may.
///
/// # Errors
/// What the operator's rule refuses, and operators without one.
pub fn lower_alone(context: &mut Context, call: &Call) -> Result<bool, Refusal> {
    let rule = ops::find(&call.operator).ok_or_else(unknown)?;
    (rule.lower)(context, call)?;
    Ok(rule.view)
}

/// Whether the operator of that name changes its first operand.
pub fn is_in_place(operator: &str) -> bool {
    operator.ends_with('_') && !operator.ends_with("__")
}

fn unknown() -> Refusal {
    Refusal::unsupported("the operator is not known")
}
