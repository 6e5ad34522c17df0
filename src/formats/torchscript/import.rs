//! From the bytes of an archive to a checked graph.

use std::{collections::HashMap, rc::Rc};

use super::{
    item::{Halt, Item, Module},
    machine::Machine,
    objects::{Objects, stored},
    pickle::{self, Object, Pickle, Pickled, Strided},
    sources::Sources,
};
use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::{
        archive::Archive,
        aten::Context,
        dim::{Dim, show},
        elements::Stored,
        finish,
        free_names::FreeNames,
        graph::Port,
        imported::{ImportOptions, Imported},
        lowering::{Lowering, check_size},
        problems::{self, check_finite, invalid, not_a_classifier},
        refusal::Refusal,
        value::Value,
    },
};

/// The opset that a graph is written with as ONNX, which this file does not speak of.
const OPSET: i64 = 18;
/// What the output is called, which has no name in the code.
const OUTPUT: &str = "output";

const SAVE: &str = "torch.jit.save(torch.jit.trace(model.eval(), example), \"model.pt\")";

/// Reads a classifier.
///
/// # Errors
/// `unsupported_format`, `invalid_model`, `not_a_classifier`, `unsupported_operators` (all that were met, with their places in
/// the code), `invalid_weights`, and `invalid_config` where `input_shape` is missing or contradicts the file.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported, Problem> {
    let archive = Archive::read(bytes)?;
    check_kind(&archive)?;
    let data = pickled(&archive, "data")?;
    let object = module(&data)?;
    let constants = archive.get("constants.pkl").map(|_| pickled(&archive, "constants")).transpose()?;
    let constants = constants.as_ref().and_then(|pickle| pickle.root().members()).unwrap_or_default();
    let mut sources = Sources::new(&archive);
    let input = input_name(&mut sources, object)?;
    let example = example(&archive, &input)?;
    let (shape, batch) = input_shape(example.as_ref(), &input, options)?;
    let dims: Vec<Dim> = std::iter::once(Dim::N).chain(shape.iter().map(|extent| Dim::fixed(*extent as i64))).collect();
    check_size(&dims).map_err(|refusal| invalid(format!("The input \"{input}\": {}.", refusal.reason())))?;
    let mut lowering = Lowering::new(batch, FreeNames::from_iter([OUTPUT.to_owned()]));
    if example.is_some_and(|example| example.stored != Stored::Float32) {
        let warning = format!("The input \"{input}\" is not of float32; the student takes and gives float32.");
        lowering.warnings.push(warning);
    }
    let name = lowering.unused(&input);
    let value = Value::Runtime { name: name.clone(), dims };
    lowering.define(&name, value.clone());

    let objects = Objects::new(&archive, &constants, bytes.len());
    let mut machine = Machine::new(sources, objects, Context::new(lowering, HashMap::new()));
    let input = machine.tensors.add(value, None);
    let module = Module { object: Rc::clone(object), path: Rc::from("") };
    let answer = machine.method(&module, "forward", vec![Item::Tensor(input)], Vec::new());
    let answer = finished(&mut machine, answer)?;
    machine.context.define(OUTPUT, answer);
    let mut lowering = machine.context.lowering;
    lowering.warnings.extend(differences(batch, machine.objects.in_training));
    let (classes, _) = finish::classes(&mut lowering, OUTPUT)?;
    let output = Port { name: OUTPUT.to_owned(), shape: vec![classes] };
    let (graph, warnings) = finish::graph(lowering, (Port { name, shape }, output), OPSET)?;
    Ok(Imported::new(graph, warnings))
}

/// The input of a module, whatever its code computes.
///
/// # Errors
/// As [`import`], up to there.
pub fn port(bytes: &[u8], options: &ImportOptions) -> Result<Port, Problem> {
    let archive = Archive::read(bytes)?;
    check_kind(&archive)?;
    let data = pickled(&archive, "data")?;
    let name = input_name(&mut Sources::new(&archive), module(&data)?)?.to_string();
    problems::check_names([&name])?;
    let (shape, _) = input_shape(example(&archive, &name)?.as_ref(), &name, options)?;
    Ok(Port { name, shape })
}

