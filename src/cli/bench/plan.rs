//! From a table's description to its cells, in the order in which they are run, with the configuration of each.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    cell::Place,
    description::{Approach, Description, Student, Teacher},
    pattern,
};
use crate::domain::{
    config::{JobConfig, Sampler, Settings},
    presets::Traits,
};

/// A cell to be.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    pub teacher: &'a Teacher,
    pub student: &'a Student,
    pub approach: &'a Approach,
    pub seed: u64,
}

/// The cells whose group fits one of `only`, all where there is none. One seed is finished before the next begins, and
/// students that share generators follow each other.
///
/// # Errors
/// A pattern fits no cell.
pub fn cells<'a>(description: &'a Description, seeds: &[u64], only: &[String]) -> anyhow::Result<Vec<Planned<'a>>> {
    let mut cells = Vec::new();
    for teacher in &description.teachers {
        for (round, &seed) in seeds.iter().enumerate() {
            let approaches = description.approaches.iter();
            for approach in approaches.filter(|approach| approach.seeds.is_none_or(|most| round < most)) {
                let students = description.students_of(teacher).iter();
                let made = students.filter(|student| student.is_made_by(&approach.name));
                cells.extend(made.map(|student| Planned { teacher, student, approach, seed }));
            }
        }
    }
    for pattern in only {
        if !cells.iter().any(|cell| pattern::fits(pattern, &cell.place().group())) {
            let example = cells.first().map(|cell| cell.place().group()).unwrap_or_default();
            anyhow::bail!("no cell is called `{pattern}`; cells are called like {example}, and `*` is any text");
        }
    }
    let wanted = |group: &str| only.is_empty() || only.iter().any(|pattern| pattern::fits(pattern, group));
    cells.retain(|cell| wanted(&cell.place().group()));
    Ok(cells)
}

/// A job's configuration, as written and as resolved.
#[derive(Clone, Debug)]
pub struct Config {
    pub json: Value,
    pub settings: Settings,
    /// Share of the schedule, 0 to 1.
    pub fraction: f64,
}

impl Config {
    /// Whether the students of this configuration learn from trained generators.
    pub fn trains_generators(&self) -> bool {
        self.settings.extraction.sampler == Sampler::Kegnet
    }

    /// The part that generators depend on, for whatever student.
    pub fn of_generators(&self) -> Value {
        let mut json = self.json.clone();
        if let Value::Object(members) = &mut json {
            members.remove("compression");
            members.remove("distillation");
        }
        json
    }
}

impl Planned<'_> {
    pub fn place(&self) -> Place {
        Place {
            teacher: self.teacher.name.clone(),
            student: self.student.name.clone(),
            approach: self.approach.name.clone(),
            seed: self.seed,
        }
    }

    /// The approach's configuration, with the teacher's overrides, its input, the student's compression and the seed.
    /// A scaled approach gets `fraction` of the epochs of both trainings, rounded up. `ratios` has, by name, how many times
    /// smaller those students are whose size others have.
    ///
    /// # Errors
    /// The description yields no valid configuration.
    pub fn config(&self, teacher: Traits, fraction: f64, ratios: &BTreeMap<String, f64>) -> anyhow::Result<Config> {
        let mut json = Value::Object(self.approach.config.clone());
        if let Some(overrides) = self.teacher.overrides.get(&self.approach.name) {
            merge(&mut json, overrides);
        }
        let mut own = Map::new();
        own.insert("name".to_owned(), json!(self.teacher.name));
        own.insert("seed".to_owned(), json!(self.seed));
        own.insert("input".to_owned(), Value::Object(self.teacher.input.clone()));
        let ratio = self.student.size_of.as_ref().and_then(|name| ratios.get(name));
        let compression = ratio.map_or(json!(self.student.compression), |ratio| json!({ "ratio": ratio }));
        own.insert("compression".to_owned(), compression);
        own.extend(self.teacher.classes.as_ref().map(|classes| ("classes".to_owned(), json!(classes))));
        merge(&mut json, &own);
        let fraction = if self.approach.scaled { fraction } else { 1.0 };
        let mut settings = self.resolve(&json, teacher)?;
        if fraction < 1.0 {
            let scaled = |epochs: u32| (f64::from(epochs) * fraction).ceil() as u32;
            let mut shorter = Map::new();
            shorter.insert("extraction".to_owned(), json!({"epochs": scaled(settings.extraction.epochs)}));
            shorter.insert("distillation".to_owned(), json!({"epochs": scaled(settings.distillation.epochs)}));
            merge(&mut json, &shorter);
            settings = self.resolve(&json, teacher)?;
        }
        Ok(Config { json, settings, fraction })
    }

    fn resolve(&self, json: &Value, teacher: Traits) -> anyhow::Result<Settings> {
        let resolved = JobConfig::parse(json.to_string().as_bytes())
            .and_then(|config| config.resolve(teacher, &self.teacher.name))
            .map_err(|problem| anyhow::anyhow!("{}: {}", self.place().group(), problem.detail))?;
        Ok(resolved)
    }
}

