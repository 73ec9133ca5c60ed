//! One file for each thing that the command line does. Each returns a document ([`Document`]), which is printed in one place: as
//! JSON, or as people are shown it. Only what is a file by itself (`init`, `cat`, `man`, `completions`, an archive on standard
//! output) is none.

mod adopt;
mod boots;
mod check;
mod edit;
mod explain;
mod export;
mod fetch;
mod findings;
mod gc;
mod generations;
mod host_keys;
mod in_force;
mod initrd;
mod inspect;
mod keys;
mod lacks;
mod layers;
mod linked;
mod look;
mod machines;
mod mapping;
mod names;
mod needs;
mod over;
mod pages;
mod patience;
mod preview;
mod progress;
mod pull;
mod release;
mod reload;
mod rendered;
mod review;
mod secret;
mod secrets;
mod stage;
mod state;
mod status;
mod survey;
mod sync;
mod token;
mod unknown;
mod unmet;
mod vendors;
mod verify;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use oneroot_bootconf::{EXAMPLE, Report, Site, nearest, state_of};

use oneroot_machines::Request;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_sources::Host;

use crate::cli::mapping::MappingCommand;
use crate::cli::secret::SecretCommand;
use crate::cli::token::TokenCommand;
use crate::cli::{Cli, Command, Exit, Output, StateCommand};
use crate::decide::Purpose;
use crate::print::Document;
use crate::{confine, decide, logging, print};

/// Does what was asked.
pub fn run(cli: &Cli, renderer: &Arc<dyn Renderer>) -> Result<Exit> {
    match &cli.command {
        Command::Init => pages::example(),
        Command::Check { machine, output } => checked(cli, machine.as_deref(), *output, renderer.as_ref()),
        Command::Stage { names, how, output } => {
            with_site(cli, |site| shown(stage::stage(&site, names, *how, output.json), *output))
        }
        Command::Edit { profile, command, output } => {
            with_site(cli, |site| shown(edit::edit(&site, profile, command, output.json), *output))
        }
        Command::Export { what, to, force, output } => with_site(cli, |site| {
            shown(export::export(&site, what, to, *force, output.json, renderer), *output)
        }),
        Command::Sync(asked) => sync::sync(asked),
        Command::Pull(asked) => with_site(cli, |site| shown(pull::pull(&site, asked), asked.output)),
        Command::Generations { name, output } => {
            with_site(cli, |site| shown(generations::list(&site, name.as_deref()), *output))
        }
        Command::Rollback { name, generation, output } => {
            with_site(cli, |site| shown(generations::rollback(&site, name, generation.as_deref()), *output))
        }
        Command::Diff { old, new, output } => {
            with_site(cli, |site| shown(generations::compare(&site, old, new), *output))
        }
        Command::Ls { what, path, output } => {
            with_site(cli, |site| shown(inspect::ls(&site, what, path, renderer), *output))
        }
        Command::Cat { what, path } => with_site(cli, |site| inspect::cat(&site, what, path, renderer)),
        Command::Explain { machine, path, supposed, output } => with_site(cli, |site| match path {
            Some(path) => shown(explain::path(&site, machine, path, &supposed.facts, renderer), *output),
            None => shown(explain::machine(&site, machine, &supposed.facts, renderer), *output),
        }),
        Command::Initrd(asked) => {
            with_site(cli, |site| shown(initrd::initrd(&site, asked, renderer), asked.output))
        }
        Command::Render { machine, supposed, output } => {
            with_site(cli, |site| shown(rendered::render(&site, machine, &supposed.facts, renderer), *output))
        }
        Command::Serve => with_site(cli, |site| serve(cli, site, renderer)),
        Command::State(command) => with_state(cli, |state| keep_state(state, command)),
        Command::Release { machine, output } => {
            with_state(cli, |state| shown(release::release(state, machine), *output))
        }
        Command::Keys { change, output } => {
            with_state(cli, |state| shown(keys::keys(state, *change), *output))
        }
        Command::Assign(asked) => with_site(cli, |site| shown(mapping::assign(&site, asked), asked.output)),
        Command::Mapping(command) => with_state(cli, |state| mapping(state, command)),
        Command::Token(command) => token(cli, command),
        Command::Secret(command) => with_state(cli, |state| secret_of_machine(state, command)),
        Command::Plan(output) => with_state(cli, |state| shown(reload::plan(state), *output)),
        Command::Reload(output) => with_state(cli, |state| shown(reload::reload(state), *output)),
        Command::Gc { asked, output } => with_site(cli, |site| shown(gc::collect(&site, asked), *output)),
        Command::Verify(output) => with_site(cli, |site| shown(verify::verify(&site, output.json), *output)),
        Command::Boots(asked) => with_state(cli, |state| shown(boots::boots(state, asked), asked.output)),
        Command::Status(output) => with_state(cli, |state| shown(status::status(state), *output)),
        Command::Completions { shell } => pages::completions(*shell),
        Command::Man => pages::man(),
    }
}

/// Looks at the site, or at what it decides for one machine.
fn checked(cli: &Cli, machine: Option<&str>, output: Output, renderer: &dyn Renderer) -> Result<Exit> {
    match machine {
        Some(machine) => with_site(cli, |site| shown(explain::decided(&site, machine), output)),
        None => shown(check::check(&cli.site(), renderer), output),
    }
}