/// The outermost module.
fn module(data: &Pickle) -> Result<&Rc<Object>, Problem> {
    match data.root() {
        Pickled::Object(object) => Ok(object),
        _ => Err(invalid("The record \"data.pkl\" holds no module.").hint(format!("From PyTorch: {SAVE}."))),
    }
}

/// What the one input is called.
fn input_name(sources: &mut Sources, module: &Object) -> Result<Rc<str>, Problem> {
    let forward = sources.method(&module.class, "forward").map_err(|reason| wrong(&reason))?;
    let [_, input, rest @ ..] = forward.parameters.as_slice() else {
        return Err(not_a_classifier("The module's forward takes no input."));
    };
    if let Some(second) = rest.iter().find(|parameter| parameter.default.is_none()) {
        return Err(not_a_classifier(format!("The module takes \"{}\" beside \"{}\".", second.name, input.name))
            .hint("A classifier has one input. Save a module around it that gives the other values itself."));
    }
    Ok(Rc::clone(&input.name))
}

fn wrong(reason: &str) -> Problem {
    invalid(format!("The module cannot be read: {reason}.")).hint(format!("Was the file edited? From PyTorch: {SAVE}."))
}

/// Refuses archives of other kinds.
fn check_kind(archive: &Archive) -> Result<(), Problem> {
    let refused = |detail: &str| Problem::new(ErrorCode::UnsupportedFormat, detail).param("model");
    if archive.get("model.json").is_some() {
        return Err(refused("The archive is of torch 1.3 or older, which kept modules in another way.")
            .hint("Save it anew: torch.jit.save(torch.jit.load(\"old.pt\"), \"model.pt\")."));
    }
    match archive.text("byteorder") {
        None | Some("little") => Ok(()),
        Some(_) => Err(refused("The archive's numbers are not little-endian.").hint("Save it on another machine.")),
    }
}

/// The pickle `<name>.pkl`, whose tensors are records of the folder of that name.
fn pickled(archive: &Archive, name: &str) -> Result<Pickle, Problem> {
    let path = format!("{name}.pkl");
    let bytes = archive.get(&path).ok_or_else(|| {
        invalid(format!("The archive lacks its record \"{path}\".")).hint(format!("From PyTorch: {SAVE}."))
    })?;
    pickle::read(bytes, name).map_err(|reason| wrong(&format!("\"{path}\": {reason}")))
}

/// The input's shape without the batch, and the batch where the file fixes it: a trace keeps the shape of its example.
fn input_shape(
    example: Option<&Example>,
    name: &str,
    options: &ImportOptions,
) -> Result<(Vec<usize>, Option<i64>), Problem> {
    let example = example.map(|example| &example.shape);
    // An example without rows fixes nothing.
    let batch = example.and_then(|example| example.first().copied()).filter(|batch| *batch > 0);
    let open =
        Problem::new(ErrorCode::InvalidConfig, format!("The file does not tell the shape of its input \"{name}\"."))
            .param("config.input.shape")
            .hint("Give config.input.shape, without the batch: {\"input\": {\"shape\": [3, 224, 224]}}.");
    let (Some(example), None) = (example, &options.input_shape) else {
        let Some(given) = options.input_shape.clone() else { return Err(open) };
        // A trace may be asked with another shape than that of its example.
        let shape = problems::input_shape(&format!("\"{name}\""), None, Some(&given))?;
        return Ok((shape, batch));
    };
    let dims: Vec<Dim> = example.iter().copied().map(Dim::fixed).collect();
    let extents = example.iter().skip(1).map(|extent| usize::try_from(*extent).ok().filter(|extent| *extent > 0));
    let shown = format!("\"{name}\" {}", show(&dims));
    let shape = problems::input_shape(&shown, Some(extents.collect()), None)?;
    Ok((shape, batch))
}

