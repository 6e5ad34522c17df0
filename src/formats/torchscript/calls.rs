//! Calls of operators on tensors: arguments by their places become arguments by their names, and the call part of the graph.

use std::rc::Rc;

use super::{
    item::{Halt, Item, Run},
    machine::Machine,
    plain,
    signatures::signature,
};
use crate::{
    domain::problem::Cause,
    formats::{
        aten::{self, Arg, Call},
        dim::Dim,
        refusal::Refusal,
        value::Value,
    },
};

/// Nodes that a graph may have.
const MAX_NODES: usize = 100_000;
/// What each part that a value is cut into counts, in members of lists: it has a name, a shape and a place in memory.
const PART: usize = 16;

/// Operators with several results, of which the first is the one that is known, and their number.
const TUPLES: &[(&str, usize)] = &[
    ("_native_batch_norm_legit", 3),
    ("_native_batch_norm_legit_no_training", 3),
    ("adaptive_max_pool1d", 2),
    ("adaptive_max_pool2d", 2),
    ("cudnn_batch_norm", 4),
    ("max_pool1d_with_indices", 2),
    ("max_pool2d_with_indices", 2),
    ("native_batch_norm", 3),
    ("native_dropout", 2),
    ("native_group_norm", 3),
    ("native_layer_norm", 3),
];

