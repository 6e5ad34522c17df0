//! Trained generators as files: what they are called, and where an earlier run left them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// What the generator of this number, from 0, is called.
pub fn name(number: usize) -> String {
    format!("generator-{number}.safetensors")
}

/// The files that `places` name: a file is itself, a directory the generators in it, in the order of their numbers.
///
/// # Errors
/// A place is not there, or a directory holds no generators.
pub fn find(places: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for place in places {
        if !place.is_dir() {
            files.push(place.clone());
            continue;
        }
        let found = in_directory(place)?;
        if found.is_empty() {
            anyhow::bail!(
                "{} holds no generators ({}, …): name a folder that `kegd extract` or `kegd distill` wrote",
                place.display(),
                name(0)
            );
        }
        files.extend(found);
    }
    Ok(files)
}

fn in_directory(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let unreadable = || format!("{} cannot be listed", directory.display());
    let mut numbered = Vec::new();
    for entry in fs::read_dir(directory).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        let number = path.file_name().and_then(|name| number(name.to_str()?));
        numbered.extend(number.map(|number| (number, path)));
    }
    numbered.sort_unstable();
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix("generator-")?.strip_suffix(".safetensors")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_generators_by_number_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["generator-10.safetensors", "generator-2.safetensors", "student.safetensors", "generator-x.txt"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let found = find(&[folder.path().to_owned(), "elsewhere.safetensors".into()]).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["generator-2.safetensors", "generator-10.safetensors", "elsewhere.safetensors"]);
    }

    #[test]
    fn a_folder_without_generators_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("holds no generators") && error.contains("kegd extract"), "{error}");
    }
}
