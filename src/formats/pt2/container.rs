//! The archive around an exported program: its versions, its one program, and the lists of its tensors.
//!
//! Layout: <https://github.com/pytorch/pytorch/blob/main/torch/csrc/export/pt2_archive_constants.h>.

use serde::de::DeserializeOwned;

use super::schema::{ExportedProgram, PayloadConfig};
use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::{archive::Archive, problems::invalid},
};

/// The major version of the schema that is read and written.
pub const SCHEMA_MAJOR: i64 = 8;
/// The version of the archive's layout.
pub const ARCHIVE_VERSION: &str = "0";
/// Largest description of a program: a thousand times that of a ResNet.
const MAX_JSON: usize = 1 << 28;
const MAX_NODES: usize = 100_000;

const SAVE: &str = "torch.export.save(torch.export.export(model.eval(), (example,)), \"model.pt2\")";

/// What an archive holds.
pub struct Container<'a> {
    pub archive: Archive<'a>,
    pub program: ExportedProgram,
    pub weights: PayloadConfig,
    pub constants: PayloadConfig,
}

/// Reads everything but the tensors.
///
/// # Errors
/// `unsupported_format` for archives of other kinds and versions, `invalid_model` for damaged ones.
pub fn read(bytes: &[u8]) -> Result<Container<'_>, Problem> {
    let archive = Archive::read(bytes)?;
    check_kind(&archive)?;
    let name = only_program(&archive)?;
    let program: ExportedProgram = json(&archive, &format!("models/{name}.json"))?;
    let version = program.schema_version;
    if version.major != SCHEMA_MAJOR {
        let detail =
            format!("The program is of schema {}.{}; those of {SCHEMA_MAJOR} are read.", version.major, version.minor);
        return Err(refused(detail).hint(format!("Save it with torch 2.8 to 2.11: {SAVE}.")));
    }
    let count = program.graph_module.graph.nodes.len();
    if count > MAX_NODES {
        return Err(invalid(format!("The graph has {count} nodes; the limit is {MAX_NODES}.")));
    }
    let weights = payloads(&archive, "data/weights/", &name, &["weights_config", "model_param_config"])?;
    let constants = payloads(&archive, "data/constants/", &name, &["constants_config", "model_constants_config"])?;
    Ok(Container { archive, program, weights, constants })
}

fn refused(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::UnsupportedFormat, detail).param("model")
}

/// Refuses what is no archive of the newer layout, and what holds compiled code.
fn check_kind(archive: &Archive) -> Result<(), Problem> {
    let old = ["serialized_exported_program.json", "serialized_state_dict.pt", "serialized_state_dict.json"];
    if old.iter().any(|record| archive.get(record).is_some()) {
        return Err(refused("The archive is of torch 2.7 or older, which kept weights as Python pickles.").hint(
            "A pickle runs code when it is read, so it is never opened here. Save it anew with torch 2.8 to 2.11: \
             torch.export.save(torch.export.load(\"old.pt2\"), \"model.pt2\").",
        ));
    }
    if archive.below("data/aotinductor/").next().is_some() {
        return Err(refused("The archive holds a network compiled by AOTInductor, which is machine code.")
            .hint(format!("Send the exported program instead: {SAVE}.")));
    }
    match archive.text("archive_version") {
        Some(ARCHIVE_VERSION) => {}
        Some(version) => {
            let version: String = version.chars().take(20).collect();
            return Err(refused(format!(
                "The archive is of version \"{version}\"; version {ARCHIVE_VERSION} is read."
            ))
            .hint(format!("Save it with torch 2.8 to 2.11: {SAVE}.")));
        }
        None => {
            return Err(refused("The archive does not say which version it is of, so torch.export did not make it.")
                .hint(format!("From PyTorch: {SAVE}.")));
        }
    }
    match archive.text("byteorder") {
        None | Some("little") => Ok(()),
        Some(_) => Err(refused("The archive's numbers are not little-endian.").hint("Save it on another machine.")),
    }
}

/// The name of the one exported program.
fn only_program(archive: &Archive) -> Result<String, Problem> {
    let programs = archive.below("models/").filter_map(|path| path["models/".len()..].strip_suffix(".json"));
    let programs: Vec<&str> = programs.take(10).collect();
    match programs.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(invalid("The archive has no exported program in it.").hint(format!("From PyTorch: {SAVE}."))),
        several => {
            let count = several.len();
            Err(invalid(format!("The archive has {count} programs or more: {}.", several.join(", ")))
                .hint("Save each of them as a file of its own."))
        }
    }
}

/// The list of tensors, whose name differs among versions; a program without tensors may have none.
fn payloads(archive: &Archive, folder: &str, name: &str, kinds: &[&str]) -> Result<PayloadConfig, Problem> {
    if archive.get(&format!("{folder}{name}.pt")).is_some() {
        return Err(refused("The archive keeps tensors as Python pickles.").hint(
            "A pickle runs code when it is read, so it is never opened here. Save it anew with torch 2.9 to 2.11: \
             torch.export.save(torch.export.load(\"old.pt2\"), \"model.pt2\").",
        ));
    }
    let paths = kinds.iter().map(|kind| format!("{folder}{name}_{kind}.json"));
    match paths.into_iter().find(|path| archive.get(path).is_some()) {
        Some(path) => json(archive, &path),
        None => Ok(PayloadConfig::default()),
    }
}

fn json<T: DeserializeOwned>(archive: &Archive, path: &str) -> Result<T, Problem> {
    let bytes = archive.get(path).ok_or_else(|| invalid(format!("The archive lacks its record \"{path}\".")))?;
    if bytes.len() > MAX_JSON {
        return Err(invalid(format!("The record \"{path}\" is longer than {MAX_JSON} bytes.")));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        invalid(format!("The record \"{path}\" cannot be read: {error}."))
            .hint(format!("Save it with torch 2.8 to 2.11: {SAVE}."))
    })
}
