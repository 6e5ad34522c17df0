//! `kegd bench report`: results as a Markdown page. Every number of ours comes from the cells' files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::{
    cell::{Cell, Done, Outcome},
    description::{Approach, Description, Student, Teacher},
    machine::Machine,
    markdown::{self, Page},
    statistics::{mean, percent},
};
use crate::cli::table::counted;

/// Write the results of a table as Markdown.
#[derive(clap::Args, Debug)]
pub struct Report {
    /// The table's description.
    description: PathBuf,

    /// The folder that `kegd bench table --out` filled.
    results: PathBuf,

    /// The page.
    #[arg(long, short, value_name = "FILE", default_value = "docs/RESULTS.md")]
    out: PathBuf,
}

impl Report {
    pub fn run(self) -> anyhow::Result<()> {
        let description = Description::read(&self.description)?;
        let cells = Cell::read_all(&self.results)?;
        let page = page(&description, &cells, &self.description);
        fs::write(&self.out, page).with_context(|| format!("{} cannot be written", self.out.display()))?;
        println!("{} cells in {}", cells.len(), self.out.display());
        Ok(())
    }
}

const HEAD: &str = "# Results

Students without data, measured. Accuracy is that on the real test set in percent, mean ± sample standard deviation over
the seeds. The test set is read once, after the last step of training: no job chooses an epoch, a weight or a setting by it.
How the presets' constants were found is in the bench's README. `–` was not run. Agreement, in percent, is how often the student's first choice is the teacher's on inputs of a generator
that it did not learn from. Seconds are wall time of whole processes, with the training of generators, which the students
of a seed share, and with all measurements of the report; memory is the most that one process held in RAM at once.
";

fn page(description: &Description, cells: &[Cell], path: &Path) -> String {
    let mut page = Page::new(HEAD);
    page.text("Made by:");
    page.code("sh", &commands(cells, path));
    page.text(&machines(cells));
    for teacher in &description.teachers {
        let own: Vec<&Cell> = cells.iter().filter(|cell| cell.place.teacher == teacher.name).collect();
        if !own.is_empty() {
            Section { teacher, description, cells: &own }.write(&mut page);
        }
    }
    page.finish()
}

/// What makes these cells: those of a shortened schedule first, since what is there is not run again.
fn commands(cells: &[Cell], path: &Path) -> String {
    let path = path.display();
    let mut shortened: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.fraction < 1.0) {
        let only = format!(" --only '{}/*/{}'", cell.place.teacher, cell.place.approach);
        shortened.entry(cell.fraction.to_string()).or_default().insert(only);
    }
    let table = format!("kegd bench table {path} --data DATA --out RESULTS");
    let parts = shortened
        .into_iter()
        .map(|(fraction, only)| format!("{table} --fraction {fraction}{}\n", only.into_iter().collect::<String>()));
    format!("{}{table}\nkegd bench report {path} RESULTS -o docs/RESULTS.md", parts.collect::<String>())
}

fn machines(cells: &[Cell]) -> String {
    let described = |cell: &Cell| {
        let machine = &cell.machine;
        let commit = machine.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
        let cpu = machine.cpu.as_deref().unwrap_or("unknown processor");
        let gpu = machine.gpu.as_ref().map(|gpu| format!(" and {gpu}")).unwrap_or_default();
        let Machine { version, device, threads, .. } = machine;
        format!("kegd {version}{commit}, device `{device}`, {threads} threads, {cpu}{gpu}")
    };
    let all: BTreeSet<String> = cells.iter().map(described).collect();
    format!("Run by: {}.", all.into_iter().collect::<Vec<_>>().join("; "))
}

/// The part of one teacher.
struct Section<'a> {
    teacher: &'a Teacher,
    description: &'a Description,
    cells: &'a [&'a Cell],
}

