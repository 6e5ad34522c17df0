//! From a graph to the bytes of an archive that `torch.export.load` reads: the names it came with, a free batch, and nothing
//! of the exporter's own.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::container::{ARCHIVE_VERSION, SCHEMA_MAJOR};
use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::{
        archive::Writer,
        aten::{
            prepare,
            program::{Program, Weight},
            write::{Operation, Written},
        },
        dim::{Dim, product},
        graph::{Data, Graph, Node, Op},
        layout,
        safetensors::to_bytes,
        shapes,
    },
};

/// The minor version that what is written needs; later ones add to it.
const SCHEMA_MINOR: i64 = 1;
/// The version of ATen's operators, the same since torch 1.13.
const OPSET: i64 = 10;
const FLOAT: i64 = 7;
/// The symbol of the free batch, and an example of it.
const BATCH: &str = "Symbol('s0', positive=True, integer=True)";
const HINT: i64 = 2;
/// The one folder of the archive, and the one program in it.
const FOLDER: &str = "student";
const PROGRAM: &str = "model";

/// Writes a graph.
///
/// # Errors
/// `invalid_model` where the shapes of the graph do not fit together, `internal` where a node has no operator of PyTorch's.
pub fn export(graph: &Graph) -> Result<Vec<u8>, Problem> {
    let graph = &*layout::as_declared(graph);
    let ready = prepare(graph, &shapes::infer(graph, 1)?);
    let described = Described { program: Program::of(&ready)?, dims: free_dims(&ready)? };
    let program = &described.program;
    let mut archive = Writer::new(FOLDER);
    archive.record("archive_format", b"pt2")?;
    archive.record("archive_version", ARCHIVE_VERSION.as_bytes())?;
    archive.record("byteorder", b"little")?;
    archive.record(".data/version", b"6")?;
    json(&mut archive, &format!("models/{PROGRAM}.json"), &described.json())?;
    let mut payloads = serde_json::Map::new();
    for (index, weight) in program.weights.iter().enumerate() {
        let path = format!("weight_{index}");
        archive.record(&format!("data/weights/{path}"), &to_bytes(weight.tensor))?;
        let meta = json!({"path_name": path, "is_param": weight.is_parameter, "use_pickle": false,
            "tensor_meta": weight_meta(weight)});
        payloads.insert(weight.path.clone(), meta);
    }
    json(&mut archive, &format!("data/weights/{PROGRAM}_weights_config.json"), &json!({ "config": payloads }))?;
    json(&mut archive, &format!("data/constants/{PROGRAM}_constants_config.json"), &json!({"config": {}}))?;
    // No example is written down: empty, it is taken for none.
    archive.record(&format!("data/sample_inputs/{PROGRAM}.pt"), b"")?;
    archive.finish()
}

fn json(archive: &mut Writer, path: &str, value: &Json) -> Result<(), Problem> {
    archive.record(path, &serde_json::to_vec(value).map_err(internal)?)
}

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Internal, format!("The student cannot be written as .pt2: {error}."))
}

fn weight_meta(weight: &Weight) -> Json {
    let kind = match weight.tensor.data {
        Data::F32(_) => FLOAT,
        Data::I64(_) => 5,
        Data::Bool(_) => 12,
    };
    let dims: Vec<Dim> = weight.tensor.shape.iter().map(|extent| Dim::fixed(*extent as i64)).collect();
    meta(kind, &dims, weight.is_parameter)
}

/// A program with the extents of its values.
struct Described<'g> {
    program: Program<'g>,
    dims: BTreeMap<String, Vec<Dim>>,
}

