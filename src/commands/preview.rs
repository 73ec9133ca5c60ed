//! What a machine would boot now: worked out as a boot's plan is, and nothing of it is kept.

use std::sync::Arc;

use anyhow::{Result, bail};
use oneroot_bootconf::Site;
use oneroot_bootconf::asked::{Asked, Catalogue};
use oneroot_bootconf::decided::{Decided, Other};
use oneroot_bootconf::decision::{Decision, decide};
use oneroot_bootconf::facts::Facts;
use oneroot_bootconf::gives::Gives;
use oneroot_bootconf::hardware::Claims;
use oneroot_bootconf::kernels::Loaded;
use oneroot_bootconf::plan::{BootPlan, Terms};
use oneroot_bootconf::question::Question;
use oneroot_ids::{BootId, Mac, MachineId};
use oneroot_machines::guest;
use oneroot_machines::initrds::Programs;
use oneroot_machines::planner::renderer::Renderer;
use oneroot_machines::planner::{Planner, Stacked};

use super::in_force::in_force;
use super::look::Look;
use super::meant;
use crate::cli::Supposed;
use crate::{clock, control};

/// What a machine's next boot would be.
pub struct Next {
    /// Its NIC.
    pub mac: Mac,
    /// Whether a server was there that knows what was adopted and assigned.
    pub is_whole: bool,
    /// That the site's program was run for this, and how; none where it has no say.
    pub program: Option<String>,
    /// What is told of it.
    pub told: Claims,
    pub what: What,
}

/// See [`Next`].
pub enum What {
    /// That of a profile.
    Profile(Box<Preview>),
    /// One of which no plan is made.
    Other(Other),
}

/// A machine's next boot of a profile, as far as it can be known before it happens.
pub struct Preview {
    pub mac: Mac,
    pub decision: Decision,
    pub facts: Facts,
    pub planner: Planner,
    pub stacked: Stacked,
}

impl Preview {
    /// The plan of that boot. Boot and machine ids are made at a boot; zeros stand for them here.
    pub fn plan(&self, site: &Site, loaded: &Loaded) -> BootPlan {
        BootPlan::of(&Terms {
            site,
            decision: &self.decision,
            facts: &self.facts,
            loaded,
            view: self.stacked.id,
            mounted: &self.stacked.mounted,
            mac: self.mac,
            machine: MachineId::from_random([0; 16]),
            boot: BootId::from_random([0; 8]),
            seal: None,
        })
    }
}

/// The site's program, asked by whoever looks: a running server may have another answer, by another user or from a while ago.
#[derive(Default)]
pub struct Consulted {
    pub gives: Option<Gives>,
    /// What somebody should know of it; nothing where it was not asked.
    pub note: Option<String>,
}

impl Consulted {
    fn about(catalogue: &Catalogue<'_>, asked: &Asked) -> Self {
        let Some(program) = catalogue.program_for(asked) else { return Self::default() };
        let location = catalogue.site().located(asked.claims.location.clone(), catalogue.address_of(asked));
        let Some(question) = Question::of(catalogue, asked, &asked.claims, &location) else {
            return Self::default();
        };
        let answer = crate::decide::run_here(program, &catalogue.site().home, &question.document());
        let gives = answer.and_then(|answer| {
            Gives::answered_for(catalogue, asked, &answer).map_err(|cause| cause.to_string())
        });
        let path = program.path.display();
        match gives {
            Ok(gives) => {
                let note = format!("{path} was run for this, as you");
                Self { gives: Some(gives), note: Some(note) }
            }
            Err(cause) => {
                let note = format!("{path} {cause}: rules and groups decide");
                Self { gives: None, note: Some(note) }
            }
        }
    }
}

/// The machines that the site names, as far as a line has room for them.
fn names_of(site: &Site) -> String {
    const SHOWN: usize = 8;
    let names: Vec<&str> = site.machines.keys().map(String::as_str).take(SHOWN).collect();
    let more = site.machines.len().saturating_sub(names.len());
    match (names.is_empty(), more) {
        (true, _) => "; this site names none".to_owned(),
        (_, 0) => format!("; this site has {}", names.join(", ")),
        (_, more) => format!("; this site has {} and {more} more", names.join(", ")),
    }
}

/// Works out what a machine would boot. `machine` is its name or one of its MACs; what it tells is what a running server knows of
/// it, and `supposed` over that.
pub fn next(
    site: &Site,
    look: &Look,
    machine: &str,
    supposed: &[Supposed],
    renderer: &Arc<dyn Renderer>,
) -> Result<Next> {
    let in_force = in_force(site)?;
    let mac = mac_of(&in_force.site, machine)?;
    let catalogue = Catalogue::of(&in_force.site).at(in_force.now);
    let asked = asked(&in_force.site, mac, supposed)?;
    let told = Claims::clone(&asked.claims);
    let Consulted { gives, note } = Consulted::about(&catalogue, &asked);
    let catalogue = gives.as_ref().map_or(catalogue, |gives| catalogue.told(gives));
    let next = |what| Next { mac, is_whole: in_force.is_whole, program: note, what, told };
    let decision = match decide(&catalogue, &asked)? {
        Decided::Profile(decision) => *decision,
        Decided::Other(other) => return Ok(next(What::Other(other))),
    };
    let facts = Facts::of(&catalogue, &decision, &asked);
    let guest = guest::stage(look, clock::now())?;
    let programs = Programs::beside(&site.server.loaders);
    let planner = Planner::new(Arc::clone(look), guest, renderer.clone()).with_programs(programs);
    let stacked = planner.stack(&site.home, &decision, &facts)?;
    Ok(next(What::Profile(Box::new(Preview { mac, decision, facts, planner, stacked }))))
}

/// The same, for what only a profile's tree can answer.
pub fn preview(
    site: &Site,
    look: &Look,
    machine: &str,
    supposed: &[Supposed],
    renderer: &Arc<dyn Renderer>,
) -> Result<Preview> {
    match next(site, look, machine, supposed, renderer)?.what {
        What::Profile(preview) => Ok(*preview),
        What::Other(other) => bail!("{machine} has no tree: it {}", other.way.in_words()),
    }
}

/// Who asks, as far as a running server knows it.
pub fn asked(site: &Site, mac: Mac, supposed: &[Supposed]) -> Result<Asked> {
    let known = control::ask_told(&site.server.state, mac)?;
    let (mut claims, address) = known.unwrap_or_default();
    supposed.iter().for_each(|supposed| supposed.put(&mut claims));
    Ok(Asked { address, ..Asked::by(mac) }.telling(Arc::new(claims)))
}

pub fn mac_of(site: &Site, machine: &str) -> Result<Mac> {
    let named = site.machines.get(machine).and_then(|machine| machine.macs.first().copied());
    if let Some(mac) = named {
        return Ok(mac);
    }
    machine.parse::<Mac>().or_else(|cause| {
        // What has a colon is a MAC address with a slip.
        if machine.contains(':') {
            return Err(cause.into());
        }
        bail!("no machine {machine:?}{}{}", names_of(site), meant(machine, site.machines.keys().cloned()))
    })
}
