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

/// Deletes the generators in `directory` and their samples.
///
/// # Errors
/// A file cannot be deleted.
pub fn clear(directory: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("{} cannot be listed", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if number(name).is_some() || of_samples(name).is_some() {
            fs::remove_file(&path).with_context(|| format!("{} cannot be replaced", path.display()))?;
        }
    }
    Ok(())
}

/// Generator and epoch of `samples-g<generator>-e<epoch>.npz`.
pub fn of_samples(name: &str) -> Option<(u32, u32)> {
    let (generator, epoch) = name.strip_prefix("samples-g")?.strip_suffix(".npz")?.split_once("-e")?;
    Some((generator.parse().ok()?, epoch.parse().ok()?))
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
    fn what_an_earlier_run_left_goes_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let gone = ["generator-0.safetensors", "generator-4.safetensors", "samples-g4-e0200.npz"];
        let stay = ["bank.npz", "generator-mine.safetensors", "samples-good.npz", "student.onnx"];
        for file in gone.iter().chain(&stay) {
            fs::write(folder.path().join(file), "").unwrap();
        }
        clear(folder.path()).unwrap();
        let left = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut left: Vec<String> = left.collect();
        left.sort_unstable();
        assert_eq!(left, stay);
    }

    #[test]
    fn a_folder_without_generators_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(&[folder.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("holds no generators") && error.contains("kegd extract"), "{error}");
    }
}