/// Puts the members of `over` into `base`: objects member by member, anything else as a whole.
fn merge(base: &mut Value, over: &Map<String, Value>) {
    let Value::Object(members) = base else { return };
    for (name, value) in over {
        match (members.get_mut(name), value) {
            (Some(inner @ Value::Object(_)), Value::Object(value)) => merge(inner, value),
            _ => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::presets::TeacherKind;

    fn description() -> Description {
        serde_json::from_value(json!({
            "teachers": [{
                "name": "t", "title": "T", "model": "t.onnx", "eval": "t.npz", "students": "family",
                "input": {"mean": [0.5], "std": [0.5]}, "overrides": {"paper": {"extraction": {"beta": 10.0}}},
            }],
            "students": {"family": [
                {"name": "a", "title": "A", "block": "b", "compression": {"ratio": 2.0}},
                {"name": "b", "title": "B", "block": "b", "size_of": "a", "approaches": ["alone"]},
            ]},
            "approaches": [
                {"name": "alone", "title": "alone", "seeds": 1, "config": {"distillation": {"epochs": 0}}},
                {"name": "paper", "title": "paper", "scaled": true, "config": {"preset": "paper", "extraction": {"alpha": 2.0}}},
            ],
        }))
        .unwrap()
    }

    fn names(cells: &[Planned<'_>]) -> Vec<String> {
        cells.iter().map(|cell| format!("{} s{}", cell.place().group(), cell.seed)).collect()
    }

    #[test]
    fn one_seed_comes_after_the_other_and_approaches_take_as_many_as_make_sense() {
        let description = description();
        let all = cells(&description, &[1, 2], &[]).unwrap();
        assert_eq!(names(&all), ["t/a/alone s1", "t/b/alone s1", "t/a/paper s1", "t/a/paper s2"]);
        let some = cells(&description, &[1, 2], &["*/b/*".into(), "t/a/alone".into()]).unwrap();
        assert_eq!(names(&some), ["t/a/alone s1", "t/b/alone s1"]);
        let error = cells(&description, &[1], &["S9".into()]).unwrap_err().to_string();
        assert!(error.contains("`S9`") && error.contains("t/a/alone"), "{error}");
    }

    #[test]
    fn a_configuration_is_the_approachs_with_the_teachers_and_the_students_part() {
        let description = description();
        let paper = cells(&description, &[7], &["*/paper".into()]).unwrap()[0];
        let config = paper.config(TeacherKind::PlainImage.into(), 0.05, &BTreeMap::new()).unwrap();
        let expected = json!({
            "preset": "paper", "name": "t", "seed": 7, "input": {"mean": [0.5], "std": [0.5]},
            "compression": {"ratio": 2.0},
            "extraction": {"alpha": 2.0, "beta": 10.0, "epochs": 10}, "distillation": {"epochs": 20},
        });
        assert_eq!(config.json, expected);
        assert_eq!((config.fraction, config.settings.extraction.epochs), (0.05, 10));
        // What is not scaled stays as it is.
        let alone = cells(&description, &[7], &["*/a/alone".into()]).unwrap()[0];
        assert_eq!(alone.config(TeacherKind::PlainImage.into(), 0.05, &BTreeMap::new()).unwrap().fraction, 1.0);
    }

    #[test]
    fn a_student_of_anothers_size_gets_the_ratio_that_the_other_turns_out_to_have() {
        let description = description();
        let alike = cells(&description, &[7], &["*/b/alone".into()]).unwrap()[0];
        let ratios = BTreeMap::from([("a".to_owned(), 3.5)]);
        let config = alike.config(TeacherKind::PlainImage.into(), 1.0, &ratios).unwrap();
        assert_eq!(config.json["compression"], json!({"ratio": 3.5}));
    }

    #[test]
    fn the_smallest_fraction_leaves_an_epoch() {
        let description = description();
        let paper = cells(&description, &[7], &["*/paper".into()]).unwrap()[0];
        let settings = paper.config(TeacherKind::PlainImage.into(), 1e-6, &BTreeMap::new()).unwrap().settings;
        assert_eq!((settings.extraction.epochs, settings.distillation.epochs), (1, 1));
    }
}
