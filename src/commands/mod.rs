//! One file for each thing that the command line does.

mod check;
mod edit;
mod explain;
mod export;
mod findings;
mod gc;
mod generations;
mod host_keys;
mod inspect;
mod lacks;
mod layers;
mod logins;
mod names;
mod needs;
mod packages;
mod pages;
mod process_group;
mod registry;
mod release;
mod reload;
mod review;
mod secrets;
mod sources;
pub(crate) mod stage;
mod state;
mod status;
mod verify;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use oneroot_bootconf::{EXAMPLE, Report, Site, nearest, state_of};

use oneroot_machines::planner::renderer::Renderer;

use crate::cli::{Cli, Command, Exit, StateCommand};
use crate::{confine, logging, print};

/// Does what was asked.
pub fn run(cli: &Cli, renderer: &Arc<dyn Renderer>) -> Result<Exit> {
    match &cli.command {
        Command::Init => {
            print::text(EXAMPLE)?;
            Ok(Exit::Done)
        }
        Command::Check(output) => check::run(&cli.site(), output.json, renderer.as_ref()),
        Command::Stage { names, afresh, output } => {
            with_site(cli, |site| stage::run(&site, names, *afresh, output.json))
        }
        Command::Edit { profile, command, output } => {
            with_site(cli, |site| edit::run(&site, profile, command, output.json))
        }
        Command::Export { what, to, force, output } => {
            with_site(cli, |site| export::run(&site, what, to, *force, output.json, renderer))
        }
        Command::Generations { name, output } => {
            with_site(cli, |site| generations::list(&site, name.as_deref(), output.json))
        }
        Command::Rollback { name, generation, output } => {
            with_site(cli, |site| generations::rollback(&site, name, generation.as_deref(), output.json))
        }
        Command::Diff { old, new, output } => {
            with_site(cli, |site| generations::compare(&site, old, new, output.json))
        }
        Command::Ls { what, path, output } => {
            with_site(cli, |site| inspect::ls(&site, what, path, output.json, renderer))
        }
        Command::Cat { what, path } => with_site(cli, |site| inspect::cat(&site, what, path, renderer)),
        Command::Explain { machine, path, output } => with_site(cli, |site| match path {
            Some(path) => explain::path(&site, machine, path, output.json, renderer),
            None => explain::machine(&site, machine, output.json, renderer),
        }),
        Command::Render { machine, output } => {
            with_site(cli, |site| explain::rendered(&site, machine, output.json, renderer))
        }
        Command::Serve => with_site(cli, |site| serve(cli, site, renderer)),
        Command::State(StateCommand::Backup { file, force, output }) => {
            with_state(cli, |state| state::backup(state, file, *force, output.json))
        }
        Command::State(StateCommand::Restore { file, unverified, output }) => {
            with_state(cli, |state| state::restore(state, file, *unverified, output.json))
        }
        Command::Release { machine, output } => {
            with_state(cli, |state| release::run(state, machine, output.json))
        }
        Command::Reload(output) => with_state(cli, |state| reload::run(state, output.json)),
        Command::Gc { asked, output } => with_site(cli, |site| gc::run(&site, asked, output.json)),
        Command::Verify(output) => with_site(cli, |site| verify::run(&site, output.json)),
        Command::Status(output) => with_state(cli, |state| status::run(state, output.json)),
        Command::Completions { shell } => pages::completions(*shell),
        Command::Man => pages::man(),
    }
}

fn serve(cli: &Cli, site: Site, renderer: &Arc<dyn Renderer>) -> Result<Exit> {
    // Told below, once there is a log; by then they would be given up.
    let privileged = confine::has_what_it_keeps();
    // While nothing of ours is bound there, and before the fence.
    let others = crate::net::holders::dhcp();
    let installers = needs::installers(&oneroot_bootconf::decision::parts(&site));
    // Asked before, for what a container may use of the processors stands in files that a server has no other need of.
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let control = crate::control::socket();
    let confined = confine::enforce(&site, &cli.site(), &crate::serve::tcp_ports(&site));
    if let Err(cause) = logging::write() {
        print::trouble(format_args!("oneroot: there is no thread for the log: {cause}"));
        return Ok(Exit::Failed);
    }
    privileged?;
    confined?;
    let control = control?;
    confine::tell();
    if let Some(at) = others.first() {
        tracing::warn!(
            "another program on this host listens on UDP port 67 ({at}): if it is a DHCP server for the same machines, each \
             takes whichever answers first; `ss -ulpn 'sport = :67'` says which it is"
        );
    }
    let needs = needs::at_start(&site, installers);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime =
        runtime.worker_threads(processors).enable_all().build().context("cannot start the runtime")?;
    let served = runtime.block_on(crate::serve::run(site, cli.site(), control, &needs, renderer.clone()));
    // A read that hangs on a disk must not hold up the exit.
    runtime.shutdown_background();
    served.map(|()| Exit::Done)
}

/// Tells what was done: a document for a program, or words for a person.
fn tell(json: bool, document: &impl serde::Serialize, words: impl std::fmt::Display) -> Result<Exit> {
    if json {
        print::json(document)?;
    } else {
        print::line(words)?;
    }
    Ok(Exit::Done)
}

/// What somebody may have meant by a name that nothing has: the end of a sentence.
fn meant(name: &str, all: impl IntoIterator<Item = String>) -> String {
    let all: Vec<String> = all.into_iter().collect();
    nearest(name, all.iter().map(String::as_str)).map_or_else(String::new, |meant| format!("; {meant}"))
}

/// Reads the site, or says what is wrong with it.
fn with_site(cli: &Cli, work: impl FnOnce(Site) -> Result<Exit>) -> Result<Exit> {
    match oneroot_bootconf::load(&cli.site()) {
        Ok(site) => work(site),
        Err(report) => Ok(bad_site(&report)),
    }
}

/// Finds the state of a site that may be broken: a running server has the site as it was, and can be asked all the same.
fn with_state(cli: &Cli, work: impl FnOnce(&Path) -> Result<Exit>) -> Result<Exit> {
    let path = cli.site();
    match oneroot_bootconf::load(&path) {
        Ok(site) => work(&site.server.state),
        Err(report) => match state_of(&path) {
            Some(state) => {
                print::trouble(
                    "oneroot: the site is broken (see `oneroot check`); a running server has it as it was",
                );
                work(&state)
            }
            None => Ok(bad_site(&report)),
        },
    }
}

fn bad_site(report: &Report) -> Exit {
    report.problems.iter().for_each(print::trouble);
    Exit::BadSite
}
