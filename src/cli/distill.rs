//! `kegd distill`: the whole job from the command line, without a server.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use anyhow::Context;

use super::{
    pipeline::{self, Beside, Inputs, Pipeline},
    quiet_threads, stop,
    table::{counted, render},
    terminal::Terminal,
};
use crate::domain::{
    audit::SourceAudit,
    report::{JobResult, Report},
};

/// Shrink a classifier here and now, without a server.
///
/// It leaves the student, its report, the generators and the samples in the output folder, and prints a table; of a sweep, a
/// student, a report and a table for each target. Where it fails or is stopped, what was finished is left there.
#[derive(clap::Args, Debug)]
pub struct Distill {
    #[command(flatten)]
    inputs: Inputs,

    /// Real inputs and their classes (.npz with `x` and `y`), for the report alone: nothing is chosen by them.
    #[arg(long, value_name = "FILE")]
    eval: Option<PathBuf>,

    /// A smaller network of your own (ONNX) that learns from the teacher, in place of the compressed teacher. It keeps its
    /// weights, or begins with random ones where the configuration has `{"student": {"init": "anew"}}`.
    #[arg(long, value_name = "FILE")]
    student: Option<PathBuf>,

    /// Train no generators: take these files, or those that `kegd` left in this folder, for the same kind of teacher. May
    /// be given several times.
    #[arg(long, value_name = "PATH")]
    generators: Vec<PathBuf>,

    /// Keep the student as it was after every N-th epoch or round of its training, for `kegd score --checkpoint`.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    checkpoints: u32,

    /// Where the results go; made if it is not there. Files of the same names are replaced, and, where generators
    /// are trained, all those that an earlier run left there.
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
        let mut terminal = Terminal::new(self.quiet, stop).keep_checkpoints(self.checkpoints);
        // On the disk of the results, so that they are moved there and not copied.
        let beside = Beside { eval: self.eval.as_deref(), student: self.student.as_deref(), alone: false };
        pipeline::spare(&self.inputs, beside, &self.out)?;
        let mut pipeline = Pipeline::new(&self.inputs, beside, &self.out)?;
        pipeline.reuse(&self.generators)?;
        for warning in pipeline.inspect(&mut terminal)?.warnings {
            eprintln!("warning: {warning}");
        }
        let reports = pipeline.distill(&mut terminal).inspect_err(|_| pipeline.rescue(&terminal, &self.out))?;
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
    let JobResult { teacher, student, ratio, latency_ms: latency, .. } = result;
    let row = |cells: [String; 4]| cells.to_vec();
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let size = |name: &str, teacher: u64, student: u64, ratio: f64| {
        row([name.to_owned(), counted(teacher), counted(student), format!("{ratio:.2}x")])
    };
    let student_only = |name: &str, share: f64| row([name.to_owned(), String::new(), percent(share), String::new()]);
    let mut rows = vec![
        row(["", "teacher", "student", "ratio"].map(str::to_owned)),
        size("parameters", teacher.parameters, student.parameters, ratio.parameters),
        size("bytes", teacher.bytes, student.bytes, ratio.bytes),
        row([
            format!("ms ({})", latency.device),
            format!("{:.3}", latency.teacher.p50),
            format!("{:.3}", latency.student.p50),
            format!("{:.2}x", ratio.latency),
        ]),
    ];
    // Those of a module that libtorch runs are not counted.
    if teacher.macs > 0 {
        rows.insert(2, size("MACs", teacher.macs, student.macs, ratio.macs));
    }
    rows.extend(quality(result));
    if let Some(accuracy) = &result.accuracy {
        let name = format!("accuracy on {} real inputs", counted(accuracy.n));
        rows.push(row([name, percent(accuracy.teacher), percent(accuracy.student), String::new()]));
        rows.push(student_only("  before distillation", accuracy.compressed));
    }
    let total = result.seconds.get("total").copied().unwrap_or_default();
    rows.push(row(["seconds".to_owned(), String::new(), format!("{total:.0}"), String::new()]));
    rows
}

/// What is known without data: agreement on every source, and what is predicted from it.
fn quality(result: &JobResult) -> Vec<Vec<String>> {
    let row = |name: String, value: String| vec![name, String::new(), value, String::new()];
    let Some(audit) = &result.audit else { return Vec::new() };
    let agreement = |found: &SourceAudit| {
        row(format!("agreement, {}", found.source.words()), format!("{:.2} %", 100.0 * found.agreement.share))
    };
    let mut rows: Vec<Vec<String>> = audit.sources.iter().map(agreement).collect();
    if let Some(found) = &audit.prediction {
        let [loss, low, high] = [found.loss, found.low, found.high].map(|share| format!("{:.1}", 100.0 * share));
        rows.push(row("predicted loss of accuracy, points".to_owned(), format!("{loss} ({low} to {high})")));
    }
    rows
}
