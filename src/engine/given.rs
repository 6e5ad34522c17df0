//! A student that is no compressed teacher: read from its file, or built from its name.

use std::{collections::BTreeMap, path::Path};

use super::{compress::layer, files, initial, observer::Stop};
use crate::{
    domain::{
        architecture::Architecture,
        given::{GivenStudent, Init},
        model::StudentFacts,
        problem::{ErrorCode, Problem},
        report::LayerRow,
        task::TaskSpec,
    },
    formats::{
        architectures::{self, Shapes, Sizes},
        description::About,
        facts, file,
        graph::{Graph, Node, Op},
        imported::{ImportOptions, Imported},
        layout,
        sniff::Format,
    },
};

/// Layers from which on a network without norms hardly learns from random weights.
const DEEP: usize = 8;

pub struct Given {
    /// As it begins.
    pub graph: Graph,
    pub how: GivenStudent,
    pub warnings: Vec<String>,
    format: Option<Format>,
}

/// The student that the job was given, if it was given one; `dir` has its file.
///
/// # Errors
/// What its importer reports, `invalid_config` where it takes other inputs than the teacher or tells other classes apart.
pub fn read(spec: &TaskSpec, dir: &Path, teacher: &Graph) -> Result<Option<Given>, Stop> {
    let Some(how) = spec.settings.student else { return Ok(None) };
    let mut given = match (how.arch, &spec.student) {
        (Some(arch), _) => Given { graph: named(arch, teacher)?, how, warnings: Vec::new(), format: None },
        (None, Some(name)) => {
            let bytes = std::fs::read(dir.join(name))?;
            let (format, imported) = import(&bytes, &files::side_files(spec, dir)?, teacher)?;
            let warnings = imported.warnings.into_iter().chain(other_layout(&imported.graph, teacher)).collect();
            Given { graph: imported.graph, how, warnings, format: Some(format) }
        }
        (None, None) => {
            return Err(Problem::new(ErrorCode::Internal, "the student's file is not there").into());
        }
    };
    given.check_classes(teacher)?;
    if how.init == Init::Anew {
        initial::initialise(&mut given.graph, spec.settings.seed);
        given.warnings.extend(hard_to_train(&given.graph)?);
    }
    Ok(Some(given))
}

impl Given {
    /// Whether the student can be written in the format in which its teacher came, which is known before it learns.
    ///
    /// # Errors
    /// `unsupported_operators`, where a node has no operator there.
    pub fn check_export(&self, uploaded: &str) -> Result<(), Problem> {
        let uploaded = Format::named(uploaded).unwrap_or(Format::Onnx);
        file::write(&self.graph, uploaded, &About::default()).map(drop).map_err(|problem| {
            let detail = format!(
                "the student cannot go back as {}, which is how its teacher came: {}",
                uploaded.name(),
                problem.detail
            );
            Problem::new(ErrorCode::UnsupportedOperators, detail)
                .param("student")
                .hint("Send the teacher as ONNX, or a student without this operator.")
        })
    }

    /// The student's layers, in the place of a compression table.
    ///
    /// # Errors
    /// `invalid_model` where its nodes do not fit together.
    pub fn rows(&self) -> Result<Vec<LayerRow>, Problem> {
        let (action, reason) = match (self.how.init, self.how.arch) {
            (Init::Weights, _) => ("given", "a layer of the uploaded student, with its own weights".to_owned()),
            (Init::Anew, None) => ("anew", "a layer of the uploaded student, with random weights".to_owned()),
            (Init::Anew, Some(arch)) => ("anew", format!("a layer of `{arch}`, with random weights")),
        };
        let row = |layer: layer::Layer| {
            let cost = layer.cost();
            LayerRow {
                layer: layer.name,
                kind: layer.kind,
                action: action.to_owned(),
                ranks: Vec::new(),
                parameters_before: cost.parameters,
                parameters_after: cost.parameters,
                macs_before: cost.macs,
                macs_after: cost.macs,
                error: 0.0,
                ms_before: None,
                ms_after: None,
                reason: reason.clone(),
            }
        };
        Ok(layer::layers(&self.graph)?.into_iter().map(row).collect())
    }

    /// # Errors
    /// `invalid_model` where its nodes do not fit together.
    pub fn facts(&self) -> Result<StudentFacts, Problem> {
        let (macs, _) = facts::facts(&self.graph)?;
        let format = self.format.map(|format| format.name().to_owned());
        Ok(StudentFacts { format, parameters: self.graph.parameters(), macs })
    }

    fn check_classes(&self, teacher: &Graph) -> Result<(), Problem> {
        let (ours, theirs) = (self.graph.classes(), teacher.classes());
        if ours == theirs {
            return Ok(());
        }
        let detail = format!("The student tells {ours} classes apart, and the teacher {theirs}.");
        Err(Problem::new(ErrorCode::InvalidConfig, detail)
            .param("student")
            .hint(format!("Give the student's last layer {theirs} outputs, in the order of the teacher's.")))
    }
}

