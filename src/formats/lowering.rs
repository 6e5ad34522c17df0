//! The state of an import: what is known of each value so far, and the graph nodes made so far. Below it is what operators of
//! several formats have in common.

pub mod cast;
pub mod concat;
pub mod expand;
pub mod groups;
pub mod indices;
pub mod pool;
pub mod reshape;
pub mod slice;
pub mod tile;

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::{
    array::{Array, count},
    dim::{Dim, product, show},
    fold,
    free_names::FreeNames,
    graph::{Node, Op},
    refusal::Refusal,
    shapes,
    value::{Known, Site, Value},
};

/// Largest number of elements of one value, for one example: 1 GiB of floats.
pub const MAX_ELEMENTS: i64 = 1 << 28;
/// Largest number of integers that shape arithmetic may hold in one value.
pub const MAX_INTEGERS: usize = 1 << 20;
/// What an integer takes in memory, in floats.
const INTEGER: usize = size_of::<Dim>() / size_of::<f32>();
/// Largest number of elements that all folded constants may have together, in floats, and of multiplications that they take.
const MAX_FOLDED: usize = 1 << 29;
/// Largest number of axes of one value.
pub const MAX_RANK: usize = 8;

pub struct Lowering {
    /// The batch that the file fixes, if it fixes one.
    pub batch: Option<i64>,
    pub nodes: Vec<Node>,
    /// Constants that nodes read, by name.
    pub weights: BTreeMap<String, Rc<Array>>,
    pub warnings: Vec<String>,
    values: HashMap<String, Value>,
    /// Every name of the file and of ours.
    names: FreeNames,
    folded: usize,
}

impl Lowering {
    /// `names`: those that the file uses for values.
    pub fn new(batch: Option<i64>, names: FreeNames) -> Self {
        let (nodes, weights, values) = (Vec::new(), BTreeMap::new(), HashMap::new());
        Self { batch, nodes, weights, warnings: Vec::new(), values, names, folded: 0 }
    }

