//! `oneroot`: one root tree, many machines. This file only picks the command and the exit code.
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "`print` and `logging` escape what is not ours")]

mod backup;
mod cli;
mod clock;
mod commands;
mod confine;
mod control;
mod dhcp;
mod escape;
mod http;
mod logging;
mod net;
mod nfs;
mod print;
mod reload;
mod render;
mod serve;
mod status;
mod systemd;
mod tftp;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use oneroot_machines::planner::renderer::Renderer;
use rustix::fs::Mode;
use rustix::process::umask;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    // First of all: it forks, which takes a process of one thread and with nothing that is worth having.
    let processes = Arc::new(render::Processes::start());
    let renderer: Arc<dyn Renderer> = processes.clone();
    systemd::inherit();
    let serves = matches!(cli.command, cli::Command::Serve);
    private(serves);
    logging::start(cli.verbose);
    // What confines a server does so for threads that come later, so it starts this one by itself.
    if !serves && let Err(cause) = logging::write() {
        print::trouble(format_args!("oneroot: there is no thread for the log: {cause}"));
        return cli::Exit::Failed.into();
    }
    let code = match commands::run(&cli, &renderer) {
        Ok(code) => code.into(),
        Err(cause) => {
            let words = format!("oneroot: {cause:#}{}", remedy(&cause));
            match cli.command {
                cli::Command::Serve => logging::last_words(&words),
                // What a program has said has several lines.
                _ => words.lines().for_each(print::trouble),
            }
            cli::Exit::Failed.into()
        }
    };
    if !serves {
        processes.end();
    }
    logging::finish();
    code
}

/// What to do where the system has refused: store and state are root's, so whoever is not root is told so once, here.
fn remedy(cause: &anyhow::Error) -> &'static str {
    let is_refused = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>().or_else(|| match cause.downcast_ref() {
            Some(oneroot_tree::Error::Io { cause, .. }) => Some(cause),
            _ => None,
        });
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::PermissionDenied)
    };
    let is_root = rustix::process::geteuid().is_root();
    if !is_root && cause.chain().any(is_refused) { "; run it as root" } else { "" }
}

/// What a server makes is for nobody else, whatever it was started with. What a command makes is as its user wants it; but
/// without the owner's own part, a server with fewer privileges could not enter what it made. Before any other thread runs.
fn private(serves: bool) {
    let ours = Mode::RWXG | Mode::RWXO;
    let told = umask(ours);
    if !serves {
        umask(told & ours);
    }
}
