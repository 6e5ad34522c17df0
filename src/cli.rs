//! The command line: one file for each command.

mod backup;
mod bench;
mod calibrate;
mod child;
mod data;
mod distill;
mod extract;
mod gc;
mod generators;
mod health;
mod inspect;
mod keys;
mod pipeline;
mod quiet_threads;
mod samples;
mod score;
mod serve;
mod stop;
mod table;
mod terminal;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::domain::problem::Problem;

/// Shrinks a frozen classifier without its training data.
#[derive(Debug, Parser)]
#[command(name = "kegd", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Work(work::Work),
    Distill(distill::Distill),
    Extract(extract::Extract),
    Samples(samples::Samples),
    Score(score::Score),
    #[command(subcommand)]
    Bench(bench::Bench),
    Inspect(inspect::Inspect),
    Health(health::Health),
    Gc(gc::Gc),
    Backup(backup::Backup),
    Keys(keys::Keys),
    Calibrate(calibrate::Calibrate),
    #[command(hide = true)]
    RunTask(child::RunTask),
    #[command(hide = true)]
    RunQuery(child::RunQuery),
    /// Print the GPUs that libtorch can use, one a line.
    #[command(hide = true)]
    ProbeDevices,
}

/// Runs the command that the process was started with. Errors go to standard error.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(command) => command.run(),
        Command::Work(command) => command.run(),
        Command::Distill(command) => command.run(),
        Command::Extract(command) => command.run(),
        Command::Samples(command) => command.run(),
        Command::Score(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Health(command) => command.run(),
        Command::Gc(command) => command.run(),
        Command::Backup(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Calibrate(command) => command.run(),
        Command::RunTask(command) => command.run(),
        Command::RunQuery(command) => command.run(),
        Command::ProbeDevices => {
            crate::child::probe_devices();
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error in words: a problem with all that it says, anything else with its causes.
fn told(error: &anyhow::Error) -> String {
    let Some(problem) = error.downcast_ref::<Problem>() else { return format!("kegd: {error:#}\n") };
    let mut text = format!("kegd: {}: {}\n", problem.title, problem.detail);
    for cause in &problem.errors {
        text.push_str(&format!("  - {}\n", cause.detail));
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_make_sense() {
        Cli::command().debug_assert();
    }
}
