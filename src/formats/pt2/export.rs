//! From a graph to the bytes of an archive that `torch.export.load` reads: the names it came with, a free batch, and nothing
//! of the exporter's own.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{Cursor, Write},
};

use serde_json::{Value as Json, json};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{
    container::{ARCHIVE_VERSION, SCHEMA_MAJOR},
    names::Names,
};
use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::{
        aten::{
            prepare,
            write::{Operation, Written, operation},
        },
        dim::{Dim, product},
        graph::{Data, Graph, Node, Op, Tensor},
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
/// Where the data of records begins, as PyTorch has it.
const ALIGNMENT: u16 = 64;

/// Writes a graph.
///
/// # Errors
/// `invalid_model` where the shapes of the graph do not fit together, `internal` where a node has no operator of PyTorch's.
pub fn export(graph: &Graph) -> Result<Vec<u8>, Problem> {
    let ready = prepare(graph, &shapes::infer(graph, 1)?);
    let program = Program::of(&ready)?;
    let mut archive = Archive::new();
    archive.record("archive_format", b"pt2")?;
    archive.record("archive_version", ARCHIVE_VERSION.as_bytes())?;
    archive.record("byteorder", b"little")?;
    archive.record(".data/version", b"6")?;
    archive.json(&format!("models/{PROGRAM}.json"), &program.json())?;
    let mut payloads = serde_json::Map::new();
    for (index, weight) in program.weights.iter().enumerate() {
        let path = format!("weight_{index}");
        archive.record(&format!("data/weights/{path}"), &to_bytes(weight.tensor))?;
        let meta = json!({"path_name": path, "is_param": weight.is_parameter, "use_pickle": false,
            "tensor_meta": weight.meta()});
        payloads.insert(weight.path.clone(), meta);
    }
    archive.json(&format!("data/weights/{PROGRAM}_weights_config.json"), &json!({ "config": payloads }))?;
    archive.json(&format!("data/constants/{PROGRAM}_constants_config.json"), &json!({"config": {}}))?;
    // No example is written down: empty, it is taken for none.
    archive.record(&format!("data/sample_inputs/{PROGRAM}.pt"), b"")?;
    archive.finish()
}

struct Archive(ZipWriter<Cursor<Vec<u8>>>);

impl Archive {
    fn new() -> Self {
        Self(ZipWriter::new(Cursor::new(Vec::new())))
    }

    /// Stored as it is; with no time in it, the same student is the same bytes.
    fn record(&mut self, path: &str, bytes: &[u8]) -> Result<(), Problem> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX))
            .with_alignment(ALIGNMENT);
        self.0.start_file(format!("{FOLDER}/{path}"), options).map_err(internal)?;
        self.0.write_all(bytes).map_err(internal)
    }

    fn json(&mut self, path: &str, value: &Json) -> Result<(), Problem> {
        self.record(path, &serde_json::to_vec(value).map_err(internal)?)
    }

    fn finish(self) -> Result<Vec<u8>, Problem> {
        Ok(self.0.finish().map_err(internal)?.into_inner())
    }
}

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Internal, format!("The student cannot be written as .pt2: {error}."))
}

struct Weight<'g> {
    /// Its name in the graph.
    name: &'g str,
    /// The name of the program's input that it is.
    value: String,
    /// The name in the state dictionary.
    path: String,
    tensor: &'g Tensor,
    /// Trained, and not a statistic or a constant.
    is_parameter: bool,
}

impl Weight<'_> {
    fn meta(&self) -> Json {
        let kind = match self.tensor.data {
            Data::F32(_) => FLOAT,
            Data::I64(_) => 5,
            Data::Bool(_) => 12,
        };
        let dims: Vec<Dim> = self.tensor.shape.iter().map(|extent| Dim::fixed(*extent as i64)).collect();
        meta(kind, &dims, self.is_parameter)
    }
}

struct Program<'g> {
    graph: &'g Graph,
    weights: Vec<Weight<'g>>,
    /// Variables by the names of values.
    variables: HashMap<&'g str, String>,
    calls: Vec<(&'g Node, Operation)>,
    dims: BTreeMap<String, Vec<Dim>>,
}

