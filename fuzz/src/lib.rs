//! What several targets do with a model.

use std::collections::BTreeMap;

use kegd::formats::{
    description::About,
    facts, file,
    onnx::{ImportOptions, export, import},
    safetensors, shapes,
    sniff::Format,
};

/// Imports the bytes, and does with the graph, if there is one, everything that needs no libtorch. What an importer lets
/// pass must hold: it has shapes for any batch, can be written, and reads back as it was.
pub fn digest(bytes: &[u8], options: &ImportOptions) {
    let Ok(imported) = import(bytes, options) else { return };
    let graph = &imported.graph;
    let _ = facts::kind(graph);
    facts::facts(graph).expect("an imported graph has shapes");
    shapes::infer(graph, 5).expect("for any batch");
    let exported = export(graph).expect("and can be written");
    let again = import(&exported, &ImportOptions::default()).expect("and read again").graph;
    assert_eq!(again.nodes.len(), graph.nodes.len());
    safetensors::export(graph).expect("and its weights can");
}

/// The same for a file of any format, which is written in that format again.
pub fn digest_file(bytes: &[u8], options: &ImportOptions) {
    let Ok((format, imported)) = file::read(bytes, options) else { return };
    let graph = &imported.graph;
    facts::facts(graph).expect("an imported graph has shapes");
    shapes::infer(graph, 5).expect("for any batch");
    let written = file::write(graph, format, &About::default()).expect("and can be written");
    let shape = ImportOptions { input_shape: Some(graph.declared_shape()), ..ImportOptions::default() };
    for again in written.iter().filter(|again| again.format != Format::Safetensors) {
        file::read(&again.bytes, &shape).expect("and read again");
    }
}

/// Options as a client may give them.
pub fn options(shape: Option<&[u16]>, external: BTreeMap<String, Vec<u8>>) -> ImportOptions {
    let input_shape = shape.map(|shape| shape.iter().map(|&extent| usize::from(extent)).collect());
    ImportOptions { input_shape, external, ..ImportOptions::default() }
}
