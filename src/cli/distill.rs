//! `kegd distill`: the whole job from the command line, without a server.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context;

use super::{
    pipeline::{Inputs, Pipeline},
    quiet_threads, stop,
    table::{counted, render},
    terminal::Terminal,
};
use crate::domain::report::{JobResult, Report};

/// Shrink a classifier here and now, without a server.
///
/// It leaves the student, its report, the generators and the samples in the output folder, and prints a table; of a sweep, a
/// student, a report and a table for each target.
#[derive(clap::Args, Debug)]
pub struct Distill {
    #[command(flatten)]
    inputs: Inputs,

    /// Real inputs and their classes (.npz with `x` and `y`), for the report alone: nothing is chosen by them.
    #[arg(long, value_name = "FILE")]
    eval: Option<PathBuf>,

    /// Where the results go; made if it is not there. Files of the same names are replaced.
    #[arg(long, short, value_name = "DIR", default_value = "out")]
    out: PathBuf,

    /// Print no progress.
    #[arg(long, short)]
    quiet: bool,
}

impl Distill {
    pub fn run(self) -> anyhow::Result<()> {
        quiet_threads::ensure()?;
        fs::create_dir_all(&self.out).with_context(|| format!("{} cannot be made", self.out.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        stop::on_interrupt(Arc::clone(&stop))?;
        let mut terminal = Terminal::new(self.quiet, stop);
        // On the disk of the results, so that they are moved there and not copied.
        let mut pipeline = Pipeline::new(&self.inputs, self.eval.as_deref(), &self.out)?;
        for warning in pipeline.inspect(&mut terminal)?.warnings {
            eprintln!("warning: {warning}");
        }
        let reports = pipeline.distill(&mut terminal)?;
        let files = pipeline.keep(&terminal, &self.out)?;
        for report in &reports {
            if let (true, Some(target)) = (reports.len() > 1, report.settings.compression.target()) {
                println!("{} {}", target.by.name(), target.value);
            }
            print!("{}", render(&rows(&report.result)));
            if reports.len() > 1 {
                println!();
            }
        }
        for report in reports.iter().take(1) {
            notes(report);
        }
        println!("\n{} files in {}", files.len(), self.out.display());
        Ok(())
    }
}

fn notes(report: &Report) {
    for note in report.notes.iter().chain(&report.warnings) {
        println!("{note}");
    }
}

fn rows(result: &JobResult) -> Vec<Vec<String>> {
    let JobResult { teacher, student, ratio, latency_ms: latency, agreement, .. } = result;
    let row = |cells: [String; 4]| cells.to_vec();
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let size = |name: &str, teacher: u64, student: u64, ratio: f64| {
        row([name.to_owned(), counted(teacher), counted(student), format!("{ratio:.2}x")])
    };
    let student_only = |name: &str, share: f64| row([name.to_owned(), String::new(), percent(share), String::new()]);
    let mut rows = vec![
        row(["", "teacher", "student", "ratio"].map(str::to_owned)),
        size("parameters", teacher.parameters, student.parameters, ratio.parameters),
        size("MACs", teacher.macs, student.macs, ratio.macs),
        size("bytes", teacher.bytes, student.bytes, ratio.bytes),
        row([
            format!("ms ({})", latency.device),
            format!("{:.3}", latency.teacher.p50),
            format!("{:.3}", latency.student.p50),
            format!("{:.2}x", ratio.latency),
        ]),
        student_only("agreement, unseen generator", agreement.held_out_generator.top1),
        student_only("agreement, noise", agreement.noise.top1),
    ];
    if let Some(accuracy) = &result.accuracy {
        let name = format!("accuracy on {} real inputs", counted(accuracy.n));
        rows.push(row([name, percent(accuracy.teacher), percent(accuracy.student), String::new()]));
        rows.push(student_only("  before distillation", accuracy.compressed));
    }
    let total = result.seconds.get("total").copied().unwrap_or_default();
    rows.push(row(["seconds".to_owned(), String::new(), format!("{total:.0}"), String::new()]));
    rows
}
