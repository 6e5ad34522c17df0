//! The command line: one file for each command.

mod health;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Shrinks a frozen classifier without its training data.
#[derive(Debug, Parser)]
#[command(name = "kegd", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Health(health::Health),
}

/// Runs the command that the process was started with. Errors go to standard error.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(command) => command.run(),
        Command::Health(command) => command.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kegd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
