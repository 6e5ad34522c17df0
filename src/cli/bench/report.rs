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
How the presets' constants were found is in the bench's README. `–` was not run; n is told where fewer seeds were run than
of other students in the table. Agreement, in percent, is how often the student's first choice is the teacher's on inputs of
a generator that it did not learn from. Seconds are wall time of whole processes, with the training of generators, which the
students of a seed share, and with all measurements of the report: they compare on one kind of hardware alone, which the last
column names. Memory is the most that one process held in RAM at once.
";

fn page(description: &Description, cells: &[Cell], path: &Path) -> String {
    let mut page = Page::new(HEAD);
    page.text(
        "Made by the following, `DATA` being where teachers and test sets lie (`--data` may be given several times). The last \
         `bench table` runs all cells of the description: those below were picked with `--only` and `--seed`, and what is there \
         is not run again.",
    );
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
    let threads: BTreeSet<u16> = cells.iter().map(|cell| cell.machine.threads).collect();
    let threads: Vec<String> = threads.into_iter().map(|threads| threads.to_string()).collect();
    // Cells of several numbers have no command in common.
    let threads = if let [threads] = &threads[..] { format!(" --threads {threads}") } else { String::new() };
    let table = format!("kegd bench table {path} --data DATA --out RESULTS{threads}");
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
        format!("kegd {version}{commit}, device `{device}`, {}, {cpu}{gpu}", counted_threads(*threads))
    };
    let all: BTreeSet<String> = cells.iter().map(described).collect();
    format!("Run by: {}.", all.into_iter().collect::<Vec<_>>().join("; "))
}

fn counted_threads(threads: u16) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}

/// What did the arithmetic, as far as seconds depend on it.
fn hardware(machine: &Machine) -> String {
    let cpu =
        || format!("{}, {}", machine.cpu.as_deref().unwrap_or("unknown processor"), counted_threads(machine.threads));
    machine.gpu.clone().unwrap_or_else(cpu)
}

/// An approach with a share of its schedule: cells of another share are other students.
#[derive(Clone, Copy)]
struct Variant<'a> {
    approach: &'a Approach,
    fraction: f64,
}