impl Section<'_> {
    fn write(&self, page: &mut Page) {
        page.heading(2, &self.teacher.title);
        if let Some(done) = self.cells.iter().find_map(|cell| done(cell)) {
            page.text(&self.facts(done));
        }
        let mut blocks: Vec<&str> = Vec::new();
        for student in self.description.students_of(self.teacher) {
            if !blocks.contains(&student.block.as_str()) {
                blocks.push(&student.block);
            }
        }
        for block in blocks {
            let students = self.description.students_of(self.teacher).iter();
            let students: Vec<&Student> = students.filter(|student| student.block == block).collect();
            if students.iter().any(|student| self.of(student, None).next().is_some()) {
                page.heading(3, block);
                page.table(&self.accuracies(&students));
                page.details("Sizes, agreement, seconds and memory", |page| page.table(&self.costs(&students)));
            }
        }
        self.settings(page);
        self.failures(page);
    }

    fn facts(&self, done: &Done) -> String {
        let teacher = &done.result.teacher;
        let (parameters, macs) = (counted(teacher.parameters), counted(teacher.macs));
        let mut text = format!("The teacher has {parameters} parameters and {macs} MACs");
        if let Some(accuracy) = &done.result.accuracy {
            let n = counted(accuracy.n);
            text.push_str(&format!(", and {:.2} % accuracy on {n} test inputs", 100.0 * accuracy.teacher));
        }
        if let Some(published) = &self.teacher.published.teacher {
            text.push_str(&format!(" ({}: {published})", self.teacher.published.by));
        }
        text + "."
    }

    /// Cells of a student, by one approach or all.
    fn of<'a>(&'a self, student: &'a Student, approach: Option<&'a Approach>) -> impl Iterator<Item = &'a Cell> {
        self.cells.iter().copied().filter(move |cell| {
            cell.place.student == student.name && approach.is_none_or(|approach| cell.place.approach == approach.name)
        })
    }

    fn accuracies(&self, students: &[&Student]) -> Vec<Vec<String>> {
        let mut head = vec![String::new()];
        head.extend(students.iter().map(|student| student.title.clone()));
        let mut rows = vec![head];
        let sizes = students.iter().map(|student| self.size(student, None));
        rows.push(std::iter::once("parameters".to_owned()).chain(sizes).collect());
        for approach in &self.description.approaches {
            let ours: Vec<String> = students.iter().map(|student| self.accuracy(student, approach)).collect();
            if ours.iter().any(|cell| cell != markdown::NOTHING) {
                rows.push(std::iter::once(self.title(approach)).chain(ours).collect());
            }
            let picked: Vec<String> = students.iter().map(|student| self.picked(student, approach)).collect();
            if picked.iter().any(|cell| cell != markdown::NOTHING) {
                let title = format!("{}: best epoch on the test set, **not data-free**", self.title(approach));
                rows.push(std::iter::once(title).chain(picked).collect());
            }
            let published = self.teacher.published.students.get(&approach.name);
            let figures: Vec<Option<&String>> =
                students.iter().map(|student| published.and_then(|figures| figures.get(&student.name))).collect();
            if figures.iter().any(Option::is_some) {
                let title = format!("*{}: {}*", self.teacher.published.by, approach.title);
                let figures = figures
                    .into_iter()
                    .map(|figure| figure.map_or(markdown::NOTHING.to_owned(), |figure| format!("*{figure}*")));
                rows.push(std::iter::once(title).chain(figures).collect());
            }
        }
        rows
    }

    /// The approach with the share of its schedule that was run.
    fn title(&self, approach: &Approach) -> String {
        let cells = self.cells.iter().filter(|cell| cell.place.approach == approach.name);
        // Four digits: 7 % of 1 is not 7.000000000000001 % of it.
        let shares: BTreeSet<String> = cells.map(|cell| format!("{} %", (1e6 * cell.fraction).round() / 1e4)).collect();
        if shares.iter().all(|share| share == "100 %") {
            return approach.title.clone();
        }
        format!("{} ({} of the schedule)", approach.title, shares.into_iter().collect::<Vec<_>>().join(", "))
    }

    fn size(&self, student: &Student, approach: Option<&Approach>) -> String {
        let of = |done: &Done| format!("{} ({:.2}x)", counted(done.result.student.parameters), done.result.ratio());
        let sizes: BTreeSet<String> = self.of(student, approach).filter_map(done).map(of).collect();
        markdown::joined(sizes)
    }

    fn accuracy(&self, student: &Student, approach: &Approach) -> String {
        let cells: Vec<&Cell> = self.of(student, Some(approach)).collect();
        let shares: Vec<f64> =
            cells.iter().filter_map(|cell| Some(done(cell)?.result.accuracy.as_ref()?.student)).collect();
        let failed = cells.iter().filter(|cell| done(cell).is_none()).count();
        match (shares.is_empty(), failed) {
            (true, 0) => markdown::NOTHING.to_owned(),
            (true, _) => "failed".to_owned(),
            (false, 0) => percent(&shares),
            (false, _) => format!("{} ({failed} of {} failed)", percent(&shares), cells.len()),
        }
    }

    fn picked(&self, student: &Student, approach: &Approach) -> String {
        let cells = self.of(student, Some(approach)).filter_map(done);
        let shares: Vec<f64> = cells.filter_map(|done| Some(done.picked.as_ref()?.accuracy)).collect();
        if shares.is_empty() { markdown::NOTHING.to_owned() } else { percent(&shares) }
    }

    fn costs(&self, students: &[&Student]) -> Vec<Vec<String>> {
        let head = [
            "student",
            "approach",
            "seeds",
            "accuracy",
            "parameters",
            "MACs",
            "agreement",
            "generators, s",
            "student, s",
            "memory, MB",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for student in students {
            for approach in &self.description.approaches {
                let all: Vec<&Done> = self.of(student, Some(approach)).filter_map(done).collect();
                if all.is_empty() {
                    continue;
                }
                let average = |of: fn(&Done) -> f64| mean(&all.iter().map(|done| of(done)).collect::<Vec<_>>());
                let agreement: Vec<f64> = all.iter().filter_map(|done| done.result.agreement()).collect();
                let memory = all.iter().map(|done| done.peak_memory_bytes).max().unwrap_or(0);
                rows.push(vec![
                    student.title.clone(),
                    self.title(approach),
                    all.len().to_string(),
                    self.accuracy(student, approach),
                    self.size(student, Some(approach)),
                    markdown::joined(all.iter().map(|done| counted(done.result.student.macs)).collect()),
                    if agreement.is_empty() { markdown::NOTHING.to_owned() } else { percent(&agreement) },
                    format!("{:.0}", average(|done| done.seconds.extraction)),
                    format!("{:.0}", average(|done| done.seconds.student)),
                    (memory / 1_000_000).to_string(),
                ]);
            }
        }
        rows
    }

    /// Each approach's settings, as resolved; what belongs to a student or a seed is left out.
    fn settings(&self, page: &mut Page) {
        page.details("Exact settings", |page| {
            for approach in &self.description.approaches {
                let cells = self.cells.iter().filter(|cell| cell.place.approach == approach.name);
                let settings: BTreeSet<String> = cells
                    .map(|cell| {
                        let settings = cell.settings_today();
                        let parts = ["preset", "input", "extraction", "distillation"];
                        parts.map(|part| format!("{part}: {}", settings[part])).join("\n")
                    })
                    .collect();
                for settings in settings {
                    page.text(&format!("**{}**", self.title(approach)));
                    page.code("", &settings);
                }
            }
            for student in self.description.students_of(self.teacher) {
                let settings: BTreeSet<String> =
                    self.of(student, None).map(|cell| cell.settings["compression"].to_string()).collect();
                for settings in settings {
                    page.text(&format!("**{}** ({}): `{settings}`", student.title, student.name));
                }
            }
        });
    }

    fn failures(&self, page: &mut Page) {
        for cell in self.cells {
            if let Outcome::Failed { error } = &cell.outcome {
                page.text(&format!("`{}`, seed {}, failed:", cell.place.group(), cell.place.seed));
                page.code("", error);
            }
        }
    }
}

fn done(cell: &Cell) -> Option<&Done> {
    match &cell.outcome {
        Outcome::Done(done) => Some(done),
        Outcome::Failed { .. } => None,
    }
}
