//! `oneroot assign`, `unassign`, `rename`, `replace`, `forget`: the central mapping is changed by the running server, and lies
//! over the site's files from then on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use oneroot_bootconf::Site;
use oneroot_bootconf::assignment::Assignment;
use oneroot_bootconf::gives::Gives;
use oneroot_bootconf::mounts::Mounts;
use oneroot_machines::{MappedMachine, Request, Taken};
use serde::Serialize;

use super::names::short;
use super::{generations, running};
use crate::cli::mapping::{Assign, Given, Unassign};
use crate::control::{self, Changed};
use crate::print::{Document, Page};

/// What a change of the mapping has come to.
#[derive(Serialize)]
pub struct Mapped {
    /// The machines that it was about, as they are now.
    machines: Vec<MappedMachine>,
    #[serde(skip)]
    done: &'static str,
}

impl Document for Mapped {
    fn page(&self) -> Page {
        let mut page = Page::default();
        for machine in &self.machines {
            page.line(format_args!("{} is {}: {}", machine.name, self.done, in_words(machine)));
        }
        page
    }
}

/// What the mapping says of a machine.
pub fn in_words(machine: &MappedMachine) -> String {
    let words: Vec<String> =
        machine.assigned.iter().chain(&machine.for_now).map(assignment_in_words).collect();
    if words.is_empty() {
        return "nothing is assigned to it; it boots what the site's files say".to_owned();
    }
    format!("{}, from its next boot on", words.join("; "))
}

fn assignment_in_words(assigned: &Assignment) -> String {
    let generations = assigned.generations.iter();
    let generations =
        generations.map(|(profile, generation)| format!("{profile} as of {}", short(*generation)));
    let gives = Some(assigned.gives.in_words()).filter(|_| assigned.gives != Gives::default());
    let mut words = gives.into_iter().chain(generations).collect::<Vec<_>>().join(", ");
    if assigned.once {
        words += ", for one boot";
    }
    if let Some(until) = assigned.until {
        let left = until.saturating_sub(crate::clock::shown(crate::clock::now()));
        words += &format!(", for {}", super::status::age(left));
    }
    format!("{words} (by {})", assigned.signed.by)
}

/// What somebody has typed, as the mapping takes it.
pub fn gives(given: &Given) -> Gives {
    Gives {
        boots: given.boots(),
        workloads: given.workloads.clone(),
        layers: Vec::new(),
        mounts: Mounts::new(),
        secrets: oneroot_bootconf::secrets::Secrets::new(),
        args: given.args.clone(),
        vars: given.vars.iter().cloned().collect(),
    }
}

/// `oneroot assign`.
pub fn assign(site: &Site, asked: &Assign) -> Result<Mapped> {
    let gives = gives(&asked.given);
    let generation = asked.generation.as_deref();
    let generations: BTreeMap<_, _> =
        generation.map(|text| generations::of_profile(site, text)).transpose()?.into_iter().collect();
    if gives == Gives::default() && generations.is_empty() {
        bail!(
            "say what {} is assigned: --profile, --boot, --menu, --workload, --var, --arg or --generation",
            asked.machines.join(", ")
        );
    }
    let state = &site.server.state;
    let machines = asked.machines.clone();
    let lasts = asked.until.map(|lasts| lasts.as_secs());
    change(state, &Request::Assign { machines, gives, generations, lasts, once: asked.once }, "assigned")
}

/// `oneroot unassign`.
pub fn unassign(state: &Path, asked: &Unassign) -> Result<Mapped> {
    let taken = Taken {
        boots: asked.profile,
        workloads: asked.workloads.clone(),
        args: asked.args.clone(),
        generations: asked.generation,
        vars: asked.vars.clone(),
    };
    let is_part = taken.boots
        || taken.generations
        || !(taken.workloads.is_empty() && taken.args.is_empty() && taken.vars.is_empty());
    let machines = asked.machines.clone();
    change(state, &Request::Unassign { machines, taken: is_part.then_some(taken) }, "changed")
}

/// Asks the running server for a change; `done` is what has happened to its machines.
pub fn change(state: &Path, request: &Request, done: &'static str) -> Result<Mapped> {
    match running(state, control::ask_change(state, request, &who())?)? {
        Changed { error: Some(error), .. } => bail!(error),
        Changed { machines, .. } => Ok(Mapped { machines, done }),
    }
}

/// Who asks, as far as the environment tells: the user behind sudo, else the user's name, else a number.
pub fn who() -> String {
    let named = |name| std::env::var(name).ok().filter(|name: &String| !name.is_empty());
    named("SUDO_USER")
        .or_else(|| named("USER"))
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}