fn import(bytes: &[u8], external: &BTreeMap<String, Vec<u8>>, teacher: &Graph) -> Result<(Format, Imported), Problem> {
    let options = |shape| ImportOptions { input_shape: shape, external: external.clone(), ..ImportOptions::default() };
    let wanted = &teacher.input.shape;
    // The file may say itself what it takes, or leave it open, and have the channels where the teacher's file has not.
    let shapes = [Some(teacher.declared_shape()), None, Some(teacher.layout.other().outside(wanted))];
    let mut reason = None;
    for shape in shapes {
        let read = file::read(bytes, &options(shape)).map(|(format, imported)| (format, as_taken(imported, teacher)));
        let other = match read {
            Ok((format, imported)) if imported.graph.input.shape == *wanted => return Ok((format, imported)),
            Ok((_, imported)) => Some(other_inputs(teacher, Some(&imported.graph))),
            Err(problem) if problem.param.as_deref() == Some("config.input.shape") => None,
            Err(problem) => {
                let detail = format!("The student cannot be taken: {}", problem.detail);
                Some(Problem { detail, ..problem })
            }
        };
        reason = reason.or(other);
    }
    Err(reason.unwrap_or_else(|| other_inputs(teacher, None)).param("student"))
}

/// A teacher of which it cannot be seen where its channels are takes images as its file declares, and so does its student.
fn as_taken(student: Imported, teacher: &Graph) -> Imported {
    let takes_declared = teacher.layout.is_channels_first() && teacher.input.shape == student.graph.declared_shape();
    if !takes_declared || student.graph.layout.is_channels_first() {
        return student;
    }
    Imported { graph: layout::as_declared(&student.graph).into_owned(), ..student }
}

/// What is to be said where the student's file has its channels elsewhere than the teacher's.
fn other_layout(student: &Graph, teacher: &Graph) -> Option<String> {
    (student.layout != teacher.layout).then(|| {
        let (own, theirs) = (student.declared_shape(), teacher.declared_shape());
        format!(
            "The student takes images as {own:?} (batch left out), as its file does, and the teacher as {theirs:?}."
        )
    })
}

fn other_inputs(teacher: &Graph, student: Option<&Graph>) -> Problem {
    let wanted = teacher.declared_shape();
    let takes = student.map_or("others".to_owned(), |student| format!("inputs of {:?}", student.declared_shape()));
    if student.is_some_and(|student| student.declared_shape() == wanted) {
        let detail = format!(
            "It cannot be seen that the last axis of the student's inputs, {wanted:?}, is that of the channels."
        );
        return Problem::new(ErrorCode::InvalidConfig, detail).hint(layout::REMEDY);
    }
    let detail = format!("The student takes {takes}, and the teacher inputs of {wanted:?} (batch left out).");
    Problem::new(ErrorCode::InvalidConfig, detail)
        .hint("Export the student for the teacher's inputs: it learns from what the teacher is shown.")
}

/// The network of that name for the teacher's inputs and classes; its ports are called as the teacher's, and where that ends
/// in a softmax, so does this.
fn named(arch: Architecture, teacher: &Graph) -> Result<Graph, Problem> {
    let found = Shapes::new();
    let sizes = Sizes { input: &teacher.input.shape, classes: teacher.classes(), found: &found };
    let blueprint = architectures::blueprint(arch, sizes).map_err(|problem| {
        let hint = "Choose another architecture (`mlp` takes inputs of any shape), or send a student of your own as the part \
                    `student`.";
        problem.param("config.student.arch").hint(hint)
    })?;
    let mut graph = Graph { layout: teacher.layout, ..blueprint.blank()? };
    if let Some(op) = teacher.softmax() {
        let output = "probabilities".to_owned();
        let inputs = vec![std::mem::replace(&mut graph.output.name, output.clone())];
        graph.nodes.push(Node { name: "softmax".to_owned(), op, inputs, outputs: vec![output] });
    }
    let (input, output) = (graph.input.name.clone(), graph.output.name.clone());
    rename(&mut graph, &input, &teacher.input.name);
    rename(&mut graph, &output, &teacher.output.name);
    Ok(graph)
}

/// Calls a value by another name, where nothing else is called so.
fn rename(graph: &mut Graph, from: &str, to: &str) {
    if graph.names().any(|name| name == to) {
        return;
    }
    let ports = [&mut graph.input.name, &mut graph.output.name];
    let values = graph.nodes.iter_mut().flat_map(|node| node.inputs.iter_mut().chain(&mut node.outputs));
    for name in values.chain(ports) {
        if name == from {
            to.clone_into(name);
        }
    }
}

fn hard_to_train(graph: &Graph) -> Result<Option<String>, Problem> {
    let is_norm =
        |node: &Node| matches!(node.op, Op::BatchNorm { .. } | Op::LayerNorm { .. } | Op::InstanceNorm { .. });
    let layers = layer::layers(graph)?.len();
    let hard = layers > DEEP && !graph.nodes.iter().any(is_norm);
    Ok(hard.then(|| {
        format!(
            "The student has {layers} layers and no batch norm, which makes it hard to train from random weights. Exporters \
             fold batch norm into convolutions; torch.onnx.export(…, training=torch.onnx.TrainingMode.PRESERVE, \
             dynamo=False) keeps it."
        )
    }))
}

#[cfg(test)]
mod tests;
