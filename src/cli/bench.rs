//! `kegd bench`: tables of students, teacher by teacher and approach by approach, each cell a run of its own.

mod cell;
mod child;
mod description;
mod machine;
mod markdown;
mod pattern;
mod plan;
mod report;
mod runner;
mod shared;
mod statistics;
mod table;

/// Measure students: a table of teachers, students, approaches and seeds.
#[derive(clap::Subcommand, Debug)]
pub enum Bench {
    Table(table::Table),
    Report(report::Report),
}

impl Bench {
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Table(command) => command.run(),
            Self::Report(command) => command.run(),
        }
    }
}
