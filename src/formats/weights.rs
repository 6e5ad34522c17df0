//! Bare weights, read as safetensors (<https://huggingface.co/docs/safetensors>): they become a network with the architecture
//! that is named beside them.

mod difference;
mod suggestion;
mod values;

use std::collections::BTreeMap;

use safetensors::{SafeTensors, tensor::TensorView};

use self::difference::Difference;
use super::{
    architectures::{self, Shapes, Sizes},
    graph::Tensor,
    imported::{ImportOptions, Imported},
};
use crate::domain::{
    architecture::Architecture,
    problem::{ErrorCode, Problem},
};

/// What wrappers put in front of every name: `DataParallel`, Lightning.
const PREFIXES: [&str; 2] = ["module.", "model."];

/// A counter of batch norm's, which a trained network does not need.
const COUNTER: &str = "num_batches_tracked";

/// Reads the weights of `options.arch`.
///
/// # Errors
/// `invalid_config` where no architecture is named, saying which the weights fit, or where the input's shape does not fit;
/// `invalid_model` where the file is broken or the weights are another network's, listing every difference;
/// `invalid_weights` where some are not finite.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Imported, Problem> {
    if !options.external.is_empty() {
        return Err(Problem::new(ErrorCode::InvalidRequest, "Side files belong to ONNX models, not to bare weights.")
            .param("external_data")
            .hint("Leave external_data out, or send one safetensors file with all weights."));
    }
    let file = SafeTensors::deserialize(bytes).map_err(broken)?;
    let (named, mut warnings) = named(&file);
    let found: Shapes = named.iter().map(|(name, view)| (name.clone(), view.shape().to_vec())).collect();
    if found.is_empty() {
        return Err(Problem::new(ErrorCode::InvalidModel, "The file has no tensors.").param("model"));
    }
    let Some(architecture) = options.arch else { return Err(or_a_student(suggestion::missing(&found), bytes)) };
    let input = input(architecture, &found, options.input_shape.as_deref())?;
    let blueprint = blueprint(architecture, &found, &input)?;
    let difference = Difference::between(&blueprint.parameters, &found);
    if !difference.is_none() {
        return Err(or_a_student(difference.problem(architecture, &suggestion::fitting(&found)), bytes));
    }
    let weights = read(&named)?;
    warnings.extend(values::notes(&named));
    Ok(Imported::new(blueprint.with(weights), warnings))
}

fn broken(error: impl std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::InvalidModel, format!("The safetensors file cannot be read: {error}."))
        .param("model")
        .hint("The upload may have been cut short, or the file was not written by a safetensors library.")
}

/// What does not fit may be what a job of ours made: decomposed layers are those of no architecture.
fn or_a_student(problem: Problem, bytes: &[u8]) -> Problem {
    let metadata = SafeTensors::read_metadata(bytes).ok().and_then(|(_, header)| header.metadata().clone());
    let is_ours = metadata.is_some_and(|metadata| metadata.get("producer").is_some_and(|producer| producer == "kegd"));
    if !is_ours || problem.hint.as_ref().is_some_and(|hint| hint.contains("{\"arch\"")) {
        return problem;
    }
    problem.hint("This is a student that kegd made smaller. Send its ONNX file: GET /jobs/{id}/student?format=onnx.")
}

/// The tensors by name without what wrappers put in front, and what was noticed.
fn named<'a>(file: &'a SafeTensors<'_>) -> (BTreeMap<String, TensorView<'a>>, Vec<String>) {
    let tensors: Vec<_> = file.iter().filter(|(name, _)| !is_counter(name)).collect();
    let mut prefix = String::new();
    while let Some(more) = PREFIXES.into_iter().find(|more| {
        let start = format!("{prefix}{more}");
        !tensors.is_empty() && tensors.iter().all(|(name, _)| name.starts_with(&start))
    }) {
        prefix.push_str(more);
    }
    let named = tensors.into_iter().map(|(name, view)| (name[prefix.len()..].to_owned(), view)).collect();
    let warning = format!("Every name begins with `{prefix}`, which the student's names do not.");
    (named, if prefix.is_empty() { Vec::new() } else { vec![warning] })
}

fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some(COUNTER)
}

/// The input's shape: the architecture's own with the channels of the weights, or the one that was given.
fn input(architecture: Architecture, found: &Shapes, given: Option<&[usize]>) -> Result<Vec<usize>, Problem> {
    let Some(given) = given else { return Ok(architectures::input_of(architecture, found)) };
    let (own, other) = (architecture.input().len(), given.len());
    // Whatever is not a list of features can be made one.
    if own != other && own > 1 {
        let detail =
            format!("`{architecture}` takes inputs of {own} axes beside the batch, and {given:?} has {other}.");
        return Err(wrong_input(&detail, architecture, found));
    }
    match (architectures::channels_of(architecture, found), given) {
        (Some(channels), [first, _, _]) if own > 1 && channels != *first => {
            let detail = format!("config.input.shape is {given:?}, but the weights take {channels} channels.");
            Err(wrong_input(&detail, architecture, found))
        }
        _ => Ok(given.to_vec()),
    }
}

fn wrong_input(detail: &str, architecture: Architecture, found: &Shapes) -> Problem {
    let usual = architectures::input_of(architecture, found);
    Problem::new(ErrorCode::InvalidConfig, detail)
        .param("config.input.shape")
        .hint(format!("Leave it out, which means {usual:?} here, or correct it."))
}

fn blueprint(architecture: Architecture, found: &Shapes, input: &[usize]) -> Result<architectures::Blueprint, Problem> {
    let classes = suggestion::classes(architecture, found);
    if classes < 2 {
        return Err(Problem::new(ErrorCode::NotAClassifier, "The last layer has fewer than two outputs.")
            .param("model")
            .hint("A classifier answers with one row of two or more class scores for each input."));
    }
    architectures::blueprint(architecture, Sizes { input, classes, found })
}

fn read(named: &BTreeMap<String, TensorView<'_>>) -> Result<BTreeMap<String, Tensor>, Problem> {
    let mut weights = BTreeMap::new();
    let mut not_finite = Vec::new();
    for (name, view) in named {
        let values = values::floats(name, view)?;
        if values.iter().any(|value| !value.is_finite()) {
            not_finite.push(name.clone());
        }
        weights.insert(name.clone(), Tensor::f32(view.shape().to_vec(), values));
    }
    super::problems::check_finite(&not_finite)?;
    Ok(weights)
}

#[cfg(test)]
mod tests;