impl Described<'_> {
    fn json(&self) -> Json {
        let mut values = serde_json::Map::new();
        for (name, dims) in &self.dims {
            values.insert(self.program.variable(name), meta(FLOAT, dims, false));
        }
        values.extend(self.program.weights.iter().map(|weight| (weight.value.clone(), weight_meta(weight))));
        let input = json!({"as_tensor": {"name": self.program.variable(&self.program.graph.input.name)}});
        let output = json!({"as_tensor": {"name": self.program.variable(&self.program.graph.output.name)}});
        let tensor = |weight: &Weight| json!({"as_tensor": {"name": weight.value}});
        let inputs: Vec<Json> = self.program.weights.iter().map(tensor).chain([input.clone()]).collect();
        let nodes: Vec<Json> = self.program.calls.iter().map(|(node, call)| self.node(node, call)).collect();
        let specs: Vec<Json> =
            self.program.weights.iter().map(spec).chain([json!({"user_input": {"arg": input}})]).collect();
        json!({
            "graph_module": {
                "graph": {
                    "inputs": inputs, "outputs": [output.clone()], "nodes": nodes, "tensor_values": values,
                    "sym_int_values": {}, "sym_bool_values": {}, "is_single_tensor_return": false,
                    "custom_obj_values": {}, "sym_float_values": {},
                },
                "signature": {"input_specs": specs, "output_specs": [{"user_output": {"arg": output}}]},
                "module_call_graph": [{"fqn": "", "signature": self.calling()}],
                "metadata": {},
                "treespec_namedtuple_fields": {},
            },
            "opset_version": {"aten": OPSET},
            "range_constraints": {"s0": {"min_val": 1, "max_val": null}},
            "schema_version": {"major": SCHEMA_MAJOR, "minor": SCHEMA_MINOR},
            "verifiers": ["TRAINING"],
            "torch_version": concat!("kegd ", env!("CARGO_PKG_VERSION")),
            "guards_code": [],
        })
    }

    /// How the program is called: one tensor in, one out.
    fn calling(&self) -> Json {
        let leaf = r#"{"type": null, "context": null, "children_spec": []}"#;
        let arguments = format!(r#"{{"type": "builtins.tuple", "context": "null", "children_spec": [{leaf}]}}"#);
        let keywords = r#"{"type": "builtins.dict", "context": "[]", "children_spec": []}"#;
        let inputs = format!(
            r#"[1, {{"type": "builtins.tuple", "context": "null", "children_spec": [{arguments}, {keywords}]}}]"#
        );
        json!({"inputs": [], "outputs": [], "in_spec": inputs, "out_spec": format!("[1, {leaf}]"),
            "forward_arg_names": [self.program.variable(&self.program.graph.input.name)]})
    }

    fn tensor(&self, name: &str) -> Json {
        json!({"name": self.program.variable(name)})
    }

    fn node(&self, node: &Node, call: &Operation) -> Json {
        let (positional, keyword) = (1, 2);
        let one = |(name, arg): &(&str, Written), kind: i64| json!({"name": name, "arg": self.arg(arg), "kind": kind});
        let args = call.args.iter().map(|arg| one(arg, positional));
        let inputs: Vec<Json> = args.chain(call.keywords.iter().map(|arg| one(arg, keyword))).collect();
        let outputs: Vec<Json> = node.outputs.iter().map(|name| self.tensor(name)).collect();
        let outputs = match (&node.op, outputs.as_slice()) {
            (Op::Split { .. }, all) => vec![json!({ "as_tensors": all })],
            (_, all) => all.iter().map(|output| json!({ "as_tensor": output })).collect(),
        };
        json!({"target": format!("torch.ops.aten.{}", call.operator), "inputs": inputs, "outputs": outputs,
            "metadata": {}, "is_hop_single_tensor_return": null})
    }

    fn arg(&self, arg: &Written) -> Json {
        match arg {
            Written::None => json!({"as_none": true}),
            Written::Value(name) => json!({"as_tensor": self.tensor(name)}),
            Written::Values(names) => {
                json!({"as_tensors": names.iter().map(|name| self.tensor(name)).collect::<Vec<_>>()})
            }
            Written::Int(number) => json!({"as_int": number}),
            Written::Ints(numbers) => json!({"as_ints": numbers}),
            Written::Float(number) => json!({"as_float": number}),
            Written::Bool(truth) => json!({"as_bool": truth}),
            Written::Text(text) => json!({"as_string": text}),
        }
    }
}

fn spec(weight: &Weight) -> Json {
    let arg = json!({"name": weight.value});
    if weight.is_parameter {
        json!({"parameter": {"arg": arg, "parameter_name": weight.path}})
    } else {
        json!({"buffer": {"arg": arg, "buffer_name": weight.path, "persistent": true}})
    }
}

/// The extents of computed values for every batch: they are linear in it, so two batches tell.
fn free_dims(graph: &Graph) -> Result<BTreeMap<String, Vec<Dim>>, Problem> {
    let (two, three) = (shapes::infer(graph, 2)?, shapes::infer(graph, 3)?);
    let dim = |(two, three): (&usize, &usize)| {
        let (two, three) = (*two as i64, *three as i64);
        Dim { batch: three - two, fixed: two - 2 * (three - two) }
    };
    let of = |(name, shape): (String, Vec<usize>)| {
        let other = three.get(&name).unwrap_or(&shape);
        let dims = shape.iter().zip(other).map(dim).collect();
        (name, dims)
    };
    Ok(two.into_iter().map(of).collect())
}

/// The description of a dense tensor.
fn meta(kind: i64, dims: &[Dim], learned: bool) -> Json {
    let strides: Vec<Json> =
        (0..dims.len()).map(|axis| extent(product(&dims[axis + 1..]).unwrap_or(Dim::ONE))).collect();
    let sizes: Vec<Json> = dims.iter().copied().map(extent).collect();
    json!({"dtype": kind, "sizes": sizes, "requires_grad": learned, "device": {"type": "cpu", "index": null},
        "strides": strides, "storage_offset": {"as_int": 0}, "layout": 7})
}

fn extent(dim: Dim) -> Json {
    let expression = match (dim.batch, dim.fixed) {
        (0, fixed) => return json!({ "as_int": fixed }),
        (1, 0) => BATCH.to_owned(),
        (batch, 0) => format!("Mul(Integer({batch}), {BATCH})"),
        (batch, fixed) => format!("Add(Mul(Integer({batch}), {BATCH}), Integer({fixed}))"),
    };
    json!({"as_expr": {"expr_str": expression, "hint": {"as_int": dim.at(HINT)}}})
}
