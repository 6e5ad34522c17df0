//! What a table is made of: teachers, their students, and the approaches that make students.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A table description, a JSON file. All names become names of files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    pub teachers: Vec<Teacher>,
    /// Students by the family of teachers that they are made of.
    pub students: BTreeMap<String, Vec<Student>>,
    pub approaches: Vec<Approach>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {
    pub name: String,
    pub title: String,
    /// Beside the description, or in a folder of `--data`.
    pub model: PathBuf,
    /// The test set, looked for in the same places.
    pub eval: PathBuf,
    /// The family of its students.
    pub students: String,
    /// `input` of its jobs.
    #[serde(default)]
    pub input: Map<String, Value>,
    pub classes: Option<Vec<String>>,
    /// By approach: what its configuration says otherwise for this teacher.
    #[serde(default)]
    pub overrides: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    pub published: Published,
}

/// Figures of others, to print beside ours: test accuracy in percent, as they write it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Whose they are.
    #[serde(default)]
    pub by: String,
    pub teacher: Option<String>,
    /// By approach, then by student.
    #[serde(default)]
    pub students: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Student {
    pub name: String,
    pub title: String,
    /// Students of one block are columns of one table.
    pub block: String,
    /// `compression` of its jobs.
    #[serde(default)]
    pub compression: Map<String, Value>,
    /// Instead of a compression: our own allocation, with no more parameters than this student of the same teacher.
    pub size_of: Option<String>,
    /// Those that make it; all of them where absent.
    pub approaches: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approach {
    pub name: String,
    pub title: String,
    /// A job's configuration without model, compression and seed.
    pub config: Map<String, Value>,
    /// Whether `--fraction` shortens it.
    #[serde(default)]
    pub scaled: bool,
    /// Whether the best of its epochs on the test set is shown too, beside the last one: what a method reaches that picks by
    /// real data. It is measured when the job is over.
    #[serde(default)]
    pub picked: bool,
    /// Most seeds that it makes sense with: one where nothing is drawn.
    pub seeds: Option<usize>,
}

impl Description {
    /// # Errors
    /// The file cannot be read, or says something that makes no sense.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let json = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
        let wrong = || format!("{} is no table description", path.display());
        let mut reader = serde_json::Deserializer::from_slice(&json);
        let description: Self = serde_path_to_error::deserialize(&mut reader).with_context(wrong)?;
        description.check().with_context(wrong)?;
        Ok(description)
    }

    fn check(&self) -> anyhow::Result<()> {
        let approaches = distinct("approaches", self.approaches.iter().map(|approach| &approach.name))?;
        distinct("teachers", self.teachers.iter().map(|teacher| &teacher.name))?;
        let known = |name: &String| match approaches.contains(name) {
            true => Ok(()),
            false => Err(anyhow::anyhow!("there is no approach `{name}`")),
        };
        for (family, students) in &self.students {
            distinct(&format!("students of `{family}`"), students.iter().map(|student| &student.name))?;
            students.iter().flat_map(|student| student.approaches.iter().flatten()).try_for_each(known)?;
            students.iter().try_for_each(|student| student.check(students))?;
        }
        for teacher in &self.teachers {
            if !self.students.contains_key(&teacher.students) {
                anyhow::bail!("there are no students `{}` for teacher `{}`", teacher.students, teacher.name);
            }
            teacher.overrides.keys().chain(teacher.published.students.keys()).try_for_each(known)?;
        }
        Ok(())
    }

    pub fn students_of(&self, teacher: &Teacher) -> &[Student] {
        self.students.get(&teacher.students).map_or(&[], Vec::as_slice)
    }

    /// The students of `teacher` whose size others have.
    pub fn models_of_size(&self, teacher: &Teacher) -> impl Iterator<Item = &Student> {
        let students = self.students_of(teacher);
        let named = |student: &&Student| students.iter().any(|other| other.size_of.as_ref() == Some(&student.name));
        students.iter().filter(named)
    }
}

impl Student {
    /// It has either a compression or the size of a student that has one.
    fn check(&self, among: &[Self]) -> anyhow::Result<()> {
        let Some(other) = &self.size_of else { return Ok(()) };
        let fits = |student: &Self| student.name == *other && student.size_of.is_none();
        if !self.compression.is_empty() || !among.iter().any(fits) {
            anyhow::bail!(
                "student `{}`: `size_of` names a student with a compression of its own, and stands instead of one",
                self.name
            );
        }
        Ok(())
    }

    pub fn is_made_by(&self, approach: &str) -> bool {
        self.approaches.as_ref().is_none_or(|names| names.iter().any(|name| name == approach))
    }
}

fn distinct<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> anyhow::Result<BTreeSet<&'a String>> {
    let mut seen = BTreeSet::new();
    for name in names {
        let plain = name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if !plain || name.contains("--") {
            anyhow::bail!("`{name}` among the {what}: names are letters, digits, `_`, `.` and single `-`");
        }
        if !seen.insert(name) {
            anyhow::bail!("two of the {what} are called `{name}`");
        }
    }
    Ok(seen)
}

/// Where descriptions' paths are looked for.
#[derive(Debug)]
pub struct Places(Vec<PathBuf>);

impl Places {
    /// Beside the description first, then in each of `data`.
    pub fn new(description: &Path, data: &[PathBuf]) -> Self {
        let beside = description.parent().unwrap_or(Path::new("")).to_owned();
        Self(std::iter::once(beside).chain(data.iter().cloned()).collect())
    }

    pub fn find(&self, path: &Path) -> Option<PathBuf> {
        self.0.iter().map(|place| place.join(path)).find(|path| path.is_file())
    }
}
