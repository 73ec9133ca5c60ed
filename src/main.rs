//! `oneroot`: one root tree, many machines. This file only picks the command and the exit code.
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "`print` and `logging` escape what is not ours")]

mod backup;
mod cli;
mod clock;
mod commands;
mod confine;
mod control;
mod decide;
mod dhcp;
mod escape;
mod follow;
mod forked;
mod http;
mod logging;
mod net;
mod nfs;
mod print;
mod reload;
mod remote;
mod render;
mod serve;
mod start;
mod status;
mod systemd;
mod tftp;
mod tls;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use oneroot_machines::planner::renderer::Renderer;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // First of all: it forks, which takes a process of one thread and with nothing that is worth having.
    let processes = Arc::new(render::Processes::start());
    let renderer: Arc<dyn Renderer> = processes.clone();
    systemd::inherit();
    let serves = matches!(cli.command, cli::Command::Serve);
    start::private(serves);
    logging::start(cli.verbose);
    // What confines a server does so for threads that come later, so it starts this one by itself.
    if !serves && let Err(cause) = logging::write() {
        print::trouble(format_args!("oneroot: there is no thread for the log: {cause}"));
        return cli::Exit::Failed.into();
    }
    let code = match commands::run(&cli, &renderer) {
        Ok(code) => code.into(),
        Err(cause) => {
            let words = format!("oneroot: {cause:#}{}", start::remedy(&cause));
            match cli.command {
                cli::Command::Serve => logging::last_words(&words),
                // What a program has said has several lines.
                _ => words.lines().for_each(print::trouble),
            }
            commands::exit_of(&cause).into()
        }
    };
    if !serves {
        processes.end();
    }
    logging::finish();
    code
}
