//! A piece of a network, lowered by itself: any number of inputs, of any shape, with or without a batch. Uploads go through
//! [`import`](super::import); this is for checking operators one at a time, by the same rules.

use std::{collections::BTreeMap, rc::Rc};

use prost::Message;

use super::{
    import, order,
    proto::{ModelProto, TensorProto},
    tensor,
};
use crate::{
    domain::problem::Problem,
    formats::{
        dim::Dim,
        finish,
        graph::{Graph, Port, Tensor},
        lowering::{Lowering, check_size},
        problems::invalid,
        value::{Known, Value},
    },
};

/// The input that is computed with; all others are known.
#[derive(Clone, Copy, Debug)]
pub struct Computed<'a> {
    pub name: &'a str,
    pub shape: &'a [usize],
    /// Axis 0 is the batch: of any size, though the file writes down the one of `shape`.
    pub batch: bool,
}

/// What becomes of one output.
#[derive(Clone, Debug)]
pub enum Piece {
    /// It follows from the known inputs, or from the shape of the computed one.
    Known(Tensor),
    /// It is the computed input, unchanged.
    Unchanged,
    /// It is computed by `graph`, whose ports' shapes lack axis 0; `dims` is the output's whole shape.
    Computed { graph: Graph, dims: Vec<Dim> },
}

/// Lowers the nodes that make `output`.
///
/// # Errors
/// As [`import`](super::import), less what it asks of a classifier.
pub fn lower(
    bytes: &[u8],
    output: &str,
    known: &BTreeMap<String, TensorProto>,
    computed: Option<Computed>,
) -> Result<Piece, Problem> {
    let model = ModelProto::decode(bytes).map_err(|error| invalid(format!("The file does not decode: {error}.")))?;
    let version = model.opset_import.iter().find(|import| matches!(import.domain(), "" | "ai.onnx"));
    let opset = version.ok_or_else(|| invalid("The file does not say which opset it uses."))?.version();
    let mut graph = model.graph.ok_or_else(|| invalid("The file has no graph in it."))?;
    let order = order::needed(&graph.node, output)?;
    import::check_operators(&graph.node, &order, &model.functions)?;
    let written = computed.filter(|input| input.batch).and_then(|input| input.shape.first());
    let mut lowering = Lowering::new(written.map(|extent| *extent as i64), import::names(&graph));
    for (name, proto) in known {
        let array = tensor::read(proto).map_err(|refusal| invalid(format!("\"{name}\": {}.", refusal.reason())))?;
        let value = Known { name: name.clone(), array: Rc::new(array), repeated: false };
        lowering.define(name, Value::Known(value));
    }
    if let Some(input) = computed {
        define(&mut lowering, input)?;
    }
    import::define_weights(&mut lowering, &mut graph, &order, (&BTreeMap::new(), usize::MAX))?;
    import::lower(&mut lowering, &graph.node, &order, (opset, output))?;
    finish(lowering, output, computed, opset)
}

/// A constant of a file, as graphs hold it.
///
/// # Errors
/// Types that are not read, and sizes that do not fit the shape.
pub fn constant(proto: &TensorProto) -> Result<Tensor, Problem> {
    let array = tensor::read(proto).map_err(|refusal| invalid(format!("A tensor: {}.", refusal.reason())))?;
    array.into_tensor().ok_or_else(|| invalid("A tensor depends on the batch."))
}

fn define(lowering: &mut Lowering, input: Computed) -> Result<(), Problem> {
    let extent = |(axis, extent): (usize, &usize)| match axis {
        0 if input.batch => Dim::N,
        _ => Dim::fixed(*extent as i64),
    };
    let dims: Vec<Dim> = input.shape.iter().enumerate().map(extent).collect();
    check_size(&dims).map_err(|refusal| invalid(format!("The input \"{}\": {}.", input.name, refusal.reason())))?;
    lowering.define(input.name, Value::Runtime { name: input.name.to_owned(), dims });
    Ok(())
}

fn finish(lowering: Lowering, output: &str, computed: Option<Computed>, opset: i64) -> Result<Piece, Problem> {
    let value = lowering.value(output).cloned();
    let (dims, input) = match (value, computed) {
        (Some(Value::Known(known)), _) if !known.repeated => {
            let array = known.array.as_ref().clone();
            let tensor = array.into_tensor().ok_or_else(|| invalid(format!("\"{output}\" depends on the batch.")))?;
            return Ok(Piece::Known(tensor));
        }
        (Some(Value::Runtime { name, .. }), Some(input)) if name == input.name => return Ok(Piece::Unchanged),
        (Some(Value::Runtime { dims, .. }), Some(input)) => (dims, input),
        (Some(_), _) => return Err(invalid(format!("\"{output}\" repeats a constant for each example."))),
        (None, _) => return Err(invalid(format!("No node makes \"{output}\"."))),
    };
    let extents = dims.iter().skip(1).map(|dim| dim.extent().unwrap_or(0)).collect();
    let ports = (
        Port { name: input.name.to_owned(), shape: input.shape.get(1..).unwrap_or_default().to_vec() },
        Port { name: output.to_owned(), shape: extents },
    );
    let (graph, _) = finish::graph(lowering, ports, opset)?;
    Ok(Piece::Computed { graph, dims })
}
