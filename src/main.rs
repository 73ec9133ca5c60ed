//! `oneroot`: one root tree, many machines. This file only picks the command and the exit code.

mod backup;
mod cli;
mod clock;
mod commands;
mod control;
mod dhcp;
mod guest;
mod http;
mod logging;
mod machines;
mod net;
mod nfs;
mod objects;
mod planner;
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
    let code = match commands::run(&cli) {
        Ok(code) => code.into(),
        Err(cause) => {
            logging::last_words(&format!("oneroot: {cause:#}"), matches!(cli.command, cli::Command::Serve));
            cli::Exit::Failed.into()
        }
    };
    logging::finish();
    code
}