impl Machine<'_> {
    /// `torch.<operator>(args…, words…)`.
    ///
    /// # Errors
    /// What the operator refuses as wrong. What it does not support becomes a cause, and its result is lost.
    pub fn torch(&mut self, operator: &str, args: Vec<Item>, words: Vec<(Rc<str>, Item)>) -> Run<Item> {
        if let Some(answer) = self.question(operator, &args) {
            return answer;
        }
        if args.iter().chain(words.iter().map(|(_, word)| word)).any(Item::is_lost) {
            return Ok(Item::Lost);
        }
        let without_tensors = !args.iter().any(Item::is_tensor);
        let answer = if without_tensors { plain::operator(operator, &args, &words) } else { None };
        let answer = answer.unwrap_or_else(|| self.lowered(operator, args, words));
        match answer {
            Err(Halt::Refused(Refusal::Unsupported(reason))) => {
                self.report(&format!("aten.{operator}"), &reason);
                Ok(Item::Lost)
            }
            other => other,
        }
    }

    /// Notes what is not supported, with the place in the code.
    pub fn report(&mut self, operator: &str, reason: &str) {
        let ((function, line), path) = (&self.place, &self.path);
        self.causes.add(operator, || {
            let of = if path.is_empty() { String::new() } else { format!(" of \"{path}\"") };
            let detail = format!("{operator} in \"{function}\"{of}, line {line}: {reason}.");
            let param = Some(path.to_string()).filter(|path| !path.is_empty());
            Cause { detail, param, operator: Some(operator.to_owned()) }
        });
    }

    fn lowered(&mut self, operator: &str, args: Vec<Item>, words: Vec<(Rc<str>, Item)>) -> Run<Item> {
        let in_place = aten::is_in_place(operator);
        let names = signature(operator, &args).ok_or_else(|| Refusal::unsupported("the operator is not known"))?;
        if args.len() > names.len() {
            return Err(format!("it gives {operator} {} arguments of {}", args.len(), names.len()).into());
        }
        let source = args.first().and_then(|first| if let Item::Tensor(index) = first { Some(*index) } else { None });
        let placed = names.iter().map(|name| (*name).to_owned()).zip(args);
        let named = placed.chain(words.into_iter().map(|(name, word)| (name.to_string(), word)));
        let named = named.map(|(name, item)| self.arg(&name, &item).map(|arg| (name, arg)));
        let args = named.collect::<Run<Vec<_>>>()?;
        let label = if self.path.is_empty() { operator.to_owned() } else { format!("{}/{operator}", self.path) };
        let mut call = Call { operator: operator.to_owned(), name: label.clone(), outputs: Vec::new(), args };
        let parts = aten::list_length(&call)?;
        self.spend(parts.unwrap_or(0) * PART)?;
        call.outputs = (0..parts.unwrap_or(1)).map(|_| self.context.unused(&label)).collect();
        let view = aten::lower_alone(&mut self.context, &call)?;
        if self.context.nodes.len() > MAX_NODES {
            return Err(format!("its graph has more than {MAX_NODES} nodes").into());
        }
        if let (true, Some(source)) = (in_place, source) {
            let value = self.result(&call.outputs[0]);
            self.spend(self.tensors.len() / 16)?;
            self.tensors.change(source, &value);
            return Ok(Item::Tensor(source));
        }
        let source = source.filter(|_| view);
        let mut results = Vec::with_capacity(call.outputs.len());
        for output in &call.outputs {
            let value = self.result(output);
            results.push(Item::Tensor(match source {
                Some(source) if aten::may_copy(operator) => self.tensors.add_perhaps_copied(value, source),
                source => self.tensors.add(value, source),
            }));
        }
        if parts.is_some() {
            return Item::list(results);
        }
        if let Some((_, count)) = TUPLES.iter().find(|(name, _)| *name == operator) {
            results.resize(*count, Item::Lost);
            return Item::tuple(results);
        }
        results.pop().ok_or_else(|| "it makes nothing".into())
    }

    fn result(&self, output: &str) -> Value {
        self.context.value(output).cloned().unwrap_or(Value::Lost)
    }

    fn arg(&self, name: &str, item: &Item) -> Run<Arg> {
        Ok(match item {
            Item::None => Arg::None,
            Item::Bool(truth) => Arg::Bool(*truth),
            Item::Int(dim) if name == "dtype" => {
                dim.number().map_or(Arg::Other, |number| Arg::Int(Dim::fixed(kind(number))))
            }
            Item::Int(dim) => Arg::Int(*dim),
            Item::Float(number) => Arg::Float(*number),
            Item::Text(text) => Arg::Text(text.to_string()),
            Item::Tensor(index) => Arg::Tensor(self.tensors.value(*index)?.clone()),
            Item::List(_) | Item::Tuple(_) => self.several(&item.members().unwrap_or_default())?,
            Item::Dict(_) | Item::Module(_) | Item::Function(_) => Arg::Other,
            Item::Lost => return Err(Halt::Lost),
        })
    }

    fn several(&self, members: &[Item]) -> Run<Arg> {
        if members.iter().any(Item::is_lost) {
            return Err(Halt::Lost);
        }
        let dim = |item: &Item| if let Item::Int(dim) = item { Some(*dim) } else { None };
        if members.is_empty() || members.iter().any(Item::is_tensor) {
            let tensor = |item: &Item| match item {
                Item::None => Ok(None),
                Item::Tensor(index) => Ok(Some(self.tensors.value(*index)?.clone())),
                other => Err(Halt::from(format!("it takes {} for a tensor", other.kind()))),
            };
            let values = members.iter().map(tensor).collect::<Run<Vec<Option<Value>>>>()?;
            return Ok(match values.iter().cloned().collect() {
                Some(tensors) => Arg::Tensors(tensors),
                None => Arg::Optional(values),
            });
        }
        if let Some(dims) = members.iter().map(dim).collect::<Option<Vec<_>>>() {
            return Ok(Arg::Ints(dims));
        }
        Ok(members.iter().map(Item::number).collect::<Option<Vec<_>>>().map_or(Arg::Other, Arg::Floats))
    }
}

/// A type of elements as libtorch counts them, as the schema of exported programs does, which the rules know.
fn kind(number: i64) -> i64 {
    const BFLOAT16: (i64, i64) = (15, 13);
    if number == BFLOAT16.0 { BFLOAT16.1 } else { number + 1 }
}