/// Does what was asked of the state.
fn keep_state(state: &Path, command: &StateCommand) -> Result<Exit> {
    match command {
        StateCommand::Backup { file, force, output } => shown(state::backup(state, file, *force), *output),
        StateCommand::Restore { file, unverified, output } => {
            shown(state::restore(state, file, *unverified), *output)
        }
    }
}

/// Does what was asked of access tokens.
fn token(cli: &Cli, command: &TokenCommand) -> Result<Exit> {
    match command {
        TokenCommand::New(asked) => with_site(cli, |site| shown(token::new(&site, asked), asked.output)),
        TokenCommand::List(output) => with_state(cli, |state| shown(token::list(state), *output)),
        TokenCommand::Revoke { name, output } => {
            with_state(cli, |state| shown(token::revoke(state, name), *output))
        }
    }
}

/// Does what was asked of machines' secrets.
fn secret_of_machine(state: &Path, command: &SecretCommand) -> Result<Exit> {
    match command {
        SecretCommand::Set(named) => shown(secret::set(state, named), named.output),
        SecretCommand::Rotate(named) => shown(secret::rotate(state, named), named.output),
        SecretCommand::Remove(named) => shown(secret::remove(state, named), named.output),
        SecretCommand::List { machine, output } => shown(secret::list(state, machine.as_deref()), *output),
    }
}

/// Does what was asked of the mapping of machines to what they boot.
fn mapping(state: &Path, command: &MappingCommand) -> Result<Exit> {
    match command {
        MappingCommand::Unassign(asked) => shown(mapping::unassign(state, asked), asked.output),
        MappingCommand::Adopt(asked) => shown(adopt::adopt(state, asked), asked.output),
        MappingCommand::Machines(asked) => machines::machines(state, asked),
        MappingCommand::Rename { machine, name, output } => {
            let request = Request::Rename { machine: machine.clone(), name: name.clone() };
            shown(mapping::change(state, &request, "renamed"), *output)
        }
        MappingCommand::Replace { machine, macs, output } => {
            let request = Request::Replace { machine: machine.clone(), macs: macs.clone() };
            shown(mapping::change(state, &request, "replaced"), *output)
        }
        MappingCommand::Forget { machine, examined, output } => {
            let machine = machine.clone();
            let (request, done) = if *examined {
                (Request::ForgetExamined { machine }, "without what it has found out")
            } else {
                (Request::Forget { machine }, "forgotten")
            };
            shown(mapping::change(state, &request, done), *output)
        }
    }
}

/// Prints what an action has returned.
fn shown<D: Document>(returned: Result<D>, output: Output) -> Result<Exit> {
    print::document(&returned?, output.json)
}

/// No server is running that could be asked.
#[derive(Debug)]
struct NotRunning(String);

impl NotRunning {
    fn on(state: &Path, what_to_do: &str) -> anyhow::Error {
        Self(format!("no server is running on {}; {what_to_do}", state.display())).into()
    }
}

impl std::fmt::Display for NotRunning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotRunning {}

/// What a running server has answered.
fn running<T>(state: &Path, answer: Option<T>) -> Result<T> {
    answer.ok_or_else(|| NotRunning::on(state, "start one with `oneroot serve`"))
}

/// What to exit with where nothing was done.
pub fn exit_of(cause: &anyhow::Error) -> Exit {
    if cause.is::<NotRunning>() { Exit::NotRunning } else { Exit::Failed }
}

fn serve(cli: &Cli, site: Site, renderer: &Arc<dyn Renderer>) -> Result<Exit> {
    // First of all: it forks, and what it forks is to have nothing that the server opens.
    let lanes = [Purpose::Decide, Purpose::MakeSecrets].map(|what| decide::Lanes::begin(&site, what));
    // Told below, once there is a log; by then they would be given up.
    let privileged = confine::has_what_it_keeps();
    // While nothing of ours is bound there, and before the fence.
    let others = crate::net::holders::dhcp();
    let installers = needs::programs(&site);
    let programs = [Purpose::Decide, Purpose::MakeSecrets].map(|what| decide::lacks(&site, what));
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
    let [decide, make_secrets] =
        lanes.map(|lanes| lanes.context("no process can be made that runs the site's program"));
    let lanes = [decide?, make_secrets?];
    confine::tell();
    if let Some(at) = others.first() {
        tracing::warn!(
            "another program on this host listens on UDP port 67 ({at}): if it is a DHCP server for the same machines, each \
             takes whichever answers first; `ss -ulpn 'sport = :67'` says which it is"
        );
    }
    let mut needs = needs::at_start(&site, installers);
    needs.extend(programs.into_iter().flatten());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime =
        runtime.worker_threads(processors).enable_all().build().context("cannot start the runtime")?;
    let served =
        runtime.block_on(crate::serve::run(site, cli.site(), control, lanes, &needs, renderer.clone()));
    // A read that hangs on a disk must not hold up the exit.
    runtime.shutdown_background();
    served.map(|()| Exit::Done)
}

/// This host, as sources are staged on it.
fn host(site: &Site) -> Host<'_> {
    let uid = rustix::process::geteuid().as_raw();
    Host { home: &site.home, variable: &|name| std::env::var_os(name), uid }
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
