//! What the build takes from elsewhere: every crate from the one registry, with its hash, under a licence that `deny.toml`
//! allows. `make audit` checks more, with a tool and the network; this holds at every build, without either.

use std::{collections::BTreeSet, path::Path, process::Command};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap()
}

/// The strings of `allow = [ … ]` in the section `[licenses]`.
fn allowed() -> BTreeSet<String> {
    let text = read("deny.toml");
    let (_, licenses) = text.split_once("[licenses]").expect("a section on licences");
    let (_, list) = licenses.split_once("allow = [").expect("a list of what is allowed");
    let (list, _) = list.split_once(']').unwrap();
    let entries = list.lines().map(|line| line.split('#').next().unwrap().trim().trim_end_matches(','));
    entries.filter(|entry| !entry.is_empty()).map(|entry| entry.trim_matches('"').to_owned()).collect()
}

/// Whether an SPDX expression can be met with allowed licences. `/` is how crates wrote `OR` before there was SPDX.
/// <https://spdx.github.io/spdx-spec/v3.0.1/annexes/spdx-license-expressions/>
fn permits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&tokens, &mut at, allowed) && at == tokens.len()
}

fn any(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut fits = all(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        fits |= all(tokens, at, allowed);
    }
    fits
}

fn all(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut fits = one(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        fits &= one(tokens, at, allowed);
    }
    fits
}

fn one(tokens: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let Some(&token) = tokens.get(*at) else { return false };
    *at += 1;
    if token == "(" {
        let fits = any(tokens, at, allowed);
        let closed = tokens.get(*at) == Some(&")");
        *at += 1;
        return fits && closed;
    }
    let mut licence = token.to_owned();
    if tokens.get(*at) == Some(&"WITH") {
        licence = format!("{token} WITH {}", tokens.get(*at + 1).unwrap_or(&""));
        *at += 2;
    }
    allowed.contains(&licence)
}

#[test]
fn every_crate_comes_from_the_registry_with_its_hash() {
    let lock = read("Cargo.lock");
    let mut wrong = Vec::new();
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    assert!(packages.len() > 200, "the file was read");
    for package in packages {
        let value = |key: &str| package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
        let name = value("name").unwrap();
        let from_registry = value("source") == Some("\"registry+https://github.com/rust-lang/crates.io-index\"")
            && value("checksum").is_some_and(|checksum| checksum.len() == 66);
        // Ourselves alone lie in the repository.
        if !from_registry && name != "\"kegd\"" {
            wrong.push(name.to_owned());
        }
    }
    assert!(wrong.is_empty(), "from elsewhere: {wrong:?}");
}

#[test]
fn every_licence_is_allowed() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu", "--manifest-path"])
        .arg(Path::new(ROOT).join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let used: BTreeSet<&str> =
        metadata["resolve"]["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
    let allowed = allowed();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none stated");
        if used.contains(package["id"].as_str().unwrap()) && !permits(licence, &allowed) {
            wrong.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    assert!(used.len() > 200, "{} packages", used.len());
    assert!(wrong.is_empty(), "licences that deny.toml does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn expressions_of_licences_are_understood() {
    let allowed: BTreeSet<String> =
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"].map(str::to_owned).into();
    for fits in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "MIT AND (MIT OR GPL-2.0)",
    ] {
        assert!(permits(fits, &allowed), "{fits}");
    }
    for not in ["GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0 WITH Something", "(MIT", "", "none stated", "MIT MIT"] {
        assert!(!permits(not, &allowed), "{not}");
    }
}
