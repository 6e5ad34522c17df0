//! What of a program's inputs are weights, which one the network's input is, and which value its output.

use std::collections::HashMap;

use super::schema::{Argument, ExportedProgram, InputSpec, OutputSpec, TensorMeta};
use crate::{
    domain::problem::Problem,
    formats::problems::{invalid, not_a_classifier},
};

pub struct Signature<'a> {
    /// Names of tensors, as in a state dictionary, by the names of the graph's values.
    pub tensors: HashMap<&'a str, &'a str>,
    pub input: &'a str,
    pub output: &'a str,
}

/// Reads the signature.
///
/// # Errors
/// `not_a_classifier` where there is not one tensor in and one out.
pub fn read(program: &ExportedProgram) -> Result<Signature<'_>, Problem> {
    let signature = &program.graph_module.signature;
    let mut tensors = HashMap::new();
    let mut inputs = Vec::new();
    for spec in &signature.input_specs {
        let (name, tensor) = match spec {
            InputSpec::Parameter { arg, parameter_name } => (&arg.name, parameter_name),
            InputSpec::Buffer { arg, buffer_name } => (&arg.name, buffer_name),
            InputSpec::TensorConstant { arg, tensor_constant_name } => (&arg.name, tensor_constant_name),
            InputSpec::UserInput { arg: Argument::AsTensor(tensor) } => {
                inputs.push(tensor.name.as_str());
                continue;
            }
            // Numbers and the like are written into the graph; effects are none of a classifier's.
            InputSpec::UserInput { .. } | InputSpec::ConstantInput(_) | InputSpec::Token(_) => continue,
            InputSpec::CustomObj(_) => return Err(invalid("The program takes an object of a class of its own.")),
        };
        if tensors.insert(name.as_str(), tensor.as_str()).is_some() {
            return Err(invalid(format!("The program has the input \"{name}\" twice.")));
        }
    }
    let mut outputs = Vec::new();
    for spec in &signature.output_specs {
        match spec {
            OutputSpec::UserOutput { arg: Argument::AsTensor(tensor) } => outputs.push(tensor.name.as_str()),
            OutputSpec::UserOutput { .. } => outputs.push("(no tensor)"),
            // Running statistics, which a program exported in training mode changes.
            _ => {}
        }
    }
    Ok(Signature { tensors, input: only(&inputs, "input")?, output: only(&outputs, "output")? })
}

fn only<'a>(names: &[&'a str], what: &str) -> Result<&'a str, Problem> {
    match names {
        [only] => Ok(only),
        [] => Err(not_a_classifier(format!("The program has no {what} that is a tensor."))),
        several => {
            let shown: Vec<&str> = several.iter().take(12).copied().collect();
            Err(not_a_classifier(format!("The program has {} {what}s: {}.", several.len(), shown.join(", ")))
                .hint("A classifier takes one tensor and answers with one: wrap the model in a module that does."))
        }
    }
}

/// The input in words: `x (?, 3, 224, 224)`.
pub fn show(name: &str, meta: &TensorMeta) -> String {
    let extents = meta.sizes.iter().map(|size| size.number().map_or_else(|| "?".to_owned(), |size| size.to_string()));
    format!("{name} ({})", extents.collect::<Vec<_>>().join(", "))
}
