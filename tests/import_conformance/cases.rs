//! The suite's files: a model, and its inputs and outputs as tensors, one folder for each case.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use kegd::formats::onnx::proto::{ModelProto, TensorProto, type_proto};
use prost::Message;

/// One case: `model.onnx` and the first set of data beside it.
pub struct Case {
    pub name: String,
    /// The operator that the case is about, or `None` where it is put together from several.
    pub operator: Option<String>,
    /// Operators of all its nodes.
    pub uses: BTreeSet<String>,
    pub bytes: Vec<u8>,
    /// Names and values, or why a value is not a tensor.
    pub inputs: Vec<(String, Result<TensorProto, String>)>,
    pub outputs: Vec<(String, Result<TensorProto, String>)>,
}

impl Case {
    pub fn is_of(&self, known: &[&str]) -> bool {
        self.uses.iter().all(|name| known.contains(&name.as_str()))
    }
}

pub fn root() -> PathBuf {
    let root = std::env::var_os("KEGD_ONNX_CASES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".onnx-cases"), PathBuf::from);
    assert!(
        root.join("node").is_dir(),
        "{} holds no test cases of ONNX: run python3 scripts/onnx_cases.py, or set KEGD_ONNX_CASES",
        root.display()
    );
    root
}

/// All cases of the suite, in alphabetical order within their kind.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in ["node", "pytorch-converted"] {
        let mut folders: Vec<PathBuf> =
            fs::read_dir(root().join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        cases.extend(folders.iter().filter(|folder| folder.join("model.onnx").is_file()).map(|folder| read(folder)));
    }
    cases
}

fn read(folder: &Path) -> Case {
    let bytes = fs::read(folder.join("model.onnx")).unwrap();
    let graph = ModelProto::decode(&bytes[..]).unwrap().graph.unwrap();
    let nodes: Vec<&str> = graph.node.iter().map(|node| node.op_type()).collect();
    let standard = |domain: &str| matches!(domain, "" | "ai.onnx");
    let uses = graph.node.iter().map(|node| match node.domain() {
        domain if standard(domain) => node.op_type().to_owned(),
        domain => format!("{domain}.{}", node.op_type()),
    });
    let uses: BTreeSet<String> = uses.collect();
    let parts: Vec<&&str> = nodes.iter().filter(|name| **name != "Constant" || nodes.len() == 1).collect();
    let operator = match parts.as_slice() {
        [only] => Some((**only).to_owned()),
        _ => None,
    };
    let initialised: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let value = |what: &str, index: usize, port: &kegd::formats::onnx::proto::ValueInfoProto| {
        let kind = port.r#type.as_ref().and_then(|kind| kind.value.as_ref());
        let tensor = match kind {
            Some(type_proto::Value::TensorType(_)) => {
                let path = folder.join(format!("test_data_set_0/{what}_{index}.pb"));
                fs::read(path).map_err(|_| "no data for it".to_owned()).and_then(|bytes| {
                    TensorProto::decode(&bytes[..]).map_err(|error| format!("data that does not decode: {error}"))
                })
            }
            _ => Err("sequences and optional values".to_owned()),
        };
        (port.name().to_owned(), tensor)
    };
    let inputs = graph.input.iter().filter(|port| !initialised.contains(port.name()));
    Case {
        name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
        operator,
        uses,
        inputs: inputs.enumerate().map(|(index, port)| value("input", index, port)).collect(),
        outputs: graph.output.iter().enumerate().map(|(index, port)| value("output", index, port)).collect(),
        bytes,
    }
}
