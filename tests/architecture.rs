//! The house's rules that no compiler knows: imports go one way, and files stay readable.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What each part may import of ours. A path allows everything below it.
const MAY_IMPORT: [(&str, &[&str]); 20] = [
    ("domain", &[]),
    ("clock", &[]),
    ("protocol", &["domain"]),
    ("formats", &["domain"]),
    ("nets", &["domain", "formats"]),
    ("engine", &["domain", "formats", "nets", "protocol"]),
    ("sandbox", &["config", "domain"]),
    ("child", &["domain", "formats", "nets", "protocol", "engine", "sandbox"]),
    ("store", &["domain", "clock"]),
    ("artifacts", &["domain"]),
    ("queue", &["domain", "clock", "store", "artifacts"]),
    ("retention", &["domain", "clock", "store", "artifacts"]),
    ("worker", &["domain", "clock", "store", "artifacts", "queue", "retention", "protocol", "sandbox"]),
    ("imaging", &[]),
    ("config", &[]),
    ("telemetry", &["config"]),
    ("shutdown", &[]),
    (
        "api",
        &[
            "domain",
            "clock",
            "store",
            "artifacts",
            "queue",
            "retention",
            "imaging",
            "config",
            "sandbox",
            // A file's magic bytes, and the names of operators: no model is read here.
            "formats::sniff",
            "formats::aten::operators",
            "formats::onnx::operators",
        ],
    ),
    // The command line joins the two halves.
    (
        "cli",
        &[
            "api",
            "artifacts",
            "child",
            "clock",
            "config",
            "domain",
            "engine",
            "imaging",
            "protocol",
            "queue",
            "retention",
            "sandbox",
            "shutdown",
            "store",
            "telemetry",
            "worker",
        ],
    ),
    ("main", &["cli"]),
];

/// Crates that only some parts may see.
const ONLY_IN: [(&str, &[&str]); 8] = [
    ("tch", &["engine", "nets"]),
    ("sqlx", &["store"]),
    ("object_store", &["artifacts"]),
    ("axum", &["api", "cli"]),
    ("hyper", &["api"]),
    ("prost", &["formats"]),
    ("landlock", &["sandbox"]),
    ("seccompiler", &["sandbox"]),
];

const LONGEST_FILE: usize = 400;

fn sources() -> BTreeMap<PathBuf, String> {
    fn walk(directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path.clone(), fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 100, "the tree was read");
    found
}

/// The part that a file belongs to: the first name under `src`.
fn part(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Code without comments, and without tests, which may use what they like.
fn code(source: &str) -> String {
    let production = source.split("\n#[cfg(test)]\nmod tests").next().unwrap();
    production.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every path below `crate` that the code names, with groups taken apart: `crate::{a::b, c}` is `a::b` and `c`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        let before = code[..start].chars().next_back();
        if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '$') {
            expand("", &code[start + "crate::".len()..], &mut found);
        }
    }
    found
}

/// Reads one path or group at the start of `text`, and returns what follows it.
fn expand<'a>(prefix: &str, text: &'a str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let next = expand(prefix, rest, found);
            if next.len() == rest.len() {
                return rest;
            }
            rest = next;
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    match rest.strip_prefix("::") {
        Some(rest) => expand(&path, rest, found),
        None => {
            found.push(path);
            rest
        }
    }
}

#[test]
fn imports_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.into_iter().collect();
    let mut wrong = Vec::new();
    for (path, source) in sources() {
        let part = part(&path);
        if part == "lib" {
            continue;
        }
        let allowed =
            allowed.get(part.as_str()).unwrap_or_else(|| panic!("{part} is a new part: say what it may import"));
        for import in imports(&code(&source)) {
            let own = import == part || import.starts_with(&format!("{part}::"));
            let fits = |rule: &&&str| import == **rule || import.starts_with(&format!("{rule}::"));
            if !own && !allowed.iter().any(|rule| fits(&rule)) {
                wrong.push(format!("{}: crate::{import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "forbidden imports:\n{}", wrong.join("\n"));
}

#[test]
fn crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (path, source) in sources() {
        let (part, code) = (part(&path), code(&source));
        for (name, parts) in ONLY_IN {
            let named = code.match_indices(&format!("{name}::")).any(|(start, _)| {
                let before = code[..start].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
            });
            if named && !parts.contains(&part.as_str()) {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "crates that do not belong there:\n{}", wrong.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_own() {
    let mut wrong = Vec::new();
    for (path, source) in sources() {
        // Generated code is nobody's reading.
        if source.contains("@generated") || path.ends_with("formats/onnx/proto.rs") {
            continue;
        }
        let lines = source.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
        if !source.starts_with("//!") && part(&path) != "main" {
            wrong.push(format!("{}: does not begin with what it owns", path.display()));
        }
        if path.file_name().is_some_and(|name| name == "mod.rs") {
            wrong.push(format!("{}: a module is `name.rs` beside `name/`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "files to mend:\n{}", wrong.join("\n"));
}

#[test]
fn groups_of_imports_are_taken_apart() {
    let code = "use crate::{a::b, c::{d, e::{f}}, g};\nlet x = crate::h::i(); pub(crate) fn j() {}";
    assert_eq!(imports(code), ["a::b", "c::d", "c::e::f", "g", "h::i"]);
}