/// The input that a trace was made with.
struct Example {
    shape: Vec<i64>,
    stored: Stored,
}

/// What a trace keeps of its example, which has to be of floats; `None` where there is none.
fn example(archive: &Archive, input: &str) -> Result<Option<Example>, Problem> {
    let Some(tensor) = traced(archive) else { return Ok(None) };
    match stored(&tensor.storage.kind) {
        Ok(stored) if stored.is_float() => Ok(Some(Example { shape: tensor.shape.clone(), stored })),
        _ => Err(not_a_classifier(format!("The input \"{input}\" is not of floats."))
            .hint("Trace the network without the steps that turn bytes or tokens into floats.")),
    }
}

/// The first argument of the call of forward that was traced.
fn traced(archive: &Archive) -> Option<Rc<Strided>> {
    let pickle = pickle::read(archive.get("traced_inputs.pkl")?, "traced_inputs").ok()?;
    let Pickled::Dict(methods) = pickle.root() else { return None };
    let methods = methods.borrow();
    let forward = methods.iter().find(|(key, _)| matches!(key, Pickled::Text(name) if &**name == "forward"));
    match forward?.1.members()?.first()? {
        Pickled::Tensor(tensor) => Some(Rc::clone(tensor)),
        _ => None,
    }
}

/// The value that the code answers with.
fn finished(machine: &mut Machine, answer: Result<Item, Halt>) -> Result<Value, Problem> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(halt) => {
            if let Halt::Refused(Refusal::Unsupported(reason)) = &halt {
                machine.report("code", reason);
            }
            return Err(halted(machine, halt));
        }
    };
    if !machine.causes.is_empty() {
        return Err(std::mem::take(&mut machine.causes).problem());
    }
    check_finite(&machine.objects.not_finite)?;
    let Some(index) = scores(&answer) else {
        return Err(not_a_classifier(format!("The module answers with {}, not a tensor.", answer.kind()))
            .hint("Save a module around it that gives the class scores alone."));
    };
    if !answer.is_tensor() {
        machine.context.warnings.push(
            "The module answers with a tuple, of which all but one member are None; the student with that one."
                .to_owned(),
        );
    }
    let value = machine.tensors.value(index).map_err(|refusal| wrong(refusal.reason()))?;
    Ok(value.clone())
}

/// The tensor that an answer is, or that its only member is which is not None: scripts keep room for heads that only training
/// has.
fn scores(answer: &Item) -> Option<usize> {
    let members = match answer {
        Item::Tuple(members) => members.all(),
        other => vec![other.clone()],
    };
    let mut there = members.into_iter().filter(|member| !matches!(member, Item::None));
    match (there.next(), there.next()) {
        (Some(Item::Tensor(index)), None) => Some(index),
        _ => None,
    }
}

/// Why the code could not be followed to its end: what is not supported, if there was anything, comes first.
fn halted(machine: &mut Machine, halt: Halt) -> Problem {
    if !machine.causes.is_empty() {
        return std::mem::take(&mut machine.causes).problem();
    }
    let Halt::Refused(refusal) = halt else { return wrong("its answer is not known") };
    let (function, line) = &machine.place;
    let of = if machine.path.is_empty() { String::new() } else { format!(" of \"{}\"", machine.path) };
    let problem = invalid(format!("\"{function}\"{of}, line {line}: {}.", refusal.reason()));
    match machine.context.batch {
        // What a trace computes with its example's batch cannot always be told from other numbers.
        Some(_) => problem.hint("Trace it with an example of two inputs, or script it: torch.jit.script(model)."),
        None => problem,
    }
}

/// In what the student's file will differ from this one.
fn differences(batch: Option<i64>, in_training: bool) -> Vec<String> {
    let mut differences = Vec::new();
    if batch.is_some_and(|batch| batch == 1) {
        differences.push("The module was traced with one input; the student takes batches of any size.".to_owned());
    }
    if in_training {
        differences.push("The module was saved in training mode; the teacher answers as after .eval().".to_owned());
    }
    differences
}
