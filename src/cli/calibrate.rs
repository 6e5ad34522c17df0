//! `kegd calibrate`: makes the prediction of the accuracy that a student has lost, from students whose loss was measured.

mod document;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::table::{counted, render};
use crate::domain::{
    prediction::{
        self,
        fit::{Cell, fit},
    },
    report::JobResult,
};

/// Fit the prediction of lost accuracy to measured students; `docs/AUDIT.md` says how.
///
/// For whoever builds kegd: the calibration takes effect in the next build.
#[derive(clap::Args, Debug)]
pub struct Calibrate {
    /// Folders of cells: JSON files with `teacher` and a report's `result`, with accuracy and audit; others are passed over.
    #[arg(required = true, value_name = "DIR")]
    cells: Vec<PathBuf>,

    /// The calibration.
    #[arg(long, short, value_name = "FILE", default_value = "src/domain/prediction/calibration.json")]
    out: PathBuf,

    /// Teachers that are of one kind, as `--alike lenet5,lenet5-published`: one network on the same data, trained or exported
    /// twice. They are left out together, since a user's teacher has no such twin; may be given several times.
    #[arg(long, value_name = "LIST", value_parser = names)]
    alike: Vec<Alike>,

    /// A Markdown file, in which the part between the marks of the calibration is replaced.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
}

/// Teachers that are left out together.
#[derive(Clone, Debug)]
struct Alike(BTreeSet<String>);

impl Alike {
    /// What they are called together.
    fn name(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
    }
}

fn names(list: &str) -> Result<Alike, String> {
    let names: BTreeSet<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    if names.len() < 2 || names.contains("") {
        return Err("give two teachers at least, as `--alike lenet5,lenet5-published`".to_owned());
    }
    Ok(Alike(names))
}

/// What matters of a cell.
#[derive(Deserialize)]
struct Measured {
    teacher: String,
    result: JobResult,
}

impl Calibrate {
    pub fn run(self) -> anyhow::Result<()> {
        let mut files = Vec::new();
        for folder in &self.cells {
            find(folder, &mut files)?;
        }
        // The order of a folder must not change a bit.
        files.sort();
        let mut cells: Vec<Cell> =
            files.iter().map(|path| read(path)).collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect();
        self.join_alike(&mut cells)?;
        println!("{} of {} files are students with accuracy and audit.", counted(cells.len() as u64), files.len());
        let calibration = fit(&cells).map_err(anyhow::Error::msg)?;
        if let Some(path) = &self.document {
            let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            write(path, &document::replace(&text, &calibration)?)?;
        }
        write(&self.out, &format!("{}\n", serde_json::to_string_pretty(&calibration)?))?;
        print!("{}", render(&document::rows(&calibration)));
        println!("{} is written.", self.out.display());
        Ok(())
    }

    /// Gives teachers that are alike one name.
    fn join_alike(&self, cells: &mut [Cell]) -> anyhow::Result<()> {
        for alike in &self.alike {
            for name in &alike.0 {
                let mut own = cells.iter_mut().filter(|cell| cell.teacher == *name).peekable();
                if own.peek().is_none() {
                    bail!(
                        "--alike names the teacher `{name}`, of which there is no student with accuracy and audit; name each \
                         teacher once, as its cells do"
                    );
                }
                own.for_each(|cell| cell.teacher = alike.name());
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// All JSON files in `folder` and below. Hidden ones are being written, or are the bench's scratch.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(())
}

/// The cell of a file; `None` where it holds no student whose accuracy and audit are both known.
fn read(path: &Path) -> anyhow::Result<Option<Cell>> {
    let json = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let value: serde_json::Value =
        serde_json::from_slice(&json).with_context(|| format!("{} is no JSON", path.display()))?;
    if value.pointer("/result/accuracy/student").is_none() || value.pointer("/result/audit/sources").is_none() {
        return Ok(None);
    }
    let Measured { teacher, result } =
        serde_json::from_value(value).with_context(|| format!("{} is no cell of this version", path.display()))?;
    let (Some(accuracy), Some(audit)) = (&result.accuracy, &result.audit) else { return Ok(None) };
    let features = prediction::features(audit, result.ratio.parameters);
    let loss = accuracy.teacher - accuracy.student;
    if !loss.is_finite() || features.iter().any(|feature| !feature.is_finite()) {
        bail!("{}: a figure is no number", path.display());
    }
    Ok(Some(Cell { teacher, features, loss }))
}

#[cfg(test)]
mod tests;
