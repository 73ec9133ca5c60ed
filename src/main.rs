//! `oneroot`: one root tree, many machines. This file only picks the command and the exit code.
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "`print` and `logging` escape what is not ours")]

mod backup;
mod cli;
mod clock;
mod commands;
mod control;
mod dhcp;
mod escape;
mod guest;
mod http;
mod logging;
mod machines;
mod net;
mod nfs;
mod objects;
mod planner;
mod print;
mod reload;
mod serve;
mod tftp;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    units::inherit();
    let cli = cli::Cli::parse();
    logging::start(cli.verbose);
    if let Err(cause) = logging::write() {
        print::trouble(format_args!("oneroot: there is no thread for the log: {cause}"));
        return cli::Exit::Failed.into();
    }
    let code = match commands::run(&cli) {
        Ok(code) => code.into(),
        Err(cause) => {
            let words = format!("oneroot: {cause:#}");
            match cli.command {
                cli::Command::Serve => logging::last_words(&words),
                // What a program has said has several lines.
                _ => words.lines().for_each(print::trouble),
            }
            cli::Exit::Failed.into()
        }
    };
    logging::finish();
    code
}
