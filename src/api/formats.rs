//! `/formats`: what can be uploaded, and what comes back.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::formats::onnx::operators;

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
    notes: &'static str,
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
        operators: operators(),
        notes: "Opset 7 to 23, one float32 input with a free or fixed batch, one output (batch, classes), \
                with or without axes of extent 1 behind. Weights may lie in side files, sent as external_data. The student \
                keeps the names of input and output.",
    };
    let safetensors = Format {
        name: "safetensors",
        suffixes: &[".safetensors"],
        read: false,
        written: true,
        operators: Vec::new(),
        notes: "The student's weights alone, by the names they have in the ONNX file.",
    };
    vec![onnx, safetensors]
}

/// Formats and operators that are supported.
#[utoipa::path(get, path = "/formats", tag = "service", responses((status = 200, description = "All formats", body = FormatList)))]
pub async fn list() -> Json<FormatList> {
    Json(FormatList { data: all() })
}