    pub fn define(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// A constant of ours, under a name that begins with the node's first output.
    pub fn constant(&mut self, site: &dyn Site, suffix: &str, array: Array) -> Value {
        let name = self.fresh(site, suffix);
        Value::Known(Known { name, array: Rc::new(array), repeated: false })
    }

    /// Makes the node's first output a known value.
    pub fn known(&mut self, site: &dyn Site, array: Array) -> Result<(), Refusal> {
        self.known_maybe_repeated(site, array, false)
    }

    /// The same, for a value whose axis 0 may stand for the batch.
    pub fn known_maybe_repeated(&mut self, site: &dyn Site, array: Array, repeated: bool) -> Result<(), Refusal> {
        self.charge(array.len() * if array.as_ints().is_some() { INTEGER } else { 1 })?;
        let name = first_output(site)?;
        let known = Known { name: name.to_owned(), array: Rc::new(array), repeated };
        self.define(name, Value::Known(known));
        Ok(())
    }

    /// Makes the node's first output another name of `value`.
    pub fn alias(&mut self, site: &dyn Site, value: Value) -> Result<(), Refusal> {
        let name = first_output(site)?;
        self.define(name, value);
        Ok(())
    }

    /// Applies `op` as the whole node or its last step: its results are the node's outputs.
    pub fn finish(&mut self, site: &dyn Site, op: Op, inputs: &[Option<&Value>]) -> Result<(), Refusal> {
        let names: Vec<String> = site.results().to_vec();
        for (name, value) in names.iter().zip(self.apply(site, op, inputs, &names)?) {
            self.define(name, value);
        }
        Ok(())
    }

    /// Applies `op` as a step on the way, and gives its first result.
    pub fn step(&mut self, site: &dyn Site, op: Op, inputs: &[Option<&Value>], suffix: &str) -> Result<Value, Refusal> {
        let names = [self.fresh(site, suffix)];
        let values = self.apply(site, op, inputs, &names)?;
        values.into_iter().next().ok_or_else(|| "it makes nothing".into())
    }

    fn apply(
        &mut self,
        site: &dyn Site,
        op: Op,
        inputs: &[Option<&Value>],
        names: &[String],
    ) -> Result<Vec<Value>, Refusal> {
        if inputs.iter().flatten().any(|value| matches!(value, Value::Lost)) {
            return Ok(names.iter().map(|_| Value::Lost).collect());
        }
        if inputs.iter().flatten().any(|value| matches!(value, Value::Indices(_))) {
            return Ok(vec![indices::apply(self, &op, inputs)?]);
        }
        let known: Option<Vec<&Known>> = inputs.iter().map(|value| value.and_then(as_known)).collect();
        if let Some(known) = known {
            return self.fold(&op, &known, names);
        }
        let dims = inputs.iter().map(|value| value.map(natural_dims).transpose()).collect::<Result<Vec<_>, _>>()?;
        let views: Vec<Option<&[Dim]>> = dims.iter().map(Option::as_deref).collect();
        let shapes = shapes::outputs(&op, &views)?;
        if shapes.len() < names.len() {
            return Err(Refusal::unsupported(format!("its output {} is not supported", shapes.len())));
        }
        // A result that nobody reads still has a name: the graph's nodes have all their outputs.
        let outputs: Vec<String> =
            (0..shapes.len()).map(|index| self.output_name(site, names.get(index), index)).collect();
        let mut values = Vec::with_capacity(shapes.len());
        for (name, dims) in outputs.iter().zip(shapes) {
            check_size(&dims)?;
            values.push(Value::Runtime { name: name.clone(), dims });
        }
        let inputs = inputs.iter().map(|value| value.map_or_else(|| Ok(String::new()), |value| self.read(value)));
        let inputs = inputs.collect::<Result<_, _>>()?;
        self.nodes.push(Node { name: site.name().to_owned(), op, inputs, outputs });
        Ok(values)
    }

    fn fold(&mut self, op: &Op, inputs: &[&Known], names: &[String]) -> Result<Vec<Value>, Refusal> {
        let repeated = inputs.iter().any(|known| known.repeated);
        if repeated && !leaves_examples_alike(op, inputs) {
            return Err(Refusal::unsupported("it changes a constant that is repeated for each example"));
        }
        let arrays: Vec<&Array> = inputs.iter().map(|known| known.array.as_ref()).collect();
        let results = self.folded(op, &arrays)?;
        let named = names.iter().zip(results);
        Ok(named
            .map(|(name, array)| Value::Known(Known { name: name.clone(), array: Rc::new(array), repeated }))
            .collect())
    }

    /// The results of `op` on constants. Their sizes are checked before anything is allocated: an Expand may ask for more than
    /// there is memory.
    fn folded(&mut self, op: &Op, inputs: &[&Array]) -> Result<Vec<Array>, Refusal> {
        let dims: Vec<Vec<Dim>> = inputs.iter().map(|array| array.dims()).collect();
        let views: Vec<Option<&[Dim]>> = dims.iter().map(|dims| Some(dims.as_slice())).collect();
        let of_integers = inputs.iter().any(|array| array.as_ints().is_some());
        for shape in shapes::outputs(op, &views)? {
            let size = product(&shape).and_then(Dim::extent).ok_or("its extents overflow")?;
            if of_integers && size > MAX_INTEGERS {
                return Err(format!("it makes {size} integers of constants, more than {MAX_INTEGERS}").into());
            }
            let room = if of_integers { size * INTEGER } else { size };
            self.charge(room.saturating_add(fold::multiplications(op, inputs, size)))?;
        }
        fold::apply(op, inputs)
    }

    /// Counts folded elements and multiplications, which the file's length does not bound.
    pub fn charge(&mut self, elements: usize) -> Result<(), Refusal> {
        self.folded = self.folded.saturating_add(elements);
        if self.folded > MAX_FOLDED {
            return Err(format!("folding its constants takes more than {MAX_FOLDED} elements or products").into());
        }
        Ok(())
    }

    /// The name under which a graph node reads a value; a known one becomes a weight.
    fn read(&mut self, value: &Value) -> Result<String, Refusal> {
        match value {
            Value::Runtime { name, .. } => Ok(name.clone()),
            Value::Known(known) if known.array.as_f32().is_none() => Err("its operands differ in type".into()),
            Value::Known(known) => {
                self.weights.entry(known.name.clone()).or_insert_with(|| Rc::clone(&known.array));
                Ok(known.name.clone())
            }
            Value::Indices(_) => Err(Refusal::unsupported("it computes with numbers that count along the batch")),
            Value::Lost => Err("it reads what an unsupported node makes".into()),
        }
    }

    fn output_name(&mut self, site: &dyn Site, given: Option<&String>, index: usize) -> String {
        match given {
            Some(name) if !name.is_empty() => name.clone(),
            _ => self.fresh(site, &format!("output_{index}")),
        }
    }

    /// A name that nothing has yet, after the node's first output.
    fn fresh(&mut self, site: &dyn Site, suffix: &str) -> String {
        self.unused(&format!("{}/{suffix}", site.results().first().map_or("", String::as_str)))
    }

    /// `base`, or that with a number: a name that nothing has yet.
    pub fn unused(&mut self, base: &str) -> String {
        self.names.give(base)
    }

    /// Reshapes `value` to `target`, as the node's result. One entry of `target` at most may depend on the batch.
    pub fn reshape(&mut self, site: &dyn Site, value: &Value, target: &[Dim]) -> Result<(), Refusal> {
        if matches!(value, Value::Runtime { .. }) && value.dims()? == target {
            return self.alias(site, value.clone());
        }
        let shape = entries(value, target)?;
        self.finish(site, Op::Reshape { shape }, &[Some(value)])
    }

    /// The same as a step on the way.
    pub fn reshaped(&mut self, site: &dyn Site, value: &Value, target: &[Dim], suffix: &str) -> Result<Value, Refusal> {
        if value.dims()? == target {
            return Ok(value.clone());
        }
        let shape = entries(value, target)?;
        self.step(site, Op::Reshape { shape }, &[Some(value)], suffix)
    }
}

/// A target shape as the graph's operator has it, with -1 for what depends on the batch.
fn entries(value: &Value, target: &[Dim]) -> Result<Vec<i64>, Refusal> {
    let batched = target.iter().filter(|dim| dim.is_batched());
    if batched.clone().count() > 1 || batched.clone().any(|dim| dim.fixed != 0) {
        return Err(Refusal::unsupported(format!("it reshapes {} to {}", show(&value.dims()?), show(target))));
    }
    Ok(target.iter().map(|dim| dim.number().unwrap_or(-1)).collect())
}

pub fn as_known(value: &Value) -> Option<&Known> {
    match value {
        Value::Known(known) => Some(known),
        _ => None,
    }
}

/// Whether what `op` makes of constants, some of them repeated for each example, is one for each example again.
fn leaves_examples_alike(op: &Op, inputs: &[&Known]) -> bool {
    let rank = inputs.iter().map(|known| known.array.shape.len()).max().unwrap_or(0);
    let is_alike = |known: &&Known| match (known.repeated, known.array.shape.len() == rank) {
        (true, is_longest) => is_longest,
        (false, true) => known.array.shape.first() == Some(&1),
        (false, false) => true,
    };
    match op {
        Op::Unary(_) | Op::Clip { .. } => true,
        Op::Binary(_) => inputs.iter().all(is_alike),
        Op::Concat { axis } => *axis > 0 && inputs.iter().all(|known| known.repeated),
        _ => false,
    }
}

fn first_output(site: &dyn Site) -> Result<&str, Refusal> {
    site.results().first().map(String::as_str).ok_or_else(|| "it has no output".into())
}

/// The shape as a graph node sees it: a constant repeated for each example broadcasts by its extent of 1.
fn natural_dims(value: &Value) -> Result<Vec<Dim>, Refusal> {
    match value {
        Value::Known(known) => Ok(known.array.dims()),
        other => other.dims(),
    }
}

/// Bounds what one example of a value takes, before anything computes it.
pub fn check_size(dims: &[Dim]) -> Result<(), Refusal> {
    shapes::nonempty(dims)?;
    let size = product(dims).and_then(|size| size.at(1));
    if dims.len() > MAX_RANK || size.is_none_or(|size| size > MAX_ELEMENTS) {
        return Err(format!("it makes {}, more than {MAX_ELEMENTS} elements for one example", show(dims)).into());
    }
    Ok(())
}

/// The number of elements of a known shape; refuses more than `limit` before anything is allocated.
pub fn bounded(shape: &[usize], limit: usize) -> Result<usize, Refusal> {
    if shape.len() > MAX_RANK || (shape.len() > 1 && shape.contains(&0)) {
        return Err(format!("it has the shape {shape:?}").into());
    }
    match count(shape) {
        Some(size) if size <= limit => Ok(size),
        _ => Err(format!("{shape:?} has more than {limit} elements").into()),
    }
}
