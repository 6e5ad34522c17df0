//! Model files of every format: in as a graph, and out again.

use super::{
    description::About,
    graph::Graph,
    imported::{ImportOptions, Imported},
    layout, onnx, problems, pt2, safetensors,
    sniff::{Format, HEAD, sniff},
    torchscript, weights,
};
use crate::domain::problem::{ErrorCode, Problem};

/// Reads a classifier in whichever format its first bytes speak of.
///
/// # Errors
/// What [`sniff`] refuses, what the format's own importer reports, and `invalid_model` where a name is too long.
pub fn read(bytes: &[u8], options: &ImportOptions) -> Result<(Format, Imported), Problem> {
    let format = sniff(&bytes[..bytes.len().min(HEAD)], bytes.len() as u64)?;
    if let (Some(arch), true) = (options.arch, format != Format::Safetensors) {
        return Err(Problem::new(
            ErrorCode::InvalidConfig,
            format!("config.arch is `{arch}`, but the file has its network."),
        )
        .param("config.arch")
        .hint("Leave `arch` out: it belongs to safetensors files, which have weights alone."));
    }
    let imported = match format {
        Format::Onnx => onnx::import(bytes, options)?,
        Format::Pt2 => pt2::import(bytes, options)?,
        Format::Safetensors => weights::import(bytes, options)?,
        Format::TorchScript => torchscript::import(bytes, options)?,
    };
    let imported = layout::settle(imported);
    let graph = &imported.graph;
    problems::check_names(graph.names().chain(graph.nodes.iter().map(|node| &node.name)))?;
    Ok((format, imported))
}

/// A student in one format.
pub struct Written {
    pub format: Format,
    pub bytes: Vec<u8>,
}

/// The student's files: first in the format in which its teacher was `uploaded`, then in the others.
///
/// # Errors
/// `invalid_model` where the shapes of the graph do not fit together, and what a format cannot hold.
pub fn write(student: &Graph, uploaded: Format, about: &About) -> Result<Vec<Written>, Problem> {
    let mut files = vec![
        Written { format: Format::Onnx, bytes: onnx::export(student)? },
        Written { format: Format::Safetensors, bytes: safetensors::export_about(student, about)? },
    ];
    match uploaded {
        Format::Pt2 => files.push(Written { format: Format::Pt2, bytes: pt2::export(student)? }),
        Format::TorchScript => {
            files.push(Written { format: Format::TorchScript, bytes: torchscript::export(student)? });
        }
        Format::Onnx | Format::Safetensors => {}
    }
    files.sort_by_key(|file| file.format != uploaded);
    Ok(files)
}
