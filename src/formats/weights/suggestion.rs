//! Which architecture a file of weights may belong to, where nobody says.

use super::difference::Difference;
use crate::{
    domain::{
        architecture::Architecture,
        problem::{Cause, ErrorCode, Problem},
    },
    formats::architectures::{self, Shapes, Sizes},
};

/// How many architectures are told where none fits.
const CLOSEST: usize = 3;

/// How many classes weights of these shapes tell apart: the outputs of the last layer, or as many as are usual.
pub fn classes(architecture: Architecture, found: &Shapes) -> usize {
    let outputs = |name: &str| found.get(name).and_then(|shape| shape.first().copied());
    let last = match architecture {
        Architecture::Lenet5 => outputs("fc2.weight"),
        Architecture::MobilenetV2 => outputs("classifier.1.weight"),
        Architecture::Mlp => {
            let layers = (0..).map(|layer: usize| format!("{}.weight", 3 * layer));
            layers.take_while(|name| found.contains_key(name)).last().and_then(|name| outputs(&name))
        }
        _ => outputs("fc.weight"),
    };
    last.unwrap_or(architecture.classes())
}

/// How the weights differ from those of an architecture; none where no network of it has such widths.
fn difference(architecture: Architecture, found: &Shapes) -> Option<Difference> {
    let input = architectures::input_of(architecture, found);
    let classes = classes(architecture, found);
    let sizes = Sizes { input: &input, classes, found };
    let blueprint = architectures::blueprint(architecture, sizes).ok()?;
    Some(Difference::between(&blueprint.parameters, found))
}

/// The architectures whose weights these are.
pub fn fitting(found: &Shapes) -> Vec<Architecture> {
    let fits = |architecture: &Architecture| difference(*architecture, found).is_some_and(|found| found.is_none());
    Architecture::ALL.into_iter().filter(fits).collect()
}

/// What to say of weights without an architecture.
pub fn missing(found: &Shapes) -> Problem {
    let detail = "A safetensors file has weights but no network, and `arch` does not say which network they belong to.";
    let problem = Problem::new(ErrorCode::InvalidConfig, detail).param("config.arch");
    let cause = |detail| Cause { detail, param: Some("config.arch".to_owned()), operator: None };
    let fitting = fitting(found);
    if let Some(first) = fitting.first() {
        let causes =
            fitting.iter().map(|architecture| cause(format!("`{architecture}` fits: {}", architecture.words())));
        return problem
            .errors(causes.collect())
            .hint(format!("The weights are those of `{first}`: add {{\"arch\": \"{first}\"}} to config."));
    }
    let mut close: Vec<(usize, Architecture, String)> = Architecture::ALL
        .into_iter()
        .filter_map(|architecture| {
            let difference = difference(architecture, found)?;
            Some((difference.count(), architecture, difference.words()))
        })
        // Where more differs than is there, nothing is close.
        .filter(|(count, ..)| *count < found.len())
        .collect();
    close.sort();
    let words = |(_, architecture, words): &(usize, Architecture, String)| {
        cause(format!("`{architecture}` is close, but for: {words}"))
    };
    problem.errors(close.iter().take(CLOSEST).map(words).collect()).hint(format!(
        "The weights are those of none of {}. Send the network as an ONNX file: \
         torch.onnx.export(model.eval(), (example,), \"model.onnx\").",
        Architecture::names()
    ))
}
