//! `oneroot`: one root tree, many machines. This file only picks the command and the exit code.

mod backup;
mod cli;
mod clock;
mod commands;
mod control;
mod dhcp;
mod guest;
mod http;
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
    cli::log(cli.verbose);
    match commands::run(&cli) {
        Ok(code) => code.into(),
        Err(cause) => {
            eprintln!("oneroot: {cause:#}");
            cli::Exit::Failed.into()
        }
    }
}
