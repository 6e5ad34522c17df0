//! From a graph to the bytes of an archive that `torch.jit.load` reads: modules by the paths of their weights, and one function
//! of all the calls.

use std::{collections::BTreeMap, fmt::Write};

use super::pickler::Pickler;
use crate::{
    domain::problem::Problem,
    formats::{
        archive::Writer,
        aten::{
            prepare,
            program::{Program, Weight},
            write::{Operation, Written},
        },
        graph::{Graph, Node, Op},
        layout,
        safetensors::to_bytes,
        shapes,
    },
};

/// The one folder of the archive.
const FOLDER: &str = "student";
/// The version of the format with which `gelu` got its second argument (torch 1.12).
const VERSION: &str = "10\n";
/// The Python module of all classes, and the outermost class.
const MODULE: &str = "__torch__";
const STUDENT: &str = "Student";

/// Writes a graph.
///
/// # Errors
/// `invalid_model` where the shapes of the graph do not fit together, `internal` where a node has no operator of PyTorch's.
pub fn export(graph: &Graph) -> Result<Vec<u8>, Problem> {
    let graph = &*layout::as_declared(graph);
    let ready = prepare(graph, &shapes::infer(graph, 1)?);
    let program = Program::of(&ready)?;
    let mut root = Module::new(STUDENT.to_owned());
    let mut count = 0;
    for (index, weight) in program.weights.iter().enumerate() {
        root.insert(&weight.path, index, &mut count);
    }
    let mut archive = Writer::new(FOLDER);
    for (index, weight) in program.weights.iter().enumerate() {
        archive.record(&format!("data/{index}"), &to_bytes(weight.tensor))?;
    }
    let mut data = Pickler::new();
    root.pickle(&program.weights, &mut data);
    archive.record("data.pkl", &data.finish())?;
    let mut code = String::new();
    root.class(&program.weights, &forward(&program), &mut code);
    archive.record(&format!("code/{MODULE}.py"), code.as_bytes())?;
    let mut constants = Pickler::new();
    constants.empty_tuple();
    archive.record("constants.pkl", &constants.finish())?;
    archive.record("version", VERSION.as_bytes())?;
    archive.record("byteorder", b"little")?;
    archive.finish()
}

/// A module: weights by their numbers, and modules within.
struct Module {
    class: String,
    weights: BTreeMap<String, usize>,
    modules: BTreeMap<String, Module>,
}

impl Module {
    fn new(class: String) -> Self {
        Self { class, weights: BTreeMap::new(), modules: BTreeMap::new() }
    }

    /// Puts a weight at its path; `count` numbers the classes.
    fn insert(&mut self, path: &str, index: usize, count: &mut usize) {
        let Some((first, rest)) = path.split_once('.') else {
            self.weights.insert(path.to_owned(), index);
            return;
        };
        let module = self.modules.entry(first.to_owned()).or_insert_with(|| {
            *count += 1;
            Self::new(format!("Module{count}"))
        });
        module.insert(rest, index, count);
    }

    fn pickle(&self, weights: &[Weight], pickler: &mut Pickler) {
        pickler.object((MODULE, &self.class), |pickler| {
            for (name, index) in &self.weights {
                let weight = &weights[*index];
                pickler.text(name);
                pickler.tensor(weight.tensor, &index.to_string(), weight.is_parameter);
            }
            pickler.text("training");
            pickler.truth(false);
            for (name, module) in &self.modules {
                pickler.text(name);
                module.pickle(weights, pickler);
            }
        });
    }

    /// The code of the class, and of those within. `forward` is the outermost one's.
    fn class(&self, weights: &[Weight], forward: &str, code: &mut String) {
        let names = |learned: bool| -> String {
            let own = self.weights.iter().filter(|(_, index)| weights[**index].is_parameter == learned);
            own.map(|(name, _)| format!("\"{name}\", ")).collect()
        };
        // So written, it may be a number or a word of the language: decomposed layers have a part `in`.
        let attribute = |(name, kind): (&String, String)| format!("  __annotations__[\"{name}\"] = {kind}\n");
        let tensors = self.weights.keys().map(|name| (name, "Tensor".to_owned()));
        let modules = self.modules.iter().map(|(name, module)| (name, format!("{MODULE}.{}", module.class)));
        let attributes: String = tensors.chain(modules).map(attribute).collect();
        let (parameters, buffers) = (names(true), names(false));
        code.push_str(&format!(
            "class {}(Module):\n  __parameters__ = [{parameters}]\n  __buffers__ = [{buffers}]\n{attributes}  training : bool\n",
            self.class
        ));
        code.push_str(forward);
        for module in self.modules.values() {
            module.class(weights, "", code);
        }
    }
}

/// The one function: every weight is bound, then every call made.
fn forward(program: &Program) -> String {
    let (input, output) = (&program.graph.input.name, &program.graph.output.name);
    let mut code =
        format!("  def forward(self: {MODULE}.{STUDENT},\n    {}: Tensor) -> Tensor:\n", program.variable(input));
    for weight in &program.weights {
        let module = weight.path.split('.').fold("self".to_owned(), |of, name| format!("getattr({of}, \"{name}\")"));
        line(&mut code, &format!("{} = {module}", weight.value));
    }
    for (node, call) in &program.calls {
        line(&mut code, &format!("{} = {}", results(program, node), written(program, call)));
    }
    line(&mut code, &format!("return {}", program.variable(output)));
    code
}

fn line(code: &mut String, statement: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(code, "    {statement}");
}

/// What a call is bound to: a list is taken apart.
fn results(program: &Program, node: &Node) -> String {
    let names: Vec<String> = node.outputs.iter().map(|name| program.variable(name)).collect();
    let several = matches!(node.op, Op::Split { .. });
    if several {
        names.iter().map(|name| format!("{name}, ")).collect::<String>().trim_end().to_owned()
    } else {
        names.join(", ")
    }
}

fn written(program: &Program, call: &Operation) -> String {
    // The code names operators without their overloads, which the arguments tell.
    let operator = call.operator.split('.').next().unwrap_or(call.operator);
    let args = call.args.iter().map(|(_, arg)| argument(program, arg));
    let keywords = call.keywords.iter().map(|(name, arg)| format!("{name}={}", argument(program, arg)));
    format!("torch.{operator}({})", args.chain(keywords).collect::<Vec<_>>().join(", "))
}

fn argument(program: &Program, arg: &Written) -> String {
    match arg {
        Written::None => "None".to_owned(),
        Written::Value(name) => program.variable(name),
        Written::Values(names) => {
            format!("[{}]", names.iter().map(|name| program.variable(name)).collect::<Vec<_>>().join(", "))
        }
        Written::Int(number) => number.to_string(),
        Written::Ints(numbers) => format!("{numbers:?}"),
        // With a point or an exponent, or it would be a whole number.
        Written::Float(number) => format!("{number:?}"),
        Written::Bool(true) => "True".to_owned(),
        Written::Bool(false) => "False".to_owned(),
        Written::Text(text) => format!("\"{text}\""),
    }
}