impl Variant<'_> {
    fn has(self, cell: &Cell) -> bool {
        cell.place.approach == self.approach.name && cell.fraction == self.fraction
    }

    fn title(self) -> String {
        if self.fraction == 1.0 {
            return self.approach.title.clone();
        }
        // Four digits: 7 % of 1 is not 7.000000000000001 % of it.
        format!("{} ({} % of the schedule)", self.approach.title, (1e6 * self.fraction).round() / 1e4)
    }
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
            if students.iter().any(|student| !self.of(student, None).is_empty()) {
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

    /// Cells of a student, by one variant or all.
    fn of(&self, student: &Student, variant: Option<Variant<'_>>) -> Vec<&Cell> {
        let is_meant =
            |cell: &&Cell| cell.place.student == student.name && variant.is_none_or(|variant| variant.has(cell));
        self.cells.iter().copied().filter(is_meant).collect()
    }

    /// The shares of an approach's schedule that were run, the longest first.
    fn variants<'a>(&self, approach: &'a Approach) -> Vec<Variant<'a>> {
        let cells = self.cells.iter().filter(|cell| cell.place.approach == approach.name);
        let mut fractions: Vec<f64> = cells.map(|cell| cell.fraction).collect();
        fractions.sort_by(|one, other| other.total_cmp(one));
        fractions.dedup();
        fractions.into_iter().map(|fraction| Variant { approach, fraction }).collect()
    }

    fn accuracies(&self, students: &[&Student]) -> Vec<Vec<String>> {
        let mut head = vec![String::new()];
        head.extend(students.iter().map(|student| student.title.clone()));
        let mut rows = vec![head];
        let sizes = students.iter().map(|student| size(&self.of(student, None)));
        rows.push(std::iter::once("parameters".to_owned()).chain(sizes).collect());
        let mut push = |title: String, row: Vec<String>| {
            if row.iter().any(|cell| cell != markdown::NOTHING) {
                rows.push(std::iter::once(title).chain(row).collect());
            }
        };
        for approach in &self.description.approaches {
            let variants = self.variants(approach);
            let cells = |variant| -> Vec<Vec<&Cell>> {
                students.iter().map(|student| self.of(student, Some(variant))).collect()
            };
            let seeds = variants.iter().flat_map(|&variant| cells(variant)).map(|cells| cells.len()).max().unwrap_or(0);
            for variant in variants {
                push(variant.title(), cells(variant).iter().map(|cells| accuracy(cells, seeds)).collect());
                let title = format!("{}: best epoch on the test set, **not data-free**", variant.title());
                push(title, cells(variant).iter().map(|cells| picked(cells, seeds)).collect());
            }
            let published = self.teacher.published.students.get(&approach.name);
            let figure = |student: &&Student| published.and_then(|figures| figures.get(&student.name));
            let figures = students
                .iter()
                .map(|student| figure(student).map_or(markdown::NOTHING.to_owned(), |figure| format!("*{figure}*")));
            push(format!("*{}: {}*", self.teacher.published.by, approach.title), figures.collect());
        }
        rows
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
            "on",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for student in students {
            for variant in self.description.approaches.iter().flat_map(|approach| self.variants(approach)) {
                let mut by_hardware: BTreeMap<String, Vec<&Cell>> = BTreeMap::new();
                for cell in self.of(student, Some(variant)) {
                    by_hardware.entry(hardware(&cell.machine)).or_default().push(cell);
                }
                for (hardware, cells) in by_hardware {
                    let Some(figures) = cost(&cells) else { continue };
                    let names = [student.title.clone(), variant.title()];
                    rows.push(names.into_iter().chain(figures).chain([hardware]).collect());
                }
            }
        }
        rows
    }

    /// Each approach's settings, as resolved; what belongs to a student or a seed is left out.
    fn settings(&self, page: &mut Page) {
        page.details("Exact settings", |page| {
            for approach in &self.description.approaches {
                for variant in self.variants(approach) {
                    let cells = self.cells.iter().filter(|cell| variant.has(cell));
                    let settings: BTreeSet<String> = cells.map(|cell| recipe(cell)).collect();
                    for settings in settings {
                        page.text(&format!("**{}**", variant.title()));
                        page.code("", &settings);
                    }
                }
            }
            for student in self.description.students_of(self.teacher) {
                let settings: BTreeSet<String> =
                    self.of(student, None).iter().map(|cell| cell.settings["compression"].to_string()).collect();
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

/// What a student learned by, apart from its size and seed.
fn recipe(cell: &Cell) -> String {
    let settings = cell.settings_today();
    ["preset", "input", "extraction", "distillation"].map(|part| format!("{part}: {}", settings[part])).join("\n")
}

fn size(cells: &[&Cell]) -> String {
    let of = |done: &Done| format!("{} ({:.2}x)", counted(done.result.student.parameters), done.result.ratio());
    markdown::joined(cells.iter().filter_map(|cell| done(cell)).map(of).collect())
}

/// Mean and spread of the accuracy; `seeds` is how many others have.
fn accuracy(cells: &[&Cell], seeds: usize) -> String {
    let shares: Vec<f64> =
        cells.iter().filter_map(|cell| Some(done(cell)?.result.accuracy.as_ref()?.student)).collect();
    let failed = cells.iter().filter(|cell| done(cell).is_none()).count();
    match (shares.is_empty(), failed) {
        (true, 0) => markdown::NOTHING.to_owned(),
        (true, _) => "failed".to_owned(),
        (false, 0) => counted_percent(&shares, seeds),
        (false, _) => format!("{} ({failed} of {} failed)", percent(&shares), cells.len()),
    }
}

fn picked(cells: &[&Cell], seeds: usize) -> String {
    let shares: Vec<f64> = cells.iter().filter_map(|cell| Some(done(cell)?.picked.as_ref()?.accuracy)).collect();
    if shares.is_empty() { markdown::NOTHING.to_owned() } else { counted_percent(&shares, seeds) }
}

fn counted_percent(shares: &[f64], seeds: usize) -> String {
    let n = if shares.len() < seeds { format!(" (n = {})", shares.len()) } else { String::new() };
    format!("{}{n}", percent(shares))
}

/// Figures of a student by one variant on one kind of hardware; none where nothing was finished.
fn cost(cells: &[&Cell]) -> Option<Vec<String>> {
    let all: Vec<&Done> = cells.iter().filter_map(|cell| done(cell)).collect();
    let average = |of: fn(&Done) -> f64| mean(&all.iter().map(|done| of(done)).collect::<Vec<_>>());
    let agreement: Vec<f64> = all.iter().filter_map(|done| done.result.agreement()).collect();
    let memory = all.iter().map(|done| done.peak_memory_bytes).max()?;
    Some(vec![
        all.len().to_string(),
        accuracy(cells, 0),
        size(cells),
        markdown::joined(all.iter().map(|done| counted(done.result.student.macs)).collect()),
        if agreement.is_empty() { markdown::NOTHING.to_owned() } else { percent(&agreement) },
        format!("{:.0}", average(|done| done.seconds.extraction)),
        format!("{:.0}", average(|done| done.seconds.student)),
        (memory / 1_000_000).to_string(),
    ])
}

fn done(cell: &Cell) -> Option<&Done> {
    match &cell.outcome {
        Outcome::Done(done) => Some(done),
        Outcome::Failed { .. } => None,
    }
}