impl<'g> Program<'g> {
    fn of(graph: &'g Graph) -> Result<Self, Problem> {
        let mut extents = shapes::infer(graph, 1)?;
        extents.extend(graph.weights.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())));
        let mut calls = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let call = operation(node, &extents);
            let kind = || format!("{} has no operator of PyTorch's", shapes::describe(node));
            calls.push((node, call.ok_or_else(|| internal(kind()))?));
        }
        let mut names = Names::default();
        let mut variables = HashMap::new();
        // The ports first: their names are what the teacher's callers know.
        for port in [&graph.input.name, &graph.output.name] {
            variables.insert(port.as_str(), names.variable(port));
        }
        for output in graph.nodes.iter().flat_map(|node| &node.outputs) {
            variables.entry(output.as_str()).or_insert_with(|| names.variable(output));
        }
        let weights = weights(graph, &mut names);
        variables.extend(weights.iter().map(|weight| (weight.name, weight.value.clone())));
        Ok(Self { graph, weights, variables, calls, dims: free_dims(graph)? })
    }

    fn json(&self) -> Json {
        let mut values = serde_json::Map::new();
        for (name, dims) in &self.dims {
            values.insert(self.variable(name), meta(FLOAT, dims, false));
        }
        values.extend(self.weights.iter().map(|weight| (weight.value.clone(), weight.meta())));
        let input = json!({"as_tensor": {"name": self.variable(&self.graph.input.name)}});
        let output = json!({"as_tensor": {"name": self.variable(&self.graph.output.name)}});
        let tensor = |weight: &Weight| json!({"as_tensor": {"name": weight.value}});
        let inputs: Vec<Json> = self.weights.iter().map(tensor).chain([input.clone()]).collect();
        let nodes: Vec<Json> = self.calls.iter().map(|(node, call)| self.node(node, call)).collect();
        let specs: Vec<Json> = self.weights.iter().map(spec).chain([json!({"user_input": {"arg": input}})]).collect();
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
            "forward_arg_names": [self.variable(&self.graph.input.name)]})
    }

    fn variable(&self, name: &str) -> String {
        self.variables.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn tensor(&self, name: &str) -> Json {
        json!({"name": self.variable(name)})
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

/// The weights that nodes read, parameters first as PyTorch has them.
fn weights<'g>(graph: &'g Graph, names: &mut Names) -> Vec<Weight<'g>> {
    let read: HashSet<&str> = graph.nodes.iter().flat_map(|node| node.inputs.iter().map(String::as_str)).collect();
    let parameters = parameters(graph);
    let mut paths = Names::default();
    let mut used: Vec<(&String, &Tensor)> =
        graph.weights.iter().filter(|(name, _)| read.contains(name.as_str())).collect();
    used.sort_by_key(|(name, _)| !parameters.contains(name.as_str()));
    let weight = |(name, tensor): (&'g String, &'g Tensor)| {
        let is_parameter = parameters.contains(name.as_str());
        let path = paths.path(name);
        let kind = if is_parameter { "p" } else { "b" };
        Weight { name, value: names.variable(&format!("{kind}_{path}")), path, tensor, is_parameter }
    };
    used.into_iter().map(weight).collect()
}

/// Names of weights that layers learn.
fn parameters(graph: &Graph) -> HashSet<&str> {
    let learned = |node: &'_ Node| match node.op {
        Op::Conv { .. } | Op::ConvTranspose { .. } | Op::Gemm { .. } | Op::MatMul => 1..3,
        Op::BatchNorm { .. } | Op::LayerNorm { .. } | Op::InstanceNorm { .. } => 1..3,
        Op::Binary(_) => 0..2,
        _ => 0..0,
    };
    let inputs = graph.nodes.iter().flat_map(|node| {
        let range = learned(node);
        node.inputs.iter().skip(range.start).take(range.len())
    });
    let float =
        |name: &&String| graph.weights.get(*name).is_some_and(|tensor| tensor.as_f32().is_some() && tensor.len() > 1);
    inputs.filter(float).map(String::as_str).collect()
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
