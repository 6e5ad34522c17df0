//! `kegd inspect`: what the importer sees in a model, and the compression plan.

use std::sync::{Arc, atomic::AtomicBool};

use super::{
    pipeline::{Beside, Inputs, Pipeline},
    quiet_threads,
    table::{counted, render},
    terminal::Terminal,
};
use crate::domain::report::{Inspection, LayerRow};

/// Look into a model: its layers, and what the configuration would make of them. Nothing is trained.
#[derive(clap::Args, Debug)]
pub struct Inspect {
    #[command(flatten)]
    inputs: Inputs,

    /// Print JSON, as `POST /inspect` answers it.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub fn run(self) -> anyhow::Result<()> {
        quiet_threads::ensure()?;
        let mut terminal = Terminal::new(true, Arc::new(AtomicBool::new(false)));
        let inspection =
            Pipeline::new(&self.inputs, Beside::default(), &std::env::temp_dir())?.inspect(&mut terminal)?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&inspection)?);
        } else {
            print!("{}", text(&inspection));
        }
        Ok(())
    }
}

/// What the inspection comes to: the compression, or the student that was given.
fn planned(inspection: &Inspection) -> String {
    let Some(student) = &inspection.student else {
        return plan((inspection.model.parameters, inspection.planned_parameters), &inspection.plan);
    };
    let fewer = inspection.model.parameters as f64 / student.parameters.max(1) as f64;
    format!(
        "{}\ngiven student: {} parameters, {fewer:.2}x fewer, {} MACs\n",
        render(&rows(&inspection.plan)),
        counted(student.parameters),
        counted(student.macs)
    )
}

fn text(inspection: &Inspection) -> String {
    let model = &inspection.model;
    let shape: Vec<String> =
        model.input.shape.iter().map(|extent| extent.map_or("batch".to_owned(), |extent| extent.to_string())).collect();
    let mut text = format!(
        "{}, {} bytes\ninput `{}` {} ({}), {} classes\n{} parameters, {} MACs\n",
        model.format,
        counted(model.bytes),
        model.input.name,
        model.input.dtype,
        shape.join(" x "),
        model.classes,
        counted(model.parameters),
        counted(model.macs),
    );
    for planned in &inspection.sweep {
        text.push_str(&format!(
            "\n{} {}\n{}",
            planned.by.name(),
            planned.target,
            plan((model.parameters, planned.parameters), &planned.plan)
        ));
    }
    if inspection.sweep.is_empty() {
        text.push_str(&format!("\n{}", planned(inspection)));
    }
    for warning in &inspection.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

/// A compression table, and what it comes to.
fn plan((teacher, student): (u64, u64), plan: &[LayerRow]) -> String {
    let fewer = teacher as f64 / student.max(1) as f64;
    format!("{}\nplanned student: {} parameters, {fewer:.2}x fewer\n", render(&rows(plan)), counted(student))
}

fn rows(plan: &[LayerRow]) -> Vec<Vec<String>> {
    let head =
        ["layer", "action", "ranks", "parameters", "after", "MACs", "after", "error"].map(str::to_owned).to_vec();
    let body = plan.iter().map(|row| {
        let ranks: Vec<String> = row.ranks.iter().map(usize::to_string).collect();
        vec![
            row.layer.clone(),
            row.action.clone(),
            ranks.join(" "),
            counted(row.parameters_before),
            counted(row.parameters_after),
            counted(row.macs_before),
            counted(row.macs_after),
            format!("{:.3}", row.error),
        ]
    });
    std::iter::once(head).chain(body).collect()
}
