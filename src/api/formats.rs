//! `/formats`: what can be uploaded, and what comes back.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::architecture;

/// A file format.
#[derive(Debug, Serialize, ToSchema)]
pub struct Format {
    /// As in `model.format` and `?format=`.
    name: &'static str,
    /// What its files are usually called.
    suffixes: &'static [&'static str],
    /// Whether a teacher may be uploaded in it.
    read: bool,
    /// Whether a student is written in it.
    written: bool,
    /// Operators that are understood, where the format has operators.
    operators: Vec<&'static str>,
    /// Networks that are known by name, where the format has none of its own: `config.arch`.
    architectures: Vec<Architecture>,
    notes: &'static str,
}

/// A network that is known by name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KnownArchitecture)]
pub struct Architecture {
    /// As in `config.arch` and `config.student.arch`.
    name: &'static str,
    /// What it is, and what its weights are called.
    words: &'static str,
    /// The input that is meant where `config.input.shape` does not say, without the batch. Channels, or features, are those
    /// of the weights.
    input: &'static [usize],
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FormatList {
    data: Vec<Format>,
}

fn all() -> Vec<Format> {
    let onnx = Format {
        name: "onnx",
        suffixes: &[".onnx"],
        read: true,
        written: true,
        operators: crate::formats::onnx::operators(),
        architectures: Vec::new(),
        notes: "Opset 7 to 23, one float32 input with a free or fixed batch, one output (batch, classes), \
                 with or without axes of extent 1 behind. Weights may lie in side files, sent as external_data. Images are \
                 (batch, channels, height, width), or (batch, height, width, channels) where a Transpose puts the channels first. \
                 The student keeps names, shapes and types of input and output.",
    };
    let pt2 = Format {
        name: "pt2",
        suffixes: &[".pt2"],
        read: true,
        written: true,
        operators: crate::formats::aten::operators(),
        architectures: Vec::new(),
        notes: "Archives of torch.export.save, from torch 2.8 on, before or after run_decompositions: one float tensor in, \
                one (batch, classes) out. Pickles in them are never opened, and compiled code is refused. The student comes \
                back as such an archive where the teacher came as one; torch.export.load reads it.",
    };
    let torchscript = Format {
        name: "torchscript",
        suffixes: &[".pt", ".ts"],
        read: true,
        written: true,
        operators: crate::formats::aten::operators(),
        architectures: Vec::new(),
        notes: "Modules of torch.jit.trace, torch.jit.script and torch.jit.freeze, saved by torch.jit.save of torch 1.4 or later. \
                Their code is followed, and not run. A script does not tell the shape of its input: give config.input.shape. \
                The student comes back as such a module where the teacher came as one; torch.jit.load reads it.",
    };
    let safetensors = Format {
        name: "safetensors",
        suffixes: &[".safetensors"],
        read: true,
        written: true,
        operators: Vec::new(),
        architectures: architecture::Architecture::ALL.into_iter().map(known).collect(),
        notes: "Weights alone, F16, BF16, F32 or F64, called as in the state dict of the network that config.arch names. The \
                student's file says in its metadata, under `graph`, what network they belong to; so does student.json.",
    };
    vec![onnx, pt2, torchscript, safetensors]
}

fn known(architecture: architecture::Architecture) -> Architecture {
    Architecture { name: architecture.name(), words: architecture.words(), input: architecture.input() }
}

/// Formats, operators and architectures that are supported.
#[utoipa::path(get, path = "/formats", tag = "service", responses((status = 200, description = "All formats", body = FormatList)))]
pub async fn list() -> Json<FormatList> {
    Json(FormatList { data: all() })
}
